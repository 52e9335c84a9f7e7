//! The tree that a document becomes.
//!
//! Rule: a scalar keeps its text and its style; what it means is up to the decoder that asks.

use std::fmt;

/// Where a node stands. Lines and columns count from 1, columns in characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// One value of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Where it begins; of an alias, where the anchored node begins.
    pub position: Position,
    /// What it is.
    pub kind: Kind,
}

/// What a node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A text that may mean a string, a number, a boolean or null.
    Scalar(Scalar),
    /// A list.
    Sequence(Vec<Node>),
    /// Keys with values, in the order of the text.
    Mapping(Vec<Entry>),
}

/// One key with its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub key: Key,
    /// The value.
    pub value: Node,
}

/// The key of a mapping: always a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// Where it begins.
    pub position: Position,
    /// The text.
    pub text: Box<str>,
}

/// A scalar as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scalar {
    /// The text, escapes and folding resolved.
    pub text: Box<str>,
    /// How it was written.
    pub style: Style,
}

/// How a scalar was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Style {
    /// Bare: the only style that can mean a number, a boolean or null.
    Plain,
    /// In single or double quotes, or with the tag `!!str`.
    Quoted,
    /// After `|` or `>`.
    Block,
}

impl Node {
    /// Whether this is a null: `~`, `null`, or nothing at all.
    #[must_use]
    pub fn is_null(&self) -> bool {
        self.as_scalar().is_some_and(Scalar::is_null)
    }

    /// The scalar, if it is one.
    #[must_use]
    pub const fn as_scalar(&self) -> Option<&Scalar> {
        match &self.kind {
            Kind::Scalar(scalar) => Some(scalar),
            Kind::Sequence(_) | Kind::Mapping(_) => None,
        }
    }

    /// The elements, if it is a list.
    #[must_use]
    pub fn as_sequence(&self) -> Option<&[Self]> {
        match &self.kind {
            Kind::Sequence(items) => Some(items),
            Kind::Scalar(_) | Kind::Mapping(_) => None,
        }
    }

    /// The entries, if it is a mapping.
    #[must_use]
    pub fn as_mapping(&self) -> Option<&[Entry]> {
        match &self.kind {
            Kind::Mapping(entries) => Some(entries),
            Kind::Scalar(_) | Kind::Sequence(_) => None,
        }
    }

    /// The value of a key, if this is a mapping that has it.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Self> {
        self.as_mapping()?.iter().find(|entry| &*entry.key.text == key).map(|entry| &entry.value)
    }

    /// The node in a few words, for error messages.
    pub(crate) fn describe(&self) -> String {
        match &self.kind {
            Kind::Sequence(_) => "a list".to_owned(),
            Kind::Mapping(_) => "a mapping".to_owned(),
            Kind::Scalar(scalar) if scalar.is_null() => "null".to_owned(),
            Kind::Scalar(scalar) => {
                let what = if scalar.as_bool().is_some() {
                    "the boolean"
                } else if scalar.as_i64().is_some() || scalar.as_f64().is_some() {
                    "the number"
                } else {
                    "the string"
                };
                format!("{what} `{}`", excerpt(&scalar.text))
            }
        }
    }
}

impl Scalar {
    fn plain(&self) -> Option<&str> {
        (self.style == Style::Plain).then_some(&*self.text)
    }

    /// Whether this is a null: `~`, `null`, or nothing at all.
    #[must_use]
    pub fn is_null(&self) -> bool {
        matches!(self.plain(), Some("" | "~" | "null" | "Null" | "NULL"))
    }

    /// The boolean that YAML 1.2 sees here. `yes` and its like are strings; see
    /// [`decoders::boolean`](crate::decoders::boolean).
    #[must_use]
    pub fn as_bool(&self) -> Option<bool> {
        match self.plain()? {
            "true" | "True" | "TRUE" => Some(true),
            "false" | "False" | "FALSE" => Some(false),
            _ => None,
        }
    }

    /// The whole number, if it is one and fits: decimal, `0x`, `0o`, `0b`; `_` between digits is
    /// skipped, and a leading `0` means octal, as in Go.
    #[must_use]
    pub fn as_i64(&self) -> Option<i64> {
        let text = self.plain()?;
        let (negative, digits) = match text.as_bytes().first()? {
            b'-' => (true, text.get(1..)?),
            b'+' => (false, text.get(1..)?),
            _ => (false, text),
        };
        if !digits.starts_with(|c: char| c.is_ascii_digit()) || digits.ends_with('_') {
            return None;
        }
        let digits = digits.replace('_', "");
        let (radix, digits) = match digits.get(..2) {
            Some("0x" | "0X") => (16, digits.get(2..)?),
            Some("0o" | "0O") => (8, digits.get(2..)?),
            Some("0b" | "0B") => (2, digits.get(2..)?),
            _ if digits.len() > 1 && digits.starts_with('0') => (8, digits.get(1..)?),
            _ => (10, &*digits),
        };
        if digits.starts_with(['+', '-']) {
            return None;
        }
        let magnitude = i128::from(u64::from_str_radix(digits, radix).ok()?);
        i64::try_from(if negative { -magnitude } else { magnitude }).ok()
    }

    /// The number, if it is one; `.inf` and `.nan` are numbers, `Infinity` is not.
    #[must_use]
    pub fn as_f64(&self) -> Option<f64> {
        let text = self.plain()?;
        if let Some(whole) = self.as_i64() {
            // Beyond 2^53 the nearest double, as any reader of JSON gives.
            return Some(whole as f64);
        }
        let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
        match unsigned {
            ".inf" | ".Inf" | ".INF" => {
                return Some(if text.starts_with('-') { f64::NEG_INFINITY } else { f64::INFINITY });
            }
            ".nan" | ".NaN" | ".NAN" => return Some(f64::NAN),
            _ => {}
        }
        let numeric = unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.')
            && unsigned.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+' | b'-'));
        if numeric { text.parse().ok() } else { None }
    }
}

/// The begin of a text, short enough for a line of an error message.
pub(crate) fn excerpt(text: &str) -> String {
    const MAX_CHARS: usize = 60;
    let mut short: String = text.chars().take(MAX_CHARS).flat_map(char::escape_debug).collect();
    if text.chars().nth(MAX_CHARS).is_some() {
        short.push('…');
    }
    short
}
