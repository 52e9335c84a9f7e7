//! Remote read: queries in, series with whole samples out.
//!
//! The streamed form (compressed chunks in Prometheus' own encoding) is not written: a reader that offers only
//! that one is told so by the caller, every known reader offers both.

use std::time::Duration;

use datamodel::protobuf::{Field, Message, Writer};
use datamodel::time::{TimeRange, duration_ms};
use datamodel::{Labels, MatchOp, Matcher, Timestamp};
use storage::Samples;

use super::elements::Elements;
use super::{Refused, SeriesReader, TimeSeries, WireError, WriteRequest, histogram, v1};

/// Queries of one request. Prometheus sends one.
pub const MAX_QUERIES: usize = 100;

/// A request of a reader.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ReadRequest {
    /// The queries; the answer has one result for each, in this order.
    pub queries: Vec<ReadQuery>,
    /// The forms of an answer that the reader takes, the best first; none means whole samples.
    pub accepted: Vec<ResponseType>,
}

/// A form of the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseType {
    /// One message with whole samples.
    Samples,
    /// A stream of messages with compressed chunks.
    StreamedChunks,
    /// A form that came later.
    Unknown(i32),
}

/// Which samples are wanted.
#[derive(Clone, Debug, PartialEq)]
pub struct ReadQuery {
    /// From and to, both inclusive.
    pub range: TimeRange,
    /// All must pass.
    pub matchers: Vec<Matcher>,
    /// What the reader will do with them.
    pub hints: Option<ReadHints>,
}

/// What the reader will do with the samples.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReadHints {
    /// Between evaluations.
    pub step: Duration,
    /// Function or aggregation around the selector, or empty.
    pub function: String,
    /// Start of what is needed, in Unix milliseconds.
    pub start_ms: i64,
    /// End of what is needed, in Unix milliseconds.
    pub end_ms: i64,
    /// Labels of the aggregation.
    pub grouping: Vec<String>,
    /// Whether these are kept (`by`), or dropped (`without`).
    pub by: bool,
    /// Length of the range selector.
    pub range: Duration,
}

impl ReadRequest {
    /// Whether the reader takes one message with whole samples.
    #[must_use]
    pub fn accepts_samples(&self) -> bool {
        self.accepted.is_empty() || self.accepted.contains(&ResponseType::Samples)
    }

    /// Decodes a message that is no longer compressed.
    ///
    /// # Errors
    ///
    /// The message is none, holds too much, or has a matcher that is none.
    pub fn decode(message: &[u8]) -> Result<Self, WireError> {
        let mut elements = Elements::new();
        let mut request = Self::default();
        for field in Message::new(message) {
            let field = field?;
            match field.number {
                1 if request.queries.len() == MAX_QUERIES => return Err(WireError::TooManyQueries),
                1 => request.queries.push(query(&field, &mut elements)?),
                2 => field.each_u64(|number| {
                    elements.take()?;
                    request.accepted.push(match (number as u32).cast_signed() {
                        0 => ResponseType::Samples,
                        1 => ResponseType::StreamedChunks,
                        other => ResponseType::Unknown(other),
                    });
                    Ok::<_, WireError>(())
                })?,
                _ => {}
            }
        }
        Ok(request)
    }

    /// Encodes the message, not compressed.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        for query in &self.queries {
            writer.message(1, |message| put_query(message, query));
        }
        let numbers = self.accepted.iter().map(|accepted| match accepted {
            ResponseType::Samples => 0,
            ResponseType::StreamedChunks => 1,
            ResponseType::Unknown(number) => i64::from(*number).cast_unsigned(),
        });
        writer.packed_uint(2, numbers);
        writer.into_bytes()
    }
}

fn query(field: &Field<'_>, elements: &mut Elements) -> Result<ReadQuery, WireError> {
    let (mut start, mut end, mut hints) = (0, 0, None);
    let mut matchers = Vec::new();
    for field in field.message()? {
        let field = field?;
        match field.number {
            1 => start = field.i64()?,
            2 => end = field.i64()?,
            3 => matchers.push(matcher(&field, elements)?),
            4 => hints = Some(read_hints(&field, elements)?),
            _ => {}
        }
    }
    let range = TimeRange { start: Timestamp::from_unix_ms(start), end: Timestamp::from_unix_ms(end) };
    Ok(ReadQuery { range, matchers, hints })
}

fn matcher(field: &Field<'_>, elements: &mut Elements) -> Result<Matcher, WireError> {
    elements.take()?;
    let (mut op, mut name, mut value) = (MatchOp::Equal, "", "");
    for field in field.message()? {
        let field = field?;
        match field.number {
            1 => {
                op = match field.i32()? {
                    0 => MatchOp::Equal,
                    1 => MatchOp::NotEqual,
                    2 => MatchOp::Regex,
                    3 => MatchOp::NotRegex,
                    other => return Err(WireError::MatcherType(other)),
                };
            }
            2 => name = field.text()?,
            3 => value = field.text()?,
            _ => {}
        }
    }
    Matcher::new(op, name, value).map_err(|source| WireError::Matcher { name: name.to_owned(), source })
}

fn read_hints(field: &Field<'_>, elements: &mut Elements) -> Result<ReadHints, WireError> {
    let duration = |ms: i64| Duration::from_millis(u64::try_from(ms).unwrap_or(0));
    let mut hints = ReadHints::default();
    for field in field.message()? {
        let field = field?;
        match field.number {
            1 => hints.step = duration(field.i64()?),
            2 => field.text()?.clone_into(&mut hints.function),
            3 => hints.start_ms = field.i64()?,
            4 => hints.end_ms = field.i64()?,
            5 => {
                elements.take()?;
                hints.grouping.push(field.text()?.to_owned());
            }
            6 => hints.by = field.u64()? != 0,
            7 => hints.range = duration(field.i64()?),
            _ => {}
        }
    }
    Ok(hints)
}

fn put_query(writer: &mut Writer, query: &ReadQuery) {
    writer.int(1, query.range.start.unix_ms());
    writer.int(2, query.range.end.unix_ms());
    for matcher in &query.matchers {
        writer.message(3, |message| {
            message.uint(
                1,
                match matcher.op() {
                    MatchOp::Equal => 0,
                    MatchOp::NotEqual => 1,
                    MatchOp::Regex => 2,
                    MatchOp::NotRegex => 3,
                },
            );
            message.text(2, matcher.name());
            message.text(3, matcher.value());
        });
    }
    if let Some(hints) = &query.hints {
        writer.message(4, |message| {
            message.int(1, duration_ms(hints.step));
            message.text(2, &hints.function);
            message.int(3, hints.start_ms);
            message.int(4, hints.end_ms);
            for label in &hints.grouping {
                message.element(5, label);
            }
            message.uint(6, u64::from(hints.by));
            message.int(7, duration_ms(hints.range));
        });
    }
}

/// The result of one query while it is written, series by series, so that the series need not be held as well.
#[derive(Debug)]
pub struct QueryResultWriter {
    writer: Writer,
    limit: usize,
}

impl QueryResultWriter {
    /// Starts an empty result of at most so many bytes.
    #[must_use]
    pub const fn new(limit: usize) -> Self {
        Self { writer: Writer::new(), limit }
    }

    /// Adds a series with its samples; one without samples is left out.
    ///
    /// # Errors
    ///
    /// The result exceeds its limit; it is of no use any more.
    pub fn series(&mut self, labels: &Labels, samples: &Samples) -> Result<(), WireError> {
        if samples.is_empty() {
            return Ok(());
        }
        self.writer.message(1, |message| {
            v1::put_labels(message, labels);
            let mut histograms = samples.histograms.iter().peekable();
            for (at, (&at_ms, &value)) in samples.timestamps.iter().zip(&samples.values).enumerate() {
                match histograms.next_if(|(index, _)| *index == at) {
                    None => v1::put_sample(message, at_ms, value),
                    Some((_, value)) => message.message(4, |message| {
                        histogram::encode(message, Timestamp::from_unix_ms(at_ms), value, None);
                    }),
                }
            }
        });
        let bytes = self.writer.len();
        if bytes > self.limit { Err(WireError::TooLarge { bytes, limit: self.limit }) } else { Ok(()) }
    }

    /// Bytes written so far.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.writer.len()
    }

    /// Whether there is no series.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.writer.is_empty()
    }
}

/// The message of an answer, not compressed, from the results in the order of the queries.
#[must_use]
pub fn join_results(results: impl IntoIterator<Item = QueryResultWriter>) -> Vec<u8> {
    let mut writer = Writer::new();
    for result in results {
        writer.written(1, &result.writer.into_bytes());
    }
    writer.into_bytes()
}

/// An answer with whole samples.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ReadResponse {
    /// The series of each query, in the order of the request.
    pub results: Vec<Vec<TimeSeries>>,
    /// Series and histograms that are none.
    pub refused: Vec<Refused>,
}

impl ReadResponse {
    /// Decodes a message that is no longer compressed.
    ///
    /// # Errors
    ///
    /// The message is none, or holds too much.
    pub fn decode(message: &[u8]) -> Result<Self, WireError> {
        let mut elements = Elements::new();
        let mut response = Self::default();
        let mut reader = SeriesReader::default();
        for field in Message::new(message) {
            let field = field?;
            if field.number != 1 {
                continue;
            }
            elements.take()?;
            let mut result = WriteRequest::default();
            for field in field.message()? {
                let field = field?;
                if field.number != 1 {
                    continue;
                }
                v1::time_series(&field, &mut elements, &mut |_| false, &mut reader)?;
                reader.visit(None, &mut result)?;
            }
            response.results.push(result.series);
            response.refused.append(&mut result.refused);
        }
        Ok(response)
    }
}
