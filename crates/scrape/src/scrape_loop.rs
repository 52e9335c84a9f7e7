//! The loop of one target: when it is scraped, what follows, and what is written when it is gone.
//!
//! ```text
//! offset by hash ─▶ tick ─▶ fetch within the timeout ─▶ one batch ─▶ tick ─▶ …
//!                     ▲            (a pull in between gives way)
//! gone ─▶ next tick ──┴─▶ staleness markers for all its series
//! ```
//!
//! Rule: one request at a time goes to a target, and a scrape never outlives its interval.

use std::panic::resume_unwind;
use std::sync::Arc;
use std::time::Duration;

use datamodel::Timestamp;
use datamodel::exposition::PageFormat;
use datamodel::registry::Summary;
use datamodel::time::duration_ms;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, sleep, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::error::{ScrapeError, describe};
use crate::fetch::{Fetcher, LargePages, PageRequest};
use crate::ingest::{Ingest, LimitReport, ScrapeReport, TypedPage};
use crate::manager::{LARGE_PAGE_BYTES, Shared};
use crate::page::SampleRules;
use crate::pool::JobState;
use crate::protocol::{ScrapeProtocol, accept_header};
use crate::pull::{PULL_BUDGET, PullOutcome, PullQueue, PullRequest, PullSkip, answer};
use crate::target::{TargetHealth, TargetState};

/// How far a scrape may be off its schedule and still gets the scheduled timestamp, in milliseconds: half
/// of what would be seen in a `rate`, and regular timestamps compress to nothing.
const MAX_ALIGN_MS: i64 = 2;

/// Places in an interval at which scrapes begin. Targets that share a place are scraped by one wake of the thread, one
/// after the other with the same code and data at hand, which halves what a scrape costs where some hundred targets
/// share an interval; 64 places are still close enough to an even load.
const PLACES: u64 = 64;

/// Why a loop ends.
#[derive(Clone, Debug)]
pub(crate) struct Signals {
    /// The loop is to end. Without a shutdown, the target left its job: its series end.
    pub(crate) gone: CancellationToken,
    /// The server ends, which ends the loop as well: the target's series do not.
    pub(crate) shutdown: CancellationToken,
}

/// Scrapes one target.
#[derive(Debug)]
pub(crate) struct ScrapeLoop {
    state: Arc<TargetState>,
    job: Arc<JobState>,
    shared: Arc<Shared>,
    request: PageRequest,
    fetcher: Fetcher,
    /// Away only while a blocking thread works with it.
    ingest: Option<Box<Ingest>>,
    pulls: PullQueue,
    /// A time of the schedule, to which scrapes are aligned.
    aligned: Option<Timestamp>,
    last_started: Option<Instant>,
    /// Where the time between two scrapes is noted.
    interval: Option<Summary>,
    was_refusing: bool,
}

impl ScrapeLoop {
    pub(crate) fn new(
        state: Arc<TargetState>,
        job: Arc<JobState>,
        shared: Arc<Shared>,
        pulls: PullQueue,
        large_pages: LargePages,
    ) -> Self {
        let config = job.config.config();
        let rules = SampleRules {
            target_labels: state.spec.labels.clone(),
            honor_labels: config.honor_labels,
            honor_timestamps: config.honor_timestamps,
            track_timestamps: config.track_timestamps_staleness,
            validation: config.metric_name_validation,
            relabel: job.config.metric_relabel.clone(),
            limits: config.limits,
            native: config.native_histograms,
        };
        let request = PageRequest {
            resolved: PageRequest::resolve(&state.spec.url),
            url: state.spec.url.clone(),
            accept: accept_header(&config.scrape_protocols, job.config.escaping()),
            enable_compression: config.enable_compression,
            body_bound: config.limits.body_bound(),
        };
        let fetcher = Fetcher::new(Arc::clone(&job.client), shared.pages.clone(), large_pages);
        let limit_report = config
            .extra_scrape_metrics
            .then_some(LimitReport { timeout: state.spec.timeout, sample_limit: config.limits.sample_limit });
        let ingest = Some(Box::new(Ingest::new(Arc::new(rules), limit_report)));
        Self {
            state,
            job,
            shared,
            request,
            fetcher,
            ingest,
            pulls,
            aligned: None,
            last_started: None,
            interval: None,
            was_refusing: false,
        }
    }

    /// Scrapes until the server ends, or until the target is gone and its series have ended.
    pub(crate) async fn run(mut self, signals: Signals) {
        let first = Instant::now() + self.first_delay();
        let mut ticker = interval_at(first, self.state.spec.interval);
        ticker.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                biased;
                () = signals.gone.cancelled() => break,
                _ = ticker.tick() => self.scheduled(&signals).await,
                waiting = self.pulls.next() => self.pulled(waiting, &mut ticker, &signals).await,
            }
        }
        if self.last_started.is_some() && !signals.shutdown.is_cancelled() {
            tokio::select! {
                biased;
                () = signals.shutdown.cancelled() => {}
                () = self.end(&mut ticker) => {}
            }
        }
    }

    /// How long until the target's place in the interval comes, which depends on its hash alone.
    fn first_delay(&self) -> Duration {
        let interval_ms = u64::try_from(duration_ms(self.state.spec.interval)).unwrap_or(1).max(1);
        let place = (self.state.spec.hash ^ self.shared.offset_seed) % interval_ms;
        let place = place - place % (interval_ms / PLACES).max(1);
        let now = self.shared.clock.now().unix_ms().rem_euclid(i64::try_from(interval_ms).unwrap_or(i64::MAX));
        let now = u64::try_from(now).unwrap_or_default();
        Duration::from_millis((place + interval_ms - now) % interval_ms)
    }

    /// The time of a scrape that begins now: the scheduled one, if that is near enough.
    fn timestamp(&mut self) -> Timestamp {
        let now = self.shared.clock.now();
        let interval_ms = duration_ms(self.state.spec.interval).max(1);
        let aligned = *self.aligned.get_or_insert(now);
        let off_ms = now.unix_ms().saturating_sub(aligned.unix_ms()).rem_euclid(interval_ms);
        let tolerance_ms = (interval_ms / 100).min(MAX_ALIGN_MS);
        let scheduled_ms = if off_ms <= tolerance_ms {
            now.unix_ms().saturating_sub(off_ms)
        } else if interval_ms - off_ms <= tolerance_ms {
            now.unix_ms().saturating_add(interval_ms - off_ms)
        } else {
            now.unix_ms()
        };
        Timestamp::from_unix_ms(scheduled_ms)
    }

    async fn scheduled(&mut self, signals: &Signals) {
        let started = Instant::now();
        if let Some(last) = self.last_started.replace(started) {
            let interval = || self.shared.metrics.interval(self.state.spec.interval);
            self.interval.get_or_insert_with(interval).observe_duration(started.duration_since(last));
        }
        let at = self.timestamp();
        let page = tokio::select! {
            biased;
            () = signals.gone.cancelled() => return,
            page = self.page(self.state.spec.timeout) => page,
        };
        let reserved = page.as_ref().map_or(0, |page| page.body.reserved.bytes());
        let Some(turn) = turn(&self.shared, reserved, signals).await else { return };
        let Some(mut ingest) = self.ingest.take() else { return };
        let storage = Arc::clone(&self.shared.storage);
        let usual = page.as_ref().ok().and_then(|page| ingest.read_usual(page));
        let (ingest, report) = if let Some(read) = usual {
            let report = ingest.scrape(storage.as_ref(), read, at, started);
            (ingest, report)
        } else {
            blocking(move || {
                let read = ingest.read(page);
                let report = ingest.scrape(storage.as_ref(), read, at, started);
                drop(turn);
                (ingest, report)
            })
            .await
        };
        self.ingest = Some(ingest);
        let outcome = match &report.error {
            None => PullOutcome::Stored,
            Some(error) => PullOutcome::Failed(Arc::from(describe(error))),
        };
        self.pulls.attempted(started, outcome);
        self.publish(at, &report);
    }

    /// Gets the page, or says why there is none.
    async fn page(&mut self, timeout: Duration) -> Result<TypedPage, ScrapeError> {
        if let Some((targets, limit)) = self.job.over_target_limit() {
            return Err(ScrapeError::TargetLimit { targets, limit });
        }
        let page = self.fetcher.fetch(&self.request, timeout).await?;
        let fallback = self.job.config.config().fallback_scrape_protocol.map(ScrapeProtocol::format);
        let format = match PageFormat::from_content_type(&page.content_type) {
            Ok(format) => format,
            Err(error) => fallback.ok_or(error)?,
        };
        Ok(TypedPage { body: page.body, format })
    }

    /// Tells status, metrics and log what became of a scrape.
    fn publish(&mut self, at: Timestamp, report: &ScrapeReport) {
        let last_error = report.error.as_ref().map(|error| describe(error)).unwrap_or_default();
        let health = if report.error.is_none() { TargetHealth::Up } else { TargetHealth::Down };
        let before = self.state.with(|progress| {
            let before = progress.health;
            progress.health = health;
            progress.last_scrape = Some(at);
            progress.last_duration = report.duration;
            progress.last_error.clone_from(&last_error);
            progress.last_samples = report.scraped;
            before
        });
        let (scrape_pool, scrape_target) = (&self.state.pool, &self.state.spec.url);
        match (before, health) {
            (TargetHealth::Up | TargetHealth::Unknown, TargetHealth::Down) => {
                tracing::warn!(%scrape_pool, %scrape_target, error = last_error, "target cannot be scraped");
            }
            (TargetHealth::Down, TargetHealth::Up) => {
                tracing::warn!(%scrape_pool, %scrape_target, "target is scraped again");
            }
            _ => {}
        }
        let refusing = report.refused.total() > 0;
        if refusing && !self.was_refusing {
            let refused = report.refused;
            tracing::warn!(
                %scrape_pool, %scrape_target, duplicate = refused.duplicate, out_of_order = refused.out_of_order,
                out_of_bounds = refused.out_of_bounds, out_of_memory = refused.out_of_memory,
                "samples of a target are left out"
            );
        }
        self.was_refusing = refusing;
        self.shared.metrics.count(report);
    }

    /// Serves all who wait for a pull.
    async fn pulled(&mut self, waiting: Vec<PullRequest>, ticker: &mut Interval, signals: &Signals) {
        let now = Instant::now();
        if let Some(outcome) = self.pulls.recent(now) {
            return answer(waiting, &outcome);
        }
        let deadline = waiting.iter().map(|request| request.deadline).max().unwrap_or(now).min(now + PULL_BUDGET);
        let usual = self.state.with(|progress| progress.last_duration);
        if usual > deadline.saturating_duration_since(now) {
            return answer(waiting, &PullOutcome::Skipped(PullSkip::TooSlow));
        }
        let at = self.shared.clock.now();
        let page = tokio::select! {
            biased;
            () = signals.gone.cancelled() => return answer(waiting, &PullOutcome::Skipped(PullSkip::Gone)),
            _ = ticker.tick() => {
                self.scheduled(signals).await;
                let outcome = self.pulls.recent(Instant::now());
                return answer(waiting, &outcome.unwrap_or(PullOutcome::Skipped(PullSkip::OutOfBudget)));
            }
            page = self.pull_page(deadline) => page,
        };
        let outcome = match page {
            Err(skip) => PullOutcome::Skipped(skip),
            Ok(Err(error)) => PullOutcome::Failed(Arc::from(describe(&error))),
            Ok(Ok(page)) => self.pull_row(page, at).await,
        };
        self.shared.metrics.pull(&outcome);
        // A pull that found no free place did not bother the target.
        if outcome != PullOutcome::Skipped(PullSkip::Busy) {
            self.pulls.attempted(now, outcome.clone());
        }
        answer(waiting, &outcome);
    }

    async fn pull_page(&mut self, deadline: Instant) -> Result<Result<TypedPage, ScrapeError>, PullSkip> {
        let shared = Arc::clone(&self.shared);
        // The semaphore is never closed.
        let Ok(Ok(_permit)) = timeout_at(deadline, shared.pull_permits.acquire()).await else {
            return Err(PullSkip::Busy);
        };
        Ok(self.page(deadline.saturating_duration_since(Instant::now())).await)
    }

    async fn pull_row(&mut self, page: TypedPage, at: Timestamp) -> PullOutcome {
        let Some(mut ingest) = self.ingest.take() else { return PullOutcome::Skipped(PullSkip::Gone) };
        // Many targets are pulled at once, and somebody waits for all of them.
        let (ingest, row) = blocking(move || {
            let row = ingest.pull(&page, at);
            (ingest, row)
        })
        .await;
        self.ingest = Some(ingest);
        match row {
            Ok(row) => PullOutcome::Pulled(Arc::new(row)),
            Err(error) => PullOutcome::Failed(Arc::from(describe(&error))),
        }
    }

    /// Ends the series of a target that is gone, at the time at which it would have been scraped next.
    ///
    /// If another target has the same labels by then (a changed job, a new port), it has one interval more
    /// to be scraped, so that its series, being newer, refuse the markers.
    async fn end(&mut self, ticker: &mut Interval) {
        ticker.tick().await;
        let at = self.timestamp();
        if self.shared.targets.is_active(&self.state.spec.labels) {
            ticker.tick().await;
            sleep(self.state.spec.interval / 10).await;
        }
        let Some(mut ingest) = self.ingest.take() else { return };
        let storage = Arc::clone(&self.shared.storage);
        if let Err(error) = blocking(move || ingest.end(storage.as_ref(), at)).await {
            let (scrape_pool, scrape_target) = (&self.state.pool, &self.state.spec.url);
            let error = describe(&error);
            tracing::error!(%scrape_pool, %scrape_target, error, "series of a gone target could not be ended");
        }
    }
}

/// Waits until a page that reserved so many bytes may be read: a large one has to wait for its turn. None when the loop
/// ends.
async fn turn(shared: &Shared, reserved: usize, signals: &Signals) -> Option<Option<OwnedSemaphorePermit>> {
    if reserved <= LARGE_PAGE_BYTES {
        return Some(None);
    }
    tokio::select! {
        biased;
        () = signals.gone.cancelled() => None,
        // The semaphore is never closed.
        permit = Arc::clone(&shared.large_page_permits).acquire_owned() => Some(permit.ok()),
    }
}

/// Runs work that may wait for a disk on a thread that may wait; a panic there is a panic here.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match spawn_blocking(work).await {
        Ok(output) => output,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => resume_unwind(panic),
            // Only when the runtime is shut down; then nothing is polled again.
            Err(_cancelled) => std::future::pending().await,
        },
    }
}
