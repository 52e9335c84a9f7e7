//! The HPA as the API server gives it, with its status, its events and its pods, in the words of `hpa`.
//!
//! - [`HpaObject`]: manifest, gates, status. [`HpaEvents`]: its events. [`pod`]: a pod.
//!
//! Rule: what only the controller remembers is taken from what it says, and named as an assumption.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};
use datamodel::{Quantity, Timestamp};
use hpa::behavior::{Recommendation, ScaleEvent};
use hpa::explain::compare::Reported;
use hpa::origin::FailureRecord;
use hpa::pods::{Container, InitContainer};
use hpa::status::{ConditionRecord, EventRecord};
use hpa::{ControllerConfig, HorizontalPodAutoscaler, Pod, PodPhase, ReadyCondition, Snapshot};
use kubernetes::client::{Client, Format, Resource, Scope};
use serde_json::Value;

use super::{HpaName, timestamp};

/// Events that are shown.
const MAX_EVENTS: usize = 10;

/// The HPA with what its controller says.
pub(super) struct HpaObject {
    pub(super) hpa: HorizontalPodAutoscaler,
    pub(super) config: ControllerConfig,
    pub(super) reported: Reported,
}

impl HpaObject {
    /// Reads the object.
    ///
    /// # Errors
    ///
    /// It is of a version of the API that is not known.
    pub(super) fn read(object: &Value) -> Result<Self> {
        let status = &object["status"];
        let conditions: Vec<ConditionRecord> = elements(&status["conditions"]).map(condition).collect();
        let knows_zero = conditions.iter().any(|condition| condition.kind == "ScaledToZero");
        let wants_zero = object["spec"]["minReplicas"] == 0;
        // With the gate `HPAScaleToZero`, controllers of 1.37 write that condition.
        let config = ControllerConfig { scale_to_zero: knows_zero || wants_zero, ..ControllerConfig::default() };
        let mut manifest = object.clone();
        if let Some(fields) = manifest.as_object_mut() {
            fields.remove("status");
        }
        if let Some(metadata) = manifest["metadata"].as_object_mut() {
            metadata.retain(|key, _| key == "name" || key == "namespace");
        }
        let hpa = HorizontalPodAutoscaler::parse_with("the HPA", &manifest.to_string(), &config)
            .context("the HPA has what is not known here")?;
        let count = |key: &str| status[key].as_i64().and_then(|count| i32::try_from(count).ok());
        let reported = Reported {
            current: count("currentReplicas"),
            desired: count("desiredReplicas"),
            conditions,
            values: values(&hpa, status),
            events: Vec::new(),
            last_scale_time: timestamp(&status["lastScaleTime"]).map(Timestamp::unix_seconds),
            same_sync: false,
        };
        Ok(Self { hpa, config, reported })
    }

    /// What bears on the next sync, as far as it can be told from outside.
    pub(super) fn remembered(
        &self,
        rescales: &[(Timestamp, i32)],
        now: Timestamp,
        assumptions: &mut Vec<String>,
    ) -> Snapshot {
        let mut before = Snapshot {
            scaled_to_zero: self.condition("ScaledToZero").is_some_and(|condition| condition.status == "True"),
            ..Snapshot::default()
        };
        if let Some(replicas) = self.reported.desired.filter(|_| self.reported.last_sync_had_a_number()) {
            // In every window but one of no length, which remembers nothing.
            let just_before = now.saturating_sub(Duration::from_millis(1));
            before.recommendations.push(Recommendation { replicas, at: just_before });
            assumptions.push(format!(
                "the last recommendation was {replicas}, the number that the HPA wants, and is still in the windows: its \
                 controller alone remembers which there were, and when"
            ));
        } else {
            // As good as none, but no new controller either, which would begin with the present number.
            let long_ago = now.saturating_sub(Duration::from_secs(24 * 3600));
            before.recommendations.push(Recommendation { replicas: 0, at: long_ago });
        }
        for pair in rescales.windows(2) {
            let [(_, from), (at, to)] = pair else { continue };
            let event = ScaleEvent { replica_change: (to - from).abs(), at: *at };
            if to > from {
                before.scale_up_events.push(event);
            } else {
                before.scale_down_events.push(event);
            }
        }
        before
    }

    fn condition(&self, kind: &str) -> Option<&ConditionRecord> {
        self.reported.conditions.iter().find(|condition| condition.kind == kind)
    }

    /// Stages that failed for the controller and need not fail for whoever asks here.
    pub(super) fn reported_failures(&self) -> Vec<FailureRecord> {
        if self.reported.conditions.is_empty() {
            return vec![FailureRecord {
                stage: "Controller".to_owned(),
                cause: "no controller has looked at the HPA yet: it has no conditions".to_owned(),
                remedy: "wait for its first sync; see whether kube-controller-manager runs".to_owned(),
            }];
        }
        let refused = |condition: &&ConditionRecord| {
            condition.status == "False" && condition.message.to_lowercase().contains("forbidden")
        };
        let failure = |condition: &ConditionRecord| FailureRecord {
            stage: "Authorization".to_owned(),
            cause: format!("the controller says: {}", condition.message),
            remedy: "bind a role that allows it to the user of the controller, in most clusters \
                     system:serviceaccount:kube-system:horizontal-pod-autoscaler"
                .to_owned(),
        };
        self.reported.conditions.iter().filter(refused).map(failure).collect()
    }
}

fn elements(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn condition(value: &Value) -> ConditionRecord {
    ConditionRecord {
        kind: text(&value["type"]),
        status: text(&value["status"]),
        reason: text(&value["reason"]),
        message: text(&value["message"]),
    }
}

/// What the status says of each metric of the manifest, in its order.
fn values(hpa: &HorizontalPodAutoscaler, status: &Value) -> Vec<Option<String>> {
    let value = |(index, spec): (usize, &hpa::MetricSpec)| {
        let metric = &status["currentMetrics"][index];
        if metric["type"] != spec.kind() {
            return None;
        }
        let kind = spec.kind();
        let key = kind.chars().take(1).flat_map(char::to_lowercase).chain(kind.chars().skip(1)).collect::<String>();
        let current = &metric[key]["current"];
        if let Some(percent) = current["averageUtilization"].as_i64() {
            return Some(format!("{percent}%"));
        }
        let given = |key: &str| current[key].as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        given("averageValue").or_else(|| given("value"))
    };
    hpa.spec.metrics.iter().enumerate().map(value).collect()
}

/// What the events beside an HPA tell.
#[derive(Debug, Default)]
pub(super) struct HpaEvents {
    /// When the number was changed, and to what; oldest first.
    pub(super) rescales: Vec<(Timestamp, i32)>,
    /// The newest of all, the newest last.
    pub(super) recent: Vec<EventRecord>,
}

impl HpaEvents {
    /// Reads them; where they may not be read, an assumption says so.
    pub(super) async fn read(client: &Client, name: &HpaName, assumptions: &mut Vec<String>) -> Self {
        let of_hpa = format!("involvedObject.kind=HorizontalPodAutoscaler,involvedObject.name={}", name.name);
        let scope = Scope { field_selector: of_hpa, ..Scope::namespace(&name.namespace) };
        match client.list(&Resource::core("events"), &scope, Format::Whole).await {
            Ok(events) => Self::of(&events),
            Err(error) => {
                assumptions.push(format!("the number was not changed of late: events cannot be read: {error}"));
                Self::default()
            }
        }
    }

    fn of(events: &[Value]) -> Self {
        let at = |event: &Value| {
            ["lastTimestamp", "eventTime", "firstTimestamp"].iter().find_map(|key| timestamp(&event[*key]))
        };
        let mut dated: Vec<(Timestamp, &Value)> = events.iter().filter_map(|event| Some((at(event)?, event))).collect();
        dated.sort_by_key(|(at, _)| *at);
        let rescale = |(at, event): &(Timestamp, &Value)| {
            let size = event["message"].as_str()?.strip_prefix("New size: ")?.split(';').next()?;
            let size = size.trim().parse().ok()?;
            (event["reason"] == "SuccessfulRescale").then_some((*at, size))
        };
        let record = |(_, event): &(Timestamp, &Value)| EventRecord {
            kind: text(&event["type"]),
            reason: text(&event["reason"]),
            message: text(&event["message"]),
        };
        let recent = dated.iter().skip(dated.len().saturating_sub(MAX_EVENTS)).map(record).collect();
        Self { rescales: dated.iter().filter_map(rescale).collect(), recent }
    }
}

/// A pod, as far as it bears on a decision.
pub(super) fn pod(object: &Value) -> Pod {
    let (metadata, spec, status) = (&object["metadata"], &object["spec"], &object["status"]);
    let ready = elements(&status["conditions"]).find(|condition| condition["type"] == "Ready");
    Pod {
        name: text(&metadata["name"]),
        phase: match status["phase"].as_str().unwrap_or_default() {
            "Pending" => PodPhase::Pending,
            "Running" => PodPhase::Running,
            "Succeeded" => PodPhase::Succeeded,
            "Failed" => PodPhase::Failed,
            _ => PodPhase::Unknown,
        },
        is_deleting: metadata["deletionTimestamp"].is_string(),
        start_time: timestamp(&status["startTime"]),
        ready: ready.and_then(|condition| {
            let is_ready = match condition["status"].as_str()? {
                "True" => Some(true),
                "False" => Some(false),
                _ => None,
            };
            Some(ReadyCondition { is_ready, last_transition: timestamp(&condition["lastTransitionTime"])? })
        }),
        containers: elements(&spec["containers"]).map(container).collect(),
        init_containers: elements(&spec["initContainers"])
            .map(|init| InitContainer { container: container(init), is_restartable: init["restartPolicy"] == "Always" })
            .collect(),
        requests_milli: spec["resources"]["requests"].is_object().then(|| requests(&spec["resources"])),
    }
}

fn container(value: &Value) -> Container {
    Container { name: text(&value["name"]), requests_milli: requests(&value["resources"]) }
}

fn requests(resources: &Value) -> BTreeMap<String, i64> {
    let request = |(name, value): (&String, &Value)| {
        Some((name.clone(), value.as_str()?.parse::<Quantity>().ok()?.milli_value()))
    };
    resources["requests"].as_object().into_iter().flatten().filter_map(request).collect()
}
