//! The documents of the API as values.
//!
//! Source: Prometheus' HTTP API v1.
//!
//! Rule: numbers come as texts, so that `NaN` and infinities survive; a document that says anything else than the
//! API can say is an error, never a guess.

use std::collections::BTreeMap;

use datamodel::{Labels, Sample, Timestamp};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::error::ClientError;

/// What an API answers, with what it says against its own answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer<T> {
    /// The answer.
    pub value: T,
    /// Why it may be incomplete or wrong.
    pub warnings: Vec<String>,
    /// Hints about the question.
    pub infos: Vec<String>,
}

/// What a query evaluates to.
#[derive(Clone, Debug, PartialEq)]
pub enum QueryValue {
    /// An instant vector.
    Vector(Vec<VectorElement>),
    /// A range vector.
    Matrix(Vec<MatrixElement>),
    /// A scalar.
    Scalar(Sample),
    /// A text.
    String(String),
}

/// An element of an instant vector.
#[derive(Clone, Debug, PartialEq)]
pub struct VectorElement {
    /// Its labels.
    pub labels: Labels,
    /// When it was evaluated.
    pub at: Timestamp,
    /// Its value.
    pub value: ElementValue,
}

/// A value of an element.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ElementValue {
    /// A number.
    Float(f64),
    /// A native histogram, as far as it is read here.
    Histogram {
        /// All observations.
        count: f64,
        /// Sum of all observed values.
        sum: f64,
    },
}

/// An element of a range vector.
#[derive(Clone, Debug, PartialEq)]
pub struct MatrixElement {
    /// Its labels.
    pub labels: Labels,
    /// Its floats, in the order of the answer.
    pub samples: Vec<Sample>,
    /// Its native histograms, in the order of the answer: when, count, sum.
    pub histograms: Vec<(Timestamp, f64, f64)>,
}

#[derive(Deserialize)]
struct Envelope<T> {
    status: String,
    data: Option<T>,
    #[serde(rename = "errorType", default)]
    error_type: String,
    #[serde(default)]
    error: String,
    #[serde(default)]
    warnings: Vec<String>,
    #[serde(default)]
    infos: Vec<String>,
}

/// The data of a document that says that it is one; without data it is the default.
pub(crate) fn envelope<T: DeserializeOwned + Default>(text: &[u8]) -> Result<Answer<T>, ClientError> {
    let envelope: Envelope<T> = serde_json::from_slice(text).map_err(ClientError::Json)?;
    match envelope.status.as_str() {
        "success" => {
            Ok(Answer { value: envelope.data.unwrap_or_default(), warnings: envelope.warnings, infos: envelope.infos })
        }
        "error" => Err(ClientError::Api { kind: envelope.error_type, message: envelope.error }),
        status => Err(ClientError::Document(format!("unknown status `{status}`"))),
    }
}

/// The type comes first in the documents of all known servers, so that nothing is held twice.
#[derive(Deserialize)]
#[serde(tag = "resultType", content = "result", rename_all = "lowercase")]
enum QueryData {
    Vector(Vec<RawVectorElement>),
    Matrix(Vec<RawMatrixElement>),
    Scalar((f64, String)),
    String((f64, String)),
}

#[derive(Deserialize)]
struct RawVectorElement {
    metric: BTreeMap<String, String>,
    value: Option<(f64, String)>,
    histogram: Option<(f64, RawHistogram)>,
}

#[derive(Deserialize)]
struct RawMatrixElement {
    metric: BTreeMap<String, String>,
    #[serde(default)]
    values: Vec<(f64, String)>,
    #[serde(default)]
    histograms: Vec<(f64, RawHistogram)>,
}

#[derive(Deserialize)]
struct RawHistogram {
    count: String,
    sum: String,
}

/// The answer to a query.
pub(crate) fn query(text: &[u8]) -> Result<Answer<QueryValue>, ClientError> {
    let Answer { value, warnings, infos } = envelope::<Option<QueryData>>(text)?;
    let data = value.ok_or_else(|| ClientError::Document("answer without data".to_owned()))?;
    let value = match data {
        QueryData::Vector(elements) => {
            QueryValue::Vector(elements.into_iter().map(vector_element).collect::<Result<_, _>>()?)
        }
        QueryData::Matrix(elements) => {
            QueryValue::Matrix(elements.iter().map(matrix_element).collect::<Result<_, _>>()?)
        }
        QueryData::Scalar(pair) => QueryValue::Scalar(sample(&pair)?),
        QueryData::String((_at, text)) => QueryValue::String(text),
    };
    Ok(Answer { value, warnings, infos })
}

fn vector_element(element: RawVectorElement) -> Result<VectorElement, ClientError> {
    let labels = Labels::from_pairs(&element.metric);
    match (element.value, element.histogram) {
        (Some(pair), _) => {
            let Sample { timestamp: at, value } = sample(&pair)?;
            Ok(VectorElement { labels, at, value: ElementValue::Float(value) })
        }
        (None, Some(pair)) => {
            let (at, count, sum) = histogram(&pair)?;
            Ok(VectorElement { labels, at, value: ElementValue::Histogram { count, sum } })
        }
        (None, None) => Err(ClientError::Document(format!("element without a value: {labels}"))),
    }
}

fn matrix_element(element: &RawMatrixElement) -> Result<MatrixElement, ClientError> {
    Ok(MatrixElement {
        labels: Labels::from_pairs(&element.metric),
        samples: element.values.iter().map(sample).collect::<Result<_, _>>()?,
        histograms: element.histograms.iter().map(histogram).collect::<Result<_, _>>()?,
    })
}

fn sample((at, value): &(f64, String)) -> Result<Sample, ClientError> {
    Ok(Sample { timestamp: instant(*at), value: number(value)? })
}

fn histogram((at, histogram): &(f64, RawHistogram)) -> Result<(Timestamp, f64, f64), ClientError> {
    Ok((instant(*at), number(&histogram.count)?, number(&histogram.sum)?))
}

fn number(text: &str) -> Result<f64, ClientError> {
    datamodel::float::parse_float(text)
        .map_err(|error| ClientError::Document(format!("invalid value `{text}`: {error}")))
}

/// Seconds with three places behind the point; a float holds the milliseconds exactly for 285,000 years.
fn instant(seconds: f64) -> Timestamp {
    Timestamp::from_unix_ms((seconds * 1000.0).round() as i64)
}

/// The labels of an element of a list of series.
pub(crate) fn series(element: &[u8]) -> Result<Labels, ClientError> {
    let pairs: BTreeMap<String, String> = serde_json::from_slice(element).map_err(ClientError::Json)?;
    Ok(Labels::from_pairs(&pairs))
}
