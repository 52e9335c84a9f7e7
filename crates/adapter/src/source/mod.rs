//! A Prometheus-compatible engine over HTTP as a source of metrics.
//!
//! - [`RemoteSource`]: asks it.
//! - `plan`: what is asked beside a query. `ages`: which input an element goes back to. `memory`: the last answers.
//!
//! ```text
//! question ─▶ plan ─┬─▶ query ─────────┐
//!                   ├─▶ ages ──────────┼─▶ is a target down? ── no ─▶ answer ─▶ memory
//!                   └─▶ targets down? ─┘        └ yes ─▶ held query, lapsed series ─▶ answer
//! no answer in time ─▶ the last answer of the memory, all of it held
//! ```
//!
//! All questions of an answer are asked for one instant, and within one deadline.
//!
//! Rule: what the engine does not say is not made up: an answer with warnings is none, and a value whose age the
//! engine cannot tell says so.

mod ages;
mod memory;
mod plan;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use datamodel::time::TimeRange;
use datamodel::{Labels, Matcher, Timestamp};
use futures_util::future::{try_join, try_join_all};
use metrics_api::{
    Ages, BoxFuture, InstantAnswer, InstantValue, MAX_SHAPES, MetricsSource, SeriesShape, SourceError, SourceSample,
};
use remote::client::{Answer, ElementValue, QueryValue, VectorElement};
use remote::{Client, ClientError};
use storage::Queryable;
use tokio::time::Instant;

use self::ages::InputAges;
use self::memory::Memory;
use self::plan::{DOWN_TARGETS, Plan};
use crate::metrics::SourceMetrics;

/// Longest time for the list of one rule's series.
const LIST_TIMEOUT: Duration = Duration::from_secs(30);
/// Lapsed series that an answer names; beyond them it is enough to know that there are many.
const MAX_LAPSED: usize = 1_000;
/// Characters of a query in an error.
const EXCERPT_CHARS: usize = 300;

/// Asks an engine over HTTP.
#[derive(Debug)]
pub struct RemoteSource {
    client: Client,
    ages: Ages,
    memory: Mutex<Memory>,
    is_down: AtomicBool,
    metrics: Option<SourceMetrics>,
}

impl RemoteSource {
    /// Takes the client, and until when samples count.
    #[must_use]
    pub fn new(client: Client, ages: Ages) -> Self {
        Self { client, ages, memory: Mutex::default(), is_down: AtomicBool::new(false), metrics: None }
    }

    /// Counts in these instruments from now on.
    #[must_use]
    pub fn with_metrics(mut self, metrics: SourceMetrics) -> Self {
        self.metrics = Some(metrics);
        self
    }

    /// The answer as the engine gives it.
    async fn answer(&self, query: &str, at: Timestamp, deadline: Duration) -> Result<InstantAnswer, Failure> {
        let begun = Instant::now();
        let plan = Plan::of(query, self.ages.hold());
        let ((main, down), ages) = try_join(
            try_join(self.query(query, at, deadline), self.query(DOWN_TARGETS, at, deadline)),
            self.all(&plan.ages, at, deadline),
        )
        .await?;
        let mut warnings = main.warnings;
        warnings.extend(down.warnings);
        let mut gathered = Gathered { undated: plan.undated.clone(), ..Gathered::default() };
        gathered.take_ages(ages, &mut warnings);
        let mut value = main.value;
        if !plan.lapsed.is_empty() && has_elements(&down.value) {
            let left = deadline.saturating_sub(begun.elapsed());
            let (held, lapsed) =
                try_join(self.query(&plan.held_query, at, left), self.all(&plan.lapsed, at, left)).await?;
            value = held.value;
            warnings.extend(held.warnings);
            gathered.take_lapsed(lapsed, (at, self.ages), &mut warnings);
        }
        Ok(gathered.answer(value, at, warnings))
    }

    /// All answers, or what the engine says against one of the questions.
    async fn all(
        &self,
        queries: &[String],
        at: Timestamp,
        deadline: Duration,
    ) -> Result<Result<Vec<Answer<QueryValue>>, String>, Failure> {
        match try_join_all(queries.iter().map(|query| self.query(query, at, deadline))).await {
            Ok(answers) => Ok(Ok(answers)),
            Err(Failure::Refused(reason)) => Ok(Err(reason)),
            Err(failure) => Err(failure),
        }
    }

    async fn query(&self, query: &str, at: Timestamp, deadline: Duration) -> Result<Answer<QueryValue>, Failure> {
        let begun = Instant::now();
        let outcome = self.client.query(query, at, deadline).await;
        self.observe("/api/v1/query", begun);
        outcome.map_err(|error| Failure::of(&error, deadline))
    }

    fn observe(&self, path: &str, begun: Instant) {
        if let Some(metrics) = &self.metrics {
            metrics.asked(path, &self.client.url().to_string(), begun.elapsed());
        }
    }

    /// Says once that the engine is away, and once that it is back.
    fn note(&self, failure: Option<&SourceError>) {
        let was_down = self.is_down.swap(failure.is_some(), Ordering::Relaxed);
        match failure {
            Some(error) if !was_down => {
                tracing::warn!(url = %self.client.url(), "{error}; the last answers are held as long as they count");
            }
            None if was_down => tracing::info!(url = %self.client.url(), "source answers again"),
            _ => {}
        }
    }

    fn recall(&self, query: &str, at: Timestamp) -> Option<InstantAnswer> {
        let recalled = self.memory().recall(query, at, self.ages.hold())?;
        if let Some(metrics) = &self.metrics {
            metrics.recalled();
        }
        Some(recalled)
    }

    fn memory(&self) -> std::sync::MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn list(&self, matchers: &[Matcher], range: TimeRange) -> Result<BTreeSet<SeriesShape>, SourceError> {
        let begun = Instant::now();
        let mut shapes = BTreeSet::new();
        let take = |labels: Labels| {
            shapes.extend(SeriesShape::of(&labels));
            if shapes.len() > MAX_SHAPES { Err(ClientError::TooMany(MAX_SHAPES)) } else { Ok(()) }
        };
        let outcome = self.client.series(&[matchers], Some(range), LIST_TIMEOUT, take).await;
        self.observe("/api/v1/series", begun);
        let selector: Vec<String> = matchers.iter().map(ToString::to_string).collect();
        let failed = |error: &ClientError| Failure::of(error, LIST_TIMEOUT).into_error(&selector.join(","));
        match outcome.map_err(|error| failed(&error))?.as_slice() {
            [] => Ok(shapes),
            [first, ..] => Err(SourceError::Unavailable(format!("source answers with warnings: {first}"))),
        }
    }
}

impl MetricsSource for RemoteSource {
    fn series<'a>(
        &'a self,
        matchers: &'a [Matcher],
        range: TimeRange,
    ) -> BoxFuture<'a, Result<BTreeSet<SeriesShape>, SourceError>> {
        Box::pin(self.list(matchers, range))
    }

    fn instant<'a>(
        &'a self,
        query: &'a str,
        at: Timestamp,
        _fresh: Option<Arc<dyn Queryable>>,
        deadline: Duration,
    ) -> BoxFuture<'a, Result<InstantAnswer, SourceError>> {
        Box::pin(async move {
            let failure = match self.answer(query, at, deadline).await {
                Ok(answer) => {
                    self.note(None);
                    if answer.warnings.is_empty() {
                        self.memory().keep(query, &answer, at);
                    }
                    return Ok(answer);
                }
                Err(failure) => failure,
            };
            let may_be_held = failure.may_be_held();
            let error = failure.into_error(query);
            if may_be_held {
                self.note(Some(&error));
                if let Some(answer) = self.recall(query, at) {
                    return Ok(answer);
                }
            }
            Err(error)
        })
    }
}

/// Why a question has no answer.
#[derive(Debug)]
enum Failure {
    /// The engine cannot be reached or does not work.
    Unavailable(String),
    /// It takes too long.
    Timeout(Duration),
    /// It says that the question is wrong.
    Refused(String),
    /// More elements than are taken.
    TooLarge(usize),
}

impl Failure {
    fn of(error: &ClientError, deadline: Duration) -> Self {
        match error {
            ClientError::Timeout(_) => Self::Timeout(deadline),
            ClientError::Api { kind, .. } if kind == "timeout" => Self::Timeout(deadline),
            ClientError::Api { kind, message } if matches!(kind.as_str(), "bad_data" | "execution" | "422") => {
                Self::Refused(message.clone())
            }
            ClientError::TooMany(count) => Self::TooLarge(*count),
            other => Self::Unavailable(chain(other)),
        }
    }

    /// Whether the engine is at fault, and not the question.
    const fn may_be_held(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Timeout(_))
    }

    fn into_error(self, query: &str) -> SourceError {
        match self {
            Self::Unavailable(reason) => SourceError::Unavailable(reason),
            Self::Timeout(deadline) => SourceError::Timeout(deadline),
            Self::TooLarge(count) => SourceError::TooLarge(count),
            Self::Refused(reason) => {
                SourceError::Refused { query: query.chars().take(EXCERPT_CHARS).collect(), reason }
            }
        }
    }
}

/// An error with those behind it.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

fn has_elements(value: &QueryValue) -> bool {
    matches!(value, QueryValue::Vector(elements) if !elements.is_empty())
}

/// What is known of the inputs of an answer.
#[derive(Debug, Default)]
struct Gathered {
    inputs: InputAges,
    held: Vec<Labels>,
    missing: Vec<Labels>,
    undated: Option<String>,
}

impl Gathered {
    fn take_ages(&mut self, answers: Result<Vec<Answer<QueryValue>>, String>, warnings: &mut Vec<String>) {
        match answers {
            Ok(answers) => self.add(answers, warnings, |_labels, _at| {}),
            Err(reason) => self.undated = Some(format!("the source refuses to tell it: {reason}")),
        }
    }

    /// A lapsed series is held as long as its last sample counts, and missing then.
    fn take_lapsed(
        &mut self,
        answers: Result<Vec<Answer<QueryValue>>, String>,
        (now, ages): (Timestamp, Ages),
        warnings: &mut Vec<String>,
    ) {
        let answers = match answers {
            Ok(answers) => answers,
            Err(reason) => {
                self.undated = Some(format!("the source refuses to tell what targets do not answer: {reason}"));
                return;
            }
        };
        let (mut held, mut missing) = (Vec::new(), Vec::new());
        self.add(answers, warnings, |labels, at| {
            let list = if ages.state(at, now).is_some() { &mut held } else { &mut missing };
            if list.len() < MAX_LAPSED {
                list.push(labels.clone());
            }
        });
        (self.held, self.missing) = (held, missing);
    }

    fn add(
        &mut self,
        answers: Vec<Answer<QueryValue>>,
        warnings: &mut Vec<String>,
        mut seen: impl FnMut(&Labels, Timestamp),
    ) {
        for answer in answers {
            warnings.extend(answer.warnings);
            let QueryValue::Vector(elements) = answer.value else { continue };
            for VectorElement { labels, value, .. } in elements {
                let ElementValue::Float(seconds) = value else { continue };
                // Milliseconds of the next 285,000 years are exact.
                let at = Timestamp::from_unix_ms((seconds * 1_000.0).round() as i64);
                seen(&labels, at);
                self.inputs.add(labels, at);
            }
        }
    }

    fn answer(mut self, value: QueryValue, at: Timestamp, warnings: Vec<String>) -> InstantAnswer {
        let mut is_dated = true;
        let value = match value {
            QueryValue::Vector(elements) => {
                let sample = |element: VectorElement| {
                    let timestamp = self.inputs.newest(&element.labels);
                    is_dated &= timestamp.is_some();
                    // A native histogram is no number, and so no sample.
                    let value = match element.value {
                        ElementValue::Float(value) => value,
                        ElementValue::Histogram { .. } => f64::NAN,
                    };
                    SourceSample { labels: element.labels, value, timestamp: timestamp.unwrap_or(at) }
                };
                InstantValue::Vector(elements.into_iter().map(sample).collect())
            }
            QueryValue::Scalar(sample) => InstantValue::Scalar(sample.value),
            QueryValue::Matrix(_) => InstantValue::Other("range vector"),
            QueryValue::String(_) => InstantValue::Other("string"),
        };
        let undated = match (self.undated, is_dated) {
            (_, true) => None,
            (Some(reason), false) => Some(reason),
            (None, false) => Some("the source tells no time of some inputs".to_owned()),
        };
        InstantAnswer { value, held: self.held, missing: self.missing, warnings, undated }
    }
}

#[cfg(test)]
mod tests;
