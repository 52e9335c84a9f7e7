//! A page read into a row: every line parsed or predicted, relabelled and checked, nothing stored yet.
//!
//! - [`SampleRules`]: what is done to the samples of one target.
//! - [`read_page`]: a page into a [`Row`], reading the cache but not changing it; [`read_known_page`]: one that brings
//!   little that is new.
//!
//! Rule: a page is all or nothing, and what it makes us hold is bounded before it is held.

use std::borrow::Cow;
use std::sync::Arc;

use datamodel::exposition::{
    Entry, PageError, PageFamily, PageFormat, PageSample, PageVisitor, Parser, SampleLine, read_protobuf,
};
use datamodel::relabel::{self, RelabelRule, Verdict};
use datamodel::{Histogram, Labels, LabelsBuilder, METRIC_NAME, Metadata, MetricType, Timestamp};

use crate::cache::{Cursor, EntryId, Mark, ScrapeCache};
use crate::config::ScrapeLimits;
use crate::error::ScrapeError;
use crate::native::NativeHistograms;
use crate::protocol::NameValidation;

/// Lines dropped by relabelling that the cache remembers; more of them are parsed anew each time.
const MAX_DROPPED: usize = 100_000;

/// What is done to the samples of a target.
#[derive(Debug)]
pub(crate) struct SampleRules {
    /// The labels of the target that its samples get.
    pub(crate) target_labels: Labels,
    pub(crate) honor_labels: bool,
    pub(crate) honor_timestamps: bool,
    /// Whether series with timestamps of their own end by a marker too.
    pub(crate) track_timestamps: bool,
    pub(crate) validation: NameValidation,
    pub(crate) relabel: Vec<RelabelRule>,
    pub(crate) limits: ScrapeLimits,
    pub(crate) native: NativeHistograms,
}

/// Where the labels of a line come from.
#[derive(Debug)]
pub(crate) enum Source {
    /// The cache knows the text.
    Known(EntryId),
    /// The text is new; it was parsed in full.
    New(Box<NewSeries>),
}

/// A series that the cache does not know.
#[derive(Debug)]
pub(crate) struct NewSeries {
    pub(crate) text: Box<str>,
    pub(crate) declared_type: MetricType,
    /// None if relabelling drops it.
    pub(crate) labels: Option<Labels>,
    /// What the page says about its family.
    pub(crate) metadata: Option<Arc<Metadata>>,
}

/// One sample of a row.
#[derive(Debug)]
pub(crate) struct RowSample {
    pub(crate) source: Source,
    /// The timestamp of the page, if it has one and it counts.
    pub(crate) at: Option<Timestamp>,
    pub(crate) value: RowValue,
    pub(crate) exemplars: Vec<RowExemplar>,
}

/// What a sample holds.
#[derive(Debug)]
pub(crate) enum RowValue {
    Float(f64),
    Histogram(Box<Histogram>),
}

/// One observation behind a sample.
#[derive(Debug)]
pub(crate) struct RowExemplar {
    pub(crate) labels: Labels,
    pub(crate) value: f64,
    /// The timestamp of the page, if it has one.
    pub(crate) at: Option<Timestamp>,
}

/// All samples of a page, in its order.
#[derive(Debug, Default)]
pub(crate) struct Row {
    /// Samples, those dropped by relabelling among them (the cache wants to know them).
    pub(crate) samples: Vec<RowSample>,
    /// Samples on the page.
    pub(crate) scraped: usize,
    /// Samples after relabelling.
    pub(crate) kept: usize,
}

/// Why a page is not read to its end.
#[derive(Debug)]
enum Stop {
    Broken(ScrapeError),
    /// More of it is new than may be.
    TooNew,
}

impl From<ScrapeError> for Stop {
    fn from(error: ScrapeError) -> Self {
        Self::Broken(error)
    }
}

impl From<PageError> for Stop {
    fn from(error: PageError) -> Self {
        Self::Broken(ScrapeError::Protobuf(error))
    }
}

/// Reads a page; what could be counted before an error is in the counts beside it.
pub(crate) fn read_page(
    page: &[u8],
    format: PageFormat,
    rules: &SampleRules,
    cache: &ScrapeCache,
) -> (Row, Result<(), ScrapeError>) {
    // Without a bound none is exceeded.
    read_known_page(page, format, rules, cache, usize::MAX).unwrap_or_else(|| (Row::default(), Ok(())))
}

/// Reads a page of which at most so many lines are unknown to the cache; those take some ten times as long.
pub(crate) fn read_known_page(
    page: &[u8],
    format: PageFormat,
    rules: &SampleRules,
    cache: &ScrapeCache,
    most_new: usize,
) -> Option<(Row, Result<(), ScrapeError>)> {
    let (cursor, family, row) = (Cursor::default(), Family::default(), Row::default());
    let mut reader = Reader { rules, cache, cursor, family, row, left_new: most_new };
    let read = match format {
        PageFormat::Text(format) => reader.read(Parser::new(page, format)),
        PageFormat::Protobuf => read_protobuf(page, rules.native.form, &mut reader),
    };
    let result = match read {
        Ok(()) => reader.within_limit(),
        Err(Stop::Broken(error)) => Err(error),
        Err(Stop::TooNew) => return None,
    };
    Some((reader.row, result))
}

struct Reader<'a> {
    rules: &'a SampleRules,
    cache: &'a ScrapeCache,
    cursor: Cursor,
    family: Family<'a>,
    row: Row,
    /// Lines that may still be new.
    left_new: usize,
}

/// The family whose metadata were read last.
#[derive(Default)]
struct Family<'a> {
    name: Cow<'a, str>,
    metric_type: MetricType,
    help: Cow<'a, str>,
    unit: &'a str,
    shared: Option<Arc<Metadata>>,
}

impl<'a> Reader<'a> {
    fn read(&mut self, mut parser: Parser<'a>) -> Result<(), Stop> {
        loop {
            if let Some((text, id)) = self.cache.expected(self.cursor)
                && let Some(line) = parser.next_if_series(text).map_err(ScrapeError::Parse)?
            {
                let source = if self.cache.has_type(id, line.declared_type) {
                    ScrapeCache::advance(&mut self.cursor);
                    Source::Known(id)
                } else {
                    self.source(&line)?
                };
                self.take_line(source, &line);
                continue;
            }
            match parser.next().map_err(ScrapeError::Parse)? {
                None => break,
                Some(Entry::Sample(line)) => {
                    let source = self.source(&line)?;
                    self.take_line(source, &line);
                }
                Some(Entry::Type { name, metric_type }) => self.family(name).metric_type = metric_type,
                Some(Entry::Help { name, text }) => self.family(name).help = text,
                Some(Entry::Unit { name, unit }) => self.family(name).unit = unit,
                Some(Entry::Comment) => {}
            }
        }
        Ok(())
    }

    fn within_limit(&self) -> Result<(), ScrapeError> {
        let (samples, limit) = (self.row.kept, self.rules.limits.sample_bound());
        if samples > limit { Err(ScrapeError::SampleLimit { samples, limit }) } else { Ok(()) }
    }

    fn take_line(&mut self, source: Source, line: &SampleLine<'_>) {
        self.take(source, line.timestamp, RowValue::Float(line.value), exemplar(line));
    }

    /// Counts a sample, and keeps it while the page is within its limit.
    fn take(&mut self, source: Source, at: Option<Timestamp>, value: RowValue, exemplars: Vec<RowExemplar>) {
        let limit = self.rules.limits.sample_bound();
        self.row.scraped += 1;
        let kept = match &source {
            Source::Known(id) => self.cache.get(*id).is_some_and(|entry| entry.is(Mark::Kept)),
            Source::New(series) => series.labels.is_some(),
        };
        self.row.kept += usize::from(kept);
        // Of the lines that relabelling drops, the first are held so that the cache knows them next time.
        let held = if kept { self.row.kept <= limit } else { self.row.scraped - self.row.kept <= MAX_DROPPED };
        if held {
            let at = at.filter(|_| self.rules.honor_timestamps);
            self.row.samples.push(RowSample { source, at, value, exemplars });
        }
    }

    fn source(&mut self, line: &SampleLine<'_>) -> Result<Source, Stop> {
        if let Some(id) = self.cache.find(&mut self.cursor, line) {
            return Ok(Source::Known(id));
        }
        self.left_new = self.left_new.checked_sub(1).ok_or(Stop::TooNew)?;
        let labels = self.rules.labels(line)?;
        let metadata = labels.as_ref().and_then(|_| self.family.metadata_of(&line.name()));
        let text = Box::from(line.series);
        Ok(Source::New(Box::new(NewSeries { text, declared_type: line.declared_type, labels, metadata })))
    }

    fn family(&mut self, name: Cow<'a, str>) -> &mut Family<'a> {
        if self.family.name != name {
            self.family = Family { name, ..Family::default() };
        }
        self.family.shared = None;
        &mut self.family
    }
}

impl<'a> PageVisitor<'a> for Reader<'a> {
    type Error = Stop;

    fn family(&mut self, family: PageFamily<'a>) -> Result<(), Stop> {
        let PageFamily { name, metric_type, help, unit } = family;
        self.family = Family { name: Cow::Borrowed(name), metric_type, help: Cow::Borrowed(help), unit, shared: None };
        Ok(())
    }

    fn sample(&mut self, sample: PageSample<'_>) -> Result<(), Stop> {
        let PageSample { line, histogram, exemplars } = sample;
        let is_expected = |(text, id)| text == line.series && self.cache.has_type(id, line.declared_type);
        let source = match self.cache.expected(self.cursor) {
            Some(expected) if is_expected(expected) => {
                ScrapeCache::advance(&mut self.cursor);
                Source::Known(expected.1)
            }
            _ => self.source(&line)?,
        };
        let value = match histogram {
            Some(histogram) => RowValue::Histogram(Box::new(self.rules.native.fit(*histogram, line.line)?)),
            None => RowValue::Float(line.value),
        };
        let exemplars = exemplars.into_iter();
        let exemplars =
            exemplars.map(|found| RowExemplar { labels: found.labels, value: found.value, at: found.timestamp });
        self.take(source, line.timestamp, value, exemplars.collect());
        Ok(())
    }
}

impl Family<'_> {
    /// The metadata of a sample, if it belongs to the family.
    fn metadata_of(&mut self, sample: &str) -> Option<Arc<Metadata>> {
        if self.name.is_empty() {
            return None;
        }
        let suffix = sample.strip_prefix(self.name.as_ref())?;
        if !matches!(suffix, "" | "_bucket" | "_sum" | "_count" | "_total" | "_created" | "_info") {
            return None;
        }
        let build = || {
            let (unit, help) = (Arc::from(self.unit), Arc::from(self.help.as_ref()));
            Arc::new(Metadata { metric_type: self.metric_type, unit, help })
        };
        Some(Arc::clone(self.shared.get_or_insert_with(build)))
    }
}

impl SampleRules {
    /// The labels of a sample as they are stored; none if relabelling drops it.
    pub(crate) fn labels(&self, line: &SampleLine<'_>) -> Result<Option<Labels>, ScrapeError> {
        let mut builder = LabelsBuilder::default();
        line.labels_into(&mut builder).map_err(ScrapeError::Parse)?;
        self.add_target_labels(&mut builder);
        if relabel::apply(&mut builder, &self.relabel) == Verdict::Drop {
            return Ok(None);
        }
        let labels = builder.build();
        if labels.is_empty() {
            return Ok(None);
        }
        if labels.metric_name().is_none() {
            return Err(ScrapeError::NoMetricName(line.line));
        }
        if self.validation == NameValidation::Legacy {
            check_names(&labels, line.line)?;
        }
        self.check_limits(&labels)?;
        Ok(Some(labels))
    }

    fn add_target_labels(&self, builder: &mut LabelsBuilder) {
        let mut displaced: Vec<(String, String)> = Vec::new();
        for (name, value) in &self.target_labels {
            match builder.get(name) {
                Some(_) if self.honor_labels => continue,
                Some(exposed) => displaced.push((name.to_owned(), exposed.to_owned())),
                None => {}
            }
            builder.set(name, value);
        }
        // Shorter names first, so that `exported_a` of the page gives way to `a`, as upstream.
        displaced.sort_by_key(|(name, _)| name.len());
        for (name, value) in displaced {
            let mut free = format!("exported_{name}");
            while builder.get(&free).is_some() {
                free.insert_str(0, "exported_");
            }
            builder.set(&free, &value);
        }
    }

    fn check_limits(&self, labels: &Labels) -> Result<(), ScrapeError> {
        let over = |limit_name, found, limit| {
            let metric = labels.get(METRIC_NAME).unwrap_or_default().chars().take(50).collect();
            Err(ScrapeError::LabelLimit { limit_name, found, limit, metric })
        };
        let limits = &self.limits;
        if limits.label_limit > 0 && labels.len() > limits.label_limit {
            return over("label_limit", labels.len(), limits.label_limit);
        }
        for (name, value) in labels {
            if limits.label_name_length_limit > 0 && name.len() > limits.label_name_length_limit {
                return over("label_name_length_limit", name.len(), limits.label_name_length_limit);
            }
            if limits.label_value_length_limit > 0 && value.len() > limits.label_value_length_limit {
                return over("label_value_length_limit", value.len(), limits.label_value_length_limit);
            }
        }
        Ok(())
    }
}

/// Refuses names that are not of the old form.
fn check_names(labels: &Labels, line: u32) -> Result<(), ScrapeError> {
    let is_legacy = |name: &str, colons: bool| {
        let valid = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || (colons && byte == b':');
        !name.starts_with(|c: char| c.is_ascii_digit()) && name.bytes().all(valid)
    };
    let metric_name = labels.metric_name().unwrap_or_default();
    let name = (!is_legacy(metric_name, true)).then_some(metric_name);
    let name = name.or_else(|| labels.iter().map(|(name, _)| name).find(|name| !is_legacy(name, false)));
    match name {
        Some(name) => Err(ScrapeError::Name { name: name.chars().take(50).collect(), line }),
        None => Ok(()),
    }
}

/// The exemplar of a line. One with a label twice is left out, its sample is not.
fn exemplar(line: &SampleLine<'_>) -> Vec<RowExemplar> {
    let read = line.exemplar.as_ref().and_then(|found| Some((found, found.labels().ok()?)));
    read.map(|(found, labels)| RowExemplar { labels, value: found.value, at: found.timestamp }).into_iter().collect()
}
