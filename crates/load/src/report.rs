//! The report of a run: what a person reads, what a program reads, and a picture.
//!
//! - [`Report`]: serializes to JSON with a stable shape; [`Report::table`]; [`Report::chart`].
//!
//! Rule: what makes the numbers look better than they are stands beside them: shed and aborted requests,
//! failures by kind, and how the latency was measured.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use datamodel::Timestamp;
use datamodel::time::TimeRange;
use plot::{Chart, Panel, Point, Series, Style, TimeLabels, Unit, format_value};
use serde::Serialize;

use crate::config::{LoadConfig, Mode};
use crate::histogram::Latencies;
use crate::recorder::{Interval, Recorder};

/// What came of a run. Times are in seconds; what could not be measured is null.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// Where the requests went.
    pub url: String,
    /// `open` or `closed`: whether the clock or the server decided when a request was sent.
    pub mode: &'static str,
    /// The arrival rate, or the number of clients.
    pub load: String,
    /// From the start to the last answer.
    pub elapsed_seconds: f64,
    /// Requests sent.
    pub requests: u64,
    /// Transcripts received.
    pub succeeded: u64,
    /// Requests without a transcript.
    pub failed: u64,
    /// Requests that were due but not sent, because too many were under way. They are in no latency.
    pub shed: u64,
    /// Requests that were under way when the run was ended from outside.
    pub aborted: u64,
    /// Failures by kind.
    pub errors: BTreeMap<&'static str, u64>,
    /// Transcripts a second.
    pub throughput_per_second: f64,
    /// From when a request was due to its last byte; with time-outs, without other failures.
    pub latency_seconds: Quantiles,
    /// The same from when it was sent. In an open loop, what is beyond it is the wait for this program.
    pub service_seconds: Quantiles,
    /// Audio transcribed.
    pub audio_seconds: f64,
    /// Latency over the audio's duration.
    pub real_time_factor: FactorQuantiles,
    /// Word errors per word of the texts that were read; null without texts.
    pub word_error_rate: Option<f64>,
    /// What happened when.
    pub timeline: Vec<Moment>,
}

/// Quantiles of a duration, in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Quantiles {
    /// The arithmetic mean.
    pub mean: Option<f64>,
    /// Half took no longer.
    pub p50: Option<f64>,
    /// 90 of 100 took no longer.
    pub p90: Option<f64>,
    /// 95 of 100 took no longer.
    pub p95: Option<f64>,
    /// 99 of 100 took no longer.
    pub p99: Option<f64>,
    /// None took longer.
    pub max: Option<f64>,
}

/// Quantiles of a ratio.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct FactorQuantiles {
    /// Half were no larger.
    pub p50: Option<f64>,
    /// 95 of 100 were no larger.
    pub p95: Option<f64>,
}

/// One part of the timeline, all equally long. The run may end within the last one.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Moment {
    /// When it begins, from the start.
    pub at_seconds: f64,
    /// Requests due a second, sent or shed.
    pub offered_per_second: f64,
    /// Transcripts a second.
    pub succeeded_per_second: f64,
    /// Failures a second, with shed requests.
    pub failed_per_second: f64,
    /// Of those that ended in it.
    pub latency_p50_seconds: Option<f64>,
    /// Of those that ended in it.
    pub latency_p95_seconds: Option<f64>,
    /// The most that were under way at once.
    pub in_flight: usize,
}

impl Report {
    pub(crate) fn new(config: &LoadConfig, recorder: &Recorder, elapsed: Duration) -> Self {
        let (mode, load) = match &config.mode {
            Mode::OpenLoop { rate, .. } => ("open", format!("{rate} requests/s")),
            Mode::ClosedLoop { clients } => ("closed", format!("{clients} clients")),
        };
        let elapsed_seconds = elapsed.as_secs_f64();
        let interval_seconds = recorder.interval().as_secs_f64();
        let moment = |(index, interval): (usize, &Interval)| Moment::new(index, interval, interval_seconds);
        Self {
            url: config.url.clone(),
            mode,
            load,
            elapsed_seconds,
            requests: recorder.requests,
            succeeded: recorder.succeeded,
            failed: recorder.failed(),
            shed: recorder.shed,
            aborted: recorder.aborted,
            errors: recorder.failures.iter().map(|(failure, count)| (failure.as_str(), *count)).collect(),
            throughput_per_second: recorder.succeeded as f64 / elapsed_seconds.max(f64::MIN_POSITIVE),
            latency_seconds: Quantiles::of(&recorder.latency),
            service_seconds: Quantiles::of(&recorder.service),
            audio_seconds: recorder.audio_seconds,
            real_time_factor: FactorQuantiles::of(&recorder.real_time_factors),
            word_error_rate: recorder.words.map(crate::wer::WordErrors::rate),
            timeline: recorder.timeline.iter().enumerate().map(moment).collect(),
        }
    }

    /// A few lines for a terminal.
    #[must_use]
    pub fn table(&self) -> String {
        let mut text = String::new();
        let mut row = |name: &str, value: &str| {
            // Writing to a string never fails.
            writeln!(text, "{name:<20}{value}").ok();
        };
        row("target", &self.url);
        row("load", &format!("{} loop, {}", self.mode, self.load));
        let errors: Vec<String> = self.errors.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
        let errors = if errors.is_empty() { String::new() } else { format!(" ({})", errors.join(", ")) };
        row("requests", &format!("{} in {}", self.requests, seconds(Some(self.elapsed_seconds))));
        row("succeeded", &self.succeeded.to_string());
        row("failed", &format!("{}{errors}", self.failed));
        if self.shed > 0 {
            row("shed", &format!("{} were due but not sent: too many were under way", self.shed));
        }
        if self.aborted > 0 {
            row("aborted", &format!("{} were under way at the end", self.aborted));
        }
        row("throughput", &format_value(self.throughput_per_second, Unit::PerSecond));
        row("latency", &self.latency_seconds.line());
        if self.mode == "open" {
            row("  once sent", &self.service_seconds.line());
        }
        if let (Some(p50), Some(p95)) = (self.real_time_factor.p50, self.real_time_factor.p95) {
            row("real-time factor", &format!("p50 {p50:.3}  p95 {p95:.3}"));
            row("audio", &format!("{} transcribed", seconds(Some(self.audio_seconds))));
        }
        if let Some(rate) = self.word_error_rate {
            row("word error rate", &format_value(rate, Unit::Ratio));
        }
        text
    }

    /// The run as a picture: requests, latency and requests under way over time.
    #[must_use]
    pub fn chart(&self) -> Chart {
        let series = |name: &str, style: Style, value: &dyn Fn(&Moment) -> Option<f64>| {
            // Where nothing ended there is no latency; the line goes on to the next.
            let point = |moment: &Moment| Some(Point { at: at(moment.at_seconds), value: value(moment)? });
            let points = self.timeline.iter().filter_map(point).collect();
            Series { name: name.to_owned(), style, points, max_gap: None }
        };
        let mut requests = vec![
            series("offered", Style::StepArea, &|moment| Some(moment.offered_per_second)),
            series("answered", Style::Step, &|moment| Some(moment.succeeded_per_second)),
        ];
        if self.failed + self.shed > 0 {
            requests.push(series("failed or shed", Style::Step, &|moment| Some(moment.failed_per_second)));
        }
        let latency = vec![
            series("p50", Style::Line, &|moment| moment.latency_p50_seconds),
            series("p95", Style::Line, &|moment| moment.latency_p95_seconds),
        ];
        let in_flight = vec![series("requests", Style::StepArea, &|moment| Some(moment.in_flight as f64))];
        let panel = |title: &str, unit, series| Panel { title: title.to_owned(), unit, series, ..Panel::default() };
        Chart {
            title: format!("Load: {} loop, {}", self.mode, self.load),
            description: format!(
                "{} requests, {} failed, {} shed; latency p50 {}, p99 {}.",
                self.requests,
                self.failed,
                self.shed,
                seconds(self.latency_seconds.p50),
                seconds(self.latency_seconds.p99),
            ),
            width_px: 960,
            range: TimeRange { start: at(0.0), end: at(self.elapsed_seconds) },
            time_labels: TimeLabels::Elapsed,
            panels: vec![
                panel("Requests", Unit::PerSecond, requests),
                panel("Latency", Unit::Seconds, latency),
                panel("Under way", Unit::Number, in_flight),
            ],
            markers: Vec::new(),
        }
    }
}

fn at(seconds: f64) -> Timestamp {
    // A run lasts days at most.
    Timestamp::from_unix_ms((seconds * 1000.0).round() as i64)
}

fn seconds(value: Option<f64>) -> String {
    format_value(value.unwrap_or(f64::NAN), Unit::Seconds)
}

impl Quantiles {
    fn of(latencies: &Latencies) -> Self {
        let quantile = |part| latencies.quantile(part).map(|duration| duration.as_secs_f64());
        Self {
            mean: latencies.mean_seconds(),
            p50: quantile(0.5),
            p90: quantile(0.9),
            p95: quantile(0.95),
            p99: quantile(0.99),
            max: latencies.max().map(|duration| duration.as_secs_f64()),
        }
    }

    fn line(self) -> String {
        let Self { p50, p95, p99, max, .. } = self;
        format!("p50 {}  p95 {}  p99 {}  max {}", seconds(p50), seconds(p95), seconds(p99), seconds(max))
    }
}

impl FactorQuantiles {
    fn of(factors: &[f32]) -> Self {
        let mut sorted = factors.to_vec();
        sorted.sort_by(f32::total_cmp);
        let quantile = |percent: usize| {
            let rank = (sorted.len() * percent).div_ceil(100).max(1);
            sorted.get(rank - 1).map(|factor| f64::from(*factor))
        };
        Self { p50: quantile(50), p95: quantile(95) }
    }
}

impl Moment {
    fn new(index: usize, interval: &Interval, interval_seconds: f64) -> Self {
        let at_seconds = index as f64 * interval_seconds;
        let quantile = |part| interval.latency.quantile(part).map(|duration| duration.as_secs_f64());
        let per_second = |count: u64| count as f64 / interval_seconds;
        Self {
            at_seconds,
            offered_per_second: per_second(interval.due),
            succeeded_per_second: per_second(interval.succeeded),
            failed_per_second: per_second(interval.failed + interval.shed),
            latency_p50_seconds: quantile(0.5),
            latency_p95_seconds: quantile(0.95),
            in_flight: interval.in_flight,
        }
    }
}
