//! A row into the storage: references, staleness markers, and the series about the scrape itself.
//!
//! - [`Ingest`]: the state of one target between scrapes.
//! - [`Ingest::read`]: a page, or the reason why there is none, becomes a [`PageRead`]; [`Ingest::read_usual`] does that
//!   to a page which takes little time.
//! - [`Ingest::scrape`]: a [`PageRead`] becomes one committed batch.
//! - [`Ingest::pull`]: a page becomes a row beside the storage; nothing is changed.
//!
//! Rule: a series that was there and is not there any more gets exactly one staleness marker.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use datamodel::exposition::PageFormat;
use datamodel::{Labels, LabelsBuilder, METRIC_NAME, Metadata, STALE_NAN, Timestamp};
use storage::{AppendError, Appendable, Appender, Exemplar, GroupRef, Reservation, SeriesRef};
use tokio::time::Instant;

use crate::body::{Body, PAGE_ALLOWANCE_BYTES};
use crate::cache::{Entry, EntryId, Mark, ScrapeCache};
use crate::error::ScrapeError;
use crate::fetch::SMALL_PAGE_BYTES;
use crate::page::{NewSeries, Row, RowExemplar, RowSample, RowValue, SampleRules, Source, read_known_page, read_page};
use crate::pull::{PulledRow, PulledSample};

/// How far in the future the timestamp of a sample may lie, as upstream.
const MAX_AHEAD: Duration = Duration::from_secs(600);

/// The series about each scrape, in the order in which they are written; the last three where the job asks
/// for them.
const REPORT_NAMES: [&str; 8] = [
    "up",
    "scrape_duration_seconds",
    "scrape_samples_scraped",
    "scrape_samples_post_metric_relabeling",
    "scrape_series_added",
    "scrape_timeout_seconds",
    "scrape_sample_limit",
    "scrape_body_size_bytes",
];
const USUAL_REPORTS: usize = 5;

/// Bytes that a line of a large page takes while it is written: row, order, hash, batch.
const LINE_BYTES: usize = 240;
/// Bytes more for a line that was not on the last page: what the parser makes of it.
const NEW_LINE_BYTES: usize = 300;
/// Bytes of a line that is kept until the next page, beside its text.
const KEPT_LINE_BYTES: usize = 32;

/// A small page is read and written on the thread of all loops if the last one had at most so many series, and it has at
/// most so many others. Together they take about a millisecond.
const USUAL_SERIES: usize = 2_000;
const USUAL_NEW_SERIES: usize = 200;

/// Bytes of a protobuf page for each of its samples, at the least: a bucket with count and bound.
const PROTOBUF_SAMPLE_BYTES: usize = 13;

/// What the series about limits say.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LimitReport {
    pub(crate) timeout: Duration,
    /// As it is configured: zero for none.
    pub(crate) sample_limit: usize,
}

/// A page that came, with the format it declares.
#[derive(Debug)]
pub(crate) struct TypedPage {
    pub(crate) body: Body,
    pub(crate) format: PageFormat,
}

/// A page that was read but not written, or why there is none.
#[derive(Debug)]
pub(crate) struct PageRead {
    row: Row,
    result: Result<(), ScrapeError>,
    /// What is reserved for writing it.
    room: Option<Reservation>,
    /// What the series about the size says.
    body_size: f64,
}

/// What became of a scrape.
#[derive(Debug, Default)]
pub(crate) struct ScrapeReport {
    /// Why it failed.
    pub(crate) error: Option<ScrapeError>,
    /// How long it took, storage included.
    pub(crate) duration: Duration,
    pub(crate) scraped: usize,
    pub(crate) refused: Refused,
}

/// Samples that were left out of a scrape that is otherwise good.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Refused {
    /// A second value of a series for the same time.
    pub(crate) duplicate: u64,
    /// Older than the series.
    pub(crate) out_of_order: u64,
    /// Too old, or too far in the future.
    pub(crate) out_of_bounds: u64,
    /// New series beyond the memory limit.
    pub(crate) out_of_memory: u64,
}

impl Refused {
    pub(crate) const fn total(&self) -> u64 {
        self.duplicate + self.out_of_order + self.out_of_bounds + self.out_of_memory
    }

    /// Counts an error about one sample; gives back one that ends the batch.
    fn count(&mut self, error: AppendError) -> Result<(), AppendError> {
        match error {
            AppendError::Duplicate(_) => self.duplicate += 1,
            AppendError::OutOfOrder { .. } => self.out_of_order += 1,
            AppendError::TooOld { .. } | AppendError::UnknownSeries => self.out_of_bounds += 1,
            AppendError::OutOfMemory => self.out_of_memory += 1,
            fatal => return Err(fatal),
        }
        Ok(())
    }
}

/// One of the series about the scrape itself.
#[derive(Debug)]
struct ReportSeries {
    labels: Labels,
    series: Option<SeriesRef>,
}

/// What is known of a target between two scrapes.
#[derive(Debug)]
pub(crate) struct Ingest {
    rules: Arc<SampleRules>,
    cache: ScrapeCache,
    group: Option<GroupRef>,
    /// Whether there was a scrape.
    has_begun: bool,
    report: Vec<ReportSeries>,
    limit_report: Option<LimitReport>,
    /// What a large page left in the cache.
    kept: Option<Reservation>,
    pulled: PulledLabels,
}

/// Scheduled scrapes after the last pull for which the labels of a target are kept.
const KEEP_PULLED: u32 = 8;

/// The labels of a target's entries, while it is pulled: reading them out of the texts takes longer than the rest of
/// a pull.
#[derive(Debug, Default)]
struct PulledLabels {
    by_entry: Vec<Option<Labels>>,
    /// Scheduled scrapes since the last pull.
    unused: u32,
}

impl Ingest {
    pub(crate) fn new(rules: Arc<SampleRules>, limit_report: Option<LimitReport>) -> Self {
        let report = |name: &&str| {
            let mut labels = LabelsBuilder::new(&rules.target_labels);
            labels.set(METRIC_NAME, name);
            ReportSeries { labels: labels.build(), series: None }
        };
        let count = if limit_report.is_some() { REPORT_NAMES.len() } else { USUAL_REPORTS };
        let report = REPORT_NAMES.iter().take(count).map(report).collect();
        let cache = ScrapeCache::default();
        Self {
            rules,
            cache,
            group: None,
            has_begun: false,
            report,
            limit_report,
            kept: None,
            pulled: PulledLabels::default(),
        }
    }

    /// Reads a page of little size whose series are known; none if it is another.
    pub(crate) fn read_usual(&self, page: &TypedPage) -> Option<PageRead> {
        let bytes = &page.body.bytes;
        if bytes.len() > SMALL_PAGE_BYTES || !(1..=USUAL_SERIES).contains(&self.cache.len()) {
            return None;
        }
        let (row, result) = read_known_page(bytes, page.format, &self.rules, &self.cache, USUAL_NEW_SERIES)?;
        Some(PageRead { row, result, room: None, body_size: bytes.len() as f64 })
    }

    /// Reads any page.
    pub(crate) fn read(&self, page: Result<TypedPage, ScrapeError>) -> PageRead {
        let body_size = match &page {
            Ok(page) => page.body.bytes.len() as f64,
            Err(ScrapeError::BodySize(_)) => -1.0,
            Err(_) => 0.0,
        };
        match page.and_then(|page| Ok((self.room_for(&page)?, page))) {
            Ok((room, page)) => {
                let (row, result) = read_page(&page.body.bytes, page.format, &self.rules, &self.cache);
                PageRead { row, result, room: Some(room), body_size }
            }
            Err(error) => PageRead { row: Row::default(), result: Err(error), room: None, body_size },
        }
    }

    /// Writes one scrape: its samples and markers, or after a failure only markers, and its report.
    pub(crate) fn scrape(
        &mut self,
        storage: &dyn Appendable,
        page: PageRead,
        at: Timestamp,
        started: Instant,
    ) -> ScrapeReport {
        self.has_begun = true;
        self.pulled.unused += 1;
        if self.pulled.unused > KEEP_PULLED {
            self.pulled = PulledLabels::default();
        }
        let mut appender = storage.appender();
        let PageRead { row, mut result, room, body_size } = page;
        let (scraped, kept) = (row.scraped, row.kept);
        let mut batch = Batch::default();
        let known = self.cache.len();
        if result.is_ok()
            && let Err(error) = self.append_row(appender.as_mut(), row, at, &mut batch)
        {
            result = Err(ScrapeError::Append(error));
            self.cache.truncate(known);
            batch = Batch::default();
            drop(appender);
            appender = storage.appender();
        }
        if result.is_err() {
            batch.markers = self.end_all();
            result = self.append_markers(appender.as_mut(), at, &mut batch).and(result);
        }
        if matches!(result, Err(ScrapeError::Memory(_))) {
            // What made the memory scarce must not outlive it. All series have ended; the next page that fits is
            // parsed in full.
            (self.cache, self.kept, self.pulled) = (ScrapeCache::default(), None, PulledLabels::default());
        } else if let Some(mut room) = room.filter(|room| room.bytes() > 0) {
            room.resize_anyway(self.cache.byte_len());
            self.kept = Some(room);
        } else if result.is_ok() {
            self.kept = None;
        }
        let duration = started.elapsed();
        let up = if result.is_ok() { 1.0 } else { 0.0 };
        let mut values = vec![up, duration.as_secs_f64(), scraped as f64, kept as f64, batch.added as f64];
        if let Some(limits) = self.limit_report {
            values.extend([limits.timeout.as_secs_f64(), limits.sample_limit as f64, body_size]);
        }
        let written = self.append_report(appender.as_mut(), at, &values);
        let committed = written.and_then(|()| self.commit(appender, &mut batch));
        let error = result.err().or(committed.err().map(ScrapeError::Append));
        ScrapeReport { error, duration, scraped, refused: batch.refused }
    }

    /// Reserves what a large page will take until it is written, and what stays of it. Pages within the allowance
    /// of every target reserve nothing.
    fn room_for(&self, page: &TypedPage) -> Result<Reservation, ScrapeError> {
        let (pool, bytes) = (page.body.reserved.pool(), &page.body.bytes);
        if bytes.len() <= PAGE_ALLOWANCE_BYTES {
            return Ok(pool.reservation());
        }
        let lines = match page.format {
            PageFormat::Text(_) => memchr::memchr_iter(b'\n', bytes).count(),
            PageFormat::Protobuf => bytes.len() / PROTOBUF_SAMPLE_BYTES,
        };
        let known = self.cache.len();
        let new = lines.saturating_sub(known);
        // The texts of the series are no longer than the page. What is kept already counts until it is counted anew.
        let kept = lines.saturating_mul(KEPT_LINE_BYTES).saturating_add(bytes.len());
        let kept = kept.saturating_sub(self.kept.as_ref().map_or(0, Reservation::bytes));
        let passing = lines.saturating_mul(LINE_BYTES).saturating_add(new.saturating_mul(NEW_LINE_BYTES));
        pool.reserve(passing.saturating_add(kept)).map_err(ScrapeError::Memory)
    }

    /// Ends all series of a target that is gone.
    pub(crate) fn end(&mut self, storage: &dyn Appendable, at: Timestamp) -> Result<(), ScrapeError> {
        if !self.has_begun {
            return Ok(());
        }
        let mut appender = storage.appender();
        let mut batch = Batch { markers: self.end_all(), ..Batch::default() };
        self.append_markers(appender.as_mut(), at, &mut batch)?;
        let written = self.append_report(appender.as_mut(), at, &[STALE_NAN; REPORT_NAMES.len()]);
        written.and_then(|()| self.commit(appender, &mut batch)).map_err(ScrapeError::Append)
    }

    /// Reads a page into a row beside the storage. Series that the last scrape had and this page has not
    /// are in it as ended.
    pub(crate) fn pull(&mut self, page: &TypedPage, at: Timestamp) -> Result<PulledRow, ScrapeError> {
        if self.pulled.by_entry.len() != self.cache.len() {
            self.pulled.by_entry = self.cache.entries().map(|(id, _)| self.labels_of(id)).collect();
        }
        self.pulled.unused = 0;
        let labels_of = |id: EntryId| self.pulled.by_entry.get(id as usize).cloned().flatten();
        let (row, result) = read_page(&page.body.bytes, page.format, &self.rules, &self.cache);
        result?;
        let mut present: HashSet<EntryId> = HashSet::with_capacity(row.samples.len());
        let mut samples = Vec::with_capacity(row.samples.len());
        for sample in row.samples {
            let labels = match sample.source {
                Source::Known(id) => {
                    present.insert(id);
                    labels_of(id)
                }
                Source::New(series) => series.labels,
            };
            // A native histogram is left to the scheduled scrape: the storage's newest one stays in sight.
            if let (Some(labels), RowValue::Float(value)) = (labels, sample.value) {
                samples.push(PulledSample { labels, at: sample.at.unwrap_or(at), value });
            }
        }
        let live = self.cache.entries().filter(|(_, entry)| entry.is(Mark::Live));
        let gone = live.filter(|(id, _)| !present.contains(id)).filter_map(|(id, _)| labels_of(id));
        samples.extend(gone.map(|labels| PulledSample { labels, at, value: STALE_NAN }));
        // Of two samples with the same labels the first counts, as in a scrape; a marker is always last.
        samples.sort_by(|a, b| a.labels.cmp(&b.labels));
        samples.dedup_by(|later, first| later.labels == first.labels);
        Ok(PulledRow { at, samples })
    }

    fn append_row(
        &mut self,
        appender: &mut dyn Appender,
        row: Row,
        at: Timestamp,
        batch: &mut Batch,
    ) -> Result<(), AppendError> {
        let group = *self.group.get_or_insert_with(|| appender.create_group());
        let mut order = Vec::with_capacity(row.samples.len());
        self.cache.begin();
        for RowSample { source, at: own, value, exemplars } in row.samples {
            let (id, labels, metadata) = match source {
                Source::Known(id) => (id, None, None),
                Source::New(new) => {
                    let (labels, metadata) = (new.labels.clone(), new.metadata.clone());
                    let Some(id) = self.entry_of(&new) else { continue };
                    (id, labels, metadata)
                }
            };
            order.push(id);
            let Some(entry) = self.cache.get_mut(id) else { continue };
            let is_second = entry.is(Mark::Seen) && own.is_none();
            entry.set(Mark::Seen);
            let (is_kept, is_new, mut series) = (entry.is(Mark::Kept), entry.is(Mark::New), entry.series);
            if !is_kept {
                continue;
            }
            if is_second {
                batch.refused.duplicate += 1;
                continue;
            }
            if own.is_some_and(|own| own > at.saturating_add(MAX_AHEAD)) {
                batch.refused.out_of_bounds += 1;
                continue;
            }
            let name = || labels.or_else(|| self.labels_of(id)).unwrap_or_default();
            let at_own = own.unwrap_or(at);
            match append_to(appender, group, &mut series, name, (at_own, value), metadata.as_deref()) {
                Ok(()) => batch.added += u64::from(is_new),
                Err(error) => batch.refused.count(error)?,
            }
            if let Some(series) = series {
                for exemplar in exemplars {
                    append_exemplar(appender, series, exemplar, at)?;
                }
            }
            let Some(entry) = self.cache.get_mut(id) else { continue };
            entry.series = series;
            if (own.is_none() || self.rules.track_timestamps) && series.is_some() {
                entry.set(Mark::Tracked);
            }
        }
        batch.markers = self.gone();
        // The batch itself is fine when a marker cannot be written.
        if self.append_markers(appender, at, batch).is_err() {
            return Err(AppendError::Closed);
        }
        if self.cache.finish(&order) {
            self.pulled = PulledLabels::default();
        }
        Ok(())
    }

    /// The entry of a series that was parsed in full: the one with the same text, if it has the same labels.
    fn entry_of(&mut self, new: &NewSeries) -> Option<EntryId> {
        let known = self
            .cache
            .id_of(&new.text)
            .filter(|id| self.cache.has_type(*id, new.declared_type) || self.labels_of(*id) == new.labels);
        if let Some(id) = known {
            self.cache.set_type(id, new.declared_type);
            return Some(id);
        }
        self.cache.insert(&new.text, new.declared_type, new.labels.is_some())
    }

    /// The labels of an entry as they are stored: what they were when its text was new.
    fn labels_of(&self, id: EntryId) -> Option<Labels> {
        self.cache.get(id).filter(|entry| entry.is(Mark::Kept))?;
        self.rules.labels(&self.cache.line(id)).ok().flatten()
    }

    /// Of the series that were live before, those that no text of the present page continues.
    fn gone(&self) -> Vec<EntryId> {
        let is_gone = |(id, entry): (EntryId, &Entry)| (entry.is(Mark::Live) && !entry.is(Mark::Tracked)).then_some(id);
        let mut gone: Vec<EntryId> = self.cache.entries().filter_map(is_gone).collect();
        if !gone.is_empty() {
            let series = |id: &EntryId| self.cache.get(*id).and_then(|entry| entry.series);
            let tracked = self.cache.entries().filter(|(_, entry)| entry.is(Mark::Tracked));
            let live: HashSet<SeriesRef> = tracked.filter_map(|(_, entry)| entry.series).collect();
            gone.retain(|id| series(id).is_some_and(|series| !live.contains(&series)));
        }
        gone
    }

    /// The series that are live, which end now.
    fn end_all(&mut self) -> Vec<EntryId> {
        let live = self.cache.entries().filter(|(_, entry)| entry.is(Mark::Live)).map(|(id, _)| id).collect();
        self.cache.end_all();
        live
    }

    /// Writes markers for the batch's gone series. A refused marker is expected where the same series was
    /// taken over by another target, and is not counted.
    fn append_markers(
        &mut self,
        appender: &mut dyn Appender,
        at: Timestamp,
        batch: &mut Batch,
    ) -> Result<(), ScrapeError> {
        for id in std::mem::take(&mut batch.markers) {
            let Some(series) = self.cache.get(id).and_then(|entry| entry.series) else { continue };
            batch.marked.insert(series);
            let mut ignored = Refused::default();
            appender
                .append(series, at, STALE_NAN)
                .or_else(|error| ignored.count(error))
                .map_err(ScrapeError::Append)?;
        }
        Ok(())
    }

    fn append_report(&mut self, appender: &mut dyn Appender, at: Timestamp, values: &[f64]) -> Result<(), AppendError> {
        let group = *self.group.get_or_insert_with(|| appender.create_group());
        for (report, value) in self.report.iter_mut().zip(values) {
            let mut ignored = Refused::default();
            append_to(
                appender,
                group,
                &mut report.series,
                || report.labels.clone(),
                (at, RowValue::Float(*value)),
                None,
            )
            .or_else(|error| ignored.count(error))?;
        }
        Ok(())
    }

    fn commit(&mut self, appender: Box<dyn Appender + '_>, batch: &mut Batch) -> Result<(), AppendError> {
        let mut unknown = HashSet::new();
        for (series, error) in appender.commit()? {
            if matches!(error, AppendError::UnknownSeries) {
                unknown.insert(series);
            }
            if !batch.marked.contains(&series) && !self.report.iter().any(|report| report.series == Some(series)) {
                batch.refused.count(error)?;
            }
        }
        if !unknown.is_empty() {
            self.cache.forget_refs(&unknown);
            for report in &mut self.report {
                report.series = report.series.filter(|series| !unknown.contains(series));
            }
        }
        Ok(())
    }
}

/// What happened in one batch.
#[derive(Debug, Default)]
struct Batch {
    /// Series to be ended.
    markers: Vec<EntryId>,
    /// Series that were ended.
    marked: HashSet<SeriesRef>,
    /// Series that no scrape had seen before.
    added: u64,
    refused: Refused,
}

/// Appends to a series, asking for its reference where it is not known (any more).
fn append_to(
    appender: &mut dyn Appender,
    group: GroupRef,
    series: &mut Option<SeriesRef>,
    labels: impl FnOnce() -> Labels,
    (at, value): (Timestamp, RowValue),
    metadata: Option<&Metadata>,
) -> Result<(), AppendError> {
    if let Some(known) = *series {
        match append_value(appender, known, at, &value) {
            Err(AppendError::UnknownSeries) => {}
            result => return result,
        }
    }
    *series = None;
    let created = appender.series(Some(group), &labels())?;
    *series = Some(created);
    if let Some(metadata) = metadata {
        appender.metadata(created, metadata);
    }
    append_value(appender, created, at, &value)
}

fn append_value(
    appender: &mut dyn Appender,
    series: SeriesRef,
    at: Timestamp,
    value: &RowValue,
) -> Result<(), AppendError> {
    match value {
        RowValue::Float(value) => appender.append(series, at, *value),
        RowValue::Histogram(histogram) => appender.append_histogram(series, at, histogram.as_ref().clone()),
    }
}

/// Appends an exemplar; one that the storage does not take is no fault of its sample.
fn append_exemplar(
    appender: &mut dyn Appender,
    series: SeriesRef,
    exemplar: RowExemplar,
    at: Timestamp,
) -> Result<(), AppendError> {
    let RowExemplar { labels, value, at: own } = exemplar;
    let exemplar = Exemplar { labels, value, at: own.unwrap_or(at), has_timestamp: own.is_some() };
    match appender.append_exemplar(series, exemplar) {
        Err(AppendError::LongExemplar(_) | AppendError::UnknownSeries) => Ok(()),
        result => result,
    }
}
