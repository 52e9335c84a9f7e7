//! The values that templates work with.
//!
//! Rule: conversions follow Go: a number is a number only if it can be read as one.

use datamodel::Labels;
use datamodel::float::parse_float;

/// One series of a query in a template.
#[derive(Clone, Debug, PartialEq)]
pub struct TemplateSample {
    /// Its labels, the metric name among them.
    pub labels: Labels,
    /// Its value.
    pub value: f64,
}

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Nil,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    /// Nanoseconds, negative too.
    Duration(i128),
    /// Unix milliseconds, UTC.
    Time(i64),
    Map(Labels),
    Sample(TemplateSample),
    Samples(Vec<TemplateSample>),
    /// `.` at the beginning.
    Data,
}

impl Value {
    /// What Go's templates call true: neither zero nor empty.
    pub(super) fn is_true(&self) -> bool {
        match self {
            Self::Nil => false,
            Self::Bool(value) => *value,
            Self::Int(value) => *value != 0,
            Self::Float(value) => *value != 0.0,
            Self::Text(text) => !text.is_empty(),
            Self::Duration(nanos) => *nanos != 0,
            Self::Map(labels) => !labels.is_empty(),
            Self::Samples(samples) => !samples.is_empty(),
            Self::Time(_) | Self::Sample(_) | Self::Data => true,
        }
    }

    /// The name of its type for errors.
    pub(super) const fn type_name(&self) -> &'static str {
        match self {
            Self::Nil => "nil",
            Self::Bool(_) => "a boolean",
            Self::Int(_) => "an integer",
            Self::Float(_) => "a number",
            Self::Text(_) => "a string",
            Self::Duration(_) => "a duration",
            Self::Time(_) => "a time",
            Self::Map(_) => "a map",
            Self::Sample(_) => "a sample",
            Self::Samples(_) => "a list of samples",
            Self::Data => "the data",
        }
    }

    /// The number in it.
    pub(super) fn to_float(&self) -> Result<f64, String> {
        match self {
            Self::Float(value) => Ok(*value),
            Self::Int(value) => Ok(*value as f64),
            Self::Text(text) => parse_float(text).map_err(|error| error.to_string()),
            Self::Duration(nanos) => Ok(*nanos as f64 / 1e9),
            other => Err(format!("cannot read {} as a number", other.type_name())),
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}
