//! Text to tokens: the text between actions, and what stands in actions.
//!
//! Rule: a token knows where it begins, in bytes.

use super::Located;

/// A token.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    /// Text outside actions.
    Text(String),
    /// `{{`
    Open,
    /// `}}`
    Close,
    /// A keyword, function, or `true`, `false`, `nil`.
    Word(String),
    /// `$` or `$name`
    Variable(String),
    /// `.name`, directly behind what it belongs to or not.
    Field {
        name: String,
        /// Whether there was a blank before it.
        apart: bool,
    },
    /// A lone `.`
    Dot,
    /// A string literal, unescaped.
    Literal(String),
    Int(i64),
    Float(f64),
    /// `(`
    Left,
    /// `)`
    Right,
    /// `|`
    Pipe,
    /// `,`
    Comma,
    /// `:=`
    Declare,
    /// `=`
    Assign,
}

/// A token and where it begins.
pub(super) type Placed = (usize, Token);

/// Splits a template into tokens.
pub(super) fn tokens(text: &str) -> Result<Vec<Placed>, Located> {
    let mut lexer = Lexer { text, at: 0, tokens: Vec::new() };
    let mut trim_next = false;
    while lexer.at < text.len() {
        let start = lexer.at;
        let rest = lexer.rest();
        let open = rest.find("{{");
        let (plain, after) = rest.split_at(open.unwrap_or(rest.len()));
        let trim_before = after.strip_prefix("{{-").is_some_and(|rest| rest.starts_with(is_blank));
        let mut plain = if trim_next { plain.trim_start_matches(is_blank) } else { plain };
        if trim_before {
            plain = plain.trim_end_matches(is_blank);
        }
        if !plain.is_empty() {
            lexer.tokens.push((start, Token::Text(plain.to_owned())));
        }
        let Some(open) = open else { break };
        lexer.at = start + open + if trim_before { 3 } else { 2 };
        trim_next = lexer.action(start + open)?;
    }
    Ok(lexer.tokens)
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
    tokens: Vec<Placed>,
}

const fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// Reads an action up to its end; tells whether the text behind it is trimmed.
    fn action(&mut self, open: usize) -> Result<bool, Located> {
        if let Some(comment) = self.rest().trim_start_matches(is_blank).strip_prefix("/*") {
            return self.comment(open, comment);
        }
        self.tokens.push((open, Token::Open));
        loop {
            let rest = self.rest();
            let blanks = rest.len() - rest.trim_start_matches(is_blank).len();
            self.at += blanks;
            let rest = self.rest();
            let trims = blanks > 0 && rest.starts_with("-}}");
            if trims || rest.starts_with("}}") {
                self.tokens.push((self.at, Token::Close));
                self.at += if trims { 3 } else { 2 };
                return Ok(trims);
            }
            let Some(first) = rest.chars().next() else {
                return Err((open, "action without an end".to_owned()));
            };
            let place = self.at;
            let token = self.token(first, blanks > 0)?;
            self.tokens.push((place, token));
        }
    }

    fn comment(&mut self, open: usize, comment: &'a str) -> Result<bool, Located> {
        let unclosed = || (open, "comment without an end".to_owned());
        let (_, after) = comment.split_once("*/").ok_or_else(unclosed)?;
        let trims = after.trim_start_matches(is_blank).len() < after.len();
        let after = after.trim_start_matches(is_blank);
        let (trims, after) = match after.strip_prefix("-}}") {
            Some(after) if trims => (true, after),
            _ => (false, after.strip_prefix("}}").ok_or_else(unclosed)?),
        };
        self.at = self.text.len() - after.len();
        Ok(trims)
    }

    fn token(&mut self, first: char, apart: bool) -> Result<Token, Located> {
        let rest = self.rest();
        let simple = match first {
            '(' => Some(Token::Left),
            ')' => Some(Token::Right),
            '|' => Some(Token::Pipe),
            ',' => Some(Token::Comma),
            '=' => Some(Token::Assign),
            _ => None,
        };
        if let Some(token) = simple {
            self.at += 1;
            return Ok(token);
        }
        let next = rest.chars().nth(1);
        match first {
            ':' if next == Some('=') => {
                self.at += 2;
                Ok(Token::Declare)
            }
            '"' => self.quoted(),
            '`' => self.raw(),
            '$' => {
                let name = self.word(1);
                Ok(Token::Variable(name))
            }
            '.' if next.is_some_and(|c| c.is_ascii_digit()) => self.number(),
            '.' if next.is_some_and(is_word) => {
                let name = self.word(1);
                Ok(Token::Field { name, apart })
            }
            '.' => {
                self.at += 1;
                Ok(Token::Dot)
            }
            '+' | '-' if next.is_some_and(|c| c.is_ascii_digit() || c == '.') => self.number(),
            '0'..='9' => self.number(),
            '\'' => Err((self.at, "character constants are not supported".to_owned())),
            c if is_word(c) => Ok(Token::Word(self.word(0))),
            c => Err((self.at, format!("unexpected character `{}`", c.escape_debug()))),
        }
    }

    /// Takes `skip` bytes and the word behind them.
    fn word(&mut self, skip: usize) -> String {
        self.at += skip;
        let word: String = self.rest().chars().take_while(|c| is_word(*c)).collect();
        self.at += word.len();
        word
    }

    fn number(&mut self) -> Result<Token, Located> {
        let start = self.at;
        let sign = usize::from(self.rest().starts_with(['+', '-']));
        let mut before = ' ';
        let digits: String = self
            .rest()
            .chars()
            .skip(sign)
            .take_while(|c| {
                let exponent_sign = matches!(c, '+' | '-') && matches!(before, 'e' | 'E');
                let part = is_word(*c) || *c == '.' || exponent_sign;
                before = *c;
                part
            })
            .collect();
        self.at += sign + digits.len();
        let invalid = || (start, format!("not a number: `{digits}`"));
        let negative = self.text.get(start..).is_some_and(|rest| rest.starts_with('-'));
        let clean = digits.replace('_', "");
        let whole = match clean.strip_prefix("0x").or_else(|| clean.strip_prefix("0X")) {
            Some(hex) => Some(i64::from_str_radix(hex, 16).map_err(|_bad| invalid())?),
            None => clean.parse::<i64>().ok(),
        };
        if let Some(whole) = whole {
            return Ok(Token::Int(if negative { whole.saturating_neg() } else { whole }));
        }
        let float = datamodel::float::parse_float(&clean).map_err(|_bad| invalid())?;
        Ok(Token::Float(if negative { -float } else { float }))
    }

    fn raw(&mut self) -> Result<Token, Located> {
        let start = self.at;
        let body = self.text.get(start + 1..).unwrap_or_default();
        let (text, _) = body.split_once('`').ok_or((start, "raw string without an end".to_owned()))?;
        self.at = start + text.len() + 2;
        Ok(Token::Literal(text.to_owned()))
    }

    fn quoted(&mut self) -> Result<Token, Located> {
        let start = self.at;
        let mut text = String::new();
        let mut chars = self.text.get(start + 1..).unwrap_or_default().char_indices();
        while let Some((index, c)) = chars.next() {
            match c {
                '"' => {
                    self.at = start + 1 + index + 1;
                    return Ok(Token::Literal(text));
                }
                '\n' => break,
                '\\' => {
                    let place = start + 1 + index;
                    let unknown = || (place, "unknown escape in a string".to_owned());
                    let (_, kind) = chars.next().ok_or_else(unknown)?;
                    text.push(escape(kind, &mut chars).ok_or_else(unknown)?);
                }
                c => text.push(c),
            }
        }
        Err((start, "string without an end".to_owned()))
    }
}

/// The character of an escape of Go's string literals.
fn escape(kind: char, chars: &mut std::str::CharIndices<'_>) -> Option<char> {
    let mut code = |digits: usize| {
        let text: String = chars.by_ref().take(digits).map(|(_, c)| c).collect();
        (text.len() == digits).then(|| u32::from_str_radix(&text, 16).ok()).flatten().and_then(char::from_u32)
    };
    Some(match kind {
        'a' => '\u{7}',
        'b' => '\u{8}',
        'f' => '\u{c}',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'v' => '\u{b}',
        '\\' => '\\',
        '"' => '"',
        'x' => code(2).filter(char::is_ascii)?,
        'u' => code(4)?,
        'U' => code(8)?,
        _ => return None,
    })
}
