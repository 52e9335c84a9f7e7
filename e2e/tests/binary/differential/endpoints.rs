//! The endpoints of the API beside queries, and when two answers are alike.
//!
//! Rule: whatever differs from run to run or from build to build is taken out by name; all else must be equal.

use std::collections::BTreeMap;

use anyhow::Result;
use e2e::server::SOON;
use e2e::wait;
use serde_json::Value;

use super::answer::is_alike;
use super::{Both, ask, data};

/// How answers are compared.
#[derive(Clone, Copy)]
enum How {
    /// Every value.
    Equal,
    /// The keys, and the kinds of their values.
    Shape,
    /// The values of keys that both have.
    Common,
    /// Status and type of error; the words are those of another version.
    Refusal,
}

use How::{Common, Equal, Refusal, Shape};

/// Values that change from run to run, or name the program.
const VOLATILE: [&str; 13] = [
    "lastScrape",
    "lastScrapeDuration",
    "evaluationTime",
    "lastEvaluation",
    "activeAt",
    "file",
    "lastError",
    "startTime",
    "CWD",
    "version",
    "revision",
    "lastConfigTime",
    "storageRetention",
];

/// Keys of ours that Prometheus 2.42 does not have, by the object that holds them; later versions have them.
const NEWER: [(&str, &[&str]); 3] = [
    ("data", &["droppedTargetCounts", "GOMEMLIMIT", "hostname", "serverTime"]),
    ("droppedTargets", &["scrapePool"]),
    ("", &["infos", "warnings"]),
];

fn requests() -> Vec<(String, How)> {
    let (first, last) = (data::START, data::START + data::ROWS * data::STEP);
    let range = format!("start={first}&end={last}");
    let mut requests: Vec<(String, How)> = [
        ("/api/v1/scrape_pools", Equal),
        ("/api/v1/targets", Equal),
        ("/api/v1/targets?state=active", Equal),
        ("/api/v1/targets?state=dropped", Equal),
        ("/api/v1/targets?state=any&scrapePool=refused", Equal),
        ("/api/v1/targets/metadata", Equal),
        ("/api/v1/targets/metadata?metric=asr_total_requests", Equal),
        ("/api/v1/targets/metadata?match_target=%7Bjob=%22own%22%7D&limit=1", Shape),
        ("/api/v1/metadata?metric=asr_active_requests", Equal),
        ("/api/v1/metadata", Equal),
        ("/api/v1/metadata?limit=1", Shape),
        ("/api/v1/metadata?limit=x", Refusal),
        ("/api/v1/rules", Equal),
        ("/api/v1/rules?type=alert", Equal),
        ("/api/v1/rules?type=record", Equal),
        ("/api/v1/rules?type=x", Refusal),
        ("/api/v1/alerts", Equal),
        ("/api/v1/alertmanagers", Equal),
        ("/api/v1/status/config", Shape),
        ("/api/v1/status/flags", Common),
        ("/api/v1/status/runtimeinfo", Shape),
        ("/api/v1/status/buildinfo", Shape),
        ("/api/v1/status/tsdb", Shape),
        ("/api/v1/status/tsdb?limit=1", Shape),
        ("/api/v1/status/walreplay", Shape),
        ("/api/v1/format_query?query=sum(rate(a%5B5m%5D))by(x)", Equal),
        ("/api/v1/format_query?query=sum(", Refusal),
        ("/api/v1/query_exemplars?query=requests_total&start=1&end=2", Equal),
        ("/api/v1/query_exemplars?query=requests_total&start=2&end=1", Refusal),
        ("/api/v1/series", Refusal),
        ("/api/v1/series?match[]=%7B%7D", Refusal),
        ("/api/v1/series?match[]=queue_depth&start=x", Refusal),
        ("/api/v1/labels?start=x", Refusal),
        ("/api/v1/labels?match[]=1", Refusal),
        ("/api/v1/label/a-b/values?match[]=1", Refusal),
        ("/api/v1/query?query=1&time=x", Refusal),
        ("/api/v1/query?query=1&timeout=x", Refusal),
        ("/api/v1/query_range?query=1&start=2&end=1&step=1", Refusal),
        ("/api/v1/query_range?query=1&start=1&end=2&step=0", Refusal),
        ("/api/v1/query_range?query=1&start=1&end=2&step=x", Refusal),
        ("/api/v1/query_range?query=1&start=1&end=2000000&step=1", Refusal),
        ("/api/v1/query_range?query=queue_depth%5B1m%5D&start=1&end=2&step=1", Refusal),
        ("/api/v1/query?query=%22text%22&time=5", Equal),
        ("/api/v1/query?query=queue_depth%5B1m%5D&time=1700005503", Equal),
    ]
    .into_iter()
    .map(|(path, how)| (path.to_owned(), how))
    .collect();
    for path in [
        "/api/v1/series?match[]=queue_depth",
        "/api/v1/series?match[]=queue_depth&match[]=%7Bpod=~%22.*1%22%7D",
        "/api/v1/labels?match[]=build_info",
        "/api/v1/labels?match[]=session",
        "/api/v1/label/pod/values",
        "/api/v1/label/__name__/values?match[]=%7Bpod=%22worker-1%22%7D",
        "/api/v1/label/nothing/values?",
    ] {
        requests.push((format!("{path}&{range}").replace("values&", "values?"), Equal));
    }
    requests
}

/// Takes out what changes from run to run and what came later; sorts what has no order. `holder` is the key above.
fn settle(value: &mut Value, holder: &str) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields.iter_mut() {
                if VOLATILE.contains(&name.as_str()) && !value.is_object() {
                    *value = Value::Null;
                }
                settle(value, name);
            }
            let newer: Vec<&str> =
                NEWER.iter().filter(|(above, _)| *above == holder).flat_map(|(_, keys)| *keys).copied().collect();
            fields.retain(|name, _| !newer.contains(&name.as_str()));
        }
        Value::Array(items) => {
            items.iter_mut().for_each(|item| settle(item, holder));
            // A group of which a filter leaves no rule is left out since 2.53.
            items.retain(|item| holder != "groups" || item["rules"].as_array().is_none_or(|rules| !rules.is_empty()));
            if items.iter().all(Value::is_object) {
                items.sort_by_key(|item| {
                    let fields: BTreeMap<String, Value> = serde_json::from_value(item.clone()).unwrap_or_default();
                    format!("{fields:?}")
                });
            }
        }
        _ => {}
    }
}

/// The keys of a tree with the kinds of their values; elements of a list are taken as one.
fn shape(value: &Value, at: &str, into: &mut BTreeMap<String, &'static str>) {
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    into.insert(at.to_owned(), kind);
    match value {
        Value::Object(fields) => fields.iter().for_each(|(name, value)| shape(value, &format!("{at}.{name}"), into)),
        Value::Array(items) => items.iter().for_each(|value| shape(value, &format!("{at}[]"), into)),
        _ => {}
    }
}

fn shape_of(value: &Value) -> BTreeMap<String, &'static str> {
    let mut found = BTreeMap::new();
    shape(value, "", &mut found);
    found
}

/// Flags whose values differ because of where the two run, or of their defaults; each is told in the documentation.
const OTHER_FLAGS: [&str; 9] = [
    "config.file",
    "log.format",
    "query.max-samples",
    "storage.tsdb.path",
    "web.console.libraries",
    "web.console.templates",
    "web.listen-address",
    "web.page-title",
    "web.route-prefix",
];

/// The keys in `data` that both have, with values that differ.
fn other_values(ours: &Value, theirs: &Value) -> Vec<String> {
    let fields = ours["data"].as_object().into_iter().flatten();
    let differ = fields.filter_map(|(name, value)| {
        let other = theirs["data"].get(name)?;
        (value != other && !OTHER_FLAGS.contains(&name.as_str())).then(|| format!("{name}: {value} {other}"))
    });
    differ.collect()
}

pub(super) async fn compare(both: &Both) {
    let mut differences = Vec::new();
    let requests = requests();
    for (path, how) in &requests {
        // Targets and rules of the two are looked at in turn, not at once: what differs must become alike.
        let alike = wait::until(path, SOON, || difference(both, path, *how), |found| found.is_none());
        if let Err(error) = alike.await {
            differences.push(format!("{error:#}"));
        }
    }
    assert!(differences.is_empty(), "{} of {} differ:\n{}", differences.len(), requests.len(), differences.join("\n"));
    println!("{} answers beside queries are alike", requests.len());
}

/// How the two answers differ now.
async fn difference(both: &Both, path: &str, how: How) -> Result<Option<String>> {
    let [(our_status, mut ours), (their_status, mut theirs)] = ask(both, path).await?;
    settle(&mut ours, "");
    settle(&mut theirs, "");
    let is_alike = our_status == their_status
        && match how {
            Equal => is_alike(&ours, &theirs),
            Shape => shape_of(&ours) == shape_of(&theirs),
            Common => other_values(&ours, &theirs).is_empty(),
            Refusal => their_status != 200 && ours["errorType"] == theirs["errorType"],
        };
    if is_alike {
        return Ok(None);
    }
    let detail = match how {
        Shape => {
            let (ours, theirs) = (shape_of(&ours), shape_of(&theirs));
            let only = |a: &BTreeMap<String, &'static str>, b: &BTreeMap<String, &'static str>| {
                let only = a.iter().filter(|(name, kind)| b.get(*name) != Some(*kind));
                only.map(|(name, kind)| format!("{name}: {kind}")).collect::<Vec<_>>()
            };
            format!("only ours {:?}\n    only theirs {:?}", only(&ours, &theirs), only(&theirs, &ours))
        }
        Common => other_values(&ours, &theirs).join("\n    "),
        Equal | Refusal => format!("{ours}\n    {theirs}"),
    };
    Ok(Some(format!("{path}\n    {our_status} {their_status}\n    {detail}")))
}
