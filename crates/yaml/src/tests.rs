use expect_test::{Expect, expect};
use proptest::prelude::*;

use crate::decoders::{boolean, duration, float, integer, list, map, one_of, parsed, strict_string, string};
use crate::{Errors, Fields, Kind, MAX_DEPTH, Node, Report, mapping, nearest, parse, parse_all};

#[test]
fn quoted_lines_are_not_taken_for_errors() {
    let errors = crate::decode("t.yml", "interval: \"5\\n\\nt.yml:9:9: forged\\n  more\"\n", |node, report| {
        mapping(node, report, |fields| fields.required("interval", duration))
    });
    assert_eq!(
        errors.unwrap_err().to_string(),
        "t.yml:1:11: interval: not a valid duration: `5\n  t.yml:9:9: forged\n  more` (expected something like `15s` or `1h30m`)"
    );
}

#[test]
fn every_error_is_reported_in_one_run_with_line_column_and_path() {
    check(
        "\
name: 5
interval: 5
ratio: high
strategy: Mix
metrics:
  - {type: Pods, value: 4}
  - {typ: Pods, value: many}
  - Pods
enabled: maybe
labels: {a.b/c: [1], team: asr}
name: again
replicas: 300
colour: red
old: 1
",
        expect![[r#"
            t.yml:1:1: required: required key is missing
            t.yml:1:7: name: expected a string, found the number `5`: put it in quotes
            t.yml:2:11: interval: not a valid duration: `5` (expected something like `15s` or `1h30m`)
            t.yml:3:8: ratio: expected a number, found the string `high`
            t.yml:4:11: strategy: expected one of `Max`, `Min`, found `Mix` (did you mean `Max`?)
            t.yml:7:5: metrics[1].type: required key is missing
            t.yml:7:6: metrics[1].typ: unknown key (did you mean `type`?)
            t.yml:7:24: metrics[1].value: expected a whole number, found the string `many`
            t.yml:8:5: metrics[2]: expected a mapping, found the string `Pods`
            t.yml:9:10: enabled: expected a boolean, found the string `maybe`
            t.yml:10:17: labels["a.b/c"]: expected a string, found a list
            t.yml:11:1: duplicate key `name`
            t.yml:12:11: replicas: out of range: `300`
            t.yml:13:1: colour: unknown key
            t.yml:14:1: old: not supported: it went away with version 2"#]],
    );
}

#[test]
fn good_document_decodes() {
    check(
        "{name: a, required: x, interval: 1m30s, ratio: 1e-1, strategy: Min, enabled: on, replicas: 0x1F, \
         metrics: [{type: b, value: 1_000}], labels: {a: b, c: 1.0}}",
        expect![[
            r#"Config { name: "a", interval: Some(90s), ratio: Some(0.1), strategy: Some(Min), metrics: [("b", 1000)], enabled: Some(true), labels: [("a", "b"), ("c", "1.0")], replicas: Some(31) }"#
        ]],
    );
}

#[test]
fn json_is_yaml() {
    let text = "{\n\t\"a\": \"tab\\t\\u00e9\\/\\ud83d\\ude00\",\n\t\"b\": [1, -2.5e3, true, null, {}]\n}";
    check_tree(text, r#"{a: "tab\té/😀", b: [1, -2.5e3, true, ~, {}]}"#);
}

#[test]
fn scalars_keep_their_text_and_style() {
    check_tree("a: 100m", r"{a: 100m}");
    check_tree("a: '5'", r#"{a: "5"}"#);
    check_tree("a: !!str 5", r#"{a: "5"}"#);
    check_tree("a: |\n  x\n  y\n", "{a: |\"x\\ny\\n\"}");
    check_tree("a: >-\n  x\n  y\n", "{a: |\"x y\"}");
    check_tree("a:\nb: ~\nc: null\nd: ''", r#"{a: ~, b: ~, c: ~, d: ""}"#);
    check_tree("- 1\n-\n  - 2\n- # nothing\n", "[1, [2], ~]");
    check_tree("", "~");
    check_tree("# only a comment\n", "~");
}

#[test]
fn anchors_and_merge_keys_expand() {
    check_tree("a: &x [1, 2]\nb: *x", "{a: [1, 2], b: [1, 2]}");
    check_tree("a: &x {k: 1, l: 2}\nb: {<<: *x, l: 3}", "{a: {k: 1, l: 2}, b: {l: 3, k: 1}}");
    check_tree("b: {<<: [{k: 1}, {k: 2, m: 3}], n: 4}", "{b: {n: 4, k: 1, m: 3}}");
    check_tree("'<<': 1", "{<<: 1}");
}

#[test]
fn broken_documents_are_refused_with_their_place() {
    check_refused("a: [1", expect!["t.yml:1:4: syntax error: unclosed bracket '['"]);
    check_refused("a: 1\n b: 2", expect!["t.yml:2:3: syntax error: mapping values are not allowed in this context"]);
    check_refused("a: *b", expect!["t.yml:1:4: syntax error: while parsing node, found unknown anchor"]);
    check_refused("a: &x [*x]", expect!["t.yml:1:8: an alias inside the node that it names"]);
    check_refused("a: {b: [{c: 1, c: 2}]}", expect!["t.yml:1:16: a.b[0]: duplicate key `c`"]);
    check_refused("? [1]\n: 2", expect!["t.yml:1:3: a key must be a text, not a list or mapping"]);
    check_refused("a: !ruby/object x", expect!["t.yml:1:4: a: tag `!ruby/object` is not supported here"]);
    check_refused("a: {<<: 1}", expect!["t.yml:1:9: a: merge key `<<` needs a mapping or a list of mappings"]);
    check_refused("a\n---\nb", expect!["t.yml:3:1: expected one document, found a second one"]);
}

#[test]
fn several_documents_are_read_and_empty_ones_left_out() {
    let documents = parse_all("t.yml", "---\na: 1\n---\n# nothing\n---\nb: 2\n...\n").unwrap();
    let trees: Vec<String> = documents.iter().map(|document| tree(document.root())).collect();
    assert_eq!(trees, ["{a: 1}", "{b: 2}"]);
    assert!(parse_all("t.yml", "").unwrap().is_empty());
}

#[test]
fn aliases_cannot_blow_a_small_text_up() {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let names = vec![format!("*a{}", level - 1); 10].join(", ");
        text.push_str(&format!("a{level}: &a{level} [{names}]\n"));
    }
    let message = parse("t.yml", &text).unwrap_err().to_string();
    assert!(message.ends_with("too many values: at most 1000000, with aliases expanded"), "{message}");
}

#[test]
fn depth_is_bounded_in_both_styles() {
    let flow = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
    assert!(parse("t.yml", &flow(MAX_DEPTH)).is_ok());
    for text in [flow(MAX_DEPTH + 1), flow(100_000), "- ".repeat(MAX_DEPTH + 1), "? ".repeat(5_000)] {
        let message = parse("t.yml", &text).unwrap_err().to_string();
        assert!(message.contains("too deeply") || message.contains("limit") || message.contains("syntax"), "{message}");
    }
    let long = " ".repeat(crate::MAX_BYTES + 1);
    assert!(parse("t.yml", &long).unwrap_err().to_string().contains("too long"));
}

#[test]
fn numbers_read_as_go_reads_them() {
    let number = |text: &str| {
        let document = parse("t.yml", text).unwrap();
        let scalar = document.root().as_scalar().unwrap();
        (scalar.as_i64(), scalar.as_f64())
    };
    assert_eq!(number("010"), (Some(8), Some(8.0)));
    assert_eq!(number("0o10"), (Some(8), Some(8.0)));
    assert_eq!(number("0b11"), (Some(3), Some(3.0)));
    assert_eq!(number("-0x10"), (Some(-16), Some(-16.0)));
    assert_eq!(number("-9223372036854775808").0, Some(i64::MIN));
    assert_eq!(number("9223372036854775808").0, None);
    assert_eq!(number("1.5"), (None, Some(1.5)));
    assert_eq!(number("-.inf"), (None, Some(f64::NEG_INFINITY)));
    for text in ["1_", "_1", "+-1", "0x-1", "1e", "infinity", "nan", "1.2.3", "'1'", "100m", "é", "-é", "0é"] {
        assert_eq!(number(text), (None, None), "{text}");
    }
}

#[test]
fn suggestions_are_near_or_absent() {
    let known = ["averageValue", "averageUtilization", "value", "type"];
    assert_eq!(nearest("avarageValue", known), Some("averageValue"));
    assert_eq!(nearest("AverageUtilisation", known), Some("averageUtilization"));
    assert_eq!(nearest("tpye", known), Some("type"));
    assert_eq!(nearest("selector", known), None);
    assert_eq!(nearest(&"a".repeat(10_000), known), None);
}

#[test]
fn long_lists_of_errors_are_cut_short() {
    let text = "- x\n".repeat(3_000);
    let errors = crate::decode("t.yml", &text, list(integer::<i64>)).unwrap_err();
    let printed = errors.to_string();
    assert_eq!(printed.lines().count(), 101);
    assert!(printed.ends_with("t.yml: and 900 more errors"), "{printed}");
}

proptest! {
    #[test]
    fn no_text_panics(text in r"[ \n\t\-a-c:,\[\]{}&*!|>'%@#?<0-9é]{0,80}") {
        let document = parse_all("t.yml", &text);
        prop_assert!(document.map_or(true, |documents| documents.len() <= 80));
    }

    #[test]
    fn quoted_strings_come_back(text in any::<String>()) {
        let quoted: String = text.chars().map(|c| format!("\\U{:08x}", u32::from(c))).collect();
        let document = parse("t.yml", &format!("\"{quoted}\"")).unwrap();
        prop_assert_eq!(&*document.root().as_scalar().unwrap().text, &text);
    }
}

#[derive(Clone, Copy, Debug)]
enum Strategy {
    Max,
    Min,
}

#[derive(Debug)]
#[expect(dead_code, reason = "read by `Debug`")]
struct Config {
    name: String,
    interval: Option<std::time::Duration>,
    ratio: Option<f64>,
    strategy: Option<Strategy>,
    metrics: Vec<(String, i64)>,
    enabled: Option<bool>,
    labels: Vec<(String, String)>,
    replicas: Option<u8>,
}

fn config(node: &Node, report: &mut Report) -> Option<Config> {
    mapping(node, report, |fields: &mut Fields<'_, '_>| {
        let name = fields.required("name", strict_string);
        let required = fields.required("required", parsed::<String>);
        let interval = fields.optional("interval", duration);
        let ratio = fields.optional("ratio", float);
        let strategy = fields.optional("strategy", one_of(&[("Max", Strategy::Max), ("Min", Strategy::Min)]));
        let metrics = fields.optional("metrics", list(metric));
        let enabled = fields.optional("enabled", boolean);
        let labels = fields.or("labels", map(string), Vec::new());
        let replicas = fields.optional("replicas", integer::<u8>);
        fields.unsupported("old", "it went away with version 2");
        required?;
        Some(Config {
            name: name?,
            interval,
            ratio,
            strategy,
            metrics: metrics.unwrap_or_default(),
            enabled,
            labels,
            replicas,
        })
    })
}

fn metric(node: &Node, report: &mut Report) -> Option<(String, i64)> {
    mapping(node, report, |fields| {
        let kind = fields.required("type", string);
        let value = fields.required("value", integer);
        Some((kind?, value?))
    })
}

/// The tree on one line: plain scalars bare, quoted ones quoted, block ones after a bar.
fn tree(node: &Node) -> String {
    match &node.kind {
        Kind::Scalar(scalar) if scalar.is_null() => "~".to_owned(),
        Kind::Scalar(scalar) => match scalar.style {
            crate::Style::Plain => scalar.text.to_string(),
            crate::Style::Quoted => format!("{:?}", scalar.text),
            crate::Style::Block => format!("|{:?}", scalar.text),
        },
        Kind::Sequence(items) => format!("[{}]", items.iter().map(tree).collect::<Vec<_>>().join(", ")),
        Kind::Mapping(entries) => {
            let entries = entries.iter().map(|entry| format!("{}: {}", entry.key.text, tree(&entry.value)));
            format!("{{{}}}", entries.collect::<Vec<_>>().join(", "))
        }
    }
}

#[track_caller]
fn check_tree(text: &str, expected: &str) {
    assert_eq!(tree(parse("t.yml", text).unwrap().root()), expected, "{text}");
}

#[expect(clippy::needless_pass_by_value, reason = "expectations are written in place")]
#[track_caller]
fn check_refused(text: &str, expected: Expect) {
    expected.assert_eq(&parse("t.yml", text).unwrap_err().to_string());
}

#[expect(clippy::needless_pass_by_value, reason = "expectations are written in place")]
#[track_caller]
fn check(text: &str, expected: Expect) {
    let decoded: Result<Config, Errors> = crate::decode("t.yml", text, config);
    expected.assert_eq(&decoded.map_or_else(|errors| errors.to_string(), |config| format!("{config:?}")));
}
