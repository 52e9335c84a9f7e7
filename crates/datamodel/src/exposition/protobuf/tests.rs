//! Pages of protobuf: what they yield, next to the same page as text, and what is refused.

use proptest::prelude::*;

use super::*;
use crate::exposition::{Entry, Format, Parser};
use crate::protobuf::Writer;

/// What was read of a page, a line for each thing.
#[derive(Default)]
struct Lines {
    lines: Vec<String>,
    /// Label sets and values, as a cache that knows no formats sees them.
    samples: Vec<(Labels, u64)>,
    histograms: Vec<Histogram>,
}

impl<'p> PageVisitor<'p> for Lines {
    type Error = PageError;

    fn family(&mut self, family: PageFamily<'p>) -> Result<(), PageError> {
        let PageFamily { name, metric_type, help, unit } = family;
        self.lines.push(format!("# {name} {metric_type} {help:?} {unit:?}"));
        Ok(())
    }

    fn sample(&mut self, sample: PageSample<'_>) -> Result<(), PageError> {
        let PageSample { line, histogram, exemplars } = sample;
        let value = histogram.as_ref().map_or(line.value.to_string(), ToString::to_string);
        let at = line.timestamp.map_or(String::new(), |at| format!(" @{}", at.unix_ms()));
        let exemplar = |found: &PageExemplar| {
            format!(" # {} {} {:?}", found.labels, found.value, found.timestamp.map(Timestamp::unix_ms))
        };
        let exemplars: String = exemplars.iter().map(exemplar).collect();
        self.lines.push(format!("{} {value}{at}{exemplars}", line.series));
        self.samples.push((line.labels().unwrap(), line.value.to_bits()));
        self.histograms.extend(histogram.map(|histogram| *histogram));
        Ok(())
    }
}

fn read(page: &[u8], form: HistogramForm) -> Result<Lines, PageError> {
    let mut lines = Lines::default();
    read_protobuf(page, form, &mut lines).map(|()| lines)
}

fn family(name: &str, metric_type: u64, metrics: &[&dyn Fn(&mut Writer)]) -> Vec<u8> {
    let mut writer = Writer::default();
    writer.delimited(|family| {
        family.text(1, name);
        family.text(2, "Says\nmore.");
        family.uint(3, metric_type);
        for metric in metrics {
            family.message(4, |into| metric(into));
        }
        family.text(5, "seconds");
    });
    writer.into_bytes()
}

fn label(metric: &mut Writer, name: &str, value: &str) {
    metric.message(1, |pair| {
        pair.text(1, name);
        pair.text(2, value);
    });
}

fn observation(into: &mut Writer, number: u32, value: f64, seconds: Option<i64>) {
    into.message(number, |exemplar| {
        label(exemplar, "trace_id", "abc");
        exemplar.double(2, value);
        if let Some(seconds) = seconds {
            exemplar.message(3, |at| {
                at.int(1, seconds);
                at.uint(2, 500_000_000);
            });
        }
    });
}

#[test]
fn simple_metrics_are_lines() {
    let counter = |metric: &mut Writer| {
        label(metric, "b", "2");
        label(metric, "a", "q\"1");
        metric.message(3, |counter| {
            counter.double(1, 3.5);
            observation(counter, 2, 0.25, Some(12));
        });
        metric.int(6, 1500);
    };
    let page = [
        family("requests_total", 0, &[&counter]),
        family("up.time", 1, &[&|metric| metric.message(2, |gauge| gauge.double(1, -1.0))]),
        family("other", 3, &[&|metric| metric.message(5, |untyped| untyped.double(1, f64::NAN))]),
    ];
    let lines = read(&page.concat(), HistogramForm::Native).unwrap().lines;
    assert_eq!(
        lines,
        [
            "# requests_total counter \"Says\\nmore.\" \"seconds\"",
            "requests_total{a=\"q\\\"1\",b=\"2\"} 3.5 @1500 # {trace_id=\"abc\"} 0.25 Some(12500)",
            "# up.time gauge \"Says\\nmore.\" \"seconds\"",
            "{\"up.time\"} -1",
            "# other unknown \"Says\\nmore.\" \"seconds\"",
            "other NaN",
        ]
    );
}

#[test]
fn summary_and_classic_histogram_are_the_series_of_the_text_format() {
    let summary = |metric: &mut Writer| {
        metric.message(4, |summary| {
            summary.uint(1, 7);
            summary.double(2, 3.5);
            for (quantile, value) in [(0.5, 1.0), (1.0, 2.0)] {
                summary.message(3, |into| {
                    into.double(1, quantile);
                    into.double(2, value);
                });
            }
        });
    };
    let histogram = |metric: &mut Writer| {
        label(metric, "mode", "batch");
        metric.message(7, |histogram| {
            histogram.uint(1, 9);
            histogram.double(2, 4.5);
            for (count, bound) in [(3, 1.0), (8, 2.5)] {
                histogram.message(3, |bucket| {
                    bucket.uint(1, count);
                    bucket.double(2, bound);
                });
            }
        });
    };
    let page = [family("s", 2, &[&summary]), family("h", 4, &[&histogram])].concat();
    let text = "# TYPE s summary\ns{quantile=\"0.5\"} 1\ns{quantile=\"1\"} 2\ns_sum 3.5\ns_count 7\n# TYPE h histogram\n\
                h_count{mode=\"batch\"} 9\nh_sum{mode=\"batch\"} 4.5\nh_bucket{mode=\"batch\",le=\"1\"} 3\n\
                h_bucket{mode=\"batch\",le=\"2.5\"} 8\nh_bucket{mode=\"batch\",le=\"+Inf\"} 9\n";
    let mut parser = Parser::new(text.as_bytes(), Format::PrometheusText004);
    let mut expected = Vec::new();
    while let Some(entry) = parser.next().unwrap() {
        if let Entry::Sample(line) = entry {
            expected.push((line.labels().unwrap(), line.value.to_bits()));
        }
    }
    assert_eq!(read(&page, HistogramForm::Both).unwrap().samples, expected);
    assert!(expected.iter().any(|(labels, _)| labels.get("le") == Some("1.0")), "bounds are canonical");
}

fn native(metric: &mut Writer) {
    metric.message(7, |histogram| {
        histogram.uint(1, 9);
        histogram.double(2, 12.5);
        histogram.message(3, |bucket| {
            bucket.uint(1, 9);
            bucket.double(2, f64::INFINITY);
            observation(bucket, 3, 2.0, None);
        });
        histogram.sint(5, 1);
        histogram.double(6, 0.001);
        histogram.uint(7, 1);
        histogram.message(12, |span| {
            span.sint(1, -1);
            span.uint(2, 3);
        });
        histogram.packed_sint(13, [2, -1, 4].into_iter());
        observation(histogram, 16, 1.0, Some(9));
        observation(histogram, 16, 3.0, None);
    });
}

#[test]
fn native_histogram_is_taken_in_the_form_that_is_asked_for() {
    let page = family("h", 4, &[&native]);
    let classic = "h_count 9,h_sum 12.5,h_bucket{le=\"+Inf\"} 9 # {trace_id=\"abc\"} 2 None";
    let lines = |form| read(&page, form).unwrap().lines.split_off(1).join(",");
    assert_eq!(lines(HistogramForm::Classic), classic);
    let found = lines(HistogramForm::Native);
    assert!(found.starts_with("h {count:9, sum:12.5, "), "{found}");
    assert!(found.ends_with("# {trace_id=\"abc\"} 1 Some(9500)"), "only with a timestamp: {found}");
    assert_eq!(lines(HistogramForm::Both), format!("{found},{classic}"));

    let histogram = read(&page, HistogramForm::Native).unwrap().histograms.remove(0);
    assert_eq!((histogram.schema, histogram.zero_count, histogram.zero_threshold), (1, 1.0, 0.001));
    assert_eq!(histogram.positive_buckets, [2.0, 1.0, 5.0]);
    assert_eq!(histogram.counter_reset_hint, CounterResetHint::Unknown);
    let gauge = read(&family("h", 5, &[&native]), HistogramForm::Native).unwrap().histograms.remove(0);
    assert_eq!(gauge.counter_reset_hint, CounterResetHint::Gauge);
}

#[test]
fn native_histogram_without_observations_is_marked_by_a_span_without_buckets() {
    let page = family(
        "h",
        4,
        &[&|metric| {
            metric.message(7, |histogram| {
                histogram.sint(5, 3);
                histogram.message(12, |_span| ());
            });
        }],
    );
    let read = read(&page, HistogramForm::Native).unwrap();
    assert_eq!(read.samples.len(), 1);
    assert_eq!((read.histograms[0].count, read.histograms[0].schema), (0.0, 3));
    assert!(read.histograms[0].positive_spans.is_empty());
}

#[test]
fn what_is_wrong_is_named_with_its_family() {
    let check = |page: &[u8], expected: &str| {
        let error = read(page, HistogramForm::Native).err().map_or_else(String::new, |error| error.to_string());
        assert_eq!(error, expected);
    };
    check(&[5, 1], "offset 1: message ends within a field");
    check(&family("", 0, &[]), "no metric name");
    check(&family("m", 9, &[]), "family `m`: unknown metric type: 9");
    check(&family("m", 1, &[&|_| ()]), "family `m`: metric without a value of type gauge");
    let twice = |metric: &mut Writer| {
        label(metric, "a", "1");
        label(metric, "a", "2");
        metric.message(2, |_| ());
    };
    check(&family("m", 1, &[&twice]), "family `m`: label name is not unique: `a`");
    check(&family("m", 1, &[&|metric| label(metric, "__name__", "x")]), "family `m`: a second metric name");
    check(&family("m", 1, &[&|metric| label(metric, "", "x")]), "family `m`: expected a label name");
    let le = |metric: &mut Writer| {
        label(metric, "le", "1");
        metric.message(7, |_| ());
    };
    check(&family("m", 4, &[&le]), "family `m`: label name is not unique: `le`");
    let broken = |metric: &mut Writer| {
        metric.message(7, |histogram| {
            histogram.uint(1, 2);
            histogram.message(12, |span| span.uint(2, 2));
            histogram.packed_sint(13, [1].into_iter());
        });
    };
    check(&family("m", 4, &[&broken]), "family `m`: invalid native histogram: spans need 2 buckets, but there are 1");
}

#[test]
fn small_page_does_not_become_a_large_one() {
    let long = "x".repeat(100_000);
    let many = |metric: &mut Writer| {
        label(metric, "a", &long);
        metric.message(7, |histogram| {
            for bound in 0..100_u32 {
                histogram.message(3, |bucket| bucket.double(2, f64::from(bound)));
            }
        });
    };
    let error = read(&family("m", 4, &[&many]), HistogramForm::Classic).err().unwrap();
    assert_eq!(error.to_string(), "family `m`: series names exceed 16 times the page");
    let buckets = |metric: &mut Writer| {
        metric.message(7, |histogram| histogram.packed_sint(13, vec![0; MAX_BUCKETS + 1].into_iter()));
    };
    let error = read(&family("m", 4, &[&buckets]), HistogramForm::Native).err().unwrap();
    assert_eq!(error.reason, PageReason::ManyBuckets);
}

proptest! {
    #[test]
    fn no_bytes_are_too_odd(page in proptest::collection::vec(any::<u8>(), 0..200)) {
        for form in [HistogramForm::Classic, HistogramForm::Native, HistogramForm::Both] {
            drop(read(&page, form));
        }
    }

    #[test]
    fn damaged_pages_are_read_or_refused(at in 0_usize..120, byte in any::<u8>(), cut in 0_usize..130) {
        let mut page = family("h", 4, &[&native]);
        page.truncate(cut.max(1));
        if let Some(place) = page.get_mut(at) {
            *place = byte;
        }
        for form in [HistogramForm::Classic, HistogramForm::Native, HistogramForm::Both] {
            drop(read(&page, form));
        }
    }

    #[test]
    fn names_and_values_come_back(
        name in "[a-zA-Z_:][a-z0-9.é\"\\\\]{0,8}",
        labels in proptest::collection::btree_map("[a-z.\"é]{1,4}", "[a-z\"\\\\\nß{}=,]{0,6}", 0..4),
        value in any::<f64>(),
    ) {
        let metric = |metric: &mut Writer| {
            for (name, value) in &labels {
                label(metric, name, value);
            }
            metric.message(2, |gauge| gauge.double(1, value));
        };
        let read = read(&family(&name, 1, &[&metric]), HistogramForm::Native).unwrap();
        let pairs = labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let mut expected = LabelsBuilder::new(&Labels::from_pairs(pairs));
        expected.set(METRIC_NAME, &name);
        prop_assert_eq!(&read.samples[0].0, &expected.build());
        let read_back = f64::from_bits(read.samples[0].1);
        prop_assert!(read_back.to_bits() == value.to_bits() || (read_back.is_nan() && value.is_nan()));
    }
}
