//! Texts and pages: exposition formats, PromQL, label selectors, rule files, configuration, templates.
//!
//! Rule: what is printed is read again as the same thing.

use datamodel::exposition::{
    Entry, Format, HistogramForm, PageError, PageFamily, PageSample, PageVisitor, Parser, SampleLine, read_protobuf,
    write,
};
use datamodel::{Labels, METRIC_NAME, Selector};
use promql::Features;
use rules::template::Template;

/// Begins of pages in text format 0.0.4.
pub const TEXT_SEEDS: &[&[u8]] = &[
    b"# HELP m Help\\n.\n# TYPE m counter\nm_total{a=\"x\\\"\",b=\"\"} 1e3 1700000000000\n",
    b"# TYPE h histogram\nh_bucket{le=\"1\"} 2\nh_bucket{le=\"+Inf\"} 3\nh_sum NaN\nh_count 3\n",
    b"{\"my.metric\",\"http.status\"=\"200\"} 0x1p-2\n",
];

/// Begins of pages in OpenMetrics.
pub const OPENMETRICS_SEEDS: &[&[u8]] = &[
    b"# TYPE m counter\n# UNIT m_seconds seconds\nm_total{a=\"x\"} 1 12.5 # {trace_id=\"t\"} 0.5 12.25\n# EOF\n",
    b"# TYPE s summary\ns{quantile=\"0.5\"} 1\ns_sum 2\ns_count 1\ns_created 1\n# EOF",
    b"# TYPE h gaugehistogram\nh_bucket{le=\"+Inf\"} 1\nh_gcount 1\nh_gsum 1\n# EOF\n",
];

/// A family in protobuf: a native histogram with a label.
pub const PROTOBUF_SEEDS: &[&[u8]] = &[
    b"\x2c\x0a\x01h\x18\x04\x22\x25\x0a\x06\x0a\x01a\x12\x01b\x3a\x1b\x08\x03\x11\0\0\0\0\0\0\xf0\x3f\x28\x02\x62\x04\x08\x02\x10\x02\x6a\x02\x02\x02\x1a\x02\x08\x01",
    b"\x14\x0a\x01c\x18\x00\x22\x0d\x1a\x0b\x09\0\0\0\0\0\0\xf0\x3f\x12\x00",
];

/// Expressions.
pub const PROMQL_SEEDS: &[&[u8]] = &[
    b"histogram_quantile(0.95, sum by (le) (rate(m_bucket{job=~\"a|b\"}[5m] offset -1m)))",
    b"a / on(x) group_left(y) b @ end() unless (c[5m:1m] > bool 2) ^ -3",
    b"max_over_time(deriv(x[1h:])[2d:10s]) or vector(time()) # comment",
    b"{\"utf.8\",\"a b\"!~\"x\"} <= 0x1F + Inf - 1e-3",
];

/// Label selectors of Kubernetes.
pub const SELECTOR_SEEDS: &[&[u8]] = &[b"app in (a,b),!x,tier notin (c),y!=z,a==b", b"replicas>3,b.c/d<5"];

/// Rule files.
pub const RULE_FILE_SEEDS: &[&[u8]] = &[
    b"groups:\n- name: g\n  interval: 10s\n  rules:\n  - record: a:b\n    expr: sum(x)\n    labels: {c: d}\n",
    b"groups: [{name: g, rules: [{alert: A, expr: x > 1, for: 5m, annotations: {s: '{{ $value | humanize }}'}}]}]",
];

/// Configurations of prometheus-adapter.
pub const ADAPTER_SEEDS: &[&[u8]] = &[
    b"rules:\n- seriesQuery: 'x{pod!=\"\"}'\n  resources: {overrides: {pod: {resource: pod}}}\n  name: {matches: ^(.*)_total$, as: $1}\n  metricsQuery: sum(<<.Series>>{<<.LabelMatchers>>}) by (<<.GroupBy>>)\n",
];

/// Templates of annotations.
pub const TEMPLATE_SEEDS: &[&[u8]] = &[
    b"{{ range $i, $v := query \"up\" }}{{ if gt $v.Value 1.0 }}{{ $i }}{{ else }}-{{ end }}{{ end }}",
    b"{{ $labels.pod | toUpper | printf \"%5.2f %q\" }} {{- /* c */ -}} {{ $value | humanizePercentage }}",
];

/// Text format 0.0.4: each sample line, written again, is the same series and value.
pub fn text(page: &[u8]) {
    let mut parser = Parser::new(page, Format::PrometheusText004);
    while let Ok(Some(entry)) = parser.next() {
        if let Entry::Sample(line) = entry {
            rewrite(&line);
        }
    }
}

/// OpenMetrics: what the strict reader takes, the usual one takes too, entry by entry.
pub fn openmetrics(page: &[u8]) {
    let (mut strict, mut usual) =
        (Parser::strict(page, Format::OpenMetrics100), Parser::new(page, Format::OpenMetrics100));
    while let Ok(Some(entry)) = strict.next() {
        let same = usual.next().map(|found| found.is_some_and(|found| same_entry(&found, &entry)));
        assert_eq!(same, Ok(true), "the usual reader sees something else");
        if let Entry::Sample(line) = entry {
            rewrite(&line);
            if let Some(exemplar) = line.exemplar {
                drop(exemplar.labels());
            }
        }
    }
    while let Ok(Some(entry)) = usual.next() {
        if let Entry::Sample(line) = entry {
            rewrite(&line);
        }
    }
}

/// Equal but for NaN, which no value equals.
fn same_entry(a: &Entry<'_>, b: &Entry<'_>) -> bool {
    match (a, b) {
        (Entry::Sample(a), Entry::Sample(b)) => a.series == b.series && a.value.to_bits() == b.value.to_bits(),
        _ => a == b,
    }
}

fn rewrite(line: &SampleLine<'_>) {
    let Ok(labels) = line.labels() else { return };
    let name = line.name();
    let mut text = String::new();
    let others = labels.iter().filter(|(label, _)| *label != METRIC_NAME);
    // Only OpenMetrics knows times before 1970.
    let timestamp = line.timestamp.filter(|at| at.unix_ms() >= 0);
    write::sample(&mut text, &name, others, line.value, timestamp.map(datamodel::Timestamp::unix_ms));
    let mut parser = Parser::new(text.as_bytes(), Format::PrometheusText004);
    let Ok(Some(Entry::Sample(again))) = parser.next() else { panic!("what was written cannot be read: {text}") };
    assert_eq!(again.labels().as_ref(), Ok(&labels), "{text}");
    let same = again.value.to_bits() == line.value.to_bits() || (again.value.is_nan() && line.value.is_nan());
    assert!(same && again.timestamp == timestamp, "{text}");
}

/// Protobuf: each classic series, written as text, is the same series and value; each native histogram is sound; who
/// asks for both forms gets the native ones of `Native` and no more classic ones than there are in `Classic`.
pub fn protobuf(page: &[u8]) {
    #[derive(Default)]
    struct Count {
        classic: usize,
        native: usize,
    }
    impl<'p> PageVisitor<'p> for Count {
        type Error = PageError;

        fn family(&mut self, _family: PageFamily<'p>) -> Result<(), PageError> {
            Ok(())
        }

        fn sample(&mut self, sample: PageSample<'_>) -> Result<(), PageError> {
            match sample.histogram {
                Some(histogram) => {
                    assert_eq!(histogram.check(), Ok(()));
                    self.native += 1;
                }
                None => {
                    rewrite(&sample.line);
                    self.classic += 1;
                }
            }
            Ok(())
        }
    }
    let read = |form| {
        let mut count = Count::default();
        read_protobuf(page, form, &mut count).map(|()| count)
    };
    let (classic, native, both) =
        (read(HistogramForm::Classic), read(HistogramForm::Native), read(HistogramForm::Both));
    if let (Ok(classic), Ok(native), Ok(both)) = (classic, native, both) {
        assert_eq!((classic.native, native.native), (0, both.native));
        assert!(native.classic <= both.classic && both.classic <= classic.classic);
    }
}

/// PromQL: what is printed, on one line or on several, is parsed again to the same expression.
pub fn promql(text: &[u8]) {
    let Ok(text) = std::str::from_utf8(text) else { return };
    for features in [Features::DEFAULT, all_features()] {
        let Ok(expr) = promql::parse_with(text, &features) else { continue };
        let printed = expr.to_string();
        let pretty = promql::pretty(&expr);
        for again in [&printed, &pretty] {
            match promql::parse_with(again, &features) {
                Ok(expr) => assert_eq!(expr.to_string(), printed, "{again}"),
                // A text at the bound may be printed longer.
                Err(error) => assert!(again.len() > promql::MAX_BYTES, "{again}: {error}"),
            }
        }
    }
}

fn all_features() -> Features {
    let mut features = Features::DEFAULT;
    assert!(Features::FLAGS.iter().all(|flag| features.enable(flag)), "a flag that is none");
    features
}

/// Label selectors: what is printed is parsed again, and selects the same.
pub fn selector(text: &[u8]) {
    let Ok(text) = std::str::from_utf8(text) else { return };
    let Ok(selector) = Selector::parse(text) else { return };
    let again = Selector::parse(&selector.to_string());
    assert_eq!(again.as_ref(), Ok(&selector));
    let labels =
        [("app", "a"), ("tier", "c"), ("replicas", "4")].map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(selector.matches(&labels.clone().into()), again.is_ok_and(|again| again.matches(&labels.into())));
}

/// Rule files: read or refused, errors with a place.
pub fn rule_file(text: &[u8]) {
    let Ok(text) = std::str::from_utf8(text) else { return };
    if let Err(errors) = rules::parse_rule_file("rules.yml", text, &Features::DEFAULT) {
        assert!(
            errors.to_string().lines().all(|line| line.starts_with("rules.yml:") || line.starts_with(' ')),
            "{errors}"
        );
    }
}

/// Configurations of prometheus-adapter.
pub fn adapter_config(text: &[u8]) {
    let Ok(text) = std::str::from_utf8(text) else { return };
    drop(metrics_api::Config::parse("config.yaml", text));
}

/// Templates: a parsed one is expanded within its bounds.
pub fn template(text: &[u8]) {
    use rules::template::{Context, Data, TemplateSample};

    /// Answers each query with two samples.
    struct Fixed;

    impl Context for Fixed {
        fn query(&self, _text: &str) -> Result<Vec<TemplateSample>, String> {
            let sample = |pod, value| TemplateSample { labels: Labels::from_pairs([("pod", pod)]), value };
            Ok(vec![sample("a", 1.0), sample("b", f64::NAN)])
        }
    }

    let Ok(text) = std::str::from_utf8(text) else { return };
    let Ok(template) = Template::parse(text) else { return };
    let labels = Labels::from_pairs([("pod", "p<1>"), ("job", "asr")]);
    let (external_url, at) = ("http://x/", datamodel::Timestamp::from_unix_ms(0));
    drop(template.expand(&Data { labels: &labels, external_labels: &labels, external_url, value: 0.5, at }, &Fixed));
}
