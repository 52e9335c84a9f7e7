use std::sync::Arc;
use std::time::Duration;

use datamodel::histogram::{CUSTOM_BUCKETS_SCHEMA, CounterResetHint, Span};
use datamodel::protobuf::Writer;
use datamodel::time::TimeRange;
use datamodel::{METRIC_NAME, MatchOp, Matcher, MetricType};
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use storage::Samples;

use super::*;

#[test]
fn content_type_names_the_version() {
    let check = |content_type: &str, expected: Option<WriteVersion>| {
        assert_eq!(WriteVersion::from_content_type(content_type).ok(), expected, "{content_type}");
    };
    check("application/x-protobuf", Some(WriteVersion::V1));
    check("application/x-protobuf;proto=prometheus.WriteRequest", Some(WriteVersion::V1));
    check("Application/X-Protobuf; proto=\"io.prometheus.write.v2.Request\"", Some(WriteVersion::V2));
    check("application/x-protobuf;proto=io.prometheus.write.v3.Request", None);
    check("application/json", None);
    check("", None);
    for version in [WriteVersion::V1, WriteVersion::V2] {
        check(version.content_type(), Some(version));
    }
}

#[test]
fn bytes_of_version_1_are_those_of_other_senders() {
    // TimeSeries { labels: [__name__="up"], samples: [{ value: 1, timestamp: 1000 }] }, as protoc encodes it.
    let message = b"\x0a\x1e\x0a\x0e\x0a\x08__name__\x12\x02up\x12\x0c\x09\0\0\0\0\0\0\xf0\x3f\x10\xe8\x07";
    let request = WriteRequest::decode(WriteVersion::V1, message).unwrap();
    let expected = WriteRequest { series: vec![floats(&[(METRIC_NAME, "up")], &[(1000, 1.0)])], ..Default::default() };
    assert_eq!(request, expected);
    assert_eq!(expected.encode(WriteVersion::V1), message);
}

#[test]
fn what_is_no_series_is_left_out_and_named() {
    let mut request = WriteRequest {
        series: vec![floats(&[("job", "asr")], &[(1, 1.0), (2, 2.0)]), floats(&[(METRIC_NAME, "up")], &[(1, 1.0)])],
        ..Default::default()
    };
    request.series[1].histograms.push(WireHistogram {
        at: Timestamp::from_unix_ms(1),
        histogram: Histogram { schema: 77, ..Default::default() },
        start: None,
    });
    for version in [WriteVersion::V1, WriteVersion::V2] {
        let read = WriteRequest::decode(version, &request.encode(version)).unwrap();
        assert_eq!(read.series, [floats(&[(METRIC_NAME, "up")], &[(1, 1.0)])]);
        let refused: Vec<_> = read.refused.iter().map(|r| (r.reason.to_string(), r.samples, r.histograms)).collect();
        let schema = "invalid histogram: unknown schema: 77 (known: -4 to 8, and -53)".to_owned();
        assert_eq!(refused, [("series without a metric name".to_owned(), 2, 0), (schema, 0, 1)]);
    }
}

#[test]
fn duplicate_and_empty_label_names_refuse_the_series() {
    let check = |names: &[&str], expected: RefusedReason| {
        let mut writer = Writer::new();
        writer.message(1, |series| {
            for name in names {
                series.message(1, |label| {
                    label.text(1, name);
                    label.text(2, "x");
                });
            }
        });
        let read = WriteRequest::decode(WriteVersion::V1, &writer.into_bytes()).unwrap();
        assert_eq!((read.series.len(), &read.refused[0].reason), (0, &expected));
    };
    check(&[METRIC_NAME, "a", "a"], RefusedReason::DuplicateLabel("a".to_owned()));
    check(&["", METRIC_NAME], RefusedReason::EmptyLabelName);
    check(&[], RefusedReason::NoName);
}

#[test]
fn references_of_version_2_are_checked() {
    let check = |symbols: &[&str], references: &[u64], expected: &str| {
        let mut writer = Writer::new();
        writer.message(5, |series| series.packed_uint(1, references.iter().copied()));
        // The table may come last.
        symbols.iter().for_each(|symbol| writer.element(4, symbol));
        let result = match WriteRequest::decode(WriteVersion::V2, &writer.into_bytes()) {
            Ok(read) => read
                .refused
                .first()
                .map_or_else(|| read.series[0].labels.to_string(), |refused| refused.reason.to_string()),
            Err(error) => error.to_string(),
        };
        assert_eq!(result, expected);
    };
    check(&["", METRIC_NAME, "up"], &[1, 2], "up");
    check(&["", METRIC_NAME, "up"], &[1, 3], "symbol reference 3 is out of range");
    check(&["", METRIC_NAME, "up"], &[1, 2, 1], "odd number of label references: 3");
    check(&[METRIC_NAME, "up"], &[0, 1], "first symbol is not empty");
    check(&[], &[0, 1], "symbol reference 0 is out of range");
}

#[test]
fn a_small_body_cannot_fill_the_memory() {
    // Two bytes a sample: an empty message.
    let mut series = Writer::new();
    for _ in 0..=MAX_ELEMENTS {
        series.message(2, |_sample| ());
    }
    let mut writer = Writer::new();
    writer.written(1, &series.into_bytes());
    let message = writer.into_bytes();
    let error = WriteRequest::decode(WriteVersion::V1, &message).unwrap_err();
    assert_eq!(error.to_string(), "message has more than 2000000 labels, samples and buckets");
    // Zeros pack well: what it unpacks to is looked at first.
    let body = compress(&vec![0; 1_000_000]).unwrap();
    assert!(body.len() < 100_000);
    let error = decompress(&body, 999_999).unwrap_err();
    assert_eq!(error.to_string(), "message has 1000000 bytes, more than 999999");
    assert_eq!(decompress(&body, 1_000_000).unwrap().len(), 1_000_000);
    assert_eq!(
        decompress(b"\xff\xff\xff\xff\xff\xff", 10).unwrap_err().to_string(),
        "body is not in snappy's block format"
    );
}

#[test]
fn read_request_with_a_bad_matcher_is_refused_by_name() {
    let check = |number: u64, value: &str, expected: &str| {
        let mut writer = Writer::new();
        writer.message(1, |query| {
            query.message(3, |matcher| {
                matcher.uint(1, number);
                matcher.text(2, "pod");
                matcher.text(3, value);
            });
        });
        assert_eq!(ReadRequest::decode(&writer.into_bytes()).unwrap_err().to_string(), expected);
    };
    check(2, "a(", "invalid matcher on `pod`");
    check(4, "a", "unknown matcher type: 4");
}

#[test]
fn answer_is_written_from_what_the_storage_reads() {
    let labels = Labels::from_pairs([(METRIC_NAME, "up"), ("job", "asr")]);
    let histogram = Histogram { count: 2.0, zero_count: 2.0, sum: 1.5, ..Default::default() };
    let mut samples = Samples::default();
    samples.push(1, 1.0);
    samples.push_histogram(2, Arc::new(histogram.clone()));
    samples.push(3, 3.0);
    let mut first = QueryResultWriter::new(1000);
    first.series(&labels, &samples).unwrap();
    first.series(&labels, &Samples::default()).unwrap();
    let message = join_results([first, QueryResultWriter::new(1000)]);
    let mut expected = floats(&[(METRIC_NAME, "up"), ("job", "asr")], &[(1, 1.0), (3, 3.0)]);
    expected.histograms.push(WireHistogram { at: Timestamp::from_unix_ms(2), histogram, start: None });
    let response = ReadResponse::decode(&message).unwrap();
    assert_eq!(response, ReadResponse { results: vec![vec![expected], vec![]], refused: vec![] });
    let error = QueryResultWriter::new(50).series(&labels, &samples).unwrap_err();
    assert!(error.to_string().ends_with("more than 50"), "{error}");
}

proptest! {
    #[test]
    fn version_1_is_read_as_it_was_written(series in vec(series(false), 0..5), families in vec(family(), 0..3)) {
        let request = WriteRequest { series, refused: vec![], metadata: families };
        let read = WriteRequest::decode(WriteVersion::V1, &request.encode(WriteVersion::V1)).unwrap();
        prop_assert_eq!(read, request);
    }

    #[test]
    fn version_2_is_read_as_it_was_written(series in vec(series(true), 0..5)) {
        let request = WriteRequest { series, ..Default::default() };
        let read = WriteRequest::decode(WriteVersion::V2, &request.encode(WriteVersion::V2)).unwrap();
        prop_assert_eq!(read, request);
    }

    #[test]
    fn read_request_is_read_as_it_was_written(
        start: i64, end: i64, pairs in vec((0..4_u8, "[a-z]{1,9}", "[a-z.*]{0,9}"), 0..4), hinted: bool, streams: bool,
    ) {
        let matchers = pairs.into_iter().filter_map(|(op, name, value)| {
            let op = [MatchOp::Equal, MatchOp::NotEqual, MatchOp::Regex, MatchOp::NotRegex][usize::from(op)];
            Matcher::new(op, name, value).ok()
        });
        let range = TimeRange { start: Timestamp::from_unix_ms(start), end: Timestamp::from_unix_ms(end) };
        let hints = ReadHints {
            step: Duration::from_secs(15), function: "sum".to_owned(), start_ms: start, end_ms: end,
            grouping: vec!["pod".to_owned(), String::new()], by: true, range: Duration::from_secs(60),
        };
        let request = ReadRequest {
            queries: vec![ReadQuery { range, matchers: matchers.collect(), hints: hinted.then_some(hints) }],
            accepted: if streams { vec![ResponseType::StreamedChunks, ResponseType::Unknown(7)] } else { vec![] },
        };
        let read = ReadRequest::decode(&request.encode()).unwrap();
        prop_assert_eq!(read.accepts_samples(), !streams);
        prop_assert_eq!(read, request);
    }

    #[test]
    fn garbage_is_an_error_or_a_message_that_can_be_written_again(bytes: Vec<u8>) {
        survives(&bytes);
    }

    #[test]
    fn damage_is_an_error_or_a_message_that_can_be_written_again(
        series in vec(series(true), 1..4), at: prop::sample::Index, byte: u8, cut: prop::sample::Index,
    ) {
        let request = WriteRequest { series, ..Default::default() };
        for version in [WriteVersion::V1, WriteVersion::V2] {
            let mut message = request.encode(version);
            let place = at.index(message.len());
            message[place] = byte;
            survives(&message);
            message.truncate(cut.index(message.len()));
            survives(&message);
        }
    }
}

/// Reads the bytes as every message; what reads must come back from its own encoding.
fn survives(bytes: &[u8]) {
    for version in [WriteVersion::V1, WriteVersion::V2] {
        if let Ok(request) = WriteRequest::decode(version, bytes) {
            let again = WriteRequest::decode(version, &request.encode(version)).unwrap();
            // By what they print: a NaN is not equal to itself.
            assert_eq!(format!("{:?}", again.series), format!("{:?}", request.series));
        }
    }
    drop((ReadRequest::decode(bytes), ReadResponse::decode(bytes), decompress(bytes, 1 << 20)));
}

fn floats(labels: &[(&str, &str)], samples: &[(i64, f64)]) -> TimeSeries {
    let sample = |&(at, value)| WireSample { at: Timestamp::from_unix_ms(at), value, start: None };
    TimeSeries {
        labels: Labels::from_pairs(labels.iter().copied()),
        samples: samples.iter().map(sample).collect(),
        ..Default::default()
    }
}

/// Any float that is equal to itself.
fn number() -> impl Strategy<Value = f64> {
    prop_oneof![any::<f64>(), Just(0.0), Just(f64::INFINITY), Just(f64::NEG_INFINITY)]
        .prop_filter("no NaN", |v| !v.is_nan())
}

fn instant() -> impl Strategy<Value = Timestamp> {
    any::<i64>().prop_map(Timestamp::from_unix_ms)
}

/// The start of a counter; zero stands for none.
fn start(has_starts: bool) -> impl Strategy<Value = Option<Timestamp>> {
    option::of(instant()).prop_map(move |start| start.filter(|start| has_starts && start.unix_ms() != 0))
}

fn labels() -> impl Strategy<Value = Labels> {
    (btree_map(".{1,8}", ".{1,8}", 0..4), "[a-z]{1,8}").prop_map(|(mut pairs, name)| {
        pairs.insert(METRIC_NAME.to_owned(), name);
        Labels::from_pairs(pairs)
    })
}

fn histogram() -> impl Strategy<Value = Histogram> {
    let buckets = || vec((0..5_u32, 0..50_u32, any::<bool>()), 0..5);
    (buckets(), buckets(), -4..=8_i32, any::<bool>(), number(), 0..4_usize).prop_map(
        |(positive, negative, schema, is_whole, sum, hint)| {
            let side = |buckets: &[(u32, u32, bool)]| {
                let spans =
                    buckets.iter().map(|(offset, ..)| Span { offset: offset.cast_signed(), length: 1 }).collect();
                let part = if is_whole { 0.0 } else { 0.5 };
                (spans, buckets.iter().map(|(_, count, _)| f64::from(*count) + part).collect::<Vec<_>>())
            };
            let (positive_spans, positive_buckets) = side(&positive);
            let custom = schema == 8;
            let (negative_spans, negative_buckets) = if custom { Default::default() } else { side(&negative) };
            let zero_count = if custom { 0.0 } else { 3.0 };
            let hints = [
                CounterResetHint::Unknown,
                CounterResetHint::CounterReset,
                CounterResetHint::NotCounterReset,
                CounterResetHint::Gauge,
            ];
            Histogram {
                counter_reset_hint: hints[hint],
                schema: if custom { CUSTOM_BUCKETS_SCHEMA } else { schema },
                zero_threshold: if custom { 0.0 } else { 0.001 },
                zero_count,
                count: positive_buckets.iter().chain(&negative_buckets).sum::<f64>() + zero_count,
                sum,
                positive_spans,
                negative_spans,
                positive_buckets,
                negative_buckets,
                custom_values: if custom { (0..40).map(f64::from).collect() } else { Arc::from([]) },
            }
        },
    )
}

fn series(is_v2: bool) -> impl Strategy<Value = TimeSeries> {
    let sample = (instant(), number(), start(is_v2)).prop_map(|(at, value, start)| WireSample { at, value, start });
    let histogram = (instant(), histogram(), start(is_v2)).prop_map(|(at, histogram, start)| WireHistogram {
        at,
        histogram,
        start,
    });
    let exemplar = (labels(), number(), instant()).prop_map(|(labels, value, at)| Exemplar { labels, value, at });
    let metadata = option::of(family()).prop_map(move |family| family.map(|family| family.metadata).filter(|_| is_v2));
    (labels(), vec(sample, 0..4), vec(histogram, 0..3), vec(exemplar, 0..3), metadata).prop_map(
        |(labels, samples, histograms, exemplars, metadata)| TimeSeries {
            labels,
            samples,
            histograms,
            exemplars,
            metadata,
        },
    )
}

fn family() -> impl Strategy<Value = FamilyMetadata> {
    let types = [MetricType::Counter, MetricType::Gauge, MetricType::StateSet];
    ("[a-z]{1,8}", ".{0,20}", "[a-z]{0,4}", 0..3_usize).prop_map(move |(family, help, unit, at)| FamilyMetadata {
        family,
        metadata: Metadata { metric_type: types[at], unit: Arc::from(unit), help: Arc::from(help) },
    })
}
