//! What is written is read again as the same thing, in each format.

use expect_test::expect;
use proptest::prelude::*;

use super::*;
use crate::exposition::{Entry, HistogramForm, PageError, PageSample, PageVisitor, Parser, read_protobuf};
use crate::labels::{Labels, LabelsBuilder};
use crate::sample::NORMAL_NAN_BITS;

const TEXT: PageFormat = PageFormat::Text(Format::PrometheusText004);
const OPENMETRICS_1: PageFormat = PageFormat::Text(Format::OpenMetrics100);
const FORMATS: [PageFormat; 3] = [TEXT, OPENMETRICS_1, PageFormat::Protobuf];

/// A metric that is written, with its numbers in the order of the page.
#[derive(Clone, Debug)]
struct Given {
    labels: Vec<(String, String)>,
    numbers: Vec<(Part, f64)>,
    timestamp: Option<Timestamp>,
    exemplar: Option<PageExemplar>,
}

#[derive(Clone, Debug)]
struct GivenFamily {
    name: String,
    metric_type: MetricType,
    help: String,
    metrics: Vec<Given>,
}

fn written(format: PageFormat, families: &[GivenFamily]) -> Vec<u8> {
    let mut page = PageWriter::new(format);
    for family in families {
        page.family(PageFamily { name: &family.name, metric_type: family.metric_type, help: &family.help, unit: "" });
        for metric in &family.metrics {
            let labels: Vec<(&str, &str)> = metric.labels.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
            for (part, value) in &metric.numbers {
                let may_have_one = matches!(part, Part::Bucket(_)) || family.metric_type == MetricType::Counter;
                let exemplar = metric.exemplar.as_ref().filter(|_| may_have_one);
                page.line(Line { part: *part, labels: &labels, value: *value, timestamp: metric.timestamp, exemplar });
            }
        }
    }
    page.finish()
}

/// One sample, as it was given or as it was read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Sample {
    labels: Labels,
    bits: u64,
    timestamp: Option<i64>,
    exemplars: Vec<(Labels, u64, Option<i64>)>,
}

fn bits(value: f64) -> u64 {
    if value.is_nan() { NORMAL_NAN_BITS } else { value.to_bits() }
}

fn expected(format: PageFormat, families: &[GivenFamily]) -> Vec<Sample> {
    let mut samples = Vec::new();
    for family in families {
        for metric in &family.metrics {
            for (part, value) in &metric.numbers {
                let (suffix, bound) = match part {
                    Part::Value => ("", None),
                    Part::Bucket(bound) => ("_bucket", Some(("le", bound))),
                    Part::Quantile(of) => ("", Some(("quantile", of))),
                    Part::Sum => ("_sum", None),
                    Part::Count => ("_count", None),
                };
                let mut labels = LabelsBuilder::default();
                labels.set("__name__", &format!("{}{suffix}", family.name));
                for (name, value) in &metric.labels {
                    labels.set(name, value);
                }
                if let Some((name, bound)) = bound {
                    labels.set(name, &bound_text(*bound, true));
                }
                let may_have_one = matches!(part, Part::Bucket(_)) || family.metric_type == MetricType::Counter;
                let exemplars = metric.exemplar.iter().filter(|_| may_have_one && format != TEXT);
                let exemplars =
                    exemplars.map(|e| (e.labels.clone(), bits(e.value), e.timestamp.map(Timestamp::unix_ms)));
                samples.push(Sample {
                    labels: labels.build(),
                    bits: bits(*value),
                    timestamp: metric.timestamp.map(Timestamp::unix_ms),
                    exemplars: exemplars.collect(),
                });
            }
        }
    }
    samples.sort();
    samples
}

/// Takes the samples of a page of protobuf.
#[derive(Default)]
struct Reading {
    samples: Vec<Sample>,
    histograms: Vec<Histogram>,
    families: Vec<String>,
}

impl<'p> PageVisitor<'p> for Reading {
    type Error = PageError;

    fn family(&mut self, family: PageFamily<'p>) -> Result<(), PageError> {
        self.families.push(format!("{} {} {} {}", family.name, family.metric_type, family.help, family.unit));
        Ok(())
    }

    fn sample(&mut self, sample: PageSample<'_>) -> Result<(), PageError> {
        if let Some(histogram) = sample.histogram {
            self.histograms.push(*histogram);
            return Ok(());
        }
        let exemplars = sample.exemplars.into_iter();
        self.samples.push(Sample {
            labels: sample.line.labels().unwrap(),
            bits: bits(sample.line.value),
            timestamp: sample.line.timestamp.map(Timestamp::unix_ms),
            exemplars: exemplars.map(|e| (e.labels, bits(e.value), e.timestamp.map(Timestamp::unix_ms))).collect(),
        });
        Ok(())
    }
}

fn read(format: PageFormat, page: &[u8]) -> Vec<Sample> {
    let mut reading = Reading::default();
    let PageFormat::Text(text) = format else {
        read_protobuf(page, HistogramForm::Classic, &mut reading).unwrap();
        reading.samples.sort();
        return reading.samples;
    };
    let mut parser = Parser::strict(page, text);
    while let Some(entry) = parser.next().unwrap_or_else(|error| panic!("{error}:\n{}", String::from_utf8_lossy(page)))
    {
        let Entry::Sample(line) = entry else { continue };
        let exemplars = line.exemplar.iter();
        let exemplars = exemplars.map(|e| (e.labels().unwrap(), bits(e.value), e.timestamp.map(Timestamp::unix_ms)));
        reading.samples.push(Sample {
            labels: line.labels().unwrap(),
            bits: bits(line.value),
            timestamp: line.timestamp.map(Timestamp::unix_ms),
            exemplars: exemplars.collect(),
        });
    }
    reading.samples.sort();
    reading.samples
}

fn label_value() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z]{0,6}", "[ -~]{0,8}", Just("a\\b\"c\nd".to_owned()), Just("größe 語".to_owned())]
}

fn labels() -> impl Strategy<Value = Vec<(String, String)>> {
    let name = prop_oneof![4 => "[a-d]{1,2}", 1 => Just("http.status".to_owned())];
    // An empty value is the same as no label.
    let pairs = proptest::collection::btree_map(name, label_value().prop_map(|value| format!("{value}.")), 0..4);
    pairs.prop_map(|pairs| pairs.into_iter().collect())
}

fn number() -> impl Strategy<Value = f64> {
    prop_oneof![
        Just(0.0),
        Just(f64::NAN),
        Just(f64::INFINITY),
        -1e9..1e9_f64,
        any::<i32>().prop_map(f64::from),
        Just(1e-300),
    ]
}

fn numbers(metric_type: MetricType) -> BoxedStrategy<Vec<(Part, f64)>> {
    let count = 0..1_000_000_u32;
    match metric_type {
        MetricType::Counter => (0.0..1e12_f64).prop_map(|value| vec![(Part::Value, value)]).boxed(),
        MetricType::Summary => (proptest::collection::vec(number().prop_map(f64::abs), 0..3), 0.0..1e6_f64, count)
            .prop_map(|(quantiles, sum, count)| {
                let of = [0.5, 0.9, 1.0];
                let quantiles = of.into_iter().zip(quantiles).map(|(of, value)| (Part::Quantile(of), value));
                quantiles.chain([(Part::Sum, sum), (Part::Count, f64::from(count))]).collect()
            })
            .boxed(),
        MetricType::Histogram => (proptest::collection::vec(count, 1..5), 0.0..1e6_f64)
            .prop_map(|(counts, sum)| {
                let mut total = 0.0;
                let mut numbers = Vec::new();
                let last = counts.len() - 1;
                for (index, count) in counts.into_iter().enumerate() {
                    total += f64::from(count);
                    let bound =
                        if index == last { f64::INFINITY } else { 0.25 * 4_f64.powi(i32::try_from(index).unwrap()) };
                    numbers.push((Part::Bucket(bound), total));
                }
                numbers.extend([(Part::Sum, sum), (Part::Count, total)]);
                numbers
            })
            .boxed(),
        _ => number().prop_map(|value| vec![(Part::Value, value)]).boxed(),
    }
}

fn family(index: usize) -> impl Strategy<Value = GivenFamily> {
    let types =
        [MetricType::Counter, MetricType::Gauge, MetricType::Unknown, MetricType::Histogram, MetricType::Summary];
    (proptest::sample::select(types.to_vec()), any::<bool>(), label_value()).prop_flat_map(
        move |(metric_type, flag, help)| {
            let total = if metric_type == MetricType::Counter && flag { "_total" } else { "" };
            let dotted = if flag { "." } else { "_" };
            let name = format!("asr{dotted}f{index}{total}");
            let exemplar = (labels(), number()).prop_map(|(labels, value)| {
                let labels = Labels::from_pairs(labels.iter().map(|(name, value)| (name.as_str(), value.as_str())));
                PageExemplar { labels, value, timestamp: Some(Timestamp::from_unix_ms(1_700_000_000_123)) }
            });
            let metric = (
                labels(),
                numbers(metric_type),
                proptest::option::of(1..4_000_000_000_000_i64),
                proptest::option::of(exemplar),
            );
            let metric = metric.prop_map(|(labels, numbers, at, exemplar)| Given {
                labels,
                numbers,
                timestamp: at.map(Timestamp::from_unix_ms),
                exemplar,
            });
            proptest::collection::vec(metric, 1..4).prop_map(move |mut metrics| {
                // Two metrics of one label set are one.
                metrics.sort_by(|a, b| a.labels.cmp(&b.labels));
                metrics.dedup_by(|a, b| a.labels == b.labels);
                // A counter without `_total` has another type in OpenMetrics, and that has no exemplars.
                if metric_type == MetricType::Counter && total.is_empty() {
                    metrics.iter_mut().for_each(|metric| metric.exemplar = None);
                }
                GivenFamily { name: name.clone(), metric_type, help: help.clone(), metrics }
            })
        },
    )
}

proptest! {
    #[test]
    fn what_is_written_is_read_again(families in (family(0), family(1), family(2))) {
        let families: [GivenFamily; 3] = families.into();
        for format in FORMATS {
            let page = written(format, &families);
            prop_assert_eq!(read(format, &page), expected(format, &families), "{:?}", format);
        }
    }

    #[test]
    fn native_histograms_come_back_from_protobuf(
        counts in proptest::collection::vec(0..1_000_u32, 0..6),
        below in proptest::collection::vec(0..1_000_u32, 0..3),
        zero in 0..9_u32,
        half in any::<bool>(),
        schema in -4..=8_i32,
    ) {
        let scale = if half { 0.5 } else { 1.0 };
        let scaled = |counts: &[u32]| counts.iter().map(|count| f64::from(*count) * scale).collect::<Vec<_>>();
        let spans = |counts: &[u32]| match u32::try_from(counts.len()).unwrap() {
            0 => Vec::new(),
            length => vec![Span { offset: -2, length }],
        };
        let total = counts.iter().chain(&below).map(|count| f64::from(*count)).sum::<f64>() + f64::from(zero);
        let histogram = Histogram {
            schema,
            zero_threshold: 1e-128,
            zero_count: f64::from(zero) * scale,
            count: total * scale,
            sum: 12.5,
            positive_spans: spans(&counts),
            negative_spans: spans(&below),
            positive_buckets: scaled(&counts),
            negative_buckets: scaled(&below),
            ..Histogram::default()
        };
        let mut page = PageWriter::new(PageFormat::Protobuf);
        page.family(PageFamily { name: "h", metric_type: MetricType::Histogram, help: "", unit: "seconds" });
        page.histogram(&[("a", "b")], &histogram, None).unwrap();
        let mut reading = Reading::default();
        read_protobuf(&page.finish(), HistogramForm::Native, &mut reading).unwrap();
        prop_assert_eq!(reading.families, ["h histogram  seconds"]);
        prop_assert_eq!(reading.histograms, [histogram]);
    }
}

fn one(name: &str, metric_type: MetricType, numbers: &[(Part, f64)]) -> GivenFamily {
    let labels = vec![("pod".to_owned(), "a".to_owned())];
    let (timestamp, exemplar) = (Some(Timestamp::from_unix_ms(-1_500)), None);
    let metric = Given { labels, numbers: numbers.to_vec(), timestamp, exemplar };
    GivenFamily { name: name.to_owned(), metric_type, help: "A \"help\".\n".to_owned(), metrics: vec![metric] }
}

#[test]
fn openmetrics_keeps_the_names_of_series() {
    let families = [
        one("asr_total_requests", MetricType::Counter, &[(Part::Value, 3.0)]),
        one("asr_requests_total", MetricType::Counter, &[(Part::Value, 4.0)]),
        one("asr_build_info", MetricType::Info, &[(Part::Value, 1.0)]),
        one(
            "asr_wait",
            MetricType::GaugeHistogram,
            &[(Part::Bucket(f64::INFINITY), 2.0), (Part::Sum, 1.0), (Part::Count, 2.0)],
        ),
    ];
    expect![[r##"
        # TYPE asr_total_requests unknown
        # HELP asr_total_requests A \"help\".\n
        asr_total_requests{pod="a"} 3 -1.500
        # TYPE asr_requests counter
        # HELP asr_requests A \"help\".\n
        asr_requests_total{pod="a"} 4 -1.500
        # TYPE asr_build info
        # HELP asr_build A \"help\".\n
        asr_build_info{pod="a"} 1 -1.500
        # TYPE asr_wait gaugehistogram
        # HELP asr_wait A \"help\".\n
        asr_wait_bucket{pod="a",le="+Inf"} 2 -1.500
        asr_wait_gsum{pod="a"} 1 -1.500
        asr_wait_gcount{pod="a"} 2 -1.500
        # EOF
    "##]]
    .assert_eq(&String::from_utf8(written(OPENMETRICS_1, &families)).unwrap());
}

#[test]
fn what_a_format_cannot_hold_is_refused() {
    let histogram = Histogram::default();
    let custom = Histogram { schema: CUSTOM_BUCKETS_SCHEMA, ..Histogram::default() };
    for (format, histogram) in [(TEXT, &histogram), (OPENMETRICS_1, &histogram), (PageFormat::Protobuf, &custom)] {
        assert_eq!(PageWriter::new(format).histogram(&[], histogram, None), Err(NoSuchHistogram), "{format:?}");
    }
}

#[test]
fn the_format_is_the_one_that_is_liked_best() {
    let proto = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited";
    let cases = [
        ("", TEXT),
        ("*/*", TEXT),
        ("text/html,application/xhtml+xml,*/*;q=0.8", TEXT),
        ("application/openmetrics-text", OPENMETRICS_1),
        ("application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.4", OPENMETRICS_1),
        ("application/openmetrics-text;version=1.0.0;q=0.3,text/plain;version=0.0.4;q=0.4", TEXT),
        ("application/openmetrics-text;version=2.0.0,text/plain;q=0.1", TEXT),
        ("application/openmetrics-text;q=0", TEXT),
        (&format!("{proto};q=0.6,application/openmetrics-text;q=0.5"), PageFormat::Protobuf),
        ("application/vnd.google.protobuf;encoding=text,text/plain;q=0.1", TEXT),
    ];
    for (accept, format) in cases {
        assert_eq!(PageFormat::negotiate(accept, &FORMATS), format, "{accept}");
    }
    assert_eq!(PageFormat::negotiate("application/openmetrics-text,text/plain;q=0.1", &[TEXT]), TEXT);
}
