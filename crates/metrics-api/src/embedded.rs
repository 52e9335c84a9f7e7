//! The engine of this process as a source.
//!
//! - [`EmbeddedSource`]: `promql` over a storage.
//! - [`Discovered`]: which targets are still there, so that their last samples can be held.
//!
//! ```text
//! storage ─▶ HoldView ─▶ promql::Engine ─▶ answer + held series
//!            hides the end of a series whose target is still discovered; drops what is expired
//! ```
//!
//! Rule: what is held and what is expired is decided for every series before it is aggregated, so that it
//! also holds inside `sum` and `avg`.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use datamodel::time::TimeRange;
use datamodel::{Labels, Matcher, Timestamp, is_stale_nan};
use promql::{Engine, EvalError, Expr, ParseError, QueryContext, QueryResult, QueryValue, Value};
use storage::{Querier, QueryError, Queryable, Samples, SelectHints, Series, SeriesSet};

use crate::error::excerpt;
use crate::hold::{Ages, SampleState};
use crate::recorded::{Evaluation, MAX_RECORDED_DEPTH, Recorded, RowsView, longest_look_back};
use crate::source::{
    BoxFuture, InstantAnswer, InstantValue, MAX_SHAPES, MetricsSource, SeriesShape, SourceError, SourceSample,
};
use crate::window::longest_range;

/// Held or missing series that an answer names; beyond them it is enough to know that there are many.
const MAX_SEEN: usize = 1_000;

/// Knows which scrape targets there are.
pub trait Discovered: Send + Sync {
    /// Whether the target that a series comes from is still discovered. Asked once for each series that
    /// ended; must be quick.
    fn is_discovered(&self, series: &Labels) -> bool;
}

/// Evaluates queries in this process.
#[derive(Clone)]
pub struct EmbeddedSource {
    engine: Engine,
    storage: Arc<dyn Queryable>,
    discovered: Option<Arc<dyn Discovered>>,
    recorded: Option<Arc<dyn Recorded>>,
    ages: Ages,
    covered_since: Option<Timestamp>,
}

impl std::fmt::Debug for EmbeddedSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EmbeddedSource").field("engine", &self.engine).field("ages", &self.ages).finish_non_exhaustive()
    }
}

impl EmbeddedSource {
    /// Takes an engine, and the storage that it reads.
    #[must_use]
    pub fn new(engine: Engine, storage: Arc<dyn Queryable>, ages: Ages) -> Self {
        Self { engine, storage, discovered: None, recorded: None, ages, covered_since: None }
    }

    /// Holds the last samples of targets that do not answer but are still discovered. Without this nothing
    /// is held beyond the end of its series.
    #[must_use]
    pub fn with_discovered(mut self, discovered: Arc<dyn Discovered>) -> Self {
        self.discovered = Some(discovered);
        self
    }

    /// Evaluates the names that recording rules write from their expressions where there are fresh rows.
    #[must_use]
    pub fn with_recorded(mut self, recorded: Arc<dyn Recorded>) -> Self {
        self.recorded = Some(recorded);
        self
    }

    /// Refuses queries that look back beyond this instant: when scraping began, or began again after a gap.
    #[must_use]
    pub const fn covered_since(mut self, since: Timestamp) -> Self {
        self.covered_since = Some(since);
        self
    }

    fn check_covered(&self, expr: &Expr, at: Timestamp) -> Result<(), SourceError> {
        let wanted = match &self.recorded {
            Some(recorded) => longest_look_back(expr, &**recorded, MAX_RECORDED_DEPTH),
            None => longest_range(expr),
        };
        let Some((since, wanted)) = self.covered_since.zip(wanted) else {
            return Ok(());
        };
        let held = at.since(since);
        if held < wanted { Err(SourceError::NotCovered { held, wanted }) } else { Ok(()) }
    }

    fn evaluate(
        &self,
        query: &str,
        at: Timestamp,
        fresh: Option<&dyn Queryable>,
        cancel: Arc<AtomicBool>,
    ) -> Result<InstantAnswer, SourceError> {
        let refused = |cause: ParseError| SourceError::Refused { query: excerpt(query), reason: cause.to_string() };
        let expr = self.engine.parse(query).map_err(refused)?;
        self.check_covered(&expr, at)?;
        let storage = fresh.unwrap_or(&*self.storage);
        let view =
            HoldView { storage, discovered: self.discovered.as_deref(), ages: self.ages, seen: Mutex::default() };
        let context = QueryContext { cancel, ..QueryContext::default() };
        let (result, warnings) = match &self.recorded {
            Some(recorded) if fresh.is_some() => {
                let mut evaluation = Evaluation {
                    engine: &self.engine,
                    storage: &view,
                    recorded: &**recorded,
                    at,
                    context: &context,
                    warnings: Vec::new(),
                };
                let rows = evaluation.rows(&expr, MAX_RECORDED_DEPTH).map_err(|cause| self.failure(query, &cause))?;
                let view = RowsView { inner: &view, rows: &rows };
                (self.engine.instant(&view, (&expr, query), at, &context), evaluation.warnings)
            }
            _ => (self.engine.instant(&view, (&expr, query), at, &context), Vec::new()),
        };
        let mut result = result.map_err(|cause| self.failure(query, &cause))?;
        result.annotations.warnings.extend(warnings);
        Ok(answer(result, at, view.seen.into_inner().unwrap_or_else(PoisonError::into_inner)))
    }

    fn failure(&self, query: &str, cause: &EvalError) -> SourceError {
        match cause {
            EvalError::TimedOut | EvalError::Cancelled => SourceError::Timeout(self.engine.options().timeout),
            EvalError::Storage(_) => SourceError::Unavailable(with_source(cause)),
            _ => SourceError::Refused { query: excerpt(query), reason: cause.to_string() },
        }
    }

    fn shapes(&self, matchers: &[Matcher], range: TimeRange) -> Result<BTreeSet<SeriesShape>, SourceError> {
        let failed = |cause: QueryError| SourceError::Unavailable(cause.to_string());
        let querier = self.storage.querier(range).map_err(failed)?;
        let hints = SelectHints { labels_only: true, ..SelectHints::default() };
        let mut series = querier.select(matchers, &hints).map_err(failed)?;
        let mut shapes = BTreeSet::new();
        while let Some(next) = series.next() {
            shapes.extend(SeriesShape::of(next.map_err(failed)?.labels()));
            if shapes.len() > MAX_SHAPES {
                return Err(SourceError::TooLarge(MAX_SHAPES));
            }
        }
        Ok(shapes)
    }
}

/// An error with the one behind it, which its text leaves out.
fn with_source(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), |source| format!("{error}: {source}"))
}

fn answer(result: QueryResult, at: Timestamp, seen: Seen) -> InstantAnswer {
    let value = match result.value {
        QueryValue::InstantVector(elements) => {
            let sample = |element: promql::InstantSample| {
                // A native histogram is no number, and so no sample.
                let value = match element.value {
                    Value::Float(value) => value,
                    Value::Histogram(_) => f64::NAN,
                };
                SourceSample { labels: element.labels, value, timestamp: element.newest_input.unwrap_or(at) }
            };
            InstantValue::Vector(elements.into_iter().map(sample).collect())
        }
        QueryValue::Scalar(sample) => InstantValue::Scalar(sample.value),
        QueryValue::String { .. } => InstantValue::Other("string"),
        QueryValue::RangeVector(_) => InstantValue::Other("range vector"),
    };
    InstantAnswer {
        value,
        held: seen.held,
        missing: seen.missing,
        warnings: result.annotations.warnings,
        undated: None,
    }
}

impl MetricsSource for EmbeddedSource {
    fn series<'a>(
        &'a self,
        matchers: &'a [Matcher],
        range: TimeRange,
    ) -> BoxFuture<'a, Result<BTreeSet<SeriesShape>, SourceError>> {
        let (source, matchers) = (self.clone(), matchers.to_vec());
        Box::pin(async move { joined(tokio::task::spawn_blocking(move || source.shapes(&matchers, range)).await) })
    }

    fn instant<'a>(
        &'a self,
        query: &'a str,
        at: Timestamp,
        fresh: Option<Arc<dyn Queryable>>,
        _deadline: Duration,
    ) -> BoxFuture<'a, Result<InstantAnswer, SourceError>> {
        let (source, query) = (self.clone(), query.to_owned());
        Box::pin(async move {
            let cancel = Arc::new(AtomicBool::new(false));
            // Raised when the caller drops this future; harmless after the end.
            let _raise = RaiseOnDrop(Arc::clone(&cancel));
            joined(tokio::task::spawn_blocking(move || source.evaluate(&query, at, fresh.as_deref(), cancel)).await)
        })
    }

    fn max_name_bytes(&self) -> usize {
        // No URL in between; the bound is the size of the automaton.
        64 << 10
    }
}

fn joined<T>(outcome: Result<Result<T, SourceError>, tokio::task::JoinError>) -> Result<T, SourceError> {
    outcome.unwrap_or_else(|_ended| Err(SourceError::Unavailable("the evaluation ended early".to_owned())))
}

struct RaiseOnDrop(Arc<AtomicBool>);

impl Drop for RaiseOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A storage in which the series of targets that do not answer go on for a while.
struct HoldView<'a> {
    storage: &'a dyn Queryable,
    discovered: Option<&'a dyn Discovered>,
    ages: Ages,
    seen: Mutex<Seen>,
}

/// What the view did to the series that were read.
#[derive(Debug, Default)]
struct Seen {
    held: Vec<Labels>,
    missing: Vec<Labels>,
}

/// Keeps a series in mind, up to the bound.
fn remember(list: &mut Vec<Labels>, labels: &Labels) {
    if list.len() < MAX_SEEN {
        list.push(labels.clone());
    }
}

impl HoldView<'_> {
    /// Judges what was read of a series up to `end`.
    ///
    /// - Target not answering but still discovered, within the hold: the marker is hidden.
    /// - The same beyond the hold: missing.
    /// - Ended otherwise: left as it is, as in every query.
    /// - Not ended, and older than the hold: forgotten.
    fn judge(&self, labels: &Labels, from: usize, end: Timestamp, samples: &mut Samples) {
        let read = samples.values.get(from..).unwrap_or_default();
        let markers = read.iter().rev().take_while(|value| is_stale_nan(**value)).count();
        let len = samples.len() - markers;
        let Some(sampled) = samples.timestamps.get(from..len).and_then(<[i64]>::last) else {
            return;
        };
        let has_ended = markers > 0;
        let state = self.ages.state(Timestamp::from_unix_ms(*sampled), end);
        if state == Some(SampleState::Fresh) && !has_ended {
            return;
        }
        let is_discovered = self.discovered.is_some_and(|discovered| discovered.is_discovered(labels));
        if state.is_none() && !has_ended {
            truncate(samples, from);
        }
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        match state {
            None if is_discovered => remember(&mut seen.missing, labels),
            Some(_) if is_discovered || !has_ended => {
                truncate(samples, len);
                remember(&mut seen.held, labels);
            }
            _ => {}
        }
    }
}

/// Forgets the samples from an index on.
fn truncate(samples: &mut Samples, len: usize) {
    samples.timestamps.truncate(len);
    samples.values.truncate(len);
    samples.histograms.retain(|(index, _)| *index < len);
}

impl Queryable for HoldView<'_> {
    fn querier(&self, range: TimeRange) -> Result<Box<dyn Querier + '_>, QueryError> {
        Ok(Box::new(HoldQuerier { view: self, inner: self.storage.querier(range)? }))
    }
}

struct HoldQuerier<'a> {
    view: &'a HoldView<'a>,
    inner: Box<dyn Querier + 'a>,
}

impl Querier for HoldQuerier<'_> {
    fn select(&self, matchers: &[Matcher], hints: &SelectHints) -> Result<Box<dyn SeriesSet + '_>, QueryError> {
        Ok(Box::new(HoldSet { view: self.view, inner: self.inner.select(matchers, hints)? }))
    }

    fn label_names(&self, matchers: &[Matcher], limit: Option<usize>) -> Result<Vec<Arc<str>>, QueryError> {
        self.inner.label_names(matchers, limit)
    }

    fn label_values(
        &self,
        name: &str,
        matchers: &[Matcher],
        limit: Option<usize>,
    ) -> Result<Vec<Arc<str>>, QueryError> {
        self.inner.label_values(name, matchers, limit)
    }
}

struct HoldSet<'a> {
    view: &'a HoldView<'a>,
    inner: Box<dyn SeriesSet + 'a>,
}

impl SeriesSet for HoldSet<'_> {
    fn next(&mut self) -> Option<Result<Box<dyn Series + '_>, QueryError>> {
        let view = self.view;
        let series = self.inner.next()?;
        Some(series.map(|inner| -> Box<dyn Series + '_> { Box::new(HoldSeries { view, inner }) }))
    }
}

struct HoldSeries<'a> {
    view: &'a HoldView<'a>,
    inner: Box<dyn Series + 'a>,
}

impl Series for HoldSeries<'_> {
    fn labels(&self) -> &Labels {
        self.inner.labels()
    }

    fn read(&self, range: TimeRange, into: &mut Samples) -> Result<(), QueryError> {
        let from = into.len();
        self.inner.read(range, into)?;
        self.view.judge(self.inner.labels(), from, range.end, into);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
