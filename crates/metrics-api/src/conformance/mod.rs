//! The published cases of prometheus-adapter's behaviour, run against this crate.
//!
//! The cases are data outside of the repository; `ADAPTER_CASES` names another file of the same form. A
//! case with `policy: better` demands the behaviour in its field `better`; each such behaviour has one
//! branch in the checks below and stands in `docs/coming-from-prometheus-adapter.md`.
//!
//! Rule: a kind that is not covered is listed by name, and no count may fall.

mod answers;
mod naming;

use std::collections::BTreeMap;

use serde_json::Value;

const DEFAULT_CASES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/conformance/adapter/cases.json");

/// How many cases of each kind of the default file pass.
const COVERED: [(&str, usize); 17] = [
    ("api_path", 14),
    ("build_external_query", 9),
    ("build_query", 15),
    ("config", 4),
    ("discovery_list", 3),
    ("error_body", 6),
    ("label_for_resource", 3),
    ("label_template", 4),
    ("match_values", 3),
    ("metric_name", 14),
    ("quantity", 15),
    ("registry_query", 9),
    ("request_parse", 6),
    ("resource_metrics", 4),
    ("response_document", 6),
    ("selector_term", 13),
    ("series_filter", 6),
];

/// Kinds about the client of a Prometheus elsewhere: the crate `remote` runs them.
const OF_THE_CLIENT: [&str; 4] = ["header_flag", "prometheus_auth", "prometheus_http_status", "prometheus_tls"];

/// What is known beside the case itself.
struct Context {
    default_rules: Value,
}

#[tokio::test]
async fn published_cases_of_prometheus_adapter_hold() {
    let path = std::env::var("ADAPTER_CASES").unwrap_or_else(|_unset| DEFAULT_CASES.to_owned());
    let Ok(text) = std::fs::read_to_string(&path) else {
        println!("adapter cases are absent: {path}");
        return;
    };
    let file: Value = serde_json::from_str(&text).unwrap();
    let context = Context { default_rules: file["default_rules"].clone() };
    let mut passed: BTreeMap<String, usize> = BTreeMap::new();
    let mut elsewhere: BTreeMap<String, usize> = BTreeMap::new();
    let mut failures = Vec::new();
    for case in file["cases"].as_array().unwrap() {
        let kind = text_of(&case["kind"]);
        if OF_THE_CLIENT.contains(&kind) {
            *elsewhere.entry(kind.to_owned()).or_default() += 1;
            continue;
        }
        match check(&context, kind, case).await {
            Ok(()) => *passed.entry(kind.to_owned()).or_default() += 1,
            Err(reason) => failures.push(format!("{}: {reason}", text_of(&case["id"]))),
        }
    }
    let list = |counts: &BTreeMap<String, usize>| {
        counts.iter().map(|(kind, count)| format!("{kind} {count}")).collect::<Vec<_>>().join(", ")
    };
    println!("adapter cases: passed: {}; run by `remote`: {}", list(&passed), list(&elsewhere));
    assert!(failures.is_empty(), "{} cases fail:\n{}", failures.len(), failures.join("\n"));
    for (kind, least) in COVERED {
        let count = passed.get(kind).copied().unwrap_or(0);
        assert!(path != DEFAULT_CASES || count >= least, "{kind}: {count} cases pass, {least} did");
    }
}

async fn check(context: &Context, kind: &str, case: &Value) -> Result<(), String> {
    let (input, expect) = (&case["input"], &case["expect"]);
    let better = case["policy"] == "better";
    match kind {
        "build_query" => naming::build_query(input, expect),
        "build_external_query" => naming::build_external_query(input, expect),
        "selector_term" => naming::selector_term(input, expect),
        "series_filter" => naming::series_filter(input, expect),
        "metric_name" => naming::metric_name(input, expect, better),
        "label_template" => naming::label_template(input, expect),
        "label_for_resource" => naming::label_for_resource(input, expect),
        "discovery_list" => naming::discovery_list(context, input, expect),
        "registry_query" => naming::registry_query(context, input, expect).await,
        "match_values" => answers::match_values(input, expect, better),
        "quantity" => answers::quantity(input, expect, better),
        "resource_metrics" => answers::resource_metrics(input, expect),
        "request_parse" => answers::request_parse(input, expect),
        "api_path" => answers::api_path(input, expect).await,
        "error_body" => answers::error_body(input, expect, better).await,
        "response_document" => answers::response_document(input, expect).await,
        "config" => answers::config(input, expect, better).await,
        _ => Err("unknown kind".to_owned()),
    }
}

fn text_of(value: &Value) -> &str {
    value.as_str().unwrap_or("")
}

fn texts_of(value: &Value) -> Vec<&str> {
    value.as_array().map(|texts| texts.iter().map(text_of).collect()).unwrap_or_default()
}

#[expect(clippy::needless_pass_by_value, reason = "reads as `assert_eq!` at its many callers")]
fn same<T: PartialEq + std::fmt::Debug>(found: T, expected: T) -> Result<(), String> {
    if found == expected { Ok(()) } else { Err(format!("found {found:?}, expected {expected:?}")) }
}

/// An outcome against `expect`: a value under `key`, or an error that begins with `error`, contains
/// `error_contains`, or merely is one (`error: true`).
fn outcome(found: Result<String, String>, expect: &Value, key: &str) -> Result<(), String> {
    match (found, &expect["error"], &expect["error_contains"]) {
        (Ok(found), Value::Null, Value::Null) => same(found.as_str(), text_of(&expect[key])),
        (Err(_any), Value::Bool(true), _) => Ok(()),
        (Err(error), Value::String(prefix), _) if error.starts_with(prefix) => Ok(()),
        (Err(error), Value::Null, Value::String(part)) if error.contains(part.as_str()) => Ok(()),
        (found, ..) => Err(format!("found {found:?}, expected {expect}")),
    }
}

/// Whether a document has all that is expected: further keys are allowed, further elements only of causes;
/// of `message` the expected text is a prefix.
fn superset(path: &str, found: &Value, expected: &Value) -> Result<(), String> {
    match (found, expected) {
        (Value::Object(found), Value::Object(expected)) => expected.iter().try_for_each(|(key, expected)| {
            let found = found.get(key).ok_or_else(|| format!("{path}.{key} is missing"))?;
            superset(&format!("{path}.{key}"), found, expected)
        }),
        (Value::Array(found), Value::Array(expected)) => {
            let causes = path.ends_with(".causes");
            if found.len() != expected.len() && !(causes && found.len() > expected.len()) {
                return Err(format!("{path} has {} elements, expected {}", found.len(), expected.len()));
            }
            found
                .iter()
                .zip(expected)
                .enumerate()
                .try_for_each(|(index, (found, expected))| superset(&format!("{path}[{index}]"), found, expected))
        }
        (Value::String(found), Value::String(expected)) if expected == "<RFC3339 seconds, UTC>" => {
            let form = found.replace(|c: char| c.is_ascii_digit(), "0");
            same(form.as_str(), "0000-00-00T00:00:00Z")
        }
        (Value::String(found), Value::String(expected))
            if path.ends_with(".message") && found.starts_with(expected) =>
        {
            Ok(())
        }
        (found, expected) if found == expected => Ok(()),
        (found, expected) => Err(format!("{path} is {found}, expected {expected}")),
    }
}
