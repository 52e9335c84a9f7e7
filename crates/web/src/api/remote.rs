//! `/api/v1/write` and `/api/v1/read`: other servers' samples in, ours out.
//!
//! - [`write()`]: remote write 1.0 and 2.0. What can be stored is stored, the rest is named in the answer.
//! - [`read`]: remote read with whole samples.
//!
//! Sources: the specifications of remote write 1.0 and 2.0; upstream's handlers for statuses and texts.
//!
//! Rule: a 2xx is given when all of the request is durable; a request that could succeed later gets a 5xx, so
//! that its sender keeps it, and one that never can a 4xx.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode};
use axum::response::{IntoResponse, Response};
use datamodel::{Labels, LabelsBuilder, MatchOp, Timestamp};
use remote::wire::{
    CONTENT_TYPE as PROTOBUF, MAX_MESSAGE_BYTES, PartLabels, QueryResultWriter, ReadQuery, ReadRequest, SeriesPart,
    WireError, WireHistogram, WritePart, WriteVersion, WriteVisitor, compress, decompress, join_results,
    read_write_request,
};
use storage::{AppendError, Appendable, Appender, Exemplar, QueryError, Queryable, Samples, SelectHints, SeriesRef};
use tokio::time::timeout;

use super::Shared;
use super::known_series::{KnownReader, KnownSeries, LabelKey};
use crate::error::{ApiError, chain};

/// Remote writes that are read and stored at once: each holds up to 32 MiB, packed and again unpacked.
pub(crate) const MAX_CONCURRENT_WRITES: usize = 8;
/// As long as a body may take, and as long as a request waits for its turn; senders wait 30 s as well.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// Samples further ahead are refused, as in scrapes: upstream's bound.
const MAX_AHEAD: Duration = Duration::from_secs(600);
/// The most bytes of an answer to one remote read, before packing.
const MAX_READ_BYTES: usize = 256 << 20;

const SAMPLES_WRITTEN: HeaderName = HeaderName::from_static("x-prometheus-remote-write-samples-written");
const HISTOGRAMS_WRITTEN: HeaderName = HeaderName::from_static("x-prometheus-remote-write-histograms-written");
const EXEMPLARS_WRITTEN: HeaderName = HeaderName::from_static("x-prometheus-remote-write-exemplars-written");

/// A refusal in plain text, as these two endpoints give them.
#[derive(Debug)]
struct Refusal(StatusCode, String);

impl Refusal {
    fn of(error: &WireError) -> Self {
        Self(StatusCode::BAD_REQUEST, chain(error))
    }
}

impl From<WireError> for Refusal {
    fn from(error: WireError) -> Self {
        Self::of(&error)
    }
}

impl From<AppendError> for Refusal {
    fn from(error: AppendError) -> Self {
        Self(StatusCode::INTERNAL_SERVER_ERROR, chain(&error))
    }
}

impl From<ApiError> for Refusal {
    fn from(error: ApiError) -> Self {
        Self(error.error_type.status(), error.message)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.0, self.1 + "\n").into_response()
    }
}

/// What became of a request.
#[derive(Debug, Default, PartialEq, Eq)]
struct Written {
    samples: usize,
    histograms: usize,
    exemplars: usize,
    /// Samples and histograms that were left out.
    refused: usize,
    /// Why the first of them was.
    first: Option<String>,
    /// Whether some of them may be taken later.
    may_pass: bool,
}

impl Written {
    fn refuse(&mut self, count: usize, reason: &dyn std::fmt::Display, labels: impl FnOnce() -> Labels) {
        self.refused += count;
        if self.first.is_none() {
            self.first = Some(format!("{reason}: {}", labels()));
        }
    }

    fn response(self, version: WriteVersion) -> Response {
        let mut headers = HeaderMap::new();
        if version == WriteVersion::V2 {
            headers.insert(SAMPLES_WRITTEN, HeaderValue::from(self.samples));
            headers.insert(HISTOGRAMS_WRITTEN, HeaderValue::from(self.histograms));
            headers.insert(EXEMPLARS_WRITTEN, HeaderValue::from(self.exemplars));
        }
        let Some(first) = self.first else { return (StatusCode::NO_CONTENT, headers).into_response() };
        let status = if self.may_pass { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::BAD_REQUEST };
        let text = format!("{} samples were left out, the others are stored; the first: {first}\n", self.refused);
        (status, headers, text).into_response()
    }
}

pub(super) async fn write(State(shared): State<Arc<Shared>>, request: Request<Body>) -> Response {
    let Some(receiver) = shared.parts.receiver.clone() else {
        let text = "remote write receiver needs to be enabled with --web.enable-remote-write-receiver";
        return Refusal(StatusCode::NOT_FOUND, text.to_owned()).into_response();
    };
    match receive(&shared, receiver, request).await {
        Ok((version, written)) => written.response(version),
        Err(refusal) => refusal.into_response(),
    }
}

async fn receive(
    shared: &Shared,
    receiver: Arc<dyn Appendable>,
    request: Request<Body>,
) -> Result<(WriteVersion, Written), Refusal> {
    let content_type = text_of(request.headers(), &CONTENT_TYPE).unwrap_or(PROTOBUF);
    let version = WriteVersion::from_content_type(content_type)
        .map_err(|error| Refusal(StatusCode::UNSUPPORTED_MEDIA_TYPE, error.to_string()))?;
    require_snappy(request.headers())?;
    let busy = |_late| Refusal(StatusCode::SERVICE_UNAVAILABLE, "too many remote writes at once".to_owned());
    let _turn = timeout(BODY_TIMEOUT, shared.writes.acquire()).await.map_err(busy)?;
    let body = packed_body(request).await?;
    let now = shared.parts.clock.now();
    let known = Arc::clone(&shared.known_series);
    let work = move || {
        let message = decompress(&body, MAX_MESSAGE_BYTES).map_err(|error| Refusal::of(&error))?;
        drop(body);
        store(&*receiver, &known, version, &message, now)
    };
    Ok((version, shared.blocking(work).await??))
}

/// Stores what can be stored, in one batch.
///
/// Metadata of version 1 name families, not series, and are not kept, as upstream does.
///
/// # Errors
///
/// The message is none, or the storage takes nothing; then nothing of the request is stored.
fn store(
    receiver: &dyn Appendable,
    known: &KnownSeries,
    version: WriteVersion,
    message: &[u8],
    now: Timestamp,
) -> Result<Written, Refusal> {
    let mut batch = Batch {
        appender: receiver.appender(),
        known: known.reader(),
        found: None,
        newest: now.saturating_add(MAX_AHEAD),
        written: Written::default(),
        references: Vec::new(),
        learned: Vec::new(),
    };
    read_write_request(version, message, &mut batch)?;
    let Batch { appender, mut written, references, learned, known: reader, .. } = batch;
    drop(reader);
    let left_out = appender.commit()?;
    known.learn(learned);
    if left_out.is_empty() {
        return Ok(written);
    }
    // Rare enough to read the message again for the names.
    let mut named = Named { references: references.into_iter(), labels: HashMap::new() };
    read_write_request(version, message, &mut named)?;
    for (reference, error) in left_out {
        // Which of the two it was is not told; a series is nearly always of one kind.
        let count = if written.samples > 0 { &mut written.samples } else { &mut written.histograms };
        *count = count.saturating_sub(1);
        written.may_pass |= matches!(error, AppendError::OutOfMemory);
        written.refuse(1, &error, || named.labels.get(&reference).cloned().unwrap_or_default());
    }
    Ok(written)
}

/// The labels of the series that were stored.
struct Named {
    /// One for each series of the message.
    references: std::vec::IntoIter<Option<SeriesRef>>,
    labels: HashMap<SeriesRef, Labels>,
}

impl WriteVisitor for Named {
    type Error = Refusal;

    fn part(&mut self, part: WritePart<'_>) -> Result<(), Refusal> {
        if let WritePart::Series(series) = part
            && let Some(Some(reference)) = self.references.next()
        {
            self.labels.insert(reference, series.label_set());
        }
        Ok(())
    }
}

/// A batch under way.
struct Batch<'a> {
    appender: Box<dyn Appender + 'a>,
    known: KnownReader<'a>,
    /// The known series whose labels were asked for last.
    found: Option<SeriesRef>,
    newest: Timestamp,
    written: Written,
    /// One for each series of the message; none for one that the storage does not take.
    references: Vec<Option<SeriesRef>>,
    /// Series that are not known yet.
    learned: Vec<(LabelKey, SeriesRef)>,
}

impl WriteVisitor for Batch<'_> {
    type Error = Refusal;

    fn knows(&mut self, label_bytes: &[u8]) -> bool {
        self.found = self.known.find(label_bytes);
        self.found.is_some()
    }

    fn part(&mut self, part: WritePart<'_>) -> Result<(), Refusal> {
        match part {
            WritePart::Series(series) => self.series(series)?,
            WritePart::Refused(refused) => {
                let count = refused.samples + refused.histograms;
                self.written.refuse(count, &refused.reason, || refused.labels.clone());
            }
            WritePart::Metadata(_) => {}
        }
        Ok(())
    }
}

impl Batch<'_> {
    /// The outcome of one call; a refusal of so many samples is noted.
    fn take<T>(
        &mut self,
        outcome: Result<T, AppendError>,
        count: usize,
        series: &SeriesPart<'_>,
    ) -> Result<Option<T>, AppendError> {
        match outcome {
            Ok(value) => Ok(Some(value)),
            Err(error @ (AppendError::Closed | AppendError::Storage { .. })) => Err(error),
            Err(error) => {
                self.written.may_pass |= matches!(error, AppendError::OutOfMemory);
                self.written.refuse(count, &error, || series.label_set());
                Ok(None)
            }
        }
    }

    /// The reference of a series: the known one as long as the storage has it, else by its labels.
    fn reference(&mut self, series: &SeriesPart<'_>) -> Result<SeriesRef, AppendError> {
        let bytes = match series.labels {
            PartLabels::Known(bytes) => {
                if let Some(known) = self.found.take().filter(|known| self.appender.is_known(*known)) {
                    return Ok(known);
                }
                Some(bytes)
            }
            PartLabels::Read(_, bytes) => bytes,
        };
        let found = match series.labels {
            PartLabels::Read(pairs, _) => self.appender.known_series(pairs),
            PartLabels::Known(_) => None,
        };
        let reference = found.map_or_else(|| self.appender.series(None, &series.label_set()), Ok)?;
        self.learned.extend(bytes.map(|bytes| (self.known.key(bytes), reference)));
        Ok(reference)
    }

    /// Adds what a series has.
    fn series(&mut self, mut series: SeriesPart<'_>) -> Result<(), AppendError> {
        let outcome = self.reference(&series);
        let count = series.samples.len() + series.histograms.len();
        let reference = self.take(outcome, count, &series)?;
        self.references.push(reference);
        let Some(reference) = reference else { return Ok(()) };
        for sample in series.samples {
            if !self.is_ahead(sample.at, &series) {
                let outcome = self.appender.append(reference, sample.at, sample.value);
                self.written.samples += usize::from(self.take(outcome, 1, &series)?.is_some());
            }
        }
        for WireHistogram { at, histogram, .. } in std::mem::take(&mut series.histograms) {
            if !self.is_ahead(at, &series) {
                let outcome = self.appender.append_histogram(reference, at, histogram);
                self.written.histograms += usize::from(self.take(outcome, 1, &series)?.is_some());
            }
        }
        for remote::wire::Exemplar { labels, value, at } in std::mem::take(&mut series.exemplars) {
            let exemplar = Exemplar { labels, value, at, has_timestamp: true };
            // An exemplar that is refused does not fail its request; upstream only logs it.
            self.written.exemplars += usize::from(self.appender.append_exemplar(reference, exemplar).is_ok());
        }
        if let Some(metadata) = &series.metadata {
            self.appender.metadata(reference, metadata);
        }
        Ok(())
    }

    fn is_ahead(&mut self, at: Timestamp, series: &SeriesPart<'_>) -> bool {
        let is_ahead = at > self.newest;
        if is_ahead {
            self.written.refuse(1, &format_args!("more than 10 minutes ahead: at {at}"), || series.label_set());
        }
        is_ahead
    }
}

pub(super) async fn read(State(shared): State<Arc<Shared>>, request: Request<Body>) -> Response {
    match answer(&shared, request).await {
        Ok(body) => ([(CONTENT_TYPE, PROTOBUF), (CONTENT_ENCODING, "snappy")], body).into_response(),
        Err(refusal) => refusal.into_response(),
    }
}

async fn answer(shared: &Shared, request: Request<Body>) -> Result<Vec<u8>, Refusal> {
    require_snappy(request.headers())?;
    let body = packed_body(request).await?;
    let decode = move || ReadRequest::decode(&decompress(&body, MAX_MESSAGE_BYTES)?);
    let request = shared.blocking(decode).await?.map_err(|error| Refusal::of(&error))?;
    if !request.accepts_samples() {
        let text = "only whole samples are served: add SAMPLES to accepted_response_types";
        return Err(Refusal(StatusCode::BAD_REQUEST, text.to_owned()));
    }
    let external = shared.parts.server.as_ref().map_or_else(Labels::empty, |server| server.external_labels());
    let limit = shared.parts.options.read_sample_limit;
    let (patience, cancel) = (shared.parts.engine.options().timeout, Arc::new(AtomicBool::new(false)));
    let (queryable, stop) = (Arc::clone(&shared.parts.queryable), Arc::clone(&cancel));
    let work = move || {
        let mut reading = Reading { external, samples_left: limit, limit, stop };
        let results = request.queries.into_iter().map(|query| reading.result(&*queryable, query));
        let results = results.collect::<Result<Vec<_>, _>>()?;
        compress(&join_results(results)).map_err(|error| QueryError::Limit(chain(&error)))
    };
    let answer = shared.gate.run(patience, cancel, work).await?;
    answer.map_err(|error| match error {
        QueryError::Limit(text) => Refusal(StatusCode::BAD_REQUEST, text),
        error => ApiError::storage(&error).into(),
    })
}

/// Answers the queries of one request.
struct Reading {
    external: Labels,
    samples_left: usize,
    limit: usize,
    stop: Arc<AtomicBool>,
}

impl Reading {
    fn result(&mut self, queryable: &dyn Queryable, query: ReadQuery) -> Result<QueryResultWriter, QueryError> {
        let ReadQuery { range, mut matchers, .. } = query;
        // The reader asks for the labels that it gets with the answer; the storage does not have them.
        matchers.retain(|matcher| {
            matcher.op() != MatchOp::Equal || self.external.get(matcher.name()) != Some(matcher.value())
        });
        let mut result = QueryResultWriter::new(MAX_READ_BYTES);
        let querier = queryable.querier(range)?;
        let mut set = querier.select(&matchers, &SelectHints { range: Some(range), ..SelectHints::default() })?;
        let mut samples = Samples::default();
        while let Some(series) = set.next() {
            if self.stop.load(Ordering::Relaxed) {
                return Err(QueryError::Cancelled);
            }
            let series = series?;
            samples.clear();
            series.read(range, &mut samples)?;
            self.samples_left = self
                .samples_left
                .checked_sub(samples.len())
                .ok_or_else(|| QueryError::Limit(format!("exceeded sample limit ({})", self.limit)))?;
            let labels = with_external(series.labels(), &self.external);
            result.series(&labels, &samples).map_err(|error| QueryError::Limit(chain(&error)))?;
        }
        Ok(result)
    }
}

fn with_external(labels: &Labels, external: &Labels) -> Labels {
    let mut builder = LabelsBuilder::new(labels);
    for (name, value) in external {
        if labels.get(name).is_none() {
            builder.set(name, value);
        }
    }
    builder.build()
}

fn text_of<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// Both protocols know no other encoding; senders that name none mean this one.
fn require_snappy(headers: &HeaderMap) -> Result<(), Refusal> {
    match text_of(headers, &CONTENT_ENCODING) {
        None | Some("snappy") => Ok(()),
        Some(other) => {
            let shown: String = other.chars().take(60).collect();
            Err(Refusal(StatusCode::UNSUPPORTED_MEDIA_TYPE, format!("expected encoding `snappy`, found `{shown}`")))
        }
    }
}

async fn packed_body(request: Request<Body>) -> Result<axum::body::Bytes, Refusal> {
    let body = timeout(BODY_TIMEOUT, to_bytes(request.into_body(), MAX_MESSAGE_BYTES)).await;
    let body = body.map_err(|_elapsed| Refusal(StatusCode::REQUEST_TIMEOUT, "the body took too long".to_owned()))?;
    body.map_err(|error| Refusal(StatusCode::BAD_REQUEST, format!("cannot read the body: {}", chain(&error))))
}
