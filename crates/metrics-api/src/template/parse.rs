//! Text to nodes.
//!
//! Rule: what is parsed can be executed; a function or keyword that is not known is refused here.

use super::{MAX_DEPTH, TemplateError};

/// A part of a template.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Node {
    /// Text outside the delimiters.
    Text(String),
    /// A pipeline whose value is printed, or only stored when it declares a variable.
    Print(Pipeline),
    /// `if` and `with`, with what stands behind `else`. `with` also makes the value the dot.
    If { pipeline: Pipeline, is_with: bool, then: Vec<Self>, otherwise: Vec<Self> },
    /// `range`.
    Range { pipeline: Pipeline, body: Vec<Self>, otherwise: Vec<Self> },
}

/// Commands, each of which gets the value of the one before as its last argument.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Pipeline {
    /// Variables that take the value: one, or index and element of a `range`.
    pub(super) declare: Vec<String>,
    /// Whether the variable existed before (`=` instead of `:=`).
    pub(super) assign: bool,
    /// From left to right; never empty.
    pub(super) commands: Vec<Command>,
}

/// One command of a pipeline.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Command {
    /// A value alone.
    Operand(Operand),
    /// A function with its arguments.
    Call(Function, Vec<Operand>),
}

/// A value in a command.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Operand {
    /// `.`, `.Field`, `.Field.Of`.
    Dot(Vec<String>),
    /// `$name`, `$name.Field`; the empty name is the data at the start.
    Variable(String, Vec<String>),
    /// A literal.
    Text(String),
    /// A literal.
    Int(i64),
    /// A literal.
    Bool(bool),
    /// `nil`.
    Nil,
    /// A pipeline in parentheses, with the fields behind it.
    Nested(Box<Pipeline>, Vec<String>),
}

/// The functions that are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Function {
    And,
    Eq,
    Ge,
    Gt,
    Index,
    Join,
    Le,
    Len,
    Lt,
    Ne,
    Not,
    Or,
    Print,
    Printf,
    Println,
}

const FUNCTIONS: [(&str, Function); 15] = [
    ("and", Function::And),
    ("eq", Function::Eq),
    ("ge", Function::Ge),
    ("gt", Function::Gt),
    ("index", Function::Index),
    ("join", Function::Join),
    ("le", Function::Le),
    ("len", Function::Len),
    ("lt", Function::Lt),
    ("ne", Function::Ne),
    ("not", Function::Not),
    ("or", Function::Or),
    ("print", Function::Print),
    ("printf", Function::Printf),
    ("println", Function::Println),
];

impl Function {
    /// The name in the template.
    pub(super) fn name(self) -> &'static str {
        FUNCTIONS.iter().find(|(_, function)| *function == self).map_or("", |(name, _)| name)
    }
}

/// A word of an action.
#[derive(Clone, Debug, PartialEq)]
enum Token {
    /// `.Field`, and whether it follows without a space, so that it belongs to the value before.
    Field {
        name: String,
        attached: bool,
    },
    /// `.`
    Dot,
    /// `$name` without the sign.
    Variable(String),
    /// A keyword or the name of a function.
    Word(String),
    Text(String),
    Int(i64),
    Pipe,
    Open,
    Close,
    Declare,
    Assign,
    Comma,
}

/// An action with the line on which it begins, or text between actions.
enum Piece {
    Text(String),
    Action { line: usize, tokens: Vec<Token> },
}

pub(super) fn parse(source: &str, left: &str, right: &str) -> Result<Vec<Node>, TemplateError> {
    let pieces = split(source, left, right)?;
    let mut parser = Parser { pieces: pieces.into_iter(), line: 1, variables: vec![String::new()] };
    let (nodes, end) = parser.block(0)?;
    match end {
        BlockEnd::Source => Ok(nodes),
        BlockEnd::Closed => Err(parser.syntax("unexpected `end`")),
        BlockEnd::Else(_) => Err(parser.syntax("unexpected `else`")),
    }
}

/// Cuts the source into texts and actions, and obeys the trim markers.
fn split(source: &str, left: &str, right: &str) -> Result<Vec<Piece>, TemplateError> {
    let mut pieces = Vec::new();
    let mut rest = source;
    let mut line = 1;
    let mut trim_next = false;
    loop {
        let Some((before, after)) = rest.split_once(left) else {
            push_text(&mut pieces, rest, trim_next, false);
            return Ok(pieces);
        };
        let (trim_before, action) = match after.strip_prefix('-') {
            Some(trimmed) if trimmed.starts_with([' ', '\t', '\r', '\n']) => (true, trimmed),
            _ => (false, after),
        };
        push_text(&mut pieces, before, trim_next, trim_before);
        line += count_lines(before);
        let comment = action.trim_start().strip_prefix("/*");
        let (tokens, behind) = if let Some(comment) = comment {
            let unclosed = || TemplateError::Syntax { line, reason: "unclosed comment".to_owned() };
            let (_, behind) = comment.split_once("*/").ok_or_else(unclosed)?;
            (None, behind.trim_start())
        } else {
            let (tokens, behind) = Lexer { rest: action, line, right }.action()?;
            (Some(tokens), behind)
        };
        let (trim_after, behind) = match behind.strip_prefix('-') {
            Some(behind) => (true, behind),
            None => (false, behind),
        };
        let Some(behind) = behind.strip_prefix(right) else {
            return Err(TemplateError::Syntax { line, reason: format!("comment is not followed by `{right}`") });
        };
        if let Some(tokens) = tokens {
            pieces.push(Piece::Action { line, tokens });
        }
        line += count_lines(after) - count_lines(behind);
        trim_next = trim_after;
        rest = behind;
    }
}

fn count_lines(text: &str) -> usize {
    text.bytes().filter(|byte| *byte == b'\n').count()
}

fn push_text(pieces: &mut Vec<Piece>, text: &str, trim_start: bool, trim_end: bool) {
    let space = [' ', '\t', '\r', '\n'];
    let text = if trim_start { text.trim_start_matches(space) } else { text };
    let text = if trim_end { text.trim_end_matches(space) } else { text };
    if !text.is_empty() {
        pieces.push(Piece::Text(text.to_owned()));
    }
}

/// Reads the words of one action.
struct Lexer<'a> {
    rest: &'a str,
    line: usize,
    right: &'a str,
}

impl<'a> Lexer<'a> {
    /// The words up to the right delimiter (or its trim marker), and the source from there on.
    fn action(mut self) -> Result<(Vec<Token>, &'a str), TemplateError> {
        let mut tokens = Vec::new();
        loop {
            let trimmed = self.rest.trim_start_matches([' ', '\t', '\r', '\n']);
            let spaced = trimmed.len() < self.rest.len();
            self.line += count_lines(self.rest) - count_lines(trimmed);
            self.rest = trimmed;
            let at_marker = spaced && trimmed.strip_prefix('-').is_some_and(|after| after.starts_with(self.right));
            if at_marker || trimmed.starts_with(self.right) {
                return Ok((tokens, trimmed));
            }
            let token = self.token(spaced)?;
            tokens.push(token);
        }
    }

    fn syntax(&self, reason: impl Into<String>) -> TemplateError {
        TemplateError::Syntax { line: self.line, reason: reason.into() }
    }

    fn token(&mut self, spaced: bool) -> Result<Token, TemplateError> {
        let Some(first) = self.rest.chars().next() else {
            return Err(self.syntax(format!("unclosed action: no `{}`", self.right)));
        };
        let (_, after) = self.rest.split_at(first.len_utf8());
        match first {
            '|' => Ok(self.advance(after, Token::Pipe)),
            '(' => Ok(self.advance(after, Token::Open)),
            ')' => Ok(self.advance(after, Token::Close)),
            ',' => Ok(self.advance(after, Token::Comma)),
            '=' => Ok(self.advance(after, Token::Assign)),
            ':' => match after.strip_prefix('=') {
                Some(after) => Ok(self.advance(after, Token::Declare)),
                None => Err(self.syntax("expected `:=`")),
            },
            '.' => {
                let (name, after) = word(after);
                let field = Token::Field { name: name.to_owned(), attached: !spaced };
                let token = if name.is_empty() { Token::Dot } else { field };
                Ok(self.advance(after, token))
            }
            '$' => {
                let (name, after) = word(after);
                let token = Token::Variable(name.to_owned());
                Ok(self.advance(after, token))
            }
            '"' => self.quoted(after),
            '`' => match after.split_once('`') {
                Some((text, after)) => {
                    let token = Token::Text(text.to_owned());
                    Ok(self.advance(after, token))
                }
                None => Err(self.syntax("unterminated raw string")),
            },
            '-' | '+' | '0'..='9' => self.number(),
            '\'' => Err(self.unsupported("a character constant")),
            c if c.is_alphabetic() || c == '_' => {
                let (name, after) = word(self.rest);
                let token = Token::Word(name.to_owned());
                Ok(self.advance(after, token))
            }
            c => Err(self.syntax(format!("unexpected character `{c}`"))),
        }
    }

    fn unsupported(&self, what: impl Into<String>) -> TemplateError {
        TemplateError::Unsupported { line: self.line, what: what.into() }
    }

    fn advance(&mut self, after: &'a str, token: Token) -> Token {
        self.rest = after;
        token
    }

    fn number(&mut self) -> Result<Token, TemplateError> {
        let end = self.rest.find(|c: char| !(c.is_alphanumeric() || ['.', '+', '-', '_'].contains(&c)));
        let (digits, after) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        match digits.parse() {
            Ok(number) => Ok(self.advance(after, Token::Int(number))),
            Err(_not_whole) => Err(self.unsupported(format!("the number `{digits}`"))),
        }
    }

    fn quoted(&mut self, after: &'a str) -> Result<Token, TemplateError> {
        let mut text = String::new();
        let mut chars = after.char_indices();
        while let Some((at, c)) = chars.next() {
            match c {
                '"' => {
                    let (_, behind) = after.split_at(at + 1);
                    return Ok(self.advance(behind, Token::Text(text)));
                }
                '\n' => break,
                '\\' => match chars.next().map(|(_, escaped)| escaped) {
                    Some('n') => text.push('\n'),
                    Some('t') => text.push('\t'),
                    Some('r') => text.push('\r'),
                    Some(escaped @ ('"' | '\\')) => text.push(escaped),
                    Some(other) => return Err(self.unsupported(format!("the escape `\\{other}`"))),
                    None => break,
                },
                c => text.push(c),
            }
        }
        Err(self.syntax("unterminated string"))
    }
}

/// Takes a name off the front.
fn word(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(text.len());
    text.split_at(end)
}

/// What ended a block.
enum BlockEnd {
    Source,
    Closed,
    /// `else`, with the words behind it (`if …`).
    Else(Vec<Token>),
}

struct Parser {
    pieces: std::vec::IntoIter<Piece>,
    line: usize,
    /// Names in scope, innermost last; the empty one is `$`.
    variables: Vec<String>,
}

impl Parser {
    fn syntax(&self, reason: impl Into<String>) -> TemplateError {
        TemplateError::Syntax { line: self.line, reason: reason.into() }
    }

    fn unsupported(&self, what: impl Into<String>) -> TemplateError {
        TemplateError::Unsupported { line: self.line, what: what.into() }
    }

    fn block(&mut self, depth: usize) -> Result<(Vec<Node>, BlockEnd), TemplateError> {
        if depth > MAX_DEPTH {
            return Err(TemplateError::TooLarge("nesting"));
        }
        let mut nodes = Vec::new();
        while let Some(piece) = self.pieces.next() {
            let (line, tokens) = match piece {
                Piece::Text(text) => {
                    nodes.push(Node::Text(text));
                    continue;
                }
                Piece::Action { line, tokens } => (line, tokens),
            };
            self.line = line;
            let mut tokens = tokens.into_iter().peekable();
            let keyword = match tokens.peek() {
                Some(Token::Word(word)) => word.clone(),
                _ => String::new(),
            };
            match keyword.as_str() {
                "end" => return Ok((nodes, BlockEnd::Closed)),
                "else" => return Ok((nodes, BlockEnd::Else(tokens.skip(1).collect()))),
                "if" | "with" | "range" => {
                    let node = self.control(&keyword, tokens.skip(1).collect(), depth)?;
                    nodes.push(node);
                }
                "define" | "template" | "block" | "break" | "continue" => {
                    return Err(self.unsupported(format!("`{keyword}`")));
                }
                _ => nodes.push(Node::Print(self.whole_pipeline(tokens.collect())?)),
            }
        }
        Ok((nodes, BlockEnd::Source))
    }

    /// `if`, `with` and `range` with their blocks, up to and with `end`.
    fn control(&mut self, keyword: &str, words: Vec<Token>, depth: usize) -> Result<Node, TemplateError> {
        let scope = self.variables.len();
        let pipeline = self.whole_pipeline_in(words, keyword == "range")?;
        let (then, end) = self.block(depth + 1)?;
        let otherwise = match end {
            BlockEnd::Source => return Err(self.syntax(format!("`{keyword}` without `end`"))),
            BlockEnd::Closed => Vec::new(),
            BlockEnd::Else(words) => self.otherwise(keyword, words, depth)?,
        };
        self.variables.truncate(scope);
        Ok(match keyword {
            "range" => Node::Range { pipeline, body: then, otherwise },
            _ => Node::If { pipeline, is_with: keyword == "with", then, otherwise },
        })
    }

    /// What stands behind `else`: a block up to `end`, or another `if` which shares that `end`.
    fn otherwise(&mut self, keyword: &str, words: Vec<Token>, depth: usize) -> Result<Vec<Node>, TemplateError> {
        let mut words = words.into_iter();
        match words.next() {
            None => match self.block(depth + 1)? {
                (nodes, BlockEnd::Closed) => Ok(nodes),
                (_, BlockEnd::Else(_)) => Err(self.syntax("`else` after `else`")),
                (_, BlockEnd::Source) => Err(self.syntax(format!("`{keyword}` without `end`"))),
            },
            Some(Token::Word(word)) if word == keyword && word != "range" => {
                Ok(vec![self.control(keyword, words.collect(), depth + 1)?])
            }
            Some(_) => Err(self.syntax(format!("`else` of `{keyword}` is followed by something else"))),
        }
    }

    fn whole_pipeline(&mut self, words: Vec<Token>) -> Result<Pipeline, TemplateError> {
        self.whole_pipeline_in(words, false)
    }

    /// A pipeline that uses up all words.
    fn whole_pipeline_in(&mut self, words: Vec<Token>, in_range: bool) -> Result<Pipeline, TemplateError> {
        let mut words = words.into_iter().peekable();
        let (declare, assign) = declaration(&words);
        // A name and its sign, or two names with comma and sign.
        for _ in 0..2 * declare.len() {
            words.next();
        }
        if declare.len() > 1 && !in_range {
            return Err(self.syntax("two variables outside `range`"));
        }
        let commands = self.commands(&mut words, 0)?;
        if words.next().is_some() {
            return Err(self.syntax("unexpected `)`"));
        }
        if assign {
            if let Some(unknown) = declare.iter().find(|name| !self.variables.contains(name)) {
                return Err(self.syntax(format!("undefined variable `${unknown}`")));
            }
        } else {
            self.variables.extend(declare.iter().cloned());
        }
        Ok(Pipeline { declare, assign, commands })
    }

    fn commands(&mut self, words: &mut Words, depth: usize) -> Result<Vec<Command>, TemplateError> {
        if depth > MAX_DEPTH {
            return Err(TemplateError::TooLarge("nesting"));
        }
        let mut commands = Vec::new();
        loop {
            let command = self.command(words, depth, !commands.is_empty())?;
            commands.push(command);
            if words.peek() != Some(&Token::Pipe) {
                return Ok(commands);
            }
            words.next();
        }
    }

    fn command(&mut self, words: &mut Words, depth: usize, piped: bool) -> Result<Command, TemplateError> {
        if let Some(function) = words.peek().and_then(function_of) {
            words.next();
            let mut arguments = Vec::new();
            while !matches!(words.peek(), None | Some(Token::Pipe | Token::Close)) {
                arguments.push(self.operand(words, depth)?);
            }
            return Ok(Command::Call(function, arguments));
        }
        let operand = self.operand(words, depth)?;
        if piped {
            return Err(self.syntax("a value cannot stand behind `|`: only a function can"));
        }
        match words.peek() {
            None | Some(Token::Pipe | Token::Close) => Ok(Command::Operand(operand)),
            Some(_) => Err(self.syntax("a value is not a function and takes no argument")),
        }
    }

    fn operand(&mut self, words: &mut Words, depth: usize) -> Result<Operand, TemplateError> {
        let Some(token) = words.next() else {
            return Err(self.syntax("missing value"));
        };
        match token {
            Token::Dot => Ok(Operand::Dot(Vec::new())),
            Token::Field { name, .. } => {
                let mut fields = vec![name];
                fields.extend(more_fields(words));
                Ok(Operand::Dot(fields))
            }
            Token::Variable(name) => {
                if !self.variables.contains(&name) {
                    return Err(self.syntax(format!("undefined variable `${name}`")));
                }
                Ok(Operand::Variable(name, more_fields(words)))
            }
            Token::Text(text) => Ok(Operand::Text(text)),
            Token::Int(number) => Ok(Operand::Int(number)),
            Token::Word(word) if word == "true" || word == "false" => Ok(Operand::Bool(word == "true")),
            Token::Word(word) if word == "nil" => Ok(Operand::Nil),
            Token::Word(word) => match function_named(&word) {
                Some(function) => Ok(Operand::Nested(Box::new(call_without_arguments(function)), Vec::new())),
                None => Err(self.unsupported(format!("the function `{word}`"))),
            },
            Token::Open => {
                let commands = self.commands(words, depth + 1)?;
                if words.next() != Some(Token::Close) {
                    return Err(self.syntax("missing `)`"));
                }
                let pipeline = Pipeline { declare: Vec::new(), assign: false, commands };
                Ok(Operand::Nested(Box::new(pipeline), more_fields(words)))
            }
            Token::Pipe | Token::Close | Token::Declare | Token::Assign | Token::Comma => {
                Err(self.syntax("missing value"))
            }
        }
    }
}

type Words = std::iter::Peekable<std::vec::IntoIter<Token>>;

fn more_fields(words: &mut Words) -> Vec<String> {
    let mut fields = Vec::new();
    let attached = |token: &Token| matches!(token, Token::Field { attached: true, .. });
    while let Some(Token::Field { name, .. }) = words.next_if(attached) {
        fields.push(name);
    }
    fields
}

fn call_without_arguments(function: Function) -> Pipeline {
    Pipeline { declare: Vec::new(), assign: false, commands: vec![Command::Call(function, Vec::new())] }
}

fn function_named(name: &str) -> Option<Function> {
    FUNCTIONS.iter().find(|(known, _)| *known == name).map(|(_, function)| *function)
}

fn function_of(token: &Token) -> Option<Function> {
    match token {
        Token::Word(name) => function_named(name),
        _ => None,
    }
}

/// The names in front of `:=` or `=`, and whether it is `=`.
fn declaration(words: &Words) -> (Vec<String>, bool) {
    let ahead: Vec<Token> = words.clone().take(4).collect();
    match ahead.as_slice() {
        [Token::Variable(name), Token::Declare, ..] => (vec![name.clone()], false),
        [Token::Variable(name), Token::Assign, ..] => (vec![name.clone()], true),
        [Token::Variable(first), Token::Comma, Token::Variable(second), Token::Declare] => {
            (vec![first.clone(), second.clone()], false)
        }
        _ => (Vec::new(), false),
    }
}
