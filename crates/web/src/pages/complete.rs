//! `/query/complete`: what may stand at a place in an expression that is being typed.
//!
//! Rule: the engine's lexer decides what is being typed, the storage which names there are; both bounded.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::Request;
use axum::response::Response;
use datamodel::time::TimeRange;
use datamodel::{METRIC_NAME, Matcher};
use promql::completion::{OPERATOR_WORDS, Wanted, aggregations, completion_at};
use promql::functions::FUNCTIONS;
use serde_json::{Value, json};
use storage::QueryError;

use crate::api::Shared;
use crate::api::answer::json_text;
use crate::api::families::{Families, families};
use crate::error::ApiError;
use crate::params::{Params, parse_int};

/// The most proposals of an answer: more than anyone reads.
const MAX_PROPOSALS: usize = 60;

/// How long a completion may take; then typing goes on without it.
const PATIENCE: Duration = Duration::from_secs(2);

/// How far back names are looked for: what still is, and what was this day.
const SPAN: Duration = Duration::from_secs(6 * 3_600);

/// The durations that people write most.
const DURATIONS: [&str; 8] = ["1m", "2m", "5m", "10m", "15m", "30m", "1h", "1d"];

/// Something that may stand at the place.
#[derive(Debug, PartialEq, Eq)]
struct Proposal {
    text: String,
    kind: &'static str,
    detail: String,
}

impl Proposal {
    fn new(text: impl Into<String>, kind: &'static str, detail: impl Into<String>) -> Self {
        Self { text: text.into(), kind, detail: detail.into() }
    }
}

pub(super) async fn answer(State(shared): State<Arc<Shared>>, request: Request<Body>) -> Result<Response, ApiError> {
    let params = Params::of(request).await?;
    let text = params.get("expr");
    let at = match params.get("at") {
        "" => text.len(),
        at => {
            let chars = parse_int(at).map_err(|problem| ApiError::parameter("at", problem))?;
            // Browsers count in UTF-16.
            let mut left = usize::try_from(chars).unwrap_or(0);
            let inside = |c: &char| {
                let fits = left >= c.len_utf16();
                left = left.saturating_sub(c.len_utf16());
                fits
            };
            text.chars().take_while(inside).map(char::len_utf8).sum()
        }
    };
    let completion = completion_at(text, at);
    let (wanted, prefix) = (completion.wanted, completion.prefix);
    let now = shared.parts.clock.now();
    let range = TimeRange { start: now.saturating_sub(SPAN), end: now };
    let owner = Arc::clone(&shared);
    let work = move || proposals(&owner, range, &wanted, &prefix);
    let found = shared.gate.run(PATIENCE, Arc::<AtomicBool>::default(), work).await?;
    let found = found.map_err(|error| ApiError::storage(&error))?;
    let utf16 = |end: usize| text.get(..end).unwrap_or_default().encode_utf16().count();
    let proposals: Vec<Value> =
        found.iter().map(|found| json!({"text": found.text, "kind": found.kind, "detail": found.detail})).collect();
    let (from, to) = (utf16(completion.span.start), utf16(completion.span.end));
    Ok(json_text(json!({"from": from, "to": to, "proposals": proposals}).to_string()))
}

fn proposals(shared: &Shared, range: TimeRange, wanted: &Wanted, prefix: &str) -> Result<Vec<Proposal>, QueryError> {
    let querier = shared.parts.queryable.querier(range)?;
    let of_metric = |metric: &Option<String>| -> Vec<Matcher> {
        metric.iter().map(|metric| Matcher::equal(METRIC_NAME, metric.as_str())).collect()
    };
    let mut found = Vec::new();
    match wanted {
        Wanted::Expression => {
            let known = shared.parts.storage.as_ref().map(|storage| families(storage.metadata())).unwrap_or_default();
            let names = querier.label_values(METRIC_NAME, &[], None)?;
            found.extend(names.iter().map(|name| Proposal::new(&**name, "metric", help(&known, name))));
            let signature = |function: &promql::functions::Function| {
                let args: Vec<&str> = function.args.iter().map(|arg| arg.as_str()).collect();
                format!("({}) → {}", args.join(", "), function.returns.as_str())
            };
            found
                .extend(FUNCTIONS.iter().map(|function| Proposal::new(function.name, "function", signature(function))));
            found.extend(aggregations().map(|name| Proposal::new(name, "aggregation", "")));
        }
        Wanted::Operator => found.extend(OPERATOR_WORDS.map(|word| Proposal::new(word, "keyword", ""))),
        Wanted::LabelName(metric) => {
            let names = querier.label_names(&of_metric(metric), None)?;
            found.extend(names.iter().filter(|name| ***name != *METRIC_NAME).map(|name| label(name)));
        }
        Wanted::Grouping(metrics) => {
            let metric = metrics.first().cloned();
            let names = querier.label_names(&of_metric(&metric), None)?;
            found.extend(names.iter().filter(|name| ***name != *METRIC_NAME).map(|name| label(name)));
        }
        Wanted::LabelValue(metric, name) => {
            let values = querier.label_values(name, &of_metric(metric), None)?;
            found.extend(values.iter().map(|value| Proposal::new(&**value, "value", "")));
        }
        Wanted::Duration => found.extend(DURATIONS.map(|text| Proposal::new(text, "duration", ""))),
        Wanted::Nothing => {}
    }
    Ok(ranked(found, prefix))
}

fn label(name: &str) -> Proposal {
    Proposal::new(name, "label", "")
}

fn help(known: &Families, name: &str) -> String {
    let suffixes = ["_bucket", "_sum", "_count"];
    let family = suffixes.iter().find_map(|suffix| known.get(name.strip_suffix(suffix)?));
    let metadata = known.get(name).or(family);
    metadata.map_or_else(String::new, |metadata| format!("{}: {}", metadata.metric_type.as_str(), metadata.help))
}

/// Those that hold what was typed, those that begin with it first.
fn ranked(mut found: Vec<Proposal>, prefix: &str) -> Vec<Proposal> {
    let lower = prefix.to_lowercase();
    let rank = |proposal: &Proposal| match proposal.text.to_lowercase().find(&lower) {
        Some(0) => Some(0),
        Some(_) => Some(1),
        None => None,
    };
    found.retain(|proposal| rank(proposal).is_some() && proposal.text != prefix);
    found.sort_by(|a, b| rank(a).cmp(&rank(b)).then_with(|| a.text.cmp(&b.text)));
    found.dedup_by(|a, b| a.text == b.text);
    found.truncate(MAX_PROPOSALS);
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_begins_with_the_typed_text_comes_first() {
        let all = ["sum_over_time", "sum", "asr_sum", "other", "su"].map(|text| Proposal::new(text, "metric", ""));
        let found: Vec<String> = ranked(all.into(), "su").into_iter().map(|found| found.text).collect();
        assert_eq!(found, ["sum", "sum_over_time", "asr_sum"]);
    }
}
