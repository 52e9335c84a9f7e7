//! A run: requests are begun when they are due, and counted when they end.
//!
//! - [`run`]: the whole of it. [`drive`]: the same with any [`Transport`].
//!
//! ```text
//! arrivals ─ due ─▶ task ─ transport ─▶ ended ─▶ recorder ─▶ report
//!             └─ too many under way ─▶ shed ──────▲
//! ```
//!
//! Rule: the loop that begins requests never waits for one.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::arrivals::Arrivals;
use crate::clips::Clips;
use crate::config::{LoadConfig, LoadError, Mode};
use crate::recorder::{Ended, Progress, Recorder, Success};
use crate::report::Report;
use crate::transport::{Answer, Failure, HttpTransport, Transport};
use crate::wer::WordErrors;

/// How often progress is told.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);

/// Runs the load, tells the progress once a second, and ends when every request has ended. Shutdown
/// gives up what is under way, and the report says how much that was.
///
/// # Errors
/// The configuration cannot be run. Requests that fail are no error: they are in the report.
pub async fn run(
    config: LoadConfig,
    progress: impl FnMut(&Progress) + Send,
    shutdown: CancellationToken,
) -> Result<Report, LoadError> {
    let target = config.check()?;
    let connections = TaskTracker::new();
    let transport = HttpTransport::new(&config, target.uri, target.authorization, connections.clone());
    let report = drive(&config, &transport, progress, shutdown).await;
    // Without a client, its connections close.
    drop(transport);
    connections.close();
    connections.wait().await;
    Ok(report)
}

pub(crate) async fn drive<T: Transport>(
    config: &LoadConfig,
    transport: &T,
    progress: impl FnMut(&Progress) + Send,
    shutdown: CancellationToken,
) -> Report {
    let run = Run {
        start: Instant::now(),
        clips: Arc::new(config.clips.clone()),
        duration: config.duration,
        timeout: config.timeout,
        recorder: Recorder::new(config.duration),
        tasks: JoinSet::new(),
        next_clip: 0,
        shutdown,
        progress,
    };
    match &config.mode {
        Mode::OpenLoop { rate, spacing, seed, max_in_flight } => {
            let arrivals = Arrivals::new(rate.clone(), *spacing, *seed, config.duration);
            run.open_loop(arrivals, *max_in_flight, transport).await
        }
        Mode::ClosedLoop { clients } => run.closed_loop(*clients, transport).await,
    }
    .into_report(config)
}

/// A run under way.
struct Run<P> {
    start: Instant,
    clips: Arc<Clips>,
    duration: Duration,
    timeout: Duration,
    recorder: Recorder,
    tasks: JoinSet<(usize, Ended)>,
    next_clip: usize,
    shutdown: CancellationToken,
    progress: P,
}

/// A run that has ended.
struct Finished {
    recorder: Recorder,
    elapsed: Duration,
}

impl Finished {
    fn into_report(self, config: &LoadConfig) -> Report {
        Report::new(config, &self.recorder, self.elapsed)
    }
}

/// What the loop was woken by.
enum Woken {
    Due(Duration),
    Ended(usize, Ended),
    Tick,
    Shutdown,
    Idle,
}

impl<P: FnMut(&Progress) + Send> Run<P> {
    async fn open_loop<T: Transport>(
        mut self,
        mut arrivals: Arrivals,
        max_in_flight: usize,
        transport: &T,
    ) -> Finished {
        let mut ticks = interval(PROGRESS_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut next = arrivals.next();
        loop {
            match self.woken(next, &mut ticks).await {
                Woken::Due(due) => {
                    next = arrivals.next();
                    if self.recorder.in_flight() < max_in_flight {
                        self.begin(0, due, transport.clone());
                    } else {
                        self.recorder.shed(due);
                    }
                }
                Woken::Ended(_, ended) => self.recorder.ended(ended),
                Woken::Tick => self.tell(),
                Woken::Shutdown | Woken::Idle => return self.finish().await,
            }
        }
    }

    async fn closed_loop<T: Transport>(mut self, clients: usize, transport: &T) -> Finished {
        let mut ticks = interval(PROGRESS_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let transports: Vec<T> = (0..clients).map(|_| transport.separate()).collect();
        for (client, transport) in transports.iter().enumerate() {
            self.begin(client, Duration::ZERO, transport.clone());
        }
        loop {
            match self.woken(None, &mut ticks).await {
                Woken::Ended(client, ended) => {
                    let free_at = ended.ended;
                    let has_failed_at_once = ended.result.is_err() && ended.ended == ended.sent;
                    self.recorder.ended(ended);
                    // A refusal that takes no time at all must not become a busy loop.
                    let due = if has_failed_at_once { free_at + Duration::from_millis(1) } else { free_at };
                    if let (true, Some(transport)) = (due < self.duration, transports.get(client)) {
                        self.begin(client, due, transport.clone());
                    }
                }
                Woken::Tick => self.tell(),
                Woken::Due(_) | Woken::Shutdown | Woken::Idle => return self.finish().await,
            }
        }
    }

    /// The next thing that happens. With nothing due and nothing under way that is the end of the run's
    /// time, [`Woken::Idle`]: rates are over the whole of it.
    async fn woken(&mut self, next: Option<Duration>, ticks: &mut tokio::time::Interval) -> Woken {
        let is_over = next.is_none() && self.tasks.is_empty();
        let due = async {
            match next {
                Some(due) => {
                    sleep_until(self.start + due).await;
                    due
                }
                None => pending().await,
            }
        };
        tokio::select! {
            biased;
            () = self.shutdown.cancelled() => Woken::Shutdown,
            // Before what is due, so that nothing is shed for the sake of a request that has ended.
            Some(joined) = self.tasks.join_next() => match joined {
                Ok((client, ended)) => Woken::Ended(client, ended),
                // A task that panics is a mistake in this crate; its request stays "under way" and so
                // is reported as given up.
                Err(_panicked) => Woken::Tick,
            },
            due = due => Woken::Due(due),
            () = sleep_until(self.start + self.duration), if is_over => Woken::Idle,
            _ = ticks.tick() => Woken::Tick,
        }
    }

    fn begin<T: Transport>(&mut self, client: usize, due: Duration, transport: T) {
        self.recorder.sent(due);
        let clip = self.next_clip;
        self.next_clip = (clip + 1) % self.clips.all().len().max(1);
        let (start, clips) = (self.start, Arc::clone(&self.clips));
        let deadline = start + due + self.timeout;
        self.tasks.spawn(async move {
            sleep_until(start + due).await;
            let sent = start.elapsed();
            let answer = timeout_at(deadline, transport.send(clip)).await.unwrap_or(Err(Failure::Timeout));
            let ended = start.elapsed();
            let result = answer.map(|answer| success(&clips, clip, &answer));
            (client, Ended { due, sent, ended, result })
        });
    }

    fn tell(&mut self) {
        let progress = self.recorder.progress(self.start.elapsed());
        (self.progress)(&progress);
    }

    async fn finish(mut self) -> Finished {
        self.tasks.shutdown().await;
        self.recorder.abort();
        self.tell();
        Finished { recorder: self.recorder, elapsed: self.start.elapsed() }
    }
}

fn success(clips: &Clips, clip: usize, answer: &Answer) -> Success {
    let clip = clips.all().get(clip);
    let text = clip.and_then(|clip| clip.text.as_deref());
    Success {
        audio_seconds: clip.and_then(|clip| clip.audio_seconds).or(answer.audio_seconds),
        words: text.map(|text| WordErrors::between(text, &answer.text)),
    }
}
