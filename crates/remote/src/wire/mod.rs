//! The messages of remote write and remote read.
//!
//! - [`WriteRequest`]: series with samples, native histograms, exemplars and metadata, decoded from either
//!   version of remote write ([`WriteVersion`]) and encoded in either.
//! - [`ReadRequest`], [`ReadResponse`], [`QueryResultWriter`]: remote read with whole samples.
//! - [`compress`], [`decompress`]: the snappy block format around all of them.
//!
//! ```text
//! body ──decompress (MAX_MESSAGE_BYTES)──▶ message ──decode (MAX_ELEMENTS)──▶ WriteRequest
//!                                                                            ├ series: good as they stand
//!                                                                            └ refused: each with its reason
//! ```
//!
//! Sources: the specifications of remote write 1.0 and 2.0; Prometheus' `prompb`.
//!
//! Rule: a message that cannot be read is refused as a whole; a series that cannot be one is left out, counted
//! and named, and the others go on.

mod elements;
mod histogram;
mod read;
mod snappy;
mod v1;
mod v2;

#[cfg(test)]
mod tests;

use datamodel::histogram::HistogramError;
use datamodel::protobuf::ProtobufError;
use datamodel::regex::RegexError;
use datamodel::{Histogram, Labels, METRIC_NAME, Metadata, Timestamp};

pub use elements::MAX_ELEMENTS;
pub use read::{
    MAX_QUERIES, QueryResultWriter, ReadHints, ReadQuery, ReadRequest, ReadResponse, ResponseType, join_results,
};
pub use snappy::{MAX_MESSAGE_BYTES, compress, decompress};

/// The media type of all messages.
pub const CONTENT_TYPE: &str = "application/x-protobuf";

/// Why a body is no message.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// The body is not compressed as it should be.
    #[error("body is not in snappy's block format")]
    Snappy(#[source] snap::Error),
    /// The message is larger than the reader takes.
    #[error("message has {bytes} bytes, more than {limit}")]
    TooLarge {
        /// Bytes of the message, uncompressed.
        bytes: usize,
        /// What the reader takes.
        limit: usize,
    },
    /// The message breaks the wire format or its schema.
    #[error("invalid message: {0}")]
    Protobuf(ProtobufError),
    /// More labels, samples, buckets and the like than a reader keeps in memory.
    #[error("message has more than {MAX_ELEMENTS} labels, samples and buckets")]
    TooManyElements,
    /// The table of symbols of version 2 must begin with the empty one.
    #[error("first symbol is not empty")]
    FirstSymbol,
    /// A read request with too many queries.
    #[error("request has more than {MAX_QUERIES} queries")]
    TooManyQueries,
    /// A matcher of a read request has an operator that does not exist.
    #[error("unknown matcher type: {0}")]
    MatcherType(i32),
    /// A matcher of a read request is no regular expression.
    #[error("invalid matcher on `{name}`")]
    Matcher {
        /// The label.
        name: String,
        /// What is wrong with the expression.
        #[source]
        source: RegexError,
    },
}

impl From<ProtobufError> for WireError {
    fn from(error: ProtobufError) -> Self {
        Self::Protobuf(error)
    }
}

/// A version of the remote write protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WriteVersion {
    /// `prometheus.WriteRequest`.
    V1,
    /// `io.prometheus.write.v2.Request`.
    V2,
}

/// A content type that names no version of remote write.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unsupported content type: `{0}`")]
pub struct ContentTypeError(pub String);

impl WriteVersion {
    /// The version that a `Content-Type` header names; without a parameter `proto` it is the first.
    ///
    /// # Errors
    ///
    /// Another media type, or another message.
    pub fn from_content_type(content_type: &str) -> Result<Self, ContentTypeError> {
        let unsupported = || ContentTypeError(content_type.to_owned());
        let mut parts = content_type.split(';').map(str::trim);
        if !parts.next().is_some_and(|media_type| media_type.eq_ignore_ascii_case(CONTENT_TYPE)) {
            return Err(unsupported());
        }
        let mut version = Self::V1;
        for parameter in parts {
            let Some((name, value)) = parameter.split_once('=') else { continue };
            if name.trim().eq_ignore_ascii_case("proto") {
                version = match value.trim().trim_matches('"') {
                    "prometheus.WriteRequest" => Self::V1,
                    "io.prometheus.write.v2.Request" => Self::V2,
                    _ => return Err(unsupported()),
                };
            }
        }
        Ok(version)
    }

    /// The `Content-Type` of a request.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::V1 => CONTENT_TYPE,
            Self::V2 => "application/x-protobuf;proto=io.prometheus.write.v2.Request",
        }
    }

    /// The header `X-Prometheus-Remote-Write-Version`.
    #[must_use]
    pub const fn version_header(self) -> &'static str {
        match self {
            Self::V1 => "0.1.0",
            Self::V2 => "2.0.0",
        }
    }
}

/// What a sender writes with one request.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WriteRequest {
    /// Series in the order of the message; several may have the same labels.
    pub series: Vec<TimeSeries>,
    /// What was left out while decoding; never encoded.
    pub refused: Vec<Refused>,
    /// Metadata by family, as version 1 sends it; version 2 has it at the series.
    pub metadata: Vec<FamilyMetadata>,
}

impl WriteRequest {
    /// Decodes a message that is no longer compressed.
    ///
    /// # Errors
    ///
    /// The message is none of that version, or holds too much.
    pub fn decode(version: WriteVersion, message: &[u8]) -> Result<Self, WireError> {
        let mut request = Self::default();
        read_write_request(version, message, &mut request)?;
        Ok(request)
    }

    /// Encodes the message, not compressed.
    #[must_use]
    pub fn encode(&self, version: WriteVersion) -> Vec<u8> {
        match version {
            WriteVersion::V1 => v1::encode(self),
            WriteVersion::V2 => v2::encode(self),
        }
    }
}

impl WriteVisitor for WriteRequest {
    type Error = WireError;

    fn part(&mut self, part: WritePart<'_>) -> Result<(), WireError> {
        match part {
            WritePart::Refused(refused) => self.refused.push(refused),
            WritePart::Metadata(metadata) => self.metadata.push(metadata),
            WritePart::Series(series) => self.series.push(series.into()),
        }
        Ok(())
    }
}

/// What a write request has, one thing after the other, in the order of the message.
#[derive(Debug)]
pub enum WritePart<'a> {
    /// A series that can be stored.
    Series(SeriesPart<'a>),
    /// A series, or a histogram of one, that cannot.
    Refused(Refused),
    /// Metadata of a family (version 1).
    Metadata(FamilyMetadata),
}

/// Takes the parts of a write request.
pub trait WriteVisitor {
    /// What ends the reading.
    type Error: From<WireError>;

    /// Whether the labels that are encoded in these bytes are known as good ones: then they are not read. Asked
    /// (in version 1) of a series whose labels stand together in front, as all senders write them; equal bytes are
    /// equal labels.
    fn knows(&mut self, label_bytes: &[u8]) -> bool {
        let _ = label_bytes;
        false
    }

    /// The next part. Of a known series it comes right after the question.
    ///
    /// # Errors
    ///
    /// The visitor's own.
    fn part(&mut self, part: WritePart<'_>) -> Result<(), Self::Error>;
}

/// The labels of a series.
#[derive(Clone, Copy, Debug)]
pub enum PartLabels<'a> {
    /// Ascending by name, without empty values; there is a metric name among them. Beside them the bytes that
    /// encode them, if the visitor was asked about these.
    Read(&'a [(&'a str, &'a str)], Option<&'a [u8]>),
    /// Those that the visitor [knows](WriteVisitor::knows), as they are encoded.
    Known(&'a [u8]),
}

/// One series of a message, its texts and floats lent until the next one is read.
#[derive(Debug)]
pub struct SeriesPart<'a> {
    /// Its labels.
    pub labels: PartLabels<'a>,
    /// Float samples, in the order of the message.
    pub samples: &'a [WireSample],
    /// Native histograms, in the order of the message; each was checked.
    pub histograms: Vec<WireHistogram>,
    /// Exemplars, in the order of the message.
    pub exemplars: Vec<Exemplar>,
    /// What the family says about itself (version 2).
    pub metadata: Option<Metadata>,
}

impl SeriesPart<'_> {
    /// The label set.
    #[must_use]
    pub fn label_set(&self) -> Labels {
        match self.labels {
            PartLabels::Read(pairs, _) => Labels::from_sorted(pairs),
            PartLabels::Known(bytes) => v1::label_set(bytes),
        }
    }
}

impl From<SeriesPart<'_>> for TimeSeries {
    fn from(series: SeriesPart<'_>) -> Self {
        let labels = series.label_set();
        let SeriesPart { samples, histograms, exemplars, metadata, .. } = series;
        Self { labels, samples: samples.to_vec(), histograms, exemplars, metadata }
    }
}

/// Reads a message that is no longer compressed, without holding more of it than one series.
///
/// # Errors
///
/// The message is none of that version, or holds too much; or the error of the visitor. What was visited before is
/// good by itself, but a request is all or nothing: forget it.
pub fn read_write_request<V: WriteVisitor>(
    version: WriteVersion,
    message: &[u8],
    visitor: &mut V,
) -> Result<(), V::Error> {
    match version {
        WriteVersion::V1 => v1::read(message, visitor),
        WriteVersion::V2 => v2::read(message, visitor),
    }
}

/// One series of a message.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TimeSeries {
    /// Its labels; in a write request there is a metric name among them.
    pub labels: Labels,
    /// Float samples, in the order of the message.
    pub samples: Vec<WireSample>,
    /// Native histograms, in the order of the message; each was checked.
    pub histograms: Vec<WireHistogram>,
    /// Exemplars, in the order of the message.
    pub exemplars: Vec<Exemplar>,
    /// What the family says about itself (version 2).
    pub metadata: Option<Metadata>,
}

/// A float sample.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WireSample {
    /// When the value was taken.
    pub at: Timestamp,
    /// The value.
    pub value: f64,
    /// When the counter started, if the sender says so (version 2).
    pub start: Option<Timestamp>,
}

/// A native histogram.
#[derive(Clone, Debug, PartialEq)]
pub struct WireHistogram {
    /// When it was taken.
    pub at: Timestamp,
    /// The histogram.
    pub histogram: Histogram,
    /// When its counters started, if the sender says so (version 2).
    pub start: Option<Timestamp>,
}

/// A trace or the like that stands for a value.
#[derive(Clone, Debug, PartialEq)]
pub struct Exemplar {
    /// Its labels.
    pub labels: Labels,
    /// The value.
    pub value: f64,
    /// When the value was observed.
    pub at: Timestamp,
}

/// Metadata of a family.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FamilyMetadata {
    /// Name of the family.
    pub family: String,
    /// What it says.
    pub metadata: Metadata,
}

/// A series, or a histogram of it, that a message holds and that cannot be stored.
#[derive(Clone, Debug, PartialEq)]
pub struct Refused {
    /// The labels as far as they could be read.
    pub labels: Labels,
    /// Why.
    pub reason: RefusedReason,
    /// Float samples that were left out.
    pub samples: usize,
    /// Histograms that were left out.
    pub histograms: usize,
    /// Exemplars that were left out.
    pub exemplars: usize,
}

/// Why a series or a histogram is left out.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RefusedReason {
    /// The series has no metric name.
    #[error("series without a metric name")]
    NoName,
    /// A label without a name.
    #[error("label with an empty name")]
    EmptyLabelName,
    /// Two labels have one name.
    #[error("label name is not unique: `{0}`")]
    DuplicateLabel(String),
    /// A reference to a symbol that is not in the table.
    #[error("symbol reference {0} is out of range")]
    Symbol(u32),
    /// Names and values do not come in pairs.
    #[error("odd number of label references: {0}")]
    OddReferences(usize),
    /// A histogram is none.
    #[error("invalid histogram: {0}")]
    Histogram(HistogramError),
}

/// Collects one series after the other; what it grew for one serves the next.
#[derive(Debug, Default)]
struct SeriesReader<'m> {
    /// Whether a series without a metric name is refused.
    needs_name: bool,
    /// The bytes that encode the labels, if they stand together.
    label_bytes: Option<&'m [u8]>,
    /// Whether the visitor knows these bytes; the labels were not read then.
    is_known: bool,
    pairs: LabelPairs<'m>,
    samples: Vec<WireSample>,
    histograms: Vec<WireHistogram>,
    bad_histograms: Vec<HistogramError>,
    exemplars: Vec<Exemplar>,
    metadata: Option<Metadata>,
}

impl<'m> SeriesReader<'m> {
    fn clear(&mut self) {
        (self.label_bytes, self.is_known) = (None, false);
        self.pairs.pairs.clear();
        self.samples.clear();
        self.histograms.clear();
        self.bad_histograms.clear();
        self.exemplars.clear();
        self.metadata = None;
    }

    /// Hands the series out, or says why not. `broken`: what is wrong with it besides its labels.
    fn visit<V: WriteVisitor>(&mut self, broken: Option<RefusedReason>, visitor: &mut V) -> Result<(), V::Error> {
        if let Some(bytes) = self.label_bytes.filter(|_| self.is_known) {
            for error in self.bad_histograms.drain(..) {
                let (labels, reason) = (v1::label_set(bytes), RefusedReason::Histogram(error));
                let refused = Refused { labels, reason, samples: 0, histograms: 1, exemplars: 0 };
                visitor.part(WritePart::Refused(refused))?;
            }
            return visitor.part(WritePart::Series(SeriesPart {
                labels: PartLabels::Known(bytes),
                samples: &self.samples,
                histograms: std::mem::take(&mut self.histograms),
                exemplars: std::mem::take(&mut self.exemplars),
                metadata: self.metadata.take(),
            }));
        }
        let reason = self.pairs.sort().or(broken);
        for error in self.bad_histograms.drain(..) {
            let (labels, reason) = (self.pairs.labels(), RefusedReason::Histogram(error));
            let refused = Refused { labels, reason, samples: 0, histograms: 1, exemplars: 0 };
            visitor.part(WritePart::Refused(refused))?;
        }
        let lacks_name = || self.needs_name && !self.pairs.pairs.iter().any(|(name, _)| *name == METRIC_NAME);
        match reason.or_else(|| lacks_name().then_some(RefusedReason::NoName)) {
            None => {
                let (histograms, exemplars) =
                    (std::mem::take(&mut self.histograms), std::mem::take(&mut self.exemplars));
                let (labels, metadata) = (PartLabels::Read(&self.pairs.pairs, self.label_bytes), self.metadata.take());
                let samples = &self.samples;
                visitor.part(WritePart::Series(SeriesPart { labels, samples, histograms, exemplars, metadata }))
            }
            Some(reason) => visitor.part(WritePart::Refused(Refused {
                labels: self.pairs.labels(),
                reason,
                samples: self.samples.len(),
                histograms: self.histograms.len(),
                exemplars: self.exemplars.len(),
            })),
        }
    }
}

/// Collects the labels of a series; of two with one name the first counts, and the series is refused.
#[derive(Debug, Default)]
struct LabelPairs<'m> {
    pairs: Vec<(&'m str, &'m str)>,
}

impl<'m> LabelPairs<'m> {
    fn push(&mut self, name: &'m str, value: &'m str) {
        self.pairs.push((name, value));
    }

    /// Sorts them, drops empty values, and says what is wrong.
    fn sort(&mut self) -> Option<RefusedReason> {
        // Senders sort; a stable sort of what is sorted costs one comparison a label.
        self.pairs.sort_by_key(|(name, _)| *name);
        let mut reason = None;
        if let Some((name, _)) = self.pairs.windows(2).find_map(|pair| match pair {
            [first, second] if first.0 == second.0 => Some(*second),
            _ => None,
        }) {
            reason = Some(RefusedReason::DuplicateLabel(name.to_owned()));
            self.pairs.dedup_by_key(|(name, _)| *name);
        }
        if self.pairs.first().is_some_and(|(name, _)| name.is_empty()) {
            reason = Some(RefusedReason::EmptyLabelName);
            self.pairs.retain(|(name, _)| !name.is_empty());
        }
        self.pairs.retain(|(_, value)| !value.is_empty());
        reason
    }

    /// The set of what was sorted.
    fn labels(&self) -> Labels {
        Labels::from_sorted(&self.pairs)
    }

    /// Sorts and builds; what is wrong is left out.
    fn build(&mut self) -> Labels {
        self.sort();
        self.labels()
    }
}

/// Milliseconds of an optional instant; 0 stands for none.
const fn optional_instant(unix_ms: i64) -> Option<Timestamp> {
    if unix_ms == 0 { None } else { Some(Timestamp::from_unix_ms(unix_ms)) }
}
