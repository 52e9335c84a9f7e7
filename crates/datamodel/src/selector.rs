//! Kubernetes label selectors: conditions on the labels of an object, or of a metric.
//!
//! - [`Selector`]: all of its [`Requirement`]s must hold; parsed from the text form
//!   (`app=asr,tier in (a,b),!canary`) or built from `matchLabels` and `matchExpressions`.
//!
//! Rule: what `labels.Parse` of apimachinery takes or refuses, this takes or refuses.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

/// The longest text form that is read. A URL is shorter.
pub const MAX_SELECTOR_BYTES: usize = 16 * 1024;

/// How key and values are related.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SelectorOp {
    /// `=`
    Equals,
    /// `==`, the same as `=` and printed as it was written.
    DoubleEquals,
    /// `!=`: absent, or another value.
    NotEquals,
    /// `in`
    In,
    /// `notin`: absent, or none of the values.
    NotIn,
    /// The key alone.
    Exists,
    /// `!` before the key.
    DoesNotExist,
    /// `>`: both sides are whole numbers.
    GreaterThan,
    /// `<`: both sides are whole numbers.
    LessThan,
}

impl SelectorOp {
    /// The operator in the text form.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Equals => "=",
            Self::DoubleEquals => "==",
            Self::NotEquals => "!=",
            Self::In => "in",
            Self::NotIn => "notin",
            Self::Exists => "exists",
            Self::DoesNotExist => "!",
            Self::GreaterThan => "gt",
            Self::LessThan => "lt",
        }
    }
}

/// Why a selector is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SelectorError {
    /// Something else stands where this was expected.
    #[error("unable to parse selector: found `{found}`, expected {expected}")]
    Unexpected {
        /// What stands there; empty at the end.
        found: String,
        /// What could stand there.
        expected: &'static str,
    },
    /// The text is longer than [`MAX_SELECTOR_BYTES`].
    #[error("selector is longer than {MAX_SELECTOR_BYTES} bytes")]
    TooLong,
    /// The key is no qualified name.
    #[error("invalid label key `{key}`: {problem}")]
    Key {
        /// The key.
        key: String,
        /// What is wrong.
        problem: &'static str,
    },
    /// The value is no label value.
    #[error("invalid label value `{value}` for key `{key}`: {problem}")]
    Value {
        /// The key.
        key: String,
        /// The value.
        value: String,
        /// What is wrong.
        problem: &'static str,
    },
    /// The operator takes another number of values.
    #[error("operator `{op}` on key `{key}` {problem}")]
    Values {
        /// The key.
        key: String,
        /// The operator.
        op: &'static str,
        /// What is wrong.
        problem: &'static str,
    },
    /// `matchExpressions` knows `In`, `NotIn`, `Exists` and `DoesNotExist` only.
    #[error("`{0}` is not a valid label selector operator")]
    Operator(String),
}

/// One condition on one label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    key: String,
    op: SelectorOp,
    values: Vec<String>,
}

impl Requirement {
    /// Builds a condition; values are sorted, duplicates removed.
    ///
    /// # Errors
    ///
    /// The key or a value is malformed, or the operator takes another number of values.
    pub fn new(
        key: impl Into<String>,
        op: SelectorOp,
        values: impl IntoIterator<Item = String>,
    ) -> Result<Self, SelectorError> {
        let key = key.into();
        let mut values: Vec<String> = values.into_iter().collect();
        values.sort();
        values.dedup();
        if let Some(problem) = key_problem(&key) {
            return Err(SelectorError::Key { key, problem });
        }
        let problem = match op {
            SelectorOp::In | SelectorOp::NotIn => values.is_empty().then_some("needs at least one value"),
            SelectorOp::Exists | SelectorOp::DoesNotExist => (!values.is_empty()).then_some("takes no value"),
            SelectorOp::Equals | SelectorOp::DoubleEquals | SelectorOp::NotEquals => {
                (values.len() != 1).then_some("needs exactly one value")
            }
            SelectorOp::GreaterThan | SelectorOp::LessThan => match values.as_slice() {
                [value] => value.parse::<i64>().is_err().then_some("needs a whole number"),
                _ => Some("needs exactly one value"),
            },
        };
        if let Some(problem) = problem {
            return Err(SelectorError::Values { key, op: op.as_str(), problem });
        }
        for value in &values {
            if let Some(problem) = value_problem(value) {
                return Err(SelectorError::Value { key, value: value.clone(), problem });
            }
        }
        Ok(Self { key, op, values })
    }

    /// The label.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The operator.
    #[must_use]
    pub const fn op(&self) -> SelectorOp {
        self.op
    }

    /// The values, ascending; none for `Exists` and `DoesNotExist`.
    #[must_use]
    pub fn values(&self) -> &[String] {
        &self.values
    }

    /// Whether the present value of the label (`None`: absent) passes.
    #[must_use]
    pub fn matches(&self, value: Option<&str>) -> bool {
        let listed = || value.is_some_and(|value| self.values.iter().any(|listed| listed == value));
        match self.op {
            SelectorOp::Equals | SelectorOp::DoubleEquals | SelectorOp::In => listed(),
            SelectorOp::NotEquals | SelectorOp::NotIn => !listed(),
            SelectorOp::Exists => value.is_some(),
            SelectorOp::DoesNotExist => value.is_none(),
            SelectorOp::GreaterThan | SelectorOp::LessThan => {
                let number = |text: &str| text.parse::<i64>().ok();
                let Some((value, bound)) = value.and_then(number).zip(self.values.first().and_then(|v| number(v)))
                else {
                    return false;
                };
                if self.op == SelectorOp::GreaterThan { value > bound } else { value < bound }
            }
        }
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (key, values) = (&self.key, self.values.join(","));
        match self.op {
            SelectorOp::Exists => write!(f, "{key}"),
            SelectorOp::DoesNotExist => write!(f, "!{key}"),
            // The empty value alone is `(,)`: `()` has no value.
            SelectorOp::In | SelectorOp::NotIn if values.is_empty() => write!(f, "{key} {} (,)", self.op.as_str()),
            SelectorOp::In | SelectorOp::NotIn => write!(f, "{key} {} ({values})", self.op.as_str()),
            SelectorOp::GreaterThan => write!(f, "{key}>{values}"),
            SelectorOp::LessThan => write!(f, "{key}<{values}"),
            SelectorOp::Equals | SelectorOp::DoubleEquals | SelectorOp::NotEquals => {
                write!(f, "{key}{}{values}", self.op.as_str())
            }
        }
    }
}

/// Conditions of which all must hold. Without any it matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    /// Ascending by key; `None` matches nothing at all.
    requirements: Option<Vec<Requirement>>,
}

impl Selector {
    /// The selector that matches everything.
    #[must_use]
    pub const fn everything() -> Self {
        Self { requirements: Some(Vec::new()) }
    }

    /// The selector that matches nothing: what a `null` selector of an object means. The default.
    #[must_use]
    pub const fn nothing() -> Self {
        Self { requirements: None }
    }

    /// Takes conditions, and sorts them by key.
    #[must_use]
    pub fn from_requirements(requirements: impl IntoIterator<Item = Requirement>) -> Self {
        let mut requirements: Vec<Requirement> = requirements.into_iter().collect();
        requirements.sort_by(|a, b| a.key.cmp(&b.key));
        Self { requirements: Some(requirements) }
    }

    /// Reads the text form, as a `labelSelector` parameter has it. An empty text matches everything.
    ///
    /// # Errors
    ///
    /// The text breaks the grammar, or a key, a value or their number is wrong.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        if text.len() > MAX_SELECTOR_BYTES {
            return Err(SelectorError::TooLong);
        }
        Ok(Self::from_requirements(Parser { rest: text }.requirements()?))
    }

    /// Builds a selector from `matchLabels` and `matchExpressions` (key, operator, values). Without any it
    /// matches everything; for a selector that is `null`, take [`nothing`](Self::nothing).
    ///
    /// # Errors
    ///
    /// An operator is unknown, or a key, a value or their number is wrong.
    pub fn from_match<'a>(
        labels: impl IntoIterator<Item = (&'a str, &'a str)>,
        expressions: impl IntoIterator<Item = (&'a str, &'a str, Vec<String>)>,
    ) -> Result<Self, SelectorError> {
        let mut requirements = Vec::new();
        for (key, value) in labels {
            requirements.push(Requirement::new(key, SelectorOp::Equals, [value.to_owned()])?);
        }
        for (key, operator, values) in expressions {
            let op = match operator {
                "In" => SelectorOp::In,
                "NotIn" => SelectorOp::NotIn,
                "Exists" => SelectorOp::Exists,
                "DoesNotExist" => SelectorOp::DoesNotExist,
                _ => return Err(SelectorError::Operator(operator.to_owned())),
            };
            requirements.push(Requirement::new(key, op, values)?);
        }
        Ok(Self::from_requirements(requirements))
    }

    /// The conditions, ascending by key; `None` if the selector matches nothing at all.
    #[must_use]
    pub fn requirements(&self) -> Option<&[Requirement]> {
        self.requirements.as_deref()
    }

    /// Whether everything matches.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.requirements.as_ref().is_some_and(Vec::is_empty)
    }

    /// Whether labels pass.
    #[must_use]
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.matches_with(|key| labels.get(key).map(String::as_str))
    }

    /// Whether labels pass that are looked up by key.
    #[must_use]
    pub fn matches_with<'a>(&self, mut get: impl FnMut(&str) -> Option<&'a str>) -> bool {
        let Some(requirements) = &self.requirements else { return false };
        requirements.iter().all(|requirement| requirement.matches(get(&requirement.key)))
    }
}

impl fmt::Display for Selector {
    /// The text form; empty for everything and for nothing.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, requirement) in self.requirements.iter().flatten().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{requirement}")?;
        }
        Ok(())
    }
}

/// A piece of the text form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token<'a> {
    End,
    Word(&'a str),
    Symbol(&'static str),
}

impl Token<'_> {
    fn unexpected(self, expected: &'static str) -> SelectorError {
        let found: Cow<'_, str> = match self {
            Self::End => "".into(),
            Self::Word(word) => word.chars().take(64).flat_map(char::escape_debug).collect::<String>().into(),
            Self::Symbol(symbol) => symbol.into(),
        };
        SelectorError::Unexpected { found: found.into_owned(), expected }
    }
}

/// Longest first.
const SYMBOLS: [&str; 8] = ["==", "!=", "=", "!", "(", ")", ",", ">"];

struct Parser<'a> {
    rest: &'a str,
}

impl<'a> Parser<'a> {
    /// The next token and what follows it.
    fn peek(&self) -> (Token<'a>, &'a str) {
        let rest = self.rest.trim_start_matches([' ', '\t', '\r', '\n']);
        if rest.is_empty() {
            return (Token::End, rest);
        }
        for symbol in SYMBOLS.into_iter().chain(["<"]) {
            if let Some(behind) = rest.strip_prefix(symbol) {
                return (Token::Symbol(symbol), behind);
            }
        }
        let end = rest.find([' ', '\t', '\r', '\n', '=', '!', '(', ')', ',', '>', '<']).unwrap_or(rest.len());
        let (word, behind) = rest.split_at(end);
        (Token::Word(word), behind)
    }

    fn next(&mut self) -> Token<'a> {
        let (token, behind) = self.peek();
        self.rest = behind;
        token
    }

    fn requirements(mut self) -> Result<Vec<Requirement>, SelectorError> {
        let mut requirements = Vec::new();
        if self.peek().0 == Token::End {
            return Ok(requirements);
        }
        loop {
            requirements.push(self.requirement()?);
            match self.next() {
                Token::End => return Ok(requirements),
                Token::Symbol(",") => {}
                other => return Err(other.unexpected("`,` or the end")),
            }
        }
    }

    fn requirement(&mut self) -> Result<Requirement, SelectorError> {
        let absent = self.peek().0 == Token::Symbol("!");
        if absent {
            self.next();
        }
        let key = match self.next() {
            Token::Word(key) => key,
            other => return Err(other.unexpected("a label key or `!`")),
        };
        if absent {
            return Requirement::new(key, SelectorOp::DoesNotExist, []);
        }
        if matches!(self.peek().0, Token::End | Token::Symbol(",")) {
            return Requirement::new(key, SelectorOp::Exists, []);
        }
        let op = match self.next() {
            Token::Symbol("=") => SelectorOp::Equals,
            Token::Symbol("==") => SelectorOp::DoubleEquals,
            Token::Symbol("!=") => SelectorOp::NotEquals,
            Token::Symbol(">") => SelectorOp::GreaterThan,
            Token::Symbol("<") => SelectorOp::LessThan,
            Token::Word("in") => SelectorOp::In,
            Token::Word("notin") => SelectorOp::NotIn,
            other => return Err(other.unexpected("`=`, `!=`, `==`, `in`, `notin`, `>` or `<`")),
        };
        let values = match op {
            SelectorOp::In | SelectorOp::NotIn => self.list()?,
            _ => vec![self.value()?],
        };
        Requirement::new(key, op, values)
    }

    /// The value behind a comparison; nothing is the empty value.
    fn value(&mut self) -> Result<String, SelectorError> {
        match self.peek().0 {
            Token::End | Token::Symbol(",") => Ok(String::new()),
            _ => match self.next() {
                Token::Word(value) => Ok(value.to_owned()),
                other => Err(other.unexpected("a value")),
            },
        }
    }

    /// The values in parentheses; between two commas stands the empty value.
    fn list(&mut self) -> Result<Vec<String>, SelectorError> {
        match self.next() {
            Token::Symbol("(") => {}
            other => return Err(other.unexpected("`(`")),
        }
        let mut values = Vec::new();
        if self.peek().0 == Token::Symbol(")") {
            self.next();
            return Ok(values);
        }
        loop {
            let value = match self.peek().0 {
                Token::Symbol("," | ")") => String::new(),
                _ => match self.next() {
                    Token::Word(value) => value.to_owned(),
                    other => return Err(other.unexpected("a value, `,` or `)`")),
                },
            };
            values.push(value);
            match self.next() {
                Token::Symbol(",") => {}
                Token::Symbol(")") => return Ok(values),
                other => return Err(other.unexpected("`,` or `)`")),
            }
        }
    }
}

/// The most characters of a label value, and of the name part of a key.
const MAX_NAME: usize = 63;
/// The most characters of the prefix of a key (a DNS name).
const MAX_PREFIX: usize = 253;

const NAME_PROBLEM: &str =
    "it must consist of letters, digits, `-`, `_` or `.`, and begin and end with a letter or a digit";
const PREFIX_PROBLEM: &str = "its prefix must be a DNS name in lower case";

/// What is wrong with a label key, if anything: `[dns.prefix/]name`.
#[must_use]
pub fn key_problem(key: &str) -> Option<&'static str> {
    let name = match key.split_once('/') {
        Some((prefix, name)) => {
            if !is_dns_name(prefix) {
                return Some(PREFIX_PROBLEM);
            }
            name
        }
        None => key,
    };
    if name.is_empty() {
        return Some("its name must not be empty");
    }
    name_problem(name)
}

/// What is wrong with a label value, if anything.
#[must_use]
pub fn value_problem(value: &str) -> Option<&'static str> {
    if value.is_empty() { None } else { name_problem(value) }
}

fn name_problem(name: &str) -> Option<&'static str> {
    if name.len() > MAX_NAME {
        return Some("it must have at most 63 characters");
    }
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let ends = [name.bytes().next(), name.bytes().next_back()];
    let ends_well = ends.iter().all(|byte| byte.is_some_and(|byte| byte.is_ascii_alphanumeric()));
    (!ends_well || !name.bytes().all(inner)).then_some(NAME_PROBLEM)
}

fn is_dns_name(text: &str) -> bool {
    let alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let is_part = |part: &str| {
        let ends = [part.bytes().next(), part.bytes().next_back()];
        ends.iter().all(|byte| byte.is_some_and(alphanumeric))
            && part.bytes().all(|byte| alphanumeric(byte) || byte == b'-')
    };
    text.len() <= MAX_PREFIX && text.split('.').all(is_part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form_prints_sorted_by_key_and_value() {
        for (text, printed) in [
            ("", ""),
            ("  ", ""),
            ("a=b", "a=b"),
            ("a == b", "a==b"),
            ("a!=b", "a!=b"),
            ("x=a,y=b,z=c", "x=a,y=b,z=c"),
            ("z=c, y != b ,x", "x,y!=b,z=c"),
            ("!f", "!f"),
            ("! f ,g", "!f,g"),
            ("e in (y,x,y)", "e in (x,y)"),
            ("e notin(x)", "e notin (x)"),
            ("e in (,)", "e in (,)"),
            ("e in (a,,b)", "e in (,a,b)"),
            ("in in (in,notin)", "in in (in,notin)"),
            ("a=", "a="),
            ("a=,b", "a=,b"),
            ("a!=", "a!="),
            ("x>1,y<-5", "x>1"),
            ("app.kubernetes.io/name=asr", "app.kubernetes.io/name=asr"),
        ] {
            // A negative bound is no label value, as upstream.
            let expected = if text.contains('-') { None } else { Some(printed.to_owned()) };
            assert_eq!(Selector::parse(text).ok().map(|selector| selector.to_string()), expected, "{text}");
        }
    }

    #[test]
    fn wrong_selectors_are_refused_with_the_reason() {
        for (text, reason) in [
            (",", "unable to parse selector: found `,`, expected a label key or `!`"),
            ("a,", "unable to parse selector: found ``, expected a label key or `!`"),
            ("a=b,,c", "unable to parse selector: found `,`, expected a label key or `!`"),
            ("a b", "unable to parse selector: found `b`, expected `=`, `!=`, `==`, `in`, `notin`, `>` or `<`"),
            ("a=b c", "unable to parse selector: found `c`, expected `,` or the end"),
            ("!a=b", "unable to parse selector: found `=`, expected `,` or the end"),
            ("!!a", "unable to parse selector: found `!`, expected a label key or `!`"),
            ("a===b", "unable to parse selector: found `=`, expected a value"),
            ("a in b", "unable to parse selector: found `b`, expected `(`"),
            ("a in (b", "unable to parse selector: found ``, expected `,` or `)`"),
            ("a in (b c)", "unable to parse selector: found `c`, expected `,` or `)`"),
            ("a in ()", "operator `in` on key `a` needs at least one value"),
            ("a>x", "operator `gt` on key `a` needs a whole number"),
            ("a=-b", &format!("invalid label value `-b` for key `a`: {NAME_PROBLEM}")),
            ("-a=b", &format!("invalid label key `-a`: {NAME_PROBLEM}")),
            ("A.b/c", &format!("invalid label key `A.b/c`: {PREFIX_PROBLEM}")),
            ("a/", "invalid label key `a/`: its name must not be empty"),
            ("é", &format!("invalid label key `é`: {NAME_PROBLEM}")),
        ] {
            assert_eq!(Selector::parse(text).unwrap_err().to_string(), reason, "{text}");
        }
        let long = "v".repeat(64);
        assert!(Selector::parse(&format!("a={long}")).is_err());
        assert!(Selector::parse(&format!("{long}=a")).is_err());
        assert_eq!(Selector::parse(&"a,".repeat(MAX_SELECTOR_BYTES)), Err(SelectorError::TooLong));
    }

    #[test]
    fn labels_pass_when_all_conditions_hold() {
        let labels = BTreeMap::from([("app", "asr"), ("tier", "gpu"), ("n", "5")].map(|(k, v)| (k.into(), v.into())));
        for (text, expected) in [
            ("", true),
            ("app=asr", true),
            ("app=asr,tier=cpu", false),
            ("app!=x", true),
            ("zone!=x", true),
            ("zone notin (a,b)", true),
            ("tier notin (gpu,cpu)", false),
            ("tier in (gpu,cpu)", true),
            ("zone in (a)", false),
            ("app,!zone", true),
            ("!app", false),
            ("zone=", false),
            ("n>4,n<6", true),
            ("n>5", false),
            ("app>1", false),
        ] {
            assert_eq!(Selector::parse(text).unwrap().matches(&labels), expected, "{text}");
        }
        assert!(!Selector::nothing().matches(&labels));
        assert!(!Selector::default().matches(&labels));
        assert!(Selector::everything().matches(&labels));
    }

    #[test]
    fn match_labels_and_expressions_become_requirements() {
        let values = || vec!["b".to_owned(), "a".to_owned()];
        let selector = Selector::from_match([("x", "1")], [("e", "In", values()), ("a", "Exists", vec![])]).unwrap();
        assert_eq!(selector.to_string(), "a,e in (a,b),x=1");
        assert!(Selector::from_match([], []).unwrap().is_everything());
        for (operator, values, reason) in [
            ("Gt", values(), "`Gt` is not a valid label selector operator"),
            ("In", vec![], "operator `in` on key `k` needs at least one value"),
            ("Exists", values(), "operator `exists` on key `k` takes no value"),
        ] {
            let error = Selector::from_match([], [("k", operator, values)]).unwrap_err();
            assert_eq!(error.to_string(), reason);
        }
    }
}
