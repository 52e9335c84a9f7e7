//! Objects as they come from the API.
//!
//! Rule: an object of a wrong form is still an object: it must not cost the list that it stands in.

use std::collections::BTreeMap;
use std::fmt;

use http_client::{Secret, base64};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::client::{Keyed, ObjectMeta, or_default};
use crate::operator::objects::Metadata;
use crate::operator::{AssetKind, Rejection, read};

/// An object whose content nobody has looked at.
#[derive(Clone, Debug, Default)]
pub(super) struct RawObject {
    metadata: ObjectMeta,
    content: Value,
}

impl<'de> Deserialize<'de> for RawObject {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut content = Value::deserialize(deserializer)?;
        // What is not needed and may be large.
        if let Some(metadata) = content.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.retain(|key, _| key != "managedFields" && key != "annotations");
        }
        if let Some(object) = content.as_object_mut() {
            object.remove("status");
        }
        let metadata = content.get("metadata").cloned().unwrap_or_default();
        Ok(Self { metadata: serde_json::from_value(metadata).unwrap_or_default(), content })
    }
}

impl Keyed for RawObject {
    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }
}

impl RawObject {
    /// What the operator's selectors look at.
    pub(super) fn metadata(&self) -> Metadata {
        let ObjectMeta { name, namespace, uid, labels, .. } = self.metadata.clone();
        Metadata { name, namespace, uid, labels }
    }

    pub(super) fn read<T: DeserializeOwned>(&self) -> Result<T, Rejection> {
        read(self.content.clone())
    }
}

/// A Secret or a `ConfigMap`.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct RawAsset {
    metadata: ObjectMeta,
    #[serde(deserialize_with = "or_default")]
    data: BTreeMap<String, String>,
}

impl fmt::Debug for RawAsset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawAsset").field("name", &self.metadata.name).finish_non_exhaustive()
    }
}

impl Keyed for RawAsset {
    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }
}

impl RawAsset {
    /// The keys with their texts; none for what is no text.
    pub(super) fn keys(&self, kind: AssetKind) -> BTreeMap<String, Option<Secret>> {
        let text = |value: &String| match kind {
            AssetKind::ConfigMap => Some(value.clone()),
            AssetKind::Secret => base64::decode(value).ok().and_then(|bytes| String::from_utf8(bytes).ok()),
        };
        self.data.iter().map(|(key, value)| (key.clone(), text(value).map(Secret::new))).collect()
    }
}
