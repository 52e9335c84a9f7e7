//! `/api/v1/targets/relabel_steps`: what each rule of a job makes of a label set.
//!
//! Rule: the rules are applied as the scraper applies them, one at a time.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::Request;
use axum::response::Response;
use datamodel::relabel::{RelabelConfig, RelabelRule, Verdict};
use datamodel::{Labels, LabelsBuilder};
use serde_json::{Map, Value, json as value};

use super::Shared;
use super::answer::{object, success};
use super::targets::handle;
use crate::error::ApiError;
use crate::params::Params;

/// The most labels of a set that is asked about.
const MAX_LABELS: usize = 1_000;

/// One rule applied to a label set.
#[derive(Debug)]
pub(crate) struct Step<'a> {
    pub(crate) rule: &'a RelabelConfig,
    pub(crate) input: Labels,
    /// None from the rule on that dropped it.
    pub(crate) output: Option<Labels>,
}

/// What each rule makes of the labels.
pub(crate) fn steps<'a>(rules: &'a [RelabelConfig], labels: &Labels) -> Vec<Step<'a>> {
    let mut builder = LabelsBuilder::new(labels);
    let mut goes_on = true;
    let step = |rule: &'a RelabelConfig| {
        let input = builder.build();
        // The scraper checked the rules already.
        if goes_on && let Ok(checked) = RelabelRule::new(rule.clone()) {
            goes_on = checked.apply(&mut builder) == Verdict::Keep;
        }
        Step { rule, input, output: goes_on.then(|| builder.build()) }
    };
    rules.iter().map(step).collect()
}

pub(super) async fn relabel_steps(
    State(shared): State<Arc<Shared>>,
    request: Request<Body>,
) -> Result<Response, ApiError> {
    let params = Params::of(request).await?;
    let (pool, labels) = (params.get("scrapePool"), params.get("labels"));
    for (name, value) in [("scrapePool", pool), ("labels", labels)] {
        if value.is_empty() {
            return Err(ApiError::bad_data(format!("no {name} parameter provided")));
        }
    }
    let wrong = |problem: String| ApiError::bad_data(format!("error parsing labels: {problem}"));
    let pairs: std::collections::BTreeMap<String, String> =
        serde_json::from_str(labels).map_err(|error| wrong(error.to_string()))?;
    if pairs.len() > MAX_LABELS {
        return Err(wrong(format!("more than {MAX_LABELS} labels")));
    }
    let unknown = || ApiError::bad_data(format!("error retrieving scrape config: scrape pool not found: {pool}"));
    let rules = handle(&shared)?.relabel_configs(pool).ok_or_else(unknown)?;
    let steps = steps(&rules, &Labels::from_pairs(pairs));
    let steps: Vec<Value> = steps.iter().map(step_value).collect();
    Ok(success(&value!({"steps": steps})))
}

fn step_value(step: &Step<'_>) -> Value {
    let output = step.output.as_ref().map(object).unwrap_or_default();
    value!({"rule": rule_value(step.rule), "output": output, "keep": step.output.is_some()})
}

/// A rule with upstream's defaults.
fn rule_value(rule: &RelabelConfig) -> Value {
    let mut data = Map::new();
    let mut put = |key: &str, value: Value| data.insert(key.to_owned(), value);
    if !rule.source_labels.is_empty() {
        put("source_labels", rule.source_labels.clone().into());
    }
    put("separator", rule.separator.as_deref().unwrap_or(";").into());
    put("regex", rule.regex.as_deref().unwrap_or("(.*)").into());
    if let Some(modulus) = rule.modulus {
        put("modulus", modulus.into());
    }
    if let Some(target) = &rule.target_label {
        put("target_label", target.as_str().into());
    }
    put("replacement", rule.replacement.as_deref().unwrap_or("$1").into());
    put("action", rule.action.as_str().into());
    data.into()
}
