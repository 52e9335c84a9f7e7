//! Conditions, owners, and other things that objects of several kinds have.
//!
//! Rule: a condition is told three times, for each status that it could have.

use serde::{Deserialize, Deserializer};

use super::page::Samples;
use crate::client::ObjectMeta;

/// What a condition can be.
const STATUSES: [(&str, &str); 3] = [("True", "true"), ("False", "false"), ("Unknown", "unknown")];

/// A condition of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Condition {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) status: String,
    pub(super) reason: String,
    pub(super) last_transition_time: Option<String>,
}

impl Condition {
    pub(super) fn is_true(&self) -> bool {
        self.status == "True"
    }

    /// One sample for each status, of which that in force has 1; the status stands under this label.
    pub(super) fn tell(&self, labels: &[(&str, &str)], label: &str, into: &mut Samples<'_>) {
        for (status, shown) in STATUSES {
            let labels: Vec<_> = labels.iter().copied().chain([(label, shown)]).collect();
            into.add(&labels, f64::from(self.status == status));
        }
    }
}

/// The owners of an object, one sample each; one sample with empty labels where nobody owns it.
pub(super) fn owners(meta: &ObjectMeta, into: &mut Samples<'_>) {
    let sample = |into: &mut Samples<'_>, kind: &str, name: &str, is_controller: &str| {
        into.add(&[("owner_kind", kind), ("owner_name", name), ("owner_is_controller", is_controller)], 1.0);
    };
    if meta.owner_references.is_empty() {
        sample(into, "", "", "");
    }
    for owner in &meta.owner_references {
        sample(into, &owner.kind, &owner.name, boolean(owner.controller == Some(true)));
    }
}

/// A truth as the value of a label.
pub(super) const fn boolean(value: bool) -> &'static str {
    if value { "true" } else { "false" }
}

/// Reads metadata without what nobody tells: labels and annotations.
pub(super) fn without_marks<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ObjectMeta, D::Error> {
    let mut meta = without_annotations(deserializer)?;
    meta.labels.clear();
    Ok(meta)
}

/// Reads metadata without annotations.
pub(super) fn without_annotations<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ObjectMeta, D::Error> {
    let mut meta = ObjectMeta::deserialize(deserializer)?;
    meta.annotations.clear();
    Ok(meta)
}

/// The replicas that are wanted where nobody says how many.
pub(super) const fn one() -> i32 {
    1
}
