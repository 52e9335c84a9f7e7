//! What happens in a run, counted as it happens.
//!
//! - [`Recorder`]: takes starts, ends and shed requests; keeps totals and a timeline of bounded length.
//! - [`Ended`]: how a request ended. [`Progress`]: the state at a moment.
//!
//! Rule: latency counts from when a request was due. A time-out counts with the time it took, so that a
//! server cannot look faster by not answering; refusals count as failures, not as quick answers.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::histogram::Latencies;
use crate::transport::Failure;
use crate::wer::WordErrors;

/// The most intervals of a timeline: as many as a chart has room for.
const MAX_INTERVALS: u32 = 240;

/// How a request ended.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Ended {
    /// When it was due, from the start.
    pub(crate) due: Duration,
    /// When it was sent.
    pub(crate) sent: Duration,
    /// When it ended.
    pub(crate) ended: Duration,
    pub(crate) result: Result<Success, Failure>,
}

/// A transcript that came.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Success {
    pub(crate) audio_seconds: Option<f64>,
    pub(crate) words: Option<WordErrors>,
}

/// The state of a run at a moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Progress {
    /// Since the start.
    pub elapsed: Duration,
    /// Requests sent.
    pub requests: u64,
    /// Transcripts received.
    pub succeeded: u64,
    /// Requests without a transcript.
    pub failed: u64,
    /// Requests that were due but not sent, because too many were under way.
    pub shed: u64,
    /// Requests under way.
    pub in_flight: usize,
    /// 95 of 100 requests took no longer, from when they were due.
    pub p95: Option<Duration>,
}

/// Totals and timeline of a run.
#[derive(Debug)]
pub(crate) struct Recorder {
    interval: Duration,
    pub(crate) requests: u64,
    pub(crate) succeeded: u64,
    pub(crate) shed: u64,
    pub(crate) aborted: u64,
    pub(crate) failures: BTreeMap<Failure, u64>,
    /// From when a request was due.
    pub(crate) latency: Latencies,
    /// From when it was sent: what a client sees that waits for the server before it sends.
    pub(crate) service: Latencies,
    pub(crate) audio_seconds: f64,
    /// Sum of latencies of those requests whose audio's duration is known, for the real-time factor.
    pub(crate) real_time_factors: Vec<f32>,
    pub(crate) words: Option<WordErrors>,
    pub(crate) timeline: Vec<Interval>,
    in_flight: usize,
}

/// What happened in one part of the run.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Interval {
    /// Requests that were due in it, sent or shed.
    pub(crate) due: u64,
    pub(crate) shed: u64,
    /// Requests that ended in it.
    pub(crate) succeeded: u64,
    pub(crate) failed: u64,
    /// Latencies of those that ended in it.
    pub(crate) latency: Latencies,
    /// The most that were under way at once.
    pub(crate) in_flight: usize,
}

/// The most real-time factors that are kept for their quantiles: 4 MB of them.
const MAX_FACTORS: usize = 1_000_000;

impl Recorder {
    /// For a run of about this length; what comes later is in the last interval.
    pub(crate) fn new(length: Duration) -> Self {
        let seconds = (length.as_secs_f64() / f64::from(MAX_INTERVALS)).ceil().max(1.0);
        Self {
            interval: Duration::from_secs_f64(seconds),
            requests: 0,
            succeeded: 0,
            shed: 0,
            aborted: 0,
            failures: BTreeMap::new(),
            latency: Latencies::default(),
            service: Latencies::default(),
            audio_seconds: 0.0,
            real_time_factors: Vec::new(),
            words: None,
            timeline: Vec::new(),
            in_flight: 0,
        }
    }

    pub(crate) const fn interval(&self) -> Duration {
        self.interval
    }

    pub(crate) const fn in_flight(&self) -> usize {
        self.in_flight
    }

    fn at(&mut self, at: Duration) -> &mut Interval {
        // Up to the double of the run's length, which a timeout may add; the cast saturates.
        #[expect(clippy::cast_sign_loss, reason = "durations are not negative")]
        let index = (at.as_secs_f64() / self.interval.as_secs_f64()) as usize;
        let index = index.min(2 * MAX_INTERVALS as usize);
        if self.timeline.len() <= index {
            let in_flight = self.in_flight;
            self.timeline.resize_with(index + 1, || Interval { in_flight, ..Interval::default() });
        }
        // Just made long enough.
        let last = self.timeline.len() - 1;
        &mut self.timeline[index.min(last)]
    }

    pub(crate) fn sent(&mut self, due: Duration) {
        // Until now it was one less.
        self.at(due);
        self.requests += 1;
        self.in_flight += 1;
        let in_flight = self.in_flight;
        let interval = self.at(due);
        interval.due += 1;
        interval.in_flight = interval.in_flight.max(in_flight);
    }

    pub(crate) fn shed(&mut self, due: Duration) {
        self.shed += 1;
        let interval = self.at(due);
        interval.due += 1;
        interval.shed += 1;
    }

    pub(crate) fn ended(&mut self, ended: Ended) {
        // Until now it was one more.
        self.at(ended.ended);
        self.in_flight = self.in_flight.saturating_sub(1);
        let latency = ended.ended.saturating_sub(ended.due);
        let counts = matches!(ended.result, Ok(_) | Err(Failure::Timeout));
        if counts {
            self.latency.record(latency);
            self.service.record(ended.ended.saturating_sub(ended.sent));
        }
        let interval = self.at(ended.ended);
        if counts {
            interval.latency.record(latency);
        }
        match ended.result {
            Ok(success) => {
                interval.succeeded += 1;
                self.succeeded(success, latency);
            }
            Err(failure) => {
                interval.failed += 1;
                *self.failures.entry(failure).or_default() += 1;
            }
        }
    }

    fn succeeded(&mut self, Success { audio_seconds, words }: Success, latency: Duration) {
        self.succeeded += 1;
        if let Some(seconds) = audio_seconds.filter(|seconds| *seconds > 0.0) {
            self.audio_seconds += seconds;
            if self.real_time_factors.len() < MAX_FACTORS {
                // A quantile of it needs no more digits.
                self.real_time_factors.push((latency.as_secs_f64() / seconds) as f32);
            }
        }
        if let Some(words) = words {
            self.words = Some(self.words.unwrap_or_default() + words);
        }
    }

    /// Everything under way was given up by us.
    pub(crate) fn abort(&mut self) {
        self.aborted += self.in_flight as u64;
        self.in_flight = 0;
    }

    pub(crate) fn failed(&self) -> u64 {
        self.failures.values().sum()
    }

    pub(crate) fn progress(&self, elapsed: Duration) -> Progress {
        Progress {
            elapsed,
            requests: self.requests,
            succeeded: self.succeeded,
            failed: self.failed(),
            shed: self.shed,
            in_flight: self.in_flight,
            p95: self.latency.quantile(0.95),
        }
    }
}
