//! The 100 series of a pod, and how their values move.
//!
//! A pod has what a speech recognition worker has: four histograms (66 series), integer counters, one counter of
//! fractions, noisy gauges of zero to six decimals, and constants.
//!
//! Rule: the layout never changes; a pod's values are a function of its number and of how often it moved.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// Upper bounds of the request histograms, in seconds.
const DURATIONS: [&str; 15] =
    ["0.05", "0.1", "0.2", "0.3", "0.5", "0.75", "1", "1.5", "2", "3", "5", "8", "13", "21", "+Inf"];
/// Upper bounds of the real-time factor.
const FACTORS: [&str; 13] =
    ["0.01", "0.02", "0.05", "0.1", "0.15", "0.2", "0.3", "0.4", "0.5", "0.75", "1", "2", "+Inf"];
/// At most this many requests end between two moves.
const MOST_REQUESTS: usize = 8;

/// How hard the values are to store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entropy {
    /// Gauges with the few decimals that exporters print.
    Usual,
    /// Gauges that use all 52 bits.
    Full,
}

/// How a series moves.
#[derive(Clone, Copy, Debug)]
enum Motion {
    /// Grows by up to so much.
    Count(u32),
    /// Grows by a fraction.
    Spend,
    /// Anywhere in `base..base + span`, rounded to so many decimals.
    Level { base: f64, span: f64, decimals: i32 },
    /// Never moves.
    Constant(f64),
    /// Moves with its histogram, of which it is the first of so many buckets; sum and count follow.
    Buckets(usize),
    /// Moved by the buckets before it.
    Follows,
}

/// One series of a pod.
#[derive(Debug)]
pub struct Described {
    /// Its name.
    pub name: String,
    /// Its own labels, sorted by name.
    pub labels: Vec<(&'static str, String)>,
    /// What its family is called and which type it has, where it is the first of its family.
    pub family: Option<(String, &'static str)>,
    motion: Motion,
}

/// The series of a pod, in the order of its page.
#[must_use]
pub fn layout() -> Vec<Described> {
    let mut layout = Layout(Vec::with_capacity(100));
    for mode in ["streaming", "batch", "shortform"] {
        layout.histogram("asr_request_duration_seconds", &DURATIONS, Some(("mode", mode)));
    }
    layout.histogram("asr_real_time_factor", &FACTORS, None);
    layout.one("asr_total_requests", "counter", Motion::Count(40));
    layout.one("asr_failed_requests", "counter", Motion::Count(1));
    layout.many("asr_errors", "counter", "reason", &["timeout", "oom", "decode", "client"], Motion::Count(1));
    layout.many("asr_bytes", "counter", "direction", &["in", "out"], Motion::Count(60_000));
    layout.one("process_cpu_seconds_total", "counter", Motion::Spend);
    let level = |base, span, decimals| Motion::Level { base, span, decimals };
    layout.one("asr_queue_depth", "gauge", level(3.0, 6.0, 0));
    layout.one("asr_inflight_requests", "gauge", level(8.0, 8.0, 0));
    layout.one("asr_audio_backlog_seconds", "gauge", level(20.0, 30.0, 2));
    layout.one("asr_gpu_utilization_ratio", "gauge", level(0.6, 0.4, 3));
    layout.one("asr_gpu_memory_used_bytes", "gauge", level(2.0e10, 4.0e6, 0));
    layout.one("asr_batch_size", "gauge", level(6.0, 10.0, 0));
    layout.many("asr_latency_quantile_seconds", "gauge", "q", &["0.5", "0.9", "0.99"], level(0.4, 0.6, 6));
    layout.one("process_resident_memory_bytes", "gauge", level(4.0e9, 2.0e6, 0));
    layout.one("process_open_fds", "gauge", level(120.0, 12.0, 0));
    layout.one("process_start_time_seconds", "gauge", Motion::Constant(1.7e9 + 0.25));
    let items: Vec<_> = (0..13).map(|item| item.to_string()).collect();
    let items: Vec<_> = items.iter().map(String::as_str).collect();
    layout.many("asr_config_limit", "gauge", "item", &items, Motion::Constant(10.0));
    layout.0
}

struct Layout(Vec<Described>);

impl Layout {
    fn one(&mut self, name: &str, kind: &'static str, motion: Motion) {
        let family = Some((name.to_owned(), kind));
        self.0.push(Described { name: name.to_owned(), labels: Vec::new(), family, motion });
    }

    fn many(&mut self, name: &str, kind: &'static str, label: &'static str, values: &[&str], motion: Motion) {
        for (at, value) in values.iter().enumerate() {
            let family = (at == 0).then(|| (name.to_owned(), kind));
            let labels = vec![(label, (*value).to_owned())];
            self.0.push(Described { name: name.to_owned(), labels, family, motion });
        }
    }

    fn histogram(&mut self, name: &str, bounds: &[&str], own: Option<(&'static str, &str)>) {
        let known = self.0.iter().any(|series| series.family.as_ref().is_some_and(|(family, _)| family == name));
        let own: Vec<_> = own.into_iter().map(|(label, value)| (label, value.to_owned())).collect();
        for (at, bound) in bounds.iter().enumerate() {
            let mut labels = vec![("le", (*bound).to_owned())];
            labels.extend(own.iter().cloned());
            let family = (at == 0 && !known).then(|| (name.to_owned(), "histogram"));
            let motion = if at == 0 { Motion::Buckets(bounds.len()) } else { Motion::Follows };
            self.0.push(Described { name: format!("{name}_bucket"), labels, family, motion });
        }
        for part in ["sum", "count"] {
            let labels = own.clone();
            self.0.push(Described { name: format!("{name}_{part}"), labels, family: None, motion: Motion::Follows });
        }
    }
}

/// What a pod shows now: a value for each series of the layout.
#[derive(Debug)]
pub struct Pod {
    chance: StdRng,
    values: Vec<f64>,
    entropy: Entropy,
}

impl Pod {
    /// The pod of a number, before its first move.
    #[must_use]
    pub fn new(number: usize, series: usize, entropy: Entropy) -> Self {
        let seed = u64::try_from(number).unwrap_or(u64::MAX);
        Self { chance: StdRng::seed_from_u64(seed), values: vec![0.0; series], entropy }
    }

    /// Its values, in the order of the layout.
    #[must_use]
    pub fn values(&self) -> &[f64] {
        &self.values
    }

    /// One scrape later.
    pub fn step(&mut self, layout: &[Described]) {
        for (at, series) in layout.iter().enumerate() {
            match series.motion {
                Motion::Count(most) => self.values[at] += f64::from(self.chance.random_range(0..=most)),
                Motion::Spend => self.values[at] += rounded(self.chance.random_range(0.0..3.0), 4),
                Motion::Level { base, span, decimals } => {
                    let value = base + span * self.chance.random_range(0.0..1.0);
                    self.values[at] = if self.entropy == Entropy::Full { value } else { rounded(value, decimals) };
                }
                Motion::Constant(value) => self.values[at] = value,
                Motion::Buckets(count) => self.observe(at, count),
                Motion::Follows => {}
            }
        }
    }

    /// Some requests end: most of them fast.
    fn observe(&mut self, first: usize, buckets: usize) {
        for _ in 0..self.chance.random_range(0..=MOST_REQUESTS) {
            let chance: f64 = self.chance.random_range(0.0..1.0);
            let skewed = chance * chance;
            let reached = (0..buckets).find(|bucket| skewed * as_f64(buckets) < as_f64(bucket + 1));
            for bucket in reached.unwrap_or(buckets - 1)..buckets {
                self.values[first + bucket] += 1.0;
            }
            self.values[first + buckets] += rounded(skewed * 4.0, 6);
            self.values[first + buckets + 1] += 1.0;
        }
    }
}

fn as_f64(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::INFINITY, f64::from)
}

fn rounded(value: f64, decimals: i32) -> f64 {
    let scale = 10f64.powi(decimals);
    (value * scale).round() / scale
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pod_has_100_series_whose_histograms_add_up() {
        let layout = layout();
        assert_eq!(layout.len(), 100);
        let mut pod = Pod::new(7, layout.len(), Entropy::Usual);
        for _ in 0..50 {
            pod.step(&layout);
        }
        for (at, series) in layout.iter().enumerate() {
            let Motion::Buckets(count) = series.motion else { continue };
            let buckets = &pod.values()[at..at + count];
            assert!(buckets.is_sorted(), "{}: {buckets:?}", series.name);
            assert!((buckets[count - 1] - pod.values()[at + count + 1]).abs() < f64::EPSILON);
            assert!(buckets[count - 1] > 0.0);
        }
    }

    #[test]
    fn same_number_gives_same_values() {
        let layout = layout();
        let of = |number| {
            let mut pod = Pod::new(number, layout.len(), Entropy::Full);
            pod.step(&layout);
            pod.values().to_vec()
        };
        assert_eq!(of(3), of(3));
        assert_ne!(of(3), of(4));
    }
}
