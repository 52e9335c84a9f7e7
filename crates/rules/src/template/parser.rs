//! Tokens to nodes.
//!
//! Rule: variables and functions are checked here, so that a template that loads fails only over its data.

use super::functions;
use super::lexer::{Placed, Token};
use super::{Located, MAX_DEPTH};

/// A part of a template.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Node {
    /// Text as it stands.
    Text(String),
    /// `{{ pipeline }}`, printed unless it declares or assigns.
    Action(Pipeline),
    /// `{{ if }}` and `{{ with }}`.
    Branch { pipeline: Pipeline, sets_dot: bool, then: Vec<Self>, otherwise: Vec<Self> },
    /// `{{ range }}`.
    Range { pipeline: Pipeline, body: Vec<Self>, otherwise: Vec<Self> },
    /// `{{ break }}`, at its place.
    Break,
    /// `{{ continue }}`, at its place.
    Continue,
}

/// What a pipeline does with its value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Binding {
    /// `$x := …`, and `$i, $x := …` in a range.
    Declare(Vec<String>),
    /// `$x = …`
    Assign(String),
}

/// Commands, each given the value of the one before as its last argument.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Pipeline {
    pub(super) at: usize,
    pub(super) binding: Option<Binding>,
    pub(super) commands: Vec<Command>,
}

/// A function or value with its arguments.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Command {
    pub(super) at: usize,
    pub(super) operands: Vec<Operand>,
}

/// Something that has a value.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Operand {
    pub(super) at: usize,
    pub(super) kind: OperandKind,
    /// Fields behind it: `.Labels.pod`.
    pub(super) fields: Vec<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum OperandKind {
    Dot,
    /// Without its `$`; empty for `$` itself.
    Variable(String),
    Function(String),
    Nil,
    Bool(bool),
    Int(i64),
    Float(f64),
    Literal(String),
    Pipeline(Box<Pipeline>),
}

/// The variables that Prometheus defines for every alert template; `$` is the data itself.
const PREDEFINED: [&str; 5] = ["", "labels", "externalLabels", "externalURL", "value"];

/// Builds the nodes of a template.
pub(super) fn parse(tokens: Vec<Placed>) -> Result<Vec<Node>, Located> {
    let variables = PREDEFINED.map(str::to_owned).to_vec();
    let mut parser = Parser { tokens: tokens.into_iter().peekable(), variables, depth: 0, loops: 0, last: 0 };
    let (nodes, end) = parser.nodes()?;
    match end {
        Stop::Template => Ok(nodes),
        Stop::End(at) => Err((at, "`end` without a block".to_owned())),
        Stop::Else(at) => Err((at, "`else` without a block".to_owned())),
    }
}

/// What ended a list of nodes.
enum Stop {
    Template,
    End(usize),
    Else(usize),
}

struct Parser {
    tokens: std::iter::Peekable<std::vec::IntoIter<Placed>>,
    /// Declared variables; those of a block are cut off at its end.
    variables: Vec<String>,
    depth: usize,
    loops: usize,
    /// Where the last token began.
    last: usize,
}

impl Parser {
    fn next(&mut self) -> Option<Token> {
        let (at, token) = self.tokens.next()?;
        self.last = at;
        Some(token)
    }

    fn peek(&mut self) -> Option<&Token> {
        self.tokens.peek().map(|(_, token)| token)
    }

    fn place(&mut self) -> usize {
        self.tokens.peek().map_or(self.last, |(at, _)| *at)
    }

    fn close(&mut self) -> Result<(), Located> {
        let at = self.place();
        match self.next() {
            Some(Token::Close) => Ok(()),
            _ => Err((at, "unexpected text in the action".to_owned())),
        }
    }

    /// Goes one level deeper for `run`.
    fn deeper<T>(&mut self, run: impl FnOnce(&mut Self) -> Result<T, Located>) -> Result<T, Located> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err((self.last, format!("nested deeper than {MAX_DEPTH}")));
        }
        let result = run(self);
        self.depth -= 1;
        result
    }

    fn nodes(&mut self) -> Result<(Vec<Node>, Stop), Located> {
        let mut nodes = Vec::new();
        while let Some(token) = self.next() {
            if let Token::Text(text) = token {
                nodes.push(Node::Text(text));
                continue;
            }
            // Outside of actions there are only texts and openings.
            let at = self.place();
            let Some(Token::Word(word)) = self.peek().cloned() else {
                let pipeline = self.pipeline()?;
                self.close()?;
                nodes.push(Node::Action(pipeline));
                continue;
            };
            match word.as_str() {
                "end" => {
                    self.next();
                    self.close()?;
                    return Ok((nodes, Stop::End(at)));
                }
                "else" => {
                    self.next();
                    return Ok((nodes, Stop::Else(at)));
                }
                "if" | "with" | "range" => nodes.push(self.deeper(|parser| parser.block(&word))?),
                "break" | "continue" => nodes.push(self.jump(&word, at)?),
                "define" | "template" | "block" => return Err((at, format!("`{word}` is not supported"))),
                _ => {
                    let pipeline = self.pipeline()?;
                    self.close()?;
                    nodes.push(Node::Action(pipeline));
                }
            }
        }
        Ok((nodes, Stop::Template))
    }

    fn jump(&mut self, word: &str, at: usize) -> Result<Node, Located> {
        self.next();
        self.close()?;
        if self.loops == 0 {
            return Err((at, format!("`{word}` outside of `range`")));
        }
        Ok(if word == "break" { Node::Break } else { Node::Continue })
    }

    /// Reads a block from its keyword on.
    fn block(&mut self, keyword: &str) -> Result<Node, Located> {
        let start = self.place();
        self.next();
        let known = self.variables.len();
        let pipeline = self.pipeline()?;
        if let Some(Binding::Declare(names)) = &pipeline.binding
            && names.len() > 1
            && keyword != "range"
        {
            return Err((start, "two variables can be declared only by `range`".to_owned()));
        }
        self.close()?;
        let is_loop = keyword == "range";
        self.loops += usize::from(is_loop);
        let (then, end) = self.nodes()?;
        self.loops -= usize::from(is_loop);
        let otherwise = match end {
            Stop::Template => return Err((start, format!("`{keyword}` without an `end`"))),
            Stop::End(_) => Vec::new(),
            Stop::Else(_) => self.otherwise(keyword, start, known)?,
        };
        self.variables.truncate(known);
        Ok(match keyword {
            "range" => Node::Range { pipeline, body: then, otherwise },
            _ => Node::Branch { pipeline, sets_dot: keyword == "with", then, otherwise },
        })
    }

    /// Reads what stands behind `else`, up to the end of the whole block.
    fn otherwise(&mut self, keyword: &str, start: usize, known: usize) -> Result<Vec<Node>, Located> {
        self.variables.truncate(known);
        if let Some(Token::Word(word)) = self.peek().cloned() {
            if word != keyword || keyword == "range" {
                return Err((self.place(), format!("`else {word}` does not belong to `{keyword}`")));
            }
            return Ok(vec![self.deeper(|parser| parser.block(&word))?]);
        }
        self.close()?;
        let (nodes, end) = self.nodes()?;
        match end {
            Stop::End(_) => Ok(nodes),
            Stop::Else(at) => Err((at, "a second `else`".to_owned())),
            Stop::Template => Err((start, format!("`{keyword}` without an `end`"))),
        }
    }

    fn pipeline(&mut self) -> Result<Pipeline, Located> {
        let at = self.place();
        let mut binding = None;
        let mut first = None;
        if let Some(Token::Variable(name)) = self.peek().cloned() {
            let place = self.place();
            self.next();
            match self.peek() {
                Some(Token::Comma) => {
                    self.next();
                    let Some(Token::Variable(second)) = self.next() else {
                        return Err((self.last, "expected a second variable".to_owned()));
                    };
                    let Some(Token::Declare) = self.next() else {
                        return Err((self.last, "expected `:=`".to_owned()));
                    };
                    binding = Some(Binding::Declare(vec![name, second]));
                }
                Some(Token::Declare) => {
                    self.next();
                    binding = Some(Binding::Declare(vec![name]));
                }
                Some(Token::Assign) => {
                    self.next();
                    self.check_variable(&name, place)?;
                    binding = Some(Binding::Assign(name));
                }
                _ => {
                    self.check_variable(&name, place)?;
                    first = Some(self.fields(place, OperandKind::Variable(name)));
                }
            }
        }
        let mut commands = vec![self.command(first)?];
        while self.peek() == Some(&Token::Pipe) {
            self.next();
            let command = self.command(None)?;
            if !matches!(command.operands.first(), Some(Operand { kind: OperandKind::Function(_), .. })) {
                return Err((command.at, "only a function can stand behind `|`".to_owned()));
            }
            commands.push(command);
        }
        if let Some(Binding::Declare(names)) = &binding {
            self.variables.extend(names.iter().cloned());
        }
        Ok(Pipeline { at, binding, commands })
    }

    fn check_variable(&self, name: &str, at: usize) -> Result<(), Located> {
        if self.variables.iter().any(|known| known == name) {
            return Ok(());
        }
        Err((at, format!("undefined variable `${name}`")))
    }

    fn command(&mut self, first: Option<Operand>) -> Result<Command, Located> {
        let at = first.as_ref().map_or_else(|| self.place(), |operand| operand.at);
        let mut operands: Vec<Operand> = first.into_iter().collect();
        while !matches!(self.peek(), None | Some(Token::Close | Token::Pipe | Token::Right)) {
            operands.push(self.operand()?);
        }
        match operands.as_slice() {
            [] => Err((at, "a value is missing".to_owned())),
            [Operand { kind: OperandKind::Function(_), .. }, ..] | [_] => Ok(Command { at, operands }),
            [_, extra, ..] => Err((extra.at, "only a function takes arguments".to_owned())),
        }
    }

    fn operand(&mut self) -> Result<Operand, Located> {
        let at = self.place();
        let kind = match self.next() {
            Some(Token::Dot) => OperandKind::Dot,
            Some(Token::Field { name, .. }) => {
                let mut operand = self.fields(at, OperandKind::Dot);
                operand.fields.insert(0, name);
                return Ok(operand);
            }
            Some(Token::Variable(name)) => {
                self.check_variable(&name, at)?;
                OperandKind::Variable(name)
            }
            Some(Token::Word(word)) => word_kind(word, at)?,
            Some(Token::Literal(text)) => OperandKind::Literal(text),
            Some(Token::Int(value)) => OperandKind::Int(value),
            Some(Token::Float(value)) => OperandKind::Float(value),
            Some(Token::Left) => {
                let pipeline = self.deeper(Self::pipeline)?;
                if pipeline.binding.is_some() {
                    return Err((pipeline.at, "a variable cannot be set in parentheses".to_owned()));
                }
                let end = self.place();
                if self.next() != Some(Token::Right) {
                    return Err((end, "expected `)`".to_owned()));
                }
                OperandKind::Pipeline(Box::new(pipeline))
            }
            _ => return Err((at, "expected a value".to_owned())),
        };
        Ok(self.fields(at, kind))
    }

    /// Takes the fields that stand directly behind an operand.
    fn fields(&mut self, at: usize, kind: OperandKind) -> Operand {
        let mut fields = Vec::new();
        while let Some(Token::Field { name, apart: false }) = self.peek().cloned() {
            self.next();
            fields.push(name);
        }
        Operand { at, kind, fields }
    }
}

fn word_kind(word: String, at: usize) -> Result<OperandKind, Located> {
    match word.as_str() {
        "nil" => Ok(OperandKind::Nil),
        "true" => Ok(OperandKind::Bool(true)),
        "false" => Ok(OperandKind::Bool(false)),
        name if functions::NAMES.contains(&name) => Ok(OperandKind::Function(word)),
        name if functions::UNSUPPORTED.contains(&name) => Err((at, format!("function `{name}` is not supported"))),
        name => Err((at, format!("unknown function `{name}`"))),
    }
}
