//! An alert as Alertmanager's API v2 takes it.
//!
//! Rule: what waits in queues is shared, not copied.

use std::sync::Arc;

use bytes::Bytes;
use datamodel::relabel::{self, RelabelRule, Verdict};
use datamodel::rfc3339::format_rfc3339;
use datamodel::{Labels, LabelsBuilder, Timestamp};
use serde_json::{Map, Value};

use crate::alert::Alert;

/// One alert, ready to be sent.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Notification {
    labels: Labels,
    annotations: Labels,
    starts_at: Timestamp,
    ends_at: Option<Timestamp>,
    generator_url: Arc<str>,
}

impl Notification {
    pub(super) fn new(alert: &Alert, labels: Labels, generator_url: Arc<str>) -> Self {
        Self {
            labels,
            annotations: alert.annotations.clone(),
            starts_at: alert.fired_at.unwrap_or(alert.active_at),
            ends_at: alert.resolved_at.or(alert.valid_until),
            generator_url,
        }
    }

    /// The notification under relabelled labels; none if the rules drop it.
    pub(super) fn relabel(notification: &Arc<Self>, rules: &[RelabelRule]) -> Option<Arc<Self>> {
        if rules.is_empty() {
            return Some(Arc::clone(notification));
        }
        let mut labels = LabelsBuilder::new(&notification.labels);
        match relabel::apply(&mut labels, rules) {
            Verdict::Drop => None,
            Verdict::Keep => Some(Arc::new(Self { labels: labels.build(), ..notification.as_ref().clone() })),
        }
    }

    fn json(&self) -> Value {
        let object = |labels: &Labels| -> Value {
            labels.iter().map(|(name, value)| (name.to_owned(), Value::from(value))).collect::<Map<_, _>>().into()
        };
        let mut alert = Map::new();
        alert.insert("annotations".to_owned(), object(&self.annotations));
        if let Some(ends_at) = self.ends_at {
            alert.insert("endsAt".to_owned(), format_rfc3339(ends_at).into());
        }
        alert.insert("startsAt".to_owned(), format_rfc3339(self.starts_at).into());
        alert.insert("generatorURL".to_owned(), self.generator_url.as_ref().into());
        alert.insert("labels".to_owned(), object(&self.labels));
        alert.into()
    }
}

/// The body of a request.
pub(super) fn body(batch: &[Arc<Notification>]) -> Bytes {
    let alerts: Value = batch.iter().map(|notification| notification.json()).collect();
    Bytes::from(alerts.to_string())
}
