//! Answers as JSON, byte for byte as upstream writes numbers and times.
//!
//! Rule: a float is a text (`"1"`, `"+Inf"`), a time is a number of seconds (`1435781430.781`).

use std::time::Duration;

use datamodel::float::write_api;
use datamodel::{Histogram, Labels, Timestamp};
use promql::{Annotations, InstantSample, QueryValue, RangeSeries, Value};
use storage::Samples;

/// A JSON text that is being written.
#[derive(Debug, Default)]
pub(crate) struct Writer(String);

impl Writer {
    /// The whole answer of a request that was served.
    pub(crate) fn success(write_data: impl FnOnce(&mut Self), warnings: &[String], infos: &[String]) -> String {
        let mut writer = Self(String::with_capacity(256));
        writer.raw("{\"status\":\"success\",\"data\":");
        write_data(&mut writer);
        for (name, texts) in [("warnings", warnings), ("infos", infos)] {
            if !texts.is_empty() {
                writer.raw(",\"");
                writer.raw(name);
                writer.raw("\":");
                writer.array(texts, |writer, text| writer.text(text));
            }
        }
        writer.raw("}");
        writer.0
    }

    pub(crate) fn raw(&mut self, text: &str) {
        self.0.push_str(text);
    }

    /// A text in quotes.
    pub(crate) fn text(&mut self, text: &str) {
        // A text always has a JSON form.
        self.0.push_str(&serde_json::to_string(text).unwrap_or_default());
    }

    pub(crate) fn array<T>(&mut self, items: impl IntoIterator<Item = T>, mut write: impl FnMut(&mut Self, T)) {
        self.raw("[");
        for (index, item) in items.into_iter().enumerate() {
            if index > 0 {
                self.raw(",");
            }
            write(self, item);
        }
        self.raw("]");
    }

    /// A float in quotes.
    fn float(&mut self, value: f64) {
        self.raw("\"");
        write_api(&mut self.0, value);
        self.raw("\"");
    }

    /// Seconds, with three digits behind the point where there is a fraction.
    fn time(&mut self, unix_ms: i64) {
        let sign = if unix_ms < 0 { "-" } else { "" };
        let (seconds, fraction) = (unix_ms.unsigned_abs() / 1000, unix_ms.unsigned_abs() % 1000);
        self.raw(sign);
        self.raw(&seconds.to_string());
        if fraction != 0 {
            self.raw(&format!(".{fraction:03}"));
        }
    }

    pub(crate) fn labels(&mut self, labels: &Labels) {
        self.raw("{");
        for (index, (name, value)) in labels.iter().enumerate() {
            if index > 0 {
                self.raw(",");
            }
            self.text(name);
            self.raw(":");
            self.text(value);
        }
        self.raw("}");
    }

    fn histogram(&mut self, histogram: &Histogram) {
        self.raw("{\"count\":");
        self.float(histogram.count);
        self.raw(",\"sum\":");
        self.float(histogram.sum);
        let buckets: Vec<_> = histogram.all_buckets().into_iter().filter(|bucket| bucket.count > 0.0).collect();
        if !buckets.is_empty() {
            self.raw(",\"buckets\":");
            self.array(buckets, |writer, bucket| {
                // Which bounds belong to the bucket: 0 the upper, 1 the lower, 2 none, 3 both.
                let bounds = match (bucket.is_lower_inclusive, bucket.is_upper_inclusive) {
                    (false, true) => "[0,",
                    (true, false) => "[1,",
                    (false, false) => "[2,",
                    (true, true) => "[3,",
                };
                writer.raw(bounds);
                writer.float(bucket.lower);
                writer.raw(",");
                writer.float(bucket.upper);
                writer.raw(",");
                writer.float(bucket.count);
                writer.raw("]");
            });
        }
        self.raw("}");
    }

    fn point(&mut self, unix_ms: i64, write: impl FnOnce(&mut Self)) {
        self.raw("[");
        self.time(unix_ms);
        self.raw(",");
        write(self);
        self.raw("]");
    }

    fn instant(&mut self, sample: &InstantSample) {
        self.raw("{\"metric\":");
        self.labels(&sample.labels);
        match &sample.value {
            Value::Float(value) => {
                self.raw(",\"value\":");
                self.point(sample.timestamp.unix_ms(), |writer| writer.float(*value));
            }
            Value::Histogram(histogram) => {
                self.raw(",\"histogram\":");
                self.point(sample.timestamp.unix_ms(), |writer| writer.histogram(histogram));
            }
        }
        self.raw("}");
    }

    fn range(&mut self, series: &RangeSeries) {
        self.raw("{\"metric\":");
        self.labels(&series.labels);
        // Start timestamps have no place in upstream's answers.
        let Samples { timestamps, values, histograms, starts: _ } = &series.samples;
        let is_histogram = |index: usize| histograms.binary_search_by_key(&index, |(at, _)| *at).is_ok();
        let floats = timestamps.iter().zip(values).enumerate().filter(|(index, _)| !is_histogram(*index));
        if timestamps.len() > histograms.len() {
            self.raw(",\"values\":");
            self.array(floats, |writer, (_, (at, value))| writer.point(*at, |writer| writer.float(*value)));
        }
        if !histograms.is_empty() {
            self.raw(",\"histograms\":");
            let timed = histograms.iter().filter_map(|(index, histogram)| Some((*timestamps.get(*index)?, histogram)));
            self.array(timed, |writer, (at, histogram)| writer.point(at, |writer| writer.histogram(histogram)));
        }
        self.raw("}");
    }

    /// The data of an answer to a query, with what it took where that was asked for.
    pub(crate) fn query_data(&mut self, value: &QueryValue, timings: Option<QueryTimings>) {
        let result_type = match value {
            QueryValue::Scalar(_) => "scalar",
            QueryValue::String { .. } => "string",
            QueryValue::InstantVector(_) => "vector",
            QueryValue::RangeVector(_) => "matrix",
        };
        self.raw("{\"resultType\":\"");
        self.raw(result_type);
        self.raw("\",\"result\":");
        match value {
            QueryValue::Scalar(sample) => {
                self.point(sample.timestamp.unix_ms(), |writer| writer.float(sample.value));
            }
            QueryValue::String { timestamp, value } => {
                self.point(timestamp.unix_ms(), |writer| writer.text(value));
            }
            QueryValue::InstantVector(samples) => self.array(samples, Self::instant),
            QueryValue::RangeVector(series) => self.array(series, Self::range),
        }
        if let Some(timings) = timings {
            self.timings(timings);
        }
        self.raw("}");
    }

    /// Upstream's `stats`, as far as we count: its `samples` are absent, not zero.
    fn timings(&mut self, timings: QueryTimings) {
        self.raw(",\"stats\":{\"timings\":{");
        let QueryTimings { queued, evaluated } = timings;
        let named = [("evalTotalTime", evaluated), ("execQueueTime", queued), ("execTotalTime", queued + evaluated)];
        for (index, (name, time)) in named.into_iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            self.raw(&format!("{comma}\"{name}\":{}", time.as_secs_f64()));
        }
        self.raw("}}");
    }
}

/// Where the time of a query went.
#[derive(Clone, Copy, Debug)]
pub(crate) struct QueryTimings {
    /// Waiting for its turn.
    pub(crate) queued: Duration,
    /// Evaluating.
    pub(crate) evaluated: Duration,
}

/// Cuts a result to so many series; whether something was cut.
pub(crate) fn truncate(value: &mut QueryValue, limit: usize) -> bool {
    let (before, after) = match value {
        QueryValue::InstantVector(samples) => {
            let before = samples.len();
            samples.truncate(limit);
            (before, samples.len())
        }
        QueryValue::RangeVector(series) => {
            let before = series.len();
            series.truncate(limit);
            (before, series.len())
        }
        QueryValue::Scalar(_) | QueryValue::String { .. } => return false,
    };
    after < before
}

/// The warning of an answer that was cut.
pub(crate) const TRUNCATED: &str = "results truncated due to limit";

/// Warnings with the one about a cut in front.
pub(crate) fn warnings(annotations: &Annotations, truncated: bool) -> Vec<String> {
    let cut = truncated.then(|| TRUNCATED.to_owned());
    annotations.warnings.iter().cloned().chain(cut).collect()
}

/// An instant as JSON numbers of seconds are; for tests and answers outside of queries.
pub(crate) fn rfc3339_or_zero(at: Option<Timestamp>) -> String {
    // Go's zero time.
    at.map_or_else(|| "0001-01-01T00:00:00Z".to_owned(), datamodel::rfc3339::format_rfc3339)
}
