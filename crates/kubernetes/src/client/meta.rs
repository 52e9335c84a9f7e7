//! What every object has.
//!
//! Rule: managed fields are never read: they are often larger than all else of an object.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};

/// What an object is called, and what it is marked with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ObjectMeta {
    /// Its name.
    pub name: String,
    /// Its namespace; empty where it has none.
    pub namespace: String,
    /// Tells it from one of the same name before it.
    pub uid: String,
    /// Which change of it this is.
    pub resource_version: String,
    /// Which change of what is wanted of it this is.
    pub generation: i64,
    /// When it was made, in RFC 3339.
    pub creation_timestamp: Option<String>,
    /// When it is to go, in RFC 3339.
    pub deletion_timestamp: Option<String>,
    /// Its labels.
    #[serde(deserialize_with = "or_default")]
    pub labels: BTreeMap<String, String>,
    /// Its annotations.
    #[serde(deserialize_with = "or_default")]
    pub annotations: BTreeMap<String, String>,
    /// Whose it is.
    #[serde(deserialize_with = "or_default")]
    pub owner_references: Vec<OwnerReference>,
}

/// Whose an object is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OwnerReference {
    /// The kind of the owner.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Whether it decides over the object.
    pub controller: Option<bool>,
}

/// Reads a value, or null as the default: Go writes empty lists and maps so.
pub(crate) fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Namespace and name.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey {
    /// The namespace; empty where there is none.
    pub namespace: String,
    /// The name.
    pub name: String,
}

impl ObjectKey {
    /// Takes both.
    #[must_use]
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

/// An object of the API.
pub trait Keyed {
    /// What it is called.
    fn meta(&self) -> &ObjectMeta;

    /// Namespace and name.
    fn key(&self) -> ObjectKey {
        ObjectKey::new(&self.meta().namespace, &self.meta().name)
    }
}

/// An object of which only name and labels matter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct MetadataOnly {
    /// What it is called.
    #[serde(default)]
    pub metadata: ObjectMeta,
}

impl Keyed for MetadataOnly {
    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }
}
