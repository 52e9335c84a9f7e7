//! Text to tokens.
//!
//! Three modes: outside, inside braces (matchers), inside brackets (durations).
//!
//! Rule: the lexer never fails; what it cannot read becomes one error token at the end.

use datamodel::labels::Quoted;

use crate::ast::{AggregateOp, BinaryOp};
use crate::span::Span;

/// What a token is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum TokenKind {
    Eof,
    /// What cannot be read, with the reason; the last token.
    Error(String),
    Comma,
    Colon,
    LeftParen,
    RightParen,
    LeftBrace,
    RightBrace,
    LeftBracket,
    RightBracket,
    /// `=`
    Assign,
    /// `=~`
    EqualRegex,
    /// `!~`
    NotRegex,
    At,
    Identifier,
    /// An identifier with a colon.
    MetricIdentifier,
    Number,
    Duration,
    /// A quoted text, unquoted.
    String(Vec<u8>),
    Operator(BinaryOp),
    Aggregate(AggregateOp),
    Keyword(Keyword),
}

/// Words with a meaning of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keyword {
    Offset,
    Smoothed,
    Anchored,
    By,
    Without,
    On,
    Ignoring,
    GroupLeft,
    GroupRight,
    Fill,
    FillLeft,
    FillRight,
    Bool,
    Start,
    End,
    Step,
    Range,
    MaxOf,
    MinOf,
}

impl Keyword {
    /// Whether the word may also name a function or a preprocessor (`start()`).
    pub(crate) const fn is_preprocessor(self) -> bool {
        matches!(self, Self::Start | Self::End | Self::Step | Self::Range | Self::MaxOf | Self::MinOf)
    }

    /// Whether the word may stand as a metric name.
    pub(crate) const fn can_name_metric(self) -> bool {
        !matches!(self, Self::On | Self::Ignoring | Self::GroupLeft | Self::GroupRight | Self::Bool)
    }
}

/// A token with its place.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Token {
    pub(crate) kind: TokenKind,
    pub(crate) span: Span,
}

impl Token {
    /// How error messages name the token.
    pub(crate) fn describe(&self, text: &str) -> String {
        let raw = text.get(self.span.start..self.span.end).unwrap_or_default();
        match &self.kind {
            TokenKind::Eof => "end of input".to_owned(),
            TokenKind::Error(reason) => reason.clone(),
            TokenKind::Identifier => format!("identifier {}", Quoted(raw)),
            TokenKind::MetricIdentifier => format!("metric identifier {}", Quoted(raw)),
            TokenKind::Number => format!("number {}", shortened(raw)),
            TokenKind::Duration => format!("duration {}", shortened(raw)),
            TokenKind::String(_) => format!("string {}", shortened(raw)),
            TokenKind::Operator(_) | TokenKind::EqualRegex | TokenKind::NotRegex | TokenKind::At => {
                format!("<op:{raw}>")
            }
            TokenKind::Aggregate(_) => format!("<aggr:{raw}>"),
            TokenKind::Keyword(word) if !word.is_preprocessor() => format!("<{raw}>"),
            _ => Quoted(raw).to_string(),
        }
    }
}

/// A quoted text of at most ten characters.
fn shortened(raw: &str) -> String {
    if raw.len() <= 10 {
        return Quoted(raw).to_string();
    }
    let head: String = raw.chars().take(10).collect();
    format!("{}...", Quoted(&head))
}

fn keyword(word: &str) -> Option<TokenKind> {
    let lower = word.to_ascii_lowercase();
    if let Some(op) = AggregateOp::ALL.into_iter().find(|op| op.as_str() == lower) {
        return Some(TokenKind::Aggregate(op));
    }
    Some(match lower.as_str() {
        "and" => TokenKind::Operator(BinaryOp::And),
        "or" => TokenKind::Operator(BinaryOp::Or),
        "unless" => TokenKind::Operator(BinaryOp::Unless),
        "atan2" => TokenKind::Operator(BinaryOp::Atan2),
        "inf" | "nan" => TokenKind::Number,
        "offset" => TokenKind::Keyword(Keyword::Offset),
        "smoothed" => TokenKind::Keyword(Keyword::Smoothed),
        "anchored" => TokenKind::Keyword(Keyword::Anchored),
        "by" => TokenKind::Keyword(Keyword::By),
        "without" => TokenKind::Keyword(Keyword::Without),
        "on" => TokenKind::Keyword(Keyword::On),
        "ignoring" => TokenKind::Keyword(Keyword::Ignoring),
        "group_left" => TokenKind::Keyword(Keyword::GroupLeft),
        "group_right" => TokenKind::Keyword(Keyword::GroupRight),
        "fill" => TokenKind::Keyword(Keyword::Fill),
        "fill_left" => TokenKind::Keyword(Keyword::FillLeft),
        "fill_right" => TokenKind::Keyword(Keyword::FillRight),
        "bool" => TokenKind::Keyword(Keyword::Bool),
        _ => return duration_keyword(&lower).or_else(|| preprocessor(&lower)).map(TokenKind::Keyword),
    })
}

fn preprocessor(lower: &str) -> Option<Keyword> {
    match lower {
        "start" => Some(Keyword::Start),
        "end" => Some(Keyword::End),
        _ => None,
    }
}

fn duration_keyword(lower: &str) -> Option<Keyword> {
    match lower {
        "step" => Some(Keyword::Step),
        "range" => Some(Keyword::Range),
        "max_of" => Some(Keyword::MaxOf),
        "min_of" => Some(Keyword::MinOf),
        _ => None,
    }
}

/// Reads all tokens; the last is [`TokenKind::Eof`] or [`TokenKind::Error`].
pub(crate) fn tokenize(text: &str) -> Vec<Token> {
    let mut lexer = Lexer { text, at: 0, start: 0, mode: Mode::Outside, parens: 0, tokens: Vec::new() };
    loop {
        lexer.start = lexer.at;
        let kind = match lexer.next_kind() {
            Ok(None) => continue,
            Ok(Some(kind)) => kind,
            Err(reason) => TokenKind::Error(reason),
        };
        let is_last = matches!(kind, TokenKind::Eof | TokenKind::Error(_));
        let end = if matches!(kind, TokenKind::Error(_)) { text.len() } else { lexer.at };
        lexer.tokens.push(Token { kind, span: Span::new(lexer.start, end) });
        if is_last {
            return lexer.tokens;
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Outside,
    Braces,
    Brackets { has_colon: bool, has_duration: bool },
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
    start: usize,
    mode: Mode,
    parens: usize,
    tokens: Vec<Token>,
}

const fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r')
}

const fn is_alpha(c: char) -> bool {
    c == '_' || c.is_ascii_alphabetic()
}

const fn is_alphanumeric(c: char) -> bool {
    is_alpha(c) || c.is_ascii_digit()
}

/// A character as Go's `%q` prints a rune.
fn quoted_char(c: Option<char>) -> String {
    match c {
        None => "'\u{fffd}'".to_owned(),
        Some('\'') => "'\\''".to_owned(),
        Some('"') => "'\"'".to_owned(),
        Some(c) => {
            let text = Quoted(c.encode_utf8(&mut [0; 4])).to_string();
            format!("'{}'", text.trim_matches('"'))
        }
    }
}

impl Lexer<'_> {
    fn rest(&self) -> &str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn bump(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }

    fn eat(&mut self, wanted: char) -> bool {
        let found = self.peek() == Some(wanted);
        if found {
            self.bump();
        }
        found
    }

    fn eat_while(&mut self, mut test: impl FnMut(char) -> bool) {
        while self.peek().is_some_and(&mut test) {
            self.bump();
        }
    }

    fn raw(&self) -> &str {
        self.text.get(self.start..self.at).unwrap_or_default()
    }

    /// The next token; `None` for spaces and comments.
    fn next_kind(&mut self) -> Result<Option<TokenKind>, String> {
        match self.peek() {
            Some(c) if is_space(c) => {
                self.eat_while(is_space);
                return Ok(None);
            }
            Some('#') if !matches!(self.mode, Mode::Brackets { .. }) => {
                self.eat_while(|c| c != '\n' && c != '\r');
                return Ok(None);
            }
            _ => {}
        }
        let kind = match self.mode {
            Mode::Outside => self.outside(),
            Mode::Braces => self.inside_braces(),
            Mode::Brackets { has_colon, has_duration } => self.inside_brackets(has_colon, has_duration),
        };
        kind.map(Some)
    }

    fn arithmetic(c: char) -> Option<BinaryOp> {
        Some(match c {
            '*' => BinaryOp::Mul,
            '/' => BinaryOp::Div,
            '%' => BinaryOp::Mod,
            '+' => BinaryOp::Add,
            '-' => BinaryOp::Sub,
            '^' => BinaryOp::Pow,
            _ => return None,
        })
    }

    fn outside(&mut self) -> Result<TokenKind, String> {
        let Some(c) = self.peek() else {
            return if self.parens > 0 { Err("unclosed left parenthesis".to_owned()) } else { Ok(TokenKind::Eof) };
        };
        if c.is_ascii_digit() || (c == '.' && self.rest().chars().nth(1).is_some_and(|next| next.is_ascii_digit())) {
            return self.number_or_duration();
        }
        if is_alpha(c) || c == ':' {
            return Ok(self.word());
        }
        if matches!(c, '"' | '\'' | '`') {
            return self.string();
        }
        self.bump();
        if let Some(op) = Self::arithmetic(c) {
            return Ok(TokenKind::Operator(op));
        }
        Ok(match c {
            ',' => TokenKind::Comma,
            '@' => TokenKind::At,
            '(' | ')' => return self.paren(c),
            '{' => {
                self.mode = Mode::Braces;
                TokenKind::LeftBrace
            }
            '[' => {
                self.mode = Mode::Brackets { has_colon: false, has_duration: false };
                TokenKind::LeftBracket
            }
            ']' => return Err(format!("unexpected right bracket {}", quoted_char(Some(c)))),
            '=' if self.eat('=') => TokenKind::Operator(BinaryOp::Equal),
            '=' if self.peek() == Some('~') => return Err("unexpected character after '=': '~'".to_owned()),
            '=' => TokenKind::Assign,
            '!' if self.eat('=') => TokenKind::Operator(BinaryOp::NotEqual),
            '!' => return Err(format!("unexpected character after '!': {}", quoted_char(self.peek()))),
            '<' if self.eat('=') => TokenKind::Operator(BinaryOp::LessEqual),
            '<' if self.eat('/') => TokenKind::Operator(BinaryOp::TrimUpper),
            '<' => TokenKind::Operator(BinaryOp::Less),
            '>' if self.eat('=') => TokenKind::Operator(BinaryOp::GreaterEqual),
            '>' if self.eat('/') => TokenKind::Operator(BinaryOp::TrimLower),
            '>' => TokenKind::Operator(BinaryOp::Greater),
            c => return Err(format!("unexpected character: {}", quoted_char(Some(c)))),
        })
    }

    fn paren(&mut self, c: char) -> Result<TokenKind, String> {
        if c == '(' {
            self.parens += 1;
            return Ok(TokenKind::LeftParen);
        }
        let Some(parens) = self.parens.checked_sub(1) else {
            return Err("unexpected right parenthesis ')'".to_owned());
        };
        self.parens = parens;
        Ok(TokenKind::RightParen)
    }

    fn inside_braces(&mut self) -> Result<TokenKind, String> {
        let Some(c) = self.peek() else {
            return Err("unexpected end of input inside braces".to_owned());
        };
        if is_alpha(c) {
            self.eat_while(is_alphanumeric);
            return Ok(TokenKind::Identifier);
        }
        if matches!(c, '"' | '\'' | '`') {
            return self.string();
        }
        self.bump();
        Ok(match c {
            ',' => TokenKind::Comma,
            '=' if self.eat('~') => TokenKind::EqualRegex,
            '=' => TokenKind::Assign,
            '!' if self.eat('~') => TokenKind::NotRegex,
            '!' if self.eat('=') => TokenKind::Operator(BinaryOp::NotEqual),
            '!' => {
                return Err(format!("unexpected character after '!' inside braces: {}", quoted_char(self.peek())));
            }
            '{' => return Err("unexpected left brace '{'".to_owned()),
            '}' => {
                self.mode = Mode::Outside;
                TokenKind::RightBrace
            }
            c => return Err(format!("unexpected character inside braces: {}", quoted_char(Some(c)))),
        })
    }

    fn inside_brackets(&mut self, has_colon: bool, has_duration: bool) -> Result<TokenKind, String> {
        let Some(c) = self.peek() else {
            return Err(if has_duration {
                "unclosed left bracket".to_owned()
            } else {
                "unexpected end of input in duration expression".to_owned()
            });
        };
        if c.is_ascii_digit() || (c == '.' && self.rest().chars().nth(1).is_some_and(|next| next.is_ascii_digit())) {
            self.mode = Mode::Brackets { has_colon, has_duration: true };
            return self.number_or_duration();
        }
        if is_alpha(c) {
            self.eat_while(is_alpha);
            if let Some(word) = duration_keyword(&self.raw().to_ascii_lowercase()) {
                self.mode = Mode::Brackets { has_colon, has_duration: true };
                return Ok(TokenKind::Keyword(word));
            }
            return Err(Self::bad_bracket_char(c, has_duration));
        }
        self.bump();
        if let Some(op) = Self::arithmetic(c) {
            return Ok(TokenKind::Operator(op));
        }
        Ok(match c {
            ',' => TokenKind::Comma,
            '(' | ')' => return self.paren(c),
            ':' if !has_duration => {
                return Err("unexpected colon before duration in duration expression".to_owned());
            }
            ':' if has_colon => return Err("unexpected repeated colon in duration expression".to_owned()),
            ':' => {
                self.mode = Mode::Brackets { has_colon: true, has_duration };
                TokenKind::Colon
            }
            ']' => {
                self.mode = Mode::Outside;
                TokenKind::RightBracket
            }
            '[' if has_duration => return Err("unexpected left bracket '['".to_owned()),
            c => return Err(Self::bad_bracket_char(c, has_duration)),
        })
    }

    fn bad_bracket_char(c: char, has_duration: bool) -> String {
        if has_duration {
            format!("unexpected character: {}, expected ':'", quoted_char(Some(c)))
        } else {
            format!("unexpected character in duration expression: {}", quoted_char(Some(c)))
        }
    }

    fn word(&mut self) -> TokenKind {
        self.eat_while(|c| is_alphanumeric(c) || c == ':');
        let word = self.raw();
        let plain = if word.contains(':') { TokenKind::MetricIdentifier } else { TokenKind::Identifier };
        match keyword(word) {
            // `fill` and its kin are words only in front of a parenthesis, so that they can name metrics.
            Some(TokenKind::Keyword(Keyword::Fill | Keyword::FillLeft | Keyword::FillRight))
                if !self.rest().trim_start_matches(is_space).starts_with('(') =>
            {
                plain
            }
            Some(kind) => kind,
            None => plain,
        }
    }

    fn number_or_duration(&mut self) -> Result<TokenKind, String> {
        if self.scan_number() {
            return Ok(TokenKind::Number);
        }
        if self.scan_duration_tail() {
            return Ok(TokenKind::Duration);
        }
        Err(format!("bad number or duration syntax: {}", Quoted(self.raw())))
    }

    /// Scans a decimal or hexadecimal number with underscores; false if it breaks off, with the position
    /// where it did.
    fn scan_number(&mut self) -> bool {
        let is_hex = self.rest().starts_with("0x") || self.rest().starts_with("0X");
        let is_digit = |c: char| if is_hex { c.is_ascii_hexdigit() } else { c.is_ascii_digit() };
        if is_hex {
            self.at += 2;
            self.eat('_');
        }
        let begin = self.at;
        let mut has_dot = false;
        let mut has_exponent = false;
        while let Some(c) = self.peek() {
            if is_digit(c) {
                self.eat_while(is_digit);
                continue;
            }
            match c {
                '.' if has_dot || is_hex => {
                    self.bump();
                    return false;
                }
                '.' => {
                    self.bump();
                    has_dot = true;
                    if matches!(self.peek(), Some('_' | '.')) {
                        return false;
                    }
                }
                'e' | 'E' if self.at == begin || has_exponent => return false,
                'e' | 'E' => {
                    self.bump();
                    has_exponent = true;
                    if matches!(self.peek(), Some('+' | '-')) {
                        self.bump();
                    }
                    if matches!(self.peek(), None | Some('.' | '_' | 'e' | 'E')) {
                        return false;
                    }
                }
                '_' => {
                    self.bump();
                    if matches!(self.peek(), None | Some('.' | '_' | 'e' | 'E')) {
                        return false;
                    }
                }
                _ => break,
            }
        }
        self.at > begin && !self.peek().is_some_and(is_alphanumeric)
    }

    /// Scans the rest of a duration behind its first digits: `m30s`.
    fn scan_duration_tail(&mut self) -> bool {
        loop {
            if !self.peek().is_some_and(|c| matches!(c, 's' | 'm' | 'h' | 'd' | 'w' | 'y')) {
                return false;
            }
            self.bump();
            self.eat('s');
            if !self.peek().is_some_and(|c| c.is_ascii_digit()) {
                return !self.peek().is_some_and(is_alphanumeric);
            }
            self.eat_while(|c| c.is_ascii_digit());
        }
    }

    fn string(&mut self) -> Result<TokenKind, String> {
        let quote = self.bump().unwrap_or('"');
        let mut value = Vec::new();
        loop {
            match self.bump() {
                None if quote == '`' => return Err("unterminated raw string".to_owned()),
                None => return Err("unterminated quoted string".to_owned()),
                Some(c) if c == quote => return Ok(TokenKind::String(value)),
                Some('\n') if quote != '`' => return Err("unterminated quoted string".to_owned()),
                Some('\\') if quote != '`' => self.escape(quote, &mut value)?,
                Some(c) => value.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
    }

    fn escape(&mut self, quote: char, value: &mut Vec<u8>) -> Result<(), String> {
        let Some(c) = self.bump() else {
            return Err("escape sequence not terminated".to_owned());
        };
        let (digits, base, first) = match c {
            'a' => return push_byte(value, 7),
            'b' => return push_byte(value, 8),
            'f' => return push_byte(value, 12),
            'n' => return push_byte(value, b'\n'),
            'r' => return push_byte(value, b'\r'),
            't' => return push_byte(value, b'\t'),
            'v' => return push_byte(value, 11),
            '\\' => return push_byte(value, b'\\'),
            c if c == quote => return push_byte(value, if quote == '"' { b'"' } else { b'\'' }),
            '0'..='7' => (3, 8, Some(c)),
            'x' => (2, 16, None),
            'u' => (4, 16, None),
            'U' => (8, 16, None),
            c => return Err(format!("unknown escape sequence U+{:04X} {}", u32::from(c), quoted_char(Some(c)))),
        };
        let mut code: u32 = 0;
        for index in 0..digits {
            let digit = if index == 0 { first.or_else(|| self.bump()) } else { self.bump() };
            let Some(digit) = digit else {
                return Err("escape sequence not terminated".to_owned());
            };
            let Some(number) = digit.to_digit(base) else {
                return Err(format!(
                    "illegal character U+{:04X} {} in escape sequence",
                    u32::from(digit),
                    quoted_char(Some(digit))
                ));
            };
            code = code.saturating_mul(base).saturating_add(number);
        }
        let invalid = || "escape sequence is an invalid Unicode code point".to_owned();
        if matches!(c, 'u' | 'U') {
            let c = char::from_u32(code).ok_or_else(invalid)?;
            value.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            return Ok(());
        }
        push_byte(value, u8::try_from(code).map_err(|_too_big| invalid())?)
    }
}

fn push_byte(value: &mut Vec<u8>, byte: u8) -> Result<(), String> {
    value.push(byte);
    Ok(())
}
