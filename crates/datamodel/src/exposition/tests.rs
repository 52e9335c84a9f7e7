use expect_test::{Expect, expect};
use proptest::prelude::*;

use super::{Entry, Format, FormatError, MAX_LABELS, MAX_LINE_BYTES, PageFormat, Parser, write};
use crate::metadata::MetricType;

#[test]
fn content_type_chooses_the_format() {
    for (content_type, format) in [
        ("text/plain", Format::PrometheusText004),
        ("text/plain; version=0.0.4; charset=utf-8", Format::PrometheusText004),
        ("Text/Plain;charset=utf-8", Format::PrometheusText004),
        ("application/openmetrics-text; version=1.0.0; charset=utf-8", Format::OpenMetrics100),
    ] {
        assert_eq!(PageFormat::from_content_type(content_type), Ok(PageFormat::Text(format)), "{content_type}");
        assert_eq!(PageFormat::from_content_type(format.content_type()), Ok(PageFormat::Text(format)));
    }
    assert_eq!(PageFormat::from_content_type(" "), Err(FormatError::Missing));
    let protobuf = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited";
    assert_eq!(PageFormat::from_content_type(protobuf), Ok(PageFormat::Protobuf));
    let refused = PageFormat::from_content_type(&protobuf.replace("delimited", "text")).unwrap_err().to_string();
    assert!(refused.starts_with("unsupported encoding of protobuf: `application/"), "{refused}");
    let refused = PageFormat::from_content_type("text/html").unwrap_err().to_string();
    assert_eq!(refused, "unsupported content type: `text/html`");
}

#[test]
fn text_format_page_reads_entry_by_entry() {
    check(
        Format::PrometheusText004,
        "# HELP asr_active_requests Current\\nactive \\\\ requests\n\
         # TYPE asr_active_requests gauge\n\
         asr_active_requests{pod=\"lightning-asr-xxx\"} 3\n\
         \n\
         #just a comment\n\
         # HELPFUL words\n\
         # TYPE d histogram\n\
         d_bucket { le = \"1\" , } 2 1700000000000\n\
         d_bucket{le=\"+Inf\"}\t3\n\
         {\"my.metric\",\"http.status\"=\"a\\\"\\\\\\n\\t\"} NaN\n\
         \t up 1e3",
        &expect![[r#"
            help asr_active_requests "Current\nactive \\ requests"
            type asr_active_requests gauge
            asr_active_requests{pod="lightning-asr-xxx"} = 3
            comment
            comment
            type d histogram
            d_bucket{le="1.0"} = 2 @1700000000000
            d_bucket{le="+Inf"} = 3
            {__name__="my.metric", "http.status"="a\"\\\n\\t"} = NaN
            up = 1000
        "#]],
    );
}

#[test]
fn openmetrics_page_reads_entry_by_entry() {
    check(
        Format::OpenMetrics100,
        "# HELP a_seconds Says \\\"hi\\\".\n\
         # TYPE a_seconds histogram\n\
         # UNIT a_seconds seconds\n\
         a_seconds_bucket{le=\"1\"} 2 # {trace=\"x y\"} 0.5 1.25\n\
         a_seconds_bucket{le=\"+Inf\"} 2 1.5 # {} 0.5\n\
         a_seconds_count 2 -0.001\n\
         a_seconds_sum 2 1e30\n\
         # EOF\n",
        &expect![[r#"
            help a_seconds "Says \"hi\"."
            type a_seconds histogram
            unit a_seconds seconds
            a_seconds_bucket{le="1.0"} = 2 # {trace="x y"} 0.5 @1250
            a_seconds_bucket{le="+Inf"} = 2 @1500 # {} 0.5
            a_seconds_count = 2 @-1
            a_seconds_sum = 2 @9223372036854775807
        "#]],
    );
}

#[test]
fn bad_text_pages_are_refused_with_their_place() {
    check_refusals(
        Format::PrometheusText004,
        &[
            "a\n",
            "a 1 z\n",
            "a 1 -5\n",
            "a 1 1.5\n",
            "a 1 99999999999999999999\n",
            "a 1 1 1\n",
            "a 0x1p3\n",
            "a 1_000\n",
            "a 1e400\n",
            "ok 1\n\n  0a 1\n",
            "a-b 1\n",
            "a{b=c} 1\n",
            "a{b='c'} 1\n",
            "a{b=\"c} 1\n",
            "a{b} 1\n",
            "a{1=\"x\"} 1\n",
            "a{,} 1\n",
            "a{b=\"1\",,c=\"2\"} 1\n",
            "a{b=\"\\\n",
            "{b=\"1\"} 1\n",
            "{\"\"} 1\n",
            "a{\"b\"} 1\n",
            "{\"a\",\"b\"} 1\n",
            "# TYPE a meh\n",
            "# TYPE a gauge \n",
            "# TYPE a\n",
            "# TYPE \n",
            "# HELP \n",
            "a 1\r\n",
            "é 1\n",
            "a{b=\"é\"} x\n",
        ],
        &expect![[r##"
            "a\n": line 1, column 2: expected a value
            "a 1 z\n": line 1, column 5: invalid timestamp: `z`
            "a 1 -5\n": line 1, column 5: invalid timestamp: `-5`
            "a 1 1.5\n": line 1, column 5: invalid timestamp: `1.5`
            "a 1 99999999999999999999\n": line 1, column 5: invalid timestamp: `99999999999999999999`
            "a 1 1 1\n": line 1, column 7: expected the end of the line
            "a 0x1p3\n": line 1, column 3: invalid value: not a number: `0x1p3`
            "a 1_000\n": line 1, column 3: invalid value: not a number: `1_000`
            "a 1e400\n": line 1, column 3: invalid value: out of range: `1e400`
            "ok 1\n\n  0a 1\n": line 3, column 3: expected a metric name
            "a-b 1\n": line 1, column 2: invalid value: not a number: `-b`
            "a{b=c} 1\n": line 1, column 5: expected a label value in double quotes
            "a{b='c'} 1\n": line 1, column 5: expected a label value in double quotes
            "a{b=\"c} 1\n": line 1, column 5: quoted text without an end
            "a{b} 1\n": line 1, column 4: expected `=`
            "a{1=\"x\"} 1\n": line 1, column 3: expected a label name or `}`
            "a{,} 1\n": line 1, column 3: expected a label name or `}`
            "a{b=\"1\",,c=\"2\"} 1\n": line 1, column 9: expected a label name or `}`
            "a{b=\"\\\n": line 1, column 5: quoted text without an end
            "{b=\"1\"} 1\n": line 1, column 1: no metric name
            "{\"\"} 1\n": line 1, column 2: expected a name between the quotes
            "a{\"b\"} 1\n": line 1, column 3: a second metric name
            "{\"a\",\"b\"} 1\n": line 1, column 6: a second metric name
            "# TYPE a meh\n": line 1, column 10: unknown metric type: `meh`
            "# TYPE a gauge \n": line 1, column 10: unknown metric type: `gauge `
            "# TYPE a\n": line 1, column 9: unknown metric type: ``
            "# TYPE \n": line 1, column 8: expected a metric name
            "# HELP \n": line 1, column 8: expected a metric name
            "a 1\r\n": line 1, column 3: invalid value: not a number: `1\r`
            "é 1\n": line 1, column 1: expected a metric name
            "a{b=\"é\"} x\n": line 1, column 10: invalid value: not a number: `x`
        "##]],
    );
}

#[test]
fn accept_header_chooses_the_format_that_is_written() {
    for (accept, format) in [
        ("", Format::PrometheusText004),
        ("*/*", Format::PrometheusText004),
        ("text/html, application/json", Format::PrometheusText004),
        ("application/openmetrics-text", Format::OpenMetrics100),
        ("application/openmetrics-text; version=1.0.0; charset=utf-8", Format::OpenMetrics100),
        ("application/openmetrics-text;version=2.0.0", Format::PrometheusText004),
        ("application/openmetrics-text;q=0", Format::PrometheusText004),
        ("application/openmetrics-text;q=0.3,text/plain;version=0.0.4;q=0.4", Format::PrometheusText004),
        ("text/plain;q=0.3,Application/OpenMetrics-Text;version=0.0.1;q=0.6,*/*;q=0.1", Format::OpenMetrics100),
        (
            "application/vnd.google.protobuf;q=0.9,application/openmetrics-text;version=1.0.0;q=0.8",
            Format::OpenMetrics100,
        ),
    ] {
        assert_eq!(Format::accepted(accept), format, "{accept}");
    }
}

#[test]
fn bad_openmetrics_pages_are_refused_with_their_place() {
    check_refusals(
        Format::OpenMetrics100,
        &[
            "",
            "a 1\n",
            "a 1",
            "a 1\n# EOF\nblah",
            "a 1\n# EOFblah",
            "\n# EOF\n",
            "# comment\n# EOF\n",
            " a 1\n# EOF\n",
            "a  1\n# EOF\n",
            "a 1 \n# EOF\n",
            "a 1\t\n# EOF\n",
            "a{b=\"1\"}1\n# EOF\n",
            "a{b=\"1\" } 1\n# EOF\n",
            "a{b=\"1\"c=\"2\"} 1\n# EOF\n",
            "a{b=\"1\n\"} 1\n# EOF\n",
            "# HELP a\n# EOF\n",
            "# TYPE a untyped\n# EOF\n",
            "# TYPE a gauge \n# EOF\n",
            "# UNIT a seconds\n# EOF\n",
            "# UNIT as s\n# EOF\n",
            "a 1 NaN\n# EOF\n",
            "a 1 +Inf\n# EOF\n",
            "a 1 1e400\n# EOF\n",
            "a 1 # {} \n# EOF\n",
            "a 1 # {}1\n# EOF\n",
            "a 1 #{} 1\n# EOF\n",
            "a 1 # {\"b\"} 1\n# EOF\n",
            "a 1 # {} 1 1 1\n# EOF\n",
        ],
        &expect![[r##"
            "": line 1, column 1: page does not end with `# EOF`
            "a 1\n": line 2, column 1: page does not end with `# EOF`
            "a 1": line 1, column 4: page does not end with `# EOF`
            "a 1\n# EOF\nblah": line 2, column 6: unexpected text after `# EOF`
            "a 1\n# EOFblah": line 2, column 6: unexpected text after `# EOF`
            "\n# EOF\n": line 1, column 1: expected a metric name
            "# comment\n# EOF\n": line 1, column 1: expected `# HELP `, `# TYPE `, `# UNIT ` or `# EOF`
            " a 1\n# EOF\n": line 1, column 1: expected a metric name
            "a  1\n# EOF\n": line 1, column 3: expected a value
            "a 1 \n# EOF\n": line 1, column 4: expected a value or the end of the line
            "a 1\t\n# EOF\n": line 1, column 4: expected a blank
            "a{b=\"1\"}1\n# EOF\n": line 1, column 9: expected a blank
            "a{b=\"1\" } 1\n# EOF\n": line 1, column 8: expected `,` or `}`
            "a{b=\"1\"c=\"2\"} 1\n# EOF\n": line 1, column 8: expected `,` or `}`
            "a{b=\"1\n\"} 1\n# EOF\n": line 1, column 5: quoted text without an end
            "# HELP a\n# EOF\n": line 1, column 9: expected a blank and a text
            "# TYPE a untyped\n# EOF\n": line 1, column 10: unknown metric type: `untyped`
            "# TYPE a gauge \n# EOF\n": line 1, column 10: unknown metric type: `gauge `
            "# UNIT a seconds\n# EOF\n": line 1, column 10: unit `seconds` is not the suffix of `a`
            "# UNIT as s\n# EOF\n": line 1, column 11: unit `s` is not the suffix of `as`
            "a 1 NaN\n# EOF\n": line 1, column 5: invalid timestamp: `NaN`
            "a 1 +Inf\n# EOF\n": line 1, column 5: invalid timestamp: `+Inf`
            "a 1 1e400\n# EOF\n": line 1, column 5: invalid timestamp: `1e400`
            "a 1 # {} \n# EOF\n": line 1, column 9: expected a value or the end of the line
            "a 1 # {}1\n# EOF\n": line 1, column 9: expected a blank
            "a 1 #{} 1\n# EOF\n": line 1, column 5: invalid timestamp: `#{}`
            "a 1 # {\"b\"} 1\n# EOF\n": line 1, column 8: expected `=`
            "a 1 # {} 1 1 1\n# EOF\n": line 1, column 13: expected the end of the line
        "##]],
    );
}

#[test]
fn pages_that_obey_the_rules_pass_the_strict_parser() {
    for page in [
        "# EOF",
        "a 1\nb 2\n# EOF\n",
        "# TYPE a counter\n# HELP a help\na_total 1 # {a=\"b\"} 1.0\na_created 123.456\n# EOF\n",
        "# TYPE a gauge\n# EOF\n",
        "# HELP a\u{20}\n# UNIT a\u{20}\na NaN 1\na -1 2\n# EOF\n",
        "# TYPE a_s gauge\n# UNIT a_s s\na_s{x=\"1\"} 1\na_s{x=\"2\"} 1\n# EOF\n",
        "# TYPE a summary\na_count 1\na_sum 2\na{quantile=\"0.5\"} 0.7\na{quantile=\"1\"} NaN\n# EOF\n",
        "# TYPE a histogram\na_bucket{le=\"1\"} 0 # {} 0.5 1\na_bucket{le=\"+Inf\"} 3\na_count 3\na_sum 2\na_created 1\n# EOF\n",
        "# TYPE a histogram\na_bucket{le=\"-1\"} 0\na_bucket{le=\"+Inf\"} 3\n# EOF\n",
        "# TYPE a histogram\na_bucket{b=\"1\",le=\"+Inf\"} 1\na_bucket{b=\"2\",le=\"+Inf\"} 0\n# EOF\n",
        "# TYPE a histogram\na_bucket{le=\"+Inf\"} 1 1\na_bucket{le=\"+Inf\"} 2 2\n# EOF\n",
        "# TYPE a gaugehistogram\na_bucket{le=\"-5\"} 0\na_bucket{le=\"+Inf\"} 2\na_gcount 2\na_gsum -9\n# EOF\n",
        "# TYPE a info\na_info{v=\"1\"} 1\na_info{v=\"2\"} 1\n# EOF\n",
        "# TYPE a stateset\na{a=\"on\"} 1\na{a=\"off\"} 0\n# EOF\n",
        "# TYPE a unknown\na 1\n# EOF\n",
    ] {
        assert_eq!(strict(page), Ok(()), "{page}");
    }
}

/// Pages that can be read, each with one broken rule; `# EOF` is added.
const BROKEN_RULES: [&str; 42] = [
    "a 1\nb 1\na 2",
    "# TYPE a counter\na 1",
    "# TYPE a_total counter\na_total 1",
    "# TYPE a counter\n# TYPE b gauge\n# HELP a x",
    "# TYPE a_created gauge\n# TYPE a counter",
    "# TYPE a counter\n# TYPE a counter",
    "# HELP a x\n# HELP a x",
    "a 1\n# TYPE a gauge",
    "# TYPE a gauge\na 1\n# HELP a x",
    "# TYPE a_s info\n# UNIT a_s s",
    "# TYPE a gauge\na 1 # {} 1",
    "# TYPE a counter\na_created 1 # {} 1",
    "# TYPE a histogram\na_sum 1 # {} 1",
    "a{b=\"1\",} 1",
    "a{b=\"1\",b=\"2\"} 1",
    "# TYPE a counter\na_total NaN",
    "# TYPE a counter\na_total -1",
    "# TYPE a info\na_info 2",
    "# TYPE a info\na 1",
    "# TYPE a stateset\na{a=\"x\"} 0.5",
    "# TYPE a stateset\na 1",
    "# TYPE a summary\na 1",
    "# TYPE a summary\na{quantile=\"1.01\"} 1",
    "# TYPE a summary\na{quantile=\"x\"} 1",
    "# TYPE a summary\na{quantile=\"0.5\"} -1",
    "# TYPE a summary\na_count 0.5",
    "# TYPE a histogram\na_bucket 1",
    "# TYPE a histogram\na_bucket{le=\"NaN\"} 1",
    "# TYPE a histogram\na_bucket{le=\"+INF\"} 1",
    "# TYPE a histogram\na_bucket{le=\"+Inf\"} 0.5",
    "# TYPE a histogram\na_bucket{le=\"1\"} 1",
    "# TYPE a histogram\na_sum 1",
    "# TYPE a histogram\na_bucket{le=\"+Inf\"} 1\na_sum 1",
    "# TYPE a histogram\na_bucket{le=\"+Inf\"} 1\na_count 1",
    "# TYPE a histogram\na_bucket{le=\"+Inf\"} 1\na_count 2\na_sum 1",
    "# TYPE a histogram\na_bucket{le=\"2\"} 0\na_bucket{le=\"1\"} 0\na_bucket{le=\"+Inf\"} 0",
    "# TYPE a histogram\na_bucket{le=\"1\"} 2\na_bucket{le=\"+Inf\"} 1",
    "# TYPE a histogram\na_bucket{le=\"-1\"} 1\na_bucket{le=\"+Inf\"} 2\na_sum 1\na_count 2",
    "# TYPE a gaugehistogram\na_bucket{le=\"+Inf\"} 1\na_gsum -1\na_gcount 1",
    "# TYPE a histogram\na_bucket{a=\"1\",le=\"+Inf\"} 1\na_bucket{a=\"2\",le=\"+Inf\"} 0\na_count{a=\"1\"} 1",
    "# TYPE a gauge\na 0 2\na 0 1",
    "# TYPE a gauge\na 0\na 0 0",
];

#[test]
fn broken_rules_are_named_by_the_strict_parser() {
    let lines =
        BROKEN_RULES.iter().map(|page| format!("{page:?}: {}\n", strict(&format!("{page}\n# EOF\n")).expect_err(page)));
    let lines: Vec<String> = lines.collect();
    expect![[r##"
        "a 1\nb 1\na 2": line 4, column 1: name belongs to an earlier family: `a`
        "# TYPE a counter\na 1": line 3, column 1: name belongs to an earlier family: `a`
        "# TYPE a_total counter\na_total 1": line 3, column 1: name belongs to an earlier family: `a_total`
        "# TYPE a counter\n# TYPE b gauge\n# HELP a x": line 4, column 1: name belongs to an earlier family: `a`
        "# TYPE a_created gauge\n# TYPE a counter": line 3, column 1: name belongs to an earlier family: `a_created`
        "# TYPE a counter\n# TYPE a counter": line 2, column 1: repeated metadata for `a`
        "# HELP a x\n# HELP a x": line 2, column 1: repeated metadata for `a`
        "a 1\n# TYPE a gauge": line 2, column 1: metadata behind the samples of `a`
        "# TYPE a gauge\na 1\n# HELP a x": line 3, column 1: metadata behind the samples of `a`
        "# TYPE a_s info\n# UNIT a_s s": line 3, column 1: unit on `a_s` of type info
        "# TYPE a gauge\na 1 # {} 1": line 2, column 1: exemplar on `a`, which may have none
        "# TYPE a counter\na_created 1 # {} 1": line 2, column 1: exemplar on `a_created`, which may have none
        "# TYPE a histogram\na_sum 1 # {} 1": line 2, column 1: exemplar on `a_sum`, which may have none
        "a{b=\"1\",} 1": line 1, column 1: comma behind the last label
        "a{b=\"1\",b=\"2\"} 1": line 1, column 1: label name is not unique: `b`
        "# TYPE a counter\na_total NaN": line 2, column 1: value NaN is not allowed for `a_total`
        "# TYPE a counter\na_total -1": line 2, column 1: value -1 is not allowed for `a_total`
        "# TYPE a info\na_info 2": line 2, column 1: value 2 is not allowed for `a_info`
        "# TYPE a info\na 1": line 3, column 1: name belongs to an earlier family: `a`
        "# TYPE a stateset\na{a=\"x\"} 0.5": line 2, column 1: value 0.5 is not allowed for `a`
        "# TYPE a stateset\na 1": line 2, column 1: label `a` of `a` is absent or invalid
        "# TYPE a summary\na 1": line 2, column 1: label `quantile` of `a` is absent or invalid
        "# TYPE a summary\na{quantile=\"1.01\"} 1": line 2, column 1: label `quantile` of `a` is absent or invalid
        "# TYPE a summary\na{quantile=\"x\"} 1": line 2, column 1: label `quantile` of `a` is absent or invalid
        "# TYPE a summary\na{quantile=\"0.5\"} -1": line 2, column 1: value -1 is not allowed for `a`
        "# TYPE a summary\na_count 0.5": line 2, column 1: value 0.5 is not allowed for `a_count`
        "# TYPE a histogram\na_bucket 1": line 2, column 1: label `le` of `a_bucket` is absent or invalid
        "# TYPE a histogram\na_bucket{le=\"NaN\"} 1": line 2, column 1: label `le` of `a_bucket` is absent or invalid
        "# TYPE a histogram\na_bucket{le=\"+INF\"} 1": line 2, column 1: label `le` of `a_bucket` is absent or invalid
        "# TYPE a histogram\na_bucket{le=\"+Inf\"} 0.5": line 2, column 1: value 0.5 is not allowed for `a_bucket`
        "# TYPE a histogram\na_bucket{le=\"1\"} 1": line 3, column 1: histogram `a`: bucket `+Inf` is missing
        "# TYPE a histogram\na_sum 1": line 3, column 1: histogram `a`: bucket `+Inf` is missing
        "# TYPE a histogram\na_bucket{le=\"+Inf\"} 1\na_sum 1": line 4, column 1: histogram `a`: sum and count belong together
        "# TYPE a histogram\na_bucket{le=\"+Inf\"} 1\na_count 1": line 4, column 1: histogram `a`: sum and count belong together
        "# TYPE a histogram\na_bucket{le=\"+Inf\"} 1\na_count 2\na_sum 1": line 5, column 1: histogram `a`: count is not that of bucket `+Inf`
        "# TYPE a histogram\na_bucket{le=\"2\"} 0\na_bucket{le=\"1\"} 0\na_bucket{le=\"+Inf\"} 0": line 3, column 1: histogram `a`: bounds do not ascend
        "# TYPE a histogram\na_bucket{le=\"1\"} 2\na_bucket{le=\"+Inf\"} 1": line 3, column 1: histogram `a`: counts of buckets fall
        "# TYPE a histogram\na_bucket{le=\"-1\"} 1\na_bucket{le=\"+Inf\"} 2\na_sum 1\na_count 2": line 6, column 1: histogram `a`: a sum beside negative bounds
        "# TYPE a gaugehistogram\na_bucket{le=\"+Inf\"} 1\na_gsum -1\na_gcount 1": line 5, column 1: histogram `a`: a negative sum without negative bounds
        "# TYPE a histogram\na_bucket{a=\"1\",le=\"+Inf\"} 1\na_bucket{a=\"2\",le=\"+Inf\"} 0\na_count{a=\"1\"} 1": line 4, column 1: samples of one label set do not stand together: `a_count`
        "# TYPE a gauge\na 0 2\na 0 1": line 3, column 1: timestamps of one label set fall, or some are missing: `a`
        "# TYPE a gauge\na 0\na 0 0": line 3, column 1: timestamps of one label set fall, or some are missing: `a`
    "##]].assert_eq(&lines.concat());
    let long = "x".repeat(128);
    let page = format!("# TYPE a counter\na_total 1 # {{a=\"{long}\"}} 1\n# EOF\n");
    assert_eq!(strict(&page).unwrap_err(), "line 2, column 1: exemplar labels exceed 128 characters");
    // A scrape reads all of them, but for labels given twice.
    let read = |page: &&str| read(format!("{page}\n# EOF\n").as_bytes(), Format::OpenMetrics100).is_ok();
    assert_eq!(BROKEN_RULES.iter().filter(|page| !read(page)).collect::<Vec<_>>(), [&"a{b=\"1\",b=\"2\"} 1"]);
}

/// The corpus of the OpenMetrics project (`tests/testdata/parsers`), where `OPENMETRICS_CASES` names it.
#[test]
fn openmetrics_corpus_is_read_and_refused_as_it_says() {
    let Ok(folder) = std::env::var("OPENMETRICS_CASES") else {
        println!("OPENMETRICS_CASES is not set: the OpenMetrics corpus is not checked");
        return;
    };
    let mut wrong = Vec::new();
    for case in std::fs::read_dir(folder).unwrap() {
        let case = case.unwrap().path();
        let expected: serde_json::Value =
            serde_json::from_str(&std::fs::read_to_string(case.join("test.json")).unwrap()).unwrap();
        let page = std::fs::read_to_string(case.join("metrics")).unwrap();
        let result = strict(&page);
        if expected["shouldParse"].as_bool() != Some(result.is_ok()) {
            wrong.push(format!("{}: {result:?}", case.display()));
        }
    }
    assert_eq!(wrong, [""; 0]);
}

#[test]
fn invalid_bytes_are_refused_where_text_is_read() {
    let error = |page: &[u8]| read(page, Format::PrometheusText004).unwrap_err();
    assert_eq!(error(b"a{b=\"\xff\"} 1\n"), "line 1, column 6: invalid UTF-8");
    assert_eq!(error(b"# HELP a \xff\n"), "line 1, column 10: invalid UTF-8");
    assert!(read(b"# any \xff\na 1\n", Format::PrometheusText004).is_ok());
}

#[test]
fn line_feed_in_a_label_value_does_not_break_the_line_count() {
    let error = read(b"a{b=\"1\n2\"} 1\nb x\n", Format::PrometheusText004).unwrap_err();
    assert_eq!(error, "line 3, column 3: invalid value: not a number: `x`");
}

#[test]
fn line_length_and_label_count_are_bounded() {
    let error = |page: &str| read(page.as_bytes(), Format::PrometheusText004).unwrap_err();
    let long = "x".repeat(MAX_LINE_BYTES);
    let expected = "line 1, column 1: line is longer than 262144 bytes";
    assert_eq!(error(&format!("a{{b=\"{long}\"}} 1\n")), expected);
    assert_eq!(error(&format!("# HELP a {long}\n")), expected);
    assert_eq!(error(&format!("#{long}\n")), expected);
    assert_eq!(error(&format!("a {long}\n")), expected);
    let labels: Vec<String> = (0..=MAX_LABELS).map(|index| format!("l{index}=\"1\"")).collect();
    assert!(error(&format!("a{{{}}} 1\n", labels.join(","))).ends_with("line has more than 1024 labels"));
}

#[test]
fn duplicate_label_is_found_when_the_labels_are_read() {
    let error = read(b"up 1\na{b=\"1\",b=\"2\"} 1\n", Format::PrometheusText004).unwrap_err();
    assert_eq!(error, "line 2, column 1: label name is not unique: `b`");
    let error = read(b"a{__name__=\"b\"} 1\n", Format::PrometheusText004).unwrap_err();
    assert_eq!(error, "line 1, column 1: label name is not unique: `__name__`");
}

#[test]
fn predicted_series_is_taken_only_when_the_whole_text_is_the_same() {
    let page = b"a{b=\"1\"} 1\na{b=\"2\"} 2 5\nab 3\na {b=\"1\"} 4\n";
    let mut parser = Parser::new(page, Format::PrometheusText004);
    let first = parser.next_if_series("a{b=\"1\"}").unwrap().unwrap();
    assert_eq!((first.series, first.value), ("a{b=\"1\"}", 1.0));
    assert_eq!(parser.next_if_series("a{b=\"1\"}"), Ok(None));
    let second = parser.next_if_series("a{b=\"2\"}").unwrap().unwrap();
    assert_eq!(second.timestamp.map(crate::Timestamp::unix_ms), Some(5));
    assert_eq!(second.line, 2);
    assert_eq!(parser.next_if_series("a"), Ok(None));
    assert_eq!(parser.next_if_series(""), Ok(None));
    assert!(parser.next().unwrap().is_some());
    assert_eq!(parser.next_if_series("a"), Ok(None));
    assert!(parser.next().unwrap().is_some());
    assert_eq!(parser.next(), Ok(None));
}

proptest! {
    #[test]
    fn what_is_written_reads_back(
        name in ".{1,12}",
        labels in proptest::collection::btree_map("[^_].{0,8}", ".{1,16}", 0..5),
        value in any::<f64>(),
        timestamp in proptest::option::of(0..i64::MAX),
        help in ".{0,20}",
    ) {
        let mut page = String::new();
        write::metadata(&mut page, &name, MetricType::Gauge, &help);
        let pairs = labels.iter().map(|(label, value)| (label.as_str(), value.as_str()));
        write::sample(&mut page, &name, pairs, value, timestamp);
        let mut parser = Parser::new(page.as_bytes(), Format::PrometheusText004);
        if !help.is_empty() {
            let entry = parser.next().unwrap();
            prop_assert_eq!(entry, Some(Entry::Help { name: name.as_str().into(), text: help.as_str().into() }));
        }
        let entry = parser.next().unwrap();
        prop_assert_eq!(entry, Some(Entry::Type { name: name.as_str().into(), metric_type: MetricType::Gauge }));
        let Some(Entry::Sample(sample)) = parser.next().unwrap() else {
            return Err(TestCaseError::fail(page.clone()));
        };
        let read = sample.labels().unwrap();
        prop_assert_eq!(read.metric_name(), Some(name.as_str()));
        prop_assert_eq!(sample.name(), name.as_str());
        let back: Vec<_> = read.without_metric_name().iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
        prop_assert_eq!(back, labels.into_iter().collect::<Vec<_>>());
        prop_assert!(sample.value.to_bits() == value.to_bits() || (value.is_nan() && sample.value.is_nan()));
        prop_assert_eq!(sample.timestamp.map(crate::Timestamp::unix_ms), timestamp);
        prop_assert_eq!(parser.next(), Ok(None));
    }

    #[test]
    fn no_page_makes_the_parser_panic(page in "[a{}\"\\\\,=# \n\t1HELPTYEOFNUI.é_+-]{0,60}") {
        for format in [Format::PrometheusText004, Format::OpenMetrics100] {
            let first = read(page.as_bytes(), format);
            prop_assert_eq!(&first, &read(page.as_bytes(), format));
            let mut with_eof = page.clone();
            with_eof.push_str("\n# EOF\n");
            prop_assert!(read(with_eof.as_bytes(), format).is_ok() || format == Format::OpenMetrics100 || first.is_err());
        }
    }
}

/// One line for each entry, or the error.
fn read(page: &[u8], format: Format) -> Result<String, String> {
    let mut parser = Parser::new(page, format);
    let mut text = String::new();
    while let Some(entry) = parser.next().map_err(|error| error.to_string())? {
        match entry {
            Entry::Type { name, metric_type } => text.push_str(&format!("type {name} {metric_type}\n")),
            Entry::Help { name, text: help } => text.push_str(&format!("help {name} {help:?}\n")),
            Entry::Unit { name, unit } => text.push_str(&format!("unit {name} {unit}\n")),
            Entry::Comment => text.push_str("comment\n"),
            Entry::Sample(sample) => {
                let labels = sample.labels().map_err(|error| error.to_string())?;
                text.push_str(&format!("{labels} = {}", sample.value));
                if let Some(at) = sample.timestamp {
                    text.push_str(&format!(" @{}", at.unix_ms()));
                }
                if let Some(exemplar) = sample.exemplar {
                    let labels = exemplar.labels().map_err(|reason| reason.to_string())?;
                    text.push_str(&format!(" # {labels} {}", exemplar.value));
                    if let Some(at) = exemplar.timestamp {
                        text.push_str(&format!(" @{}", at.unix_ms()));
                    }
                }
                text.push('\n');
            }
        }
    }
    Ok(text)
}

/// Reads a page to its end by the rules about families.
fn strict(page: &str) -> Result<(), String> {
    let mut parser = Parser::strict(page.as_bytes(), Format::OpenMetrics100);
    while parser.next().map_err(|error| error.to_string())?.is_some() {}
    Ok(())
}

fn check(format: Format, page: &str, expected: &Expect) {
    expected.assert_eq(&read(page.as_bytes(), format).unwrap());
}

fn check_refusals(format: Format, pages: &[&str], expected: &Expect) {
    let lines: Vec<String> =
        pages.iter().map(|page| format!("{page:?}: {}\n", read(page.as_bytes(), format).expect_err(page))).collect();
    expected.assert_eq(&lines.concat());
}
