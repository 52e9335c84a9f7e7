use std::time::Duration;

use expect_test::{Expect, expect};

use super::{Counter, Descriptor, Histogram, MAX_BUCKETS, MAX_CHILDREN, RegisterError, Registry};
use crate::exposition::{Entry, Format, Parser, Part};
use crate::metadata::MetricType;

#[test]
fn seed_names_are_written_to_the_letter() {
    let registry = Registry::with_constant_labels([("pod", "lightning-asr-xxx")]).unwrap();
    let active = registry.gauge("asr_active_requests", "Current active requests").unwrap();
    let total = registry.counter("asr_total_requests", "Total requests processed").unwrap();
    active.set(3.0);
    total.inc_by(1523);
    check(
        &registry,
        &expect![[r#"
            # HELP asr_active_requests Current active requests
            # TYPE asr_active_requests gauge
            asr_active_requests{pod="lightning-asr-xxx"} 3
            # HELP asr_total_requests Total requests processed
            # TYPE asr_total_requests counter
            asr_total_requests{pod="lightning-asr-xxx"} 1523
        "#]],
    );
}

#[test]
fn histogram_has_cumulative_buckets_up_to_infinity() {
    let registry = Registry::new();
    let seconds = registry.histogram("d_seconds", "Time.", &[0.05, 1.0, 2_500_000.0]).unwrap();
    for value in [0.05, 0.051, 1.0, 7.0, 1e9, f64::NAN] {
        seconds.observe(value);
    }
    seconds.observe_duration(Duration::from_millis(500));
    assert_eq!(seconds.count(), 6);
    check(
        &registry,
        &expect![[r#"
            # HELP d_seconds Time.
            # TYPE d_seconds histogram
            d_seconds_bucket{le="0.05"} 1
            d_seconds_bucket{le="1"} 4
            d_seconds_bucket{le="2.5e+06"} 5
            d_seconds_bucket{le="+Inf"} 6
            d_seconds_sum 1.000000008601e+09
            d_seconds_count 6
        "#]],
    );
}

#[test]
fn children_are_told_apart_by_labels_and_sorted_by_values() {
    let registry = Registry::with_constant_labels([("m", "c")]).unwrap();
    let requests = registry.counter_family("r_total", "Help with \\ and\nline.", ["zone", "code"]).unwrap();
    let empty = registry.gauge_family("never", "", ["a"]).unwrap();
    let waits = registry.histogram_family("w", "", ["q"], &[1.0]).unwrap();
    requests.with(["b", "200"]).inc();
    requests.with(["a\"\\\n", "500"]).add(2.5);
    requests.with(["b", "200"]).inc();
    requests.with(["gone", "0"]).inc();
    requests.remove(["gone", "0"]);
    waits.with(["x"]).observe(3.0);
    drop(empty);
    check(
        &registry,
        &expect![[r#"
            # HELP r_total Help with \\ and\nline.
            # TYPE r_total counter
            r_total{code="500",m="c",zone="a\"\\\n"} 2.5
            r_total{code="200",m="c",zone="b"} 2
            # TYPE w histogram
            w_bucket{m="c",q="x",le="1"} 0
            w_bucket{m="c",q="x",le="+Inf"} 1
            w_sum{m="c",q="x"} 3
            w_count{m="c",q="x"} 1
        "#]],
    );
}

#[test]
fn collectors_are_read_at_scrape_time() {
    let registry = Registry::new();
    let source = Counter::default();
    let read = source.clone();
    registry.gauge_fn("depth", "Depth.", move || read.get()).unwrap();
    let descriptors = [
        Descriptor { name: "s", metric_type: MetricType::Summary, help: "Summary." },
        Descriptor { name: "i", metric_type: MetricType::Gauge, help: "Info." },
    ];
    let collect = |emit: &mut super::Emit| {
        emit.sample(1, &[("version", "1")], 1.0);
        emit.part(0, Part::Quantile(0.5), &[("slice", "x")], f64::NAN);
        emit.part(0, Part::Count, &[("slice", "x")], 0.0);
        emit.sample(7, &[], 1.0);
    };
    registry.collector(&descriptors, collect).unwrap();
    source.add(1e6);
    check(
        &registry,
        &expect![[r#"
            # HELP depth Depth.
            # TYPE depth gauge
            depth 1e+06
            # HELP s Summary.
            # TYPE s summary
            s{slice="x",quantile="0.5"} NaN
            s_count{slice="x"} 0
            # HELP i Info.
            # TYPE i gauge
            i{version="1"} 1
        "#]],
    );
    let names: Vec<_> = registry.families().iter().map(|family| family.name).collect();
    assert_eq!(names, ["depth", "s", "i"]);
}

#[test]
fn summary_tells_quantiles_of_the_newest_observations() {
    let registry = Registry::new();
    let summary = registry.summary("s_seconds", "Summary.", &[0.5, 0.99]).unwrap();
    let jobs = registry.summary_family("j_seconds", "", ["job"], &[1.0]).unwrap();
    for value in 1..=100 {
        summary.observe(f64::from(value));
    }
    jobs.with(["a"]).observe(2.5);
    check(
        &registry,
        &expect![[r#"
            # HELP s_seconds Summary.
            # TYPE s_seconds summary
            s_seconds{quantile="0.5"} 50
            s_seconds{quantile="0.99"} 99
            s_seconds_sum 5050
            s_seconds_count 100
            # TYPE j_seconds summary
            j_seconds{job="a",quantile="1"} 2.5
            j_seconds_sum{job="a"} 2.5
            j_seconds_count{job="a"} 1
        "#]],
    );
    for _ in 0..super::WINDOW {
        summary.observe(7.0);
    }
    assert_eq!(summary.quantiles(), [(0.5, 7.0), (0.99, 7.0)]);
    assert!(registry.summary("t", "", &[0.9, 0.5]).is_err());
    assert!(registry.summary_family("t", "", ["quantile"], &[0.5]).is_err());
}

#[test]
fn wrong_declarations_are_refused() {
    let registry = Registry::with_constant_labels([("pod", "x")]).unwrap();
    registry.histogram("h", "", &[1.0]).unwrap();
    let name = |name: &'static str| registry.counter(name, "").unwrap_err();
    assert_eq!(name("a-b"), RegisterError::Name("a-b".to_owned()));
    for taken in ["h", "h_bucket", "h_sum"] {
        assert_eq!(name(taken), RegisterError::Duplicate(taken.to_owned()));
    }
    for label in ["a:b", "__x", "pod", ""] {
        let expected = RegisterError::Label { metric: "c".to_owned(), label: label.to_owned() };
        assert_eq!(registry.counter_family("c", "", [label]).unwrap_err(), expected);
    }
    assert!(registry.histogram_family("c", "", ["le"], &[1.0]).is_err());
    assert!(registry.counter_family("c", "", ["a", "a"]).is_err());
    assert!(Registry::with_constant_labels([("a", "1"), ("a", "2")]).is_err());
    for buckets in [&[1.0, 1.0][..], &[2.0, 1.0], &[f64::INFINITY], &[f64::NAN], &[0.0; MAX_BUCKETS + 1]] {
        assert!(Histogram::new(buckets).is_none(), "{buckets:?}");
    }
}

#[test]
fn children_beyond_the_bound_share_one() {
    let registry = Registry::new();
    let family = registry.counter_family("c", "", ["id"]).unwrap();
    for index in 0..MAX_CHILDREN + 10 {
        family.with([&index.to_string()]).inc();
    }
    assert!((family.with(["other"]).get() - 10.0).abs() < f64::EPSILON);
    assert!((family.with(["0"]).get() - 1.0).abs() < f64::EPSILON);
}

#[test]
fn counters_never_fall_and_add_up_across_threads() {
    let registry = Registry::new();
    let counter = registry.counter("c", "").unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..1000).for_each(|_| counter.add(0.5)));
        }
    });
    counter.add(-5.0);
    counter.add(f64::NAN);
    counter.inc();
    assert!((counter.get() - 2001.0).abs() < f64::EPSILON);
}

/// What the registry writes must also read back.
fn check(registry: &Registry, expected: &Expect) {
    let mut page = String::new();
    registry.encode_text(&mut page);
    let mut parser = Parser::new(page.as_bytes(), Format::PrometheusText004);
    while let Some(entry) = parser.next().unwrap() {
        if let Entry::Sample(sample) = entry {
            assert!(!sample.labels().unwrap().is_empty());
        }
    }
    expected.assert_eq(&page);
}
