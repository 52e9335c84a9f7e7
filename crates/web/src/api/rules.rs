//! `/api/v1/rules`, `/api/v1/alerts`, `/api/v1/alertmanagers`.
//!
//! Rule: what is shown is what the last evaluation said; nothing is evaluated for it.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::Request;
use axum::response::Response;
use datamodel::rfc3339::format_rfc3339;
use datamodel::{Labels, Matcher};
use rules::{Alert, GroupStatus, RuleKind, RuleStatus};
use serde_json::{Map, Value, json as value};
use sha2::{Digest, Sha256};

use super::answer::{number, object, success};
use super::{Shared, answer};
use crate::error::{ApiError, ErrorType};
use crate::json::rfc3339_or_zero;
use crate::params::{Params, parse_bool};

/// The groups by file and name, as upstream shows them.
pub(crate) fn groups(shared: &Shared) -> Vec<GroupStatus> {
    let mut groups = shared.parts.rules.as_ref().map(rules::RuleHandle::status).unwrap_or_default();
    groups.sort_by(|a, b| a.file.cmp(&b.file).then_with(|| a.name.cmp(&b.name)));
    groups
}

/// What a request wants to see of the rules.
struct Filter {
    names: Vec<String>,
    groups: Vec<String>,
    files: Vec<String>,
    selectors: Vec<Vec<Matcher>>,
    alerting: bool,
    recording: bool,
    exclude_alerts: bool,
}

impl Filter {
    fn of(params: &Params) -> Result<Self, ApiError> {
        let all = |name: &str| params.all(name).map(str::to_owned).collect::<Vec<_>>();
        let selectors = params.plain_selectors()?;
        let kind = params.get("type").to_lowercase();
        if !matches!(kind.as_str(), "" | "alert" | "record") {
            let problem = format!("not supported value {}", datamodel::labels::Quoted(&kind));
            return Err(ApiError::parameter("type", problem));
        }
        let exclude = params.get("exclude_alerts").to_lowercase();
        let exclude_alerts = if exclude.is_empty() {
            false
        } else {
            let wrong =
                |problem| ApiError::parameter("exclude_alerts", format!("error converting exclude_alerts: {problem}"));
            parse_bool(&exclude).map_err(wrong)?
        };
        Ok(Self {
            names: all("rule_name[]"),
            groups: all("rule_group[]"),
            files: all("file[]"),
            selectors,
            alerting: kind != "record",
            recording: kind != "alert",
            exclude_alerts,
        })
    }

    fn shows_group(&self, group: &GroupStatus) -> bool {
        let within = |list: &[String], text: &str| list.is_empty() || list.iter().any(|found| found == text);
        within(&self.groups, &group.name) && within(&self.files, &group.file)
    }

    fn shows_rule(&self, rule: &RuleStatus) -> bool {
        let of_kind = match rule.kind {
            RuleKind::Recording => self.recording,
            RuleKind::Alerting { .. } => self.alerting,
        };
        let labels = Labels::from_pairs(rule.labels.iter().map(|(name, text)| (name.as_str(), text.as_str())));
        let passes = |matchers: &Vec<Matcher>| matchers.iter().all(|matcher| matcher.matches_labels(&labels));
        of_kind
            && (self.names.is_empty() || self.names.contains(&rule.name))
            && (self.selectors.is_empty() || self.selectors.iter().any(passes))
    }
}

/// A page of the groups.
struct Paging {
    limit: usize,
    token: String,
}

impl Paging {
    fn of(params: &Params) -> Result<Option<Self>, ApiError> {
        let (limit, token) = (params.get("group_limit"), params.get("group_next_token"));
        if limit.is_empty() {
            if token.is_empty() {
                return Ok(None);
            }
            let problem = "group_limit needs to be present in order to paginate over the groups";
            return Err(ApiError::parameter("group_next_token", problem));
        }
        let wrong = |reason: &str| {
            let text = datamodel::labels::Quoted(limit);
            let problem = format!("group_limit needs to be a valid number: strconv.ParseInt: parsing {text}: {reason}");
            ApiError::parameter("group_limit", problem)
        };
        let number: i64 = limit.parse().map_err(|_syntax| wrong("invalid syntax"))?;
        let number = i32::try_from(number).map_err(|_large| wrong("value out of range"))?;
        match usize::try_from(number) {
            Ok(limit) if limit > 0 => Ok(Some(Self { limit, token: token.to_owned() })),
            _ => Err(ApiError::parameter("group_limit", "group_limit needs to be greater than 0")),
        }
    }
}

fn token(group: &GroupStatus) -> String {
    let digest = Sha256::digest(format!("{};{}", group.file, group.name));
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(super) async fn rules(State(shared): State<Arc<Shared>>, request: Request<Body>) -> Result<Response, ApiError> {
    let params = Params::of(request).await?;
    let filter = Filter::of(&params)?;
    let paging = Paging::of(&params)?;
    let mut groups = groups(&shared);
    if let Some(Paging { token: wanted, .. }) = paging.as_ref().filter(|paging| !paging.token.is_empty()) {
        let first = groups.iter().position(|group| token(group) == *wanted).ok_or_else(|| {
            let problem = format!("invalid group_next_token '{wanted}'. were rule groups changed?");
            ApiError::parameter("group_next_token", problem)
        })?;
        groups.drain(..first);
    }
    let mut shown = Vec::new();
    let mut next = None;
    for group in groups.iter().filter(|group| filter.shows_group(group)) {
        let rules: Vec<Value> = group
            .rules
            .iter()
            .filter(|rule| filter.shows_rule(rule))
            .map(|rule| rule_value(rule, filter.exclude_alerts))
            .collect();
        if rules.is_empty() {
            continue;
        }
        if paging.as_ref().is_some_and(|paging| shown.len() == paging.limit) {
            next = Some(token(group));
            break;
        }
        shown.push(group_value(group, &rules));
    }
    let mut data = value!({"groups": shown});
    if let (Some(next), Some(data)) = (next, data.as_object_mut()) {
        data.insert("groupNextToken".to_owned(), next.into());
    }
    Ok(success(&data))
}

fn group_value(group: &GroupStatus, rules: &[Value]) -> Value {
    value!({
        "name": &*group.name,
        "file": &*group.file,
        "rules": rules,
        "interval": number(group.interval.as_secs_f64()),
        "limit": group.limit,
        "evaluationTime": number(group.evaluation_time.as_secs_f64()),
        "lastEvaluation": rfc3339_or_zero(group.last_evaluation),
    })
}

fn pairs(pairs: &[(String, String)]) -> Map<String, Value> {
    object(&Labels::from_pairs(pairs.iter().map(|(name, text)| (name.as_str(), text.as_str()))))
}

fn rule_value(rule: &RuleStatus, exclude_alerts: bool) -> Value {
    let mut data = Map::new();
    let mut put = |key: &str, value: Value| data.insert(key.to_owned(), value);
    if let RuleKind::Alerting { state, .. } = &rule.kind {
        // Upstream's word for a rule that was never evaluated.
        put("state", if rule.last_evaluation.is_none() { "unknown" } else { state.as_str() }.into());
    }
    put("name", rule.name.as_str().into());
    put("query", rule.query.as_str().into());
    if let RuleKind::Alerting { for_duration, keep_firing_for, .. } = &rule.kind {
        put("duration", number(for_duration.as_secs_f64()));
        put("keepFiringFor", number(keep_firing_for.as_secs_f64()));
    }
    put("labels", pairs(&rule.labels).into());
    if let RuleKind::Alerting { annotations, alerts, .. } = &rule.kind {
        put("annotations", pairs(annotations).into());
        let shown = || alerts.iter().map(alert_value).collect::<Vec<_>>().into();
        put("alerts", if exclude_alerts { Value::Null } else { shown() });
    }
    put("health", rule.health.as_str().into());
    if !rule.last_error.is_empty() {
        put("lastError", rule.last_error.as_str().into());
    }
    put("evaluationTime", number(rule.evaluation_time.as_secs_f64()));
    put("lastEvaluation", rfc3339_or_zero(rule.last_evaluation).into());
    let kind = if matches!(rule.kind, RuleKind::Recording) { "recording" } else { "alerting" };
    put("type", kind.into());
    data.into()
}

fn alert_value(alert: &Alert) -> Value {
    let mut data = value!({
        "labels": object(&alert.labels),
        "annotations": object(&alert.annotations),
        "state": alert.state.as_str(),
        "activeAt": format_rfc3339(alert.active_at),
    });
    if let Some(data) = data.as_object_mut() {
        if let Some(since) = alert.keep_firing_since {
            data.insert("keepFiringSince".to_owned(), format_rfc3339(since).into());
        }
        data.insert("value".to_owned(), answer::exponent(alert.value).into());
    }
    data
}

pub(super) async fn alerts(State(shared): State<Arc<Shared>>) -> Response {
    let groups = groups(&shared);
    let rules = groups.iter().flat_map(|group| &group.rules);
    let alerts: Vec<Value> = rules
        .filter_map(|rule| match &rule.kind {
            RuleKind::Alerting { alerts, .. } => Some(alerts),
            RuleKind::Recording => None,
        })
        .flatten()
        .map(alert_value)
        .collect();
    success(&value!({"alerts": alerts}))
}

pub(super) async fn alertmanagers(State(shared): State<Arc<Shared>>) -> Result<Response, ApiError> {
    let none = || ApiError::new(ErrorType::NotFound, "this server tells no Alertmanager");
    let managers = shared.parts.alertmanagers.as_ref().ok_or_else(none)?;
    let urls = |urls: Vec<String>| urls.into_iter().map(|url| value!({"url": url})).collect::<Vec<_>>();
    let (active, dropped) = (urls(managers.active()), urls(managers.dropped()));
    Ok(success(&value!({"activeAlertmanagers": active, "droppedAlertmanagers": dropped})))
}
