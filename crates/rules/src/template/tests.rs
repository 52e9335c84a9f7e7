use datamodel::{Labels, Timestamp};
use proptest::prelude::*;

use super::{Context, Data, MAX_OUTPUT_BYTES, Template, TemplateSample};

#[test]
fn seeds_annotations_expand() {
    check("Error rate is {{ $value }} errors/sec", "Error rate is 0.9375 errors/sec");
    check("GPU memory at {{ $value | humanizePercentage }}", "GPU memory at 93.75%");
    check("{{ $labels.pod }} of {{ .Labels.namespace }}{{ $labels.none }}", "asr-1 of smallest");
    check("{{ $externalLabels.cluster }} {{ $externalURL }} {{ .ExternalURL }}", "c1 http://p:9090/x http://p:9090/x");
}

#[test]
fn numbers_print_as_in_go() {
    check(
        "{{ 1 }} {{ 1.0 }} {{ 0x10 }} {{ 1e6 }} {{ 1e21 }} {{ 0.00001 }} {{ -2.50 }}",
        "1 1 16 1e+06 1e+21 1e-05 -2.5",
    );
    check("{{ true }} {{ \"a\\t\\u00e9\" }} {{ `raw\\n` }}", "true a\té raw\\n");
    check("{{ $labels }}", "map[namespace:smallest pod:asr-1]");
}

#[test]
fn trim_markers_and_comments_leave_nothing() {
    check("a {{- 1 -}} b", "a1b");
    check("a {{/* note */}} b{{- /* note */ -}} c", "a  bc");
    check("a\n{{ 1 -}}\n b", "a\n1b");
    check("{{ -1 }}", "-1");
}

#[test]
fn branches_choose() {
    check("{{ if gt $value 0.5 }}high{{ else }}low{{ end }}", "high");
    check("{{ if false }}a{{ else if eq 1 2 }}b{{ else }}c{{ end }}", "c");
    check("{{ with $labels.pod }}<{{ . }}>{{ end }}{{ with \"\" }}x{{ else }}none{{ end }}", "<asr-1>none");
    check("{{ with $x := 5 }}{{ $x }}{{ . }}{{ end }}", "55");
    check("{{ if and true (not false) \"x\" }}y{{ end }}{{ or 0 \"\" 7 }}", "y7");
    check("{{ if or true (first (query \"empty\")) }}lazy{{ end }}", "lazy");
}

#[test]
fn variables_have_their_block() {
    check("{{ $x := 1 }}{{ if true }}{{ $x = 2 }}{{ $x := 3 }}{{ $x }}{{ end }}{{ $x }}", "32");
    refused("{{ if true }}{{ $x := 1 }}{{ end }}{{ $x }}", "1:39: undefined variable `$x`");
    refused("{{ $lables.pod }}", "1:4: undefined variable `$lables`");
}

#[test]
fn range_walks_over_query_results_and_maps() {
    check("{{ range query \"up\" }}{{ .Labels.instance }}={{ .Value }};{{ end }}", "b=1;a=0;");
    check("{{ range $i, $s := query \"up\" }}{{ $i }}{{ $s | value }} {{ end }}", "01 10 ");
    check("{{ range $name, $value := $labels }}{{ $name }}:{{ $value }},{{ end }}", "namespace:smallest,pod:asr-1,");
    check("{{ range query \"empty\" }}x{{ else }}none{{ end }}", "none");
    check("{{ range sortByLabel \"instance\" (query \"up\") }}{{ .Labels.instance }}{{ end }}", "ab");
    check("{{ range query \"up\" }}{{ continue }}x{{ end }}{{ range query \"up\" }}y{{ break }}{{ end }}", "y");
    check("{{ query \"up\" | first | label \"instance\" }} {{ (query \"up\" | first).Value }}", "b 1");
    check("{{ with query \"up\" }}{{ len . }}{{ index . 1 | value }}{{ end }}", "20");
}

#[test]
fn humanize_functions_write_as_prometheus() {
    let each = |function: &str, cases: &[(&str, &str)]| {
        for (value, expected) in cases {
            check(&format!("{{{{ {value} | {function} }}}}"), expected);
        }
    };
    each(
        "humanize",
        &[
            ("0.0", "0"),
            ("1.0", "1"),
            ("1234567.0", "1.235M"),
            ("-0.12", "-120m"),
            ("1e30", "1e+06Y"),
            ("\"2048\"", "2.048k"),
            ("\"Inf\"", "+Inf"),
        ],
    );
    each("humanize1024", &[("0.0", "0"), ("1048576.0", "1Mi"), ("1.0", "1"), ("1500", "1.465ki")]);
    each(
        "humanizeDuration",
        &[
            ("0", "0s"),
            ("59.5", "59.5s"),
            ("60", "1m 0s"),
            ("3661", "1h 1m 1s"),
            ("-90061", "-1d 1h 1m 1s"),
            ("0.00121", "1.21ms"),
            ("\"NaN\"", "NaN"),
        ],
    );
    each("humanizePercentage", &[("0.1234567", "12.35%"), ("1.0", "100%"), ("123.456", "1.235e+04%")]);
    each("humanizeTimestamp", &[("1435065584.128", "2015-06-23 13:19:44.128 +0000 UTC"), ("\"Inf\"", "+Inf")]);
    each("toDuration", &[("90", "1m30s")]);
    each("toTime", &[("0", "1970-01-01 00:00:00 +0000 UTC")]);
    each("parseDuration", &[("\"1h\"", "3600")]);
}

#[test]
fn text_functions_write_as_prometheus() {
    check("{{ title \"asr pod_x-y\" }} {{ toUpper \"a\" }}{{ toLower \"B\" }}", "Asr Pod_x-Y Ab");
    check("{{ stripPort \"h:1\" }} {{ stripPort \"[::1]:2\" }} {{ stripPort \"h\" }}", "h ::1 h");
    check(
        "{{ stripDomain \"a.b.c:1\" }} {{ stripDomain \"10.0.0.1:1\" }} {{ stripDomain \"a.b\" }}",
        "a:1 10.0.0.1:1 a",
    );
    check("{{ match \"^a.\" \"abc\" }} {{ reReplaceAll \"(a)(b)\" \"$2$1\" \"xabx\" }}", "true xbax");
    check("{{ graphLink \"up == 1\" }}", "/graph?g0.expr=up+%3D%3D+1&g0.tab=0");
    check("{{ tableLink \"up\" }} {{ urlquery \"a b&\" }}", "/graph?g0.expr=up&g0.tab=1 a+b%26");
    check(
        "{{ externalURL }}{{ pathPrefix }} {{ safeHtml \"<b>\" }}{{ html \"<b>\" }}",
        "http://p:9090/x/x <b>&lt;b&gt;",
    );
    check("{{ now }}", "12.5");
    check("{{ slice \"abcd\" 1 3 }}{{ index $labels \"pod\" }}", "bcasr-1");
}

#[test]
fn printf_writes_as_go() {
    check(
        "{{ printf \"%.2f|%5d|%-5s|%05.1f|%+d|%q|%v|%%\" 1.005 42 \"ab\" 2.25 3 \"x\" 1.5 }}",
        "1.00|   42|ab   |002.2|+3|\"x\"|1.5|%",
    );
    check("{{ printf \"%.3g %e %t %x\" 1234.5 1.5 true 255 }}", "1.23e+03 1.500000e+00 true ff");
    check("{{ print 1 2 \"a\" 3 }}{{ println 1 \"b\" }}", "1 2a31 b\n");
    failed("{{ printf \"%d\" $value }}", "1:4: printf: `%d` does not take a number");
    failed("{{ printf \"%s %s\" \"a\" }}", "1:4: printf: no value for `%s`");
}

#[test]
fn unsupported_parts_are_refused_by_name_and_place() {
    refused("a\n {{ define \"x\" }}{{ end }}", "2:5: `define` is not supported");
    refused("{{ template \"x\" }}", "1:4: `template` is not supported");
    refused("{{ tmpl \"x\" }}", "1:4: function `tmpl` is not supported");
    refused("{{ humanise 1 }}", "1:4: unknown function `humanise`");
    refused("{{ 'a' }}", "1:4: character constants are not supported");
    failed("{{ (toTime 0).Year }}", "1:4: method `Year` of a time is not supported");
}

#[test]
fn broken_templates_are_refused_with_their_place() {
    refused("{{ $value", "1:1: action without an end");
    refused("{{ if true }}x", "1:4: `if` without an `end`");
    refused("{{ end }}", "1:4: `end` without a block");
    refused("{{ }}", "1:4: a value is missing");
    refused("{{ \"x }}", "1:4: string without an end");
    refused("{{ (1 }}", "1:7: expected `)`");
    refused("{{ break }}", "1:4: `break` outside of `range`");
    refused("{{ 1 2 }}", "1:6: only a function takes arguments");
    refused("{{ 1 | 2 }}", "1:8: only a function can stand behind `|`");
    refused("{{ /* x }}", "1:1: comment without an end");
    refused("{{ € }}", "1:4: unexpected character `€`");
    refused(&"{{ if true }}".repeat(60), "1:651: nested deeper than 50");
}

#[test]
fn wrong_types_fail_with_their_place() {
    failed("x {{ gt $value 1 }}", "1:6: gt: incompatible types for comparison: a number and an integer");
    failed("{{ first (query \"empty\") }}", "1:4: first: called on a list without samples");
    failed("{{ query \"bad\" }}", "1:4: query: no such thing");
    failed("{{ humanize \"x\" }}", "1:4: humanize: not a number: `x`");
    failed("{{ $value.x }}", "1:4: a number has no field `x`");
    failed("{{ range 5 }}{{ end }}", "1:10: range: cannot range over an integer");
    failed("{{ query \"up\" }}", "1:4: a list of samples cannot be printed");
}

#[test]
fn expansion_is_bounded() {
    let twice = "{{ range query \"up\" }}";
    let nested = twice.repeat(40) + "x" + &"{{ end }}".repeat(40);
    failed_with(&nested, "more than 100 queries");
    let lists = "{{ $s := query \"many\" }}".to_owned() + &"{{ range $s }}".repeat(5) + &"{{ end }}".repeat(5);
    failed_with(&lists, "more than 100000 steps");
    let double = "{{ $x := \"0123456789\" }}".to_owned() + &"{{ $x = print $x $x }}".repeat(100);
    failed_with(&double, &format!("print: output exceeds {MAX_OUTPUT_BYTES} bytes"));
    let replace = "{{ $x := printf \"%1000d\" 1 }}{{ $x = reReplaceAll \".\" \"0123456789\" $x }}".to_owned()
        + "{{ $x = reReplaceAll \"\" $x $x }}";
    failed_with(&replace, "reReplaceAll: output could exceed 16777216 bytes");
    failed_with(
        "{{ range query \"many\" }}{{ printf \"%1000d\" 1 }}{{ end }}",
        &format!("output exceeds {MAX_OUTPUT_BYTES} bytes"),
    );
}

/// Pieces of templates, good and bad.
fn piece() -> impl Strategy<Value = String> {
    const PIECES: &[&str] = &[
        "{{ ",
        " }}",
        "{{- ",
        " -}}",
        "if ",
        "else ",
        "end",
        "range ",
        "with ",
        "$x",
        " := ",
        " = ",
        "$labels",
        ".pod",
        ".",
        "(",
        ")",
        " | ",
        "query \"up\"",
        "printf ",
        "\"%5.2f\"",
        "1",
        "1.5e3",
        "first ",
        "len ",
        "text",
        "\n",
        "/*",
        "*/",
        "`",
        "\"",
        ", ",
        "break",
        "continue",
        "and ",
        "index ",
        "eq ",
        "€",
        "nil",
    ];
    prop_oneof![9 => proptest::sample::select(PIECES).prop_map(str::to_owned), 1 => ".{0,5}"]
}

proptest! {
    #[test]
    fn any_text_is_refused_or_expands_within_its_bounds(pieces in proptest::collection::vec(piece(), 0..40)) {
        let text = pieces.concat();
        if let Ok(template) = Template::parse(&text) {
            let labels = Labels::from_pairs([("pod", "asr-1")]);
            let data = Data {
                labels: &labels,
                external_labels: &labels,
                external_url: "",
                value: 1.0,
                at: Timestamp::from_unix_ms(0),
            };
            if let Ok(output) = template.expand(&data, &Answers) {
                prop_assert!(output.len() <= MAX_OUTPUT_BYTES);
            }
        }
    }
}

struct Answers;

impl Context for Answers {
    fn query(&self, expression: &str) -> Result<Vec<TemplateSample>, String> {
        let sample =
            |instance: &str, value| TemplateSample { labels: Labels::from_pairs([("instance", instance)]), value };
        match expression {
            "up" => Ok(vec![sample("b", 1.0), sample("a", 0.0)]),
            "empty" => Ok(vec![]),
            "many" => Ok(vec![sample("a", 1.0); 100]),
            _ => Err("no such thing".to_owned()),
        }
    }
}

fn expand(text: &str) -> Result<String, String> {
    let data = Data {
        labels: &Labels::from_pairs([("pod", "asr-1"), ("namespace", "smallest")]),
        external_labels: &Labels::from_pairs([("cluster", "c1")]),
        external_url: "http://p:9090/x",
        value: 0.9375,
        at: Timestamp::from_unix_ms(12_500),
    };
    let template = Template::parse(text).unwrap();
    template.expand(&data, &Answers).map_err(|error| error.to_string())
}

#[track_caller]
fn check(text: &str, expected: &str) {
    assert_eq!(expand(text).as_deref(), Ok(expected), "{text}");
}

#[track_caller]
fn failed(text: &str, expected: &str) {
    assert_eq!(expand(text), Err(expected.to_owned()), "{text}");
}

#[track_caller]
fn failed_with(text: &str, expected: &str) {
    let error = expand(text).unwrap_err();
    assert!(error.ends_with(expected), "{error}");
}

#[track_caller]
fn refused(text: &str, expected: &str) {
    assert_eq!(Template::parse(text).map_err(|error| error.to_string()), Err(expected.to_owned()), "{text}");
}
