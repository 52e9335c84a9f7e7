//! The Secrets and `ConfigMaps` that objects name.
//!
//! Rule: what is asked for is written down, whether it is there or not, so that the owner knows what to fetch.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use http_client::Secret;

use super::error::{Problem, Rejection};
use super::objects::{KeySelector, SecretOrConfigMap};

/// What an asset is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AssetKind {
    /// A Secret.
    Secret,
    /// A `ConfigMap`.
    ConfigMap,
}

/// Names an asset.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AssetRef {
    /// What it is.
    pub kind: AssetKind,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl fmt::Display for AssetRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            AssetKind::Secret => "secret",
            AssetKind::ConfigMap => "config map",
        };
        write!(f, "{kind} `{}/{}`", self.namespace, self.name)
    }
}

/// The assets that are known, and what was asked for.
#[derive(Debug, Default)]
pub struct Assets {
    known: BTreeMap<AssetRef, BTreeMap<String, Option<Secret>>>,
    asked: RefCell<BTreeSet<AssetRef>>,
}

impl Assets {
    /// Adds an asset with its keys; a value of `None` is no text.
    pub fn insert(&mut self, asset: AssetRef, keys: BTreeMap<String, Option<Secret>>) {
        self.known.insert(asset, keys);
    }

    /// All that was asked for.
    #[must_use]
    pub fn asked(&self) -> BTreeSet<AssetRef> {
        self.asked.borrow().clone()
    }

    /// The value of a key.
    pub(super) fn value(
        &self,
        kind: AssetKind,
        namespace: &str,
        selector: &KeySelector,
        path: &str,
    ) -> Result<String, Rejection> {
        let asset = AssetRef { kind, namespace: namespace.to_owned(), name: selector.name.clone() };
        self.asked.borrow_mut().insert(asset.clone());
        let key = selector.key.clone();
        match self.known.get(&asset).and_then(|keys| keys.get(&selector.key)) {
            Some(Some(value)) => Ok(value.expose().to_owned()),
            Some(None) => Err(Rejection::new(path, Problem::AssetText { asset, key })),
            None => Err(Rejection::new(path, Problem::Asset { asset, key })),
        }
    }

    /// The value of a key of a Secret.
    pub(super) fn secret(&self, namespace: &str, selector: &KeySelector, path: &str) -> Result<String, Rejection> {
        self.value(AssetKind::Secret, namespace, selector, path)
    }

    /// The value of a key of either, if one is named.
    pub(super) fn either(
        &self,
        namespace: &str,
        selector: &SecretOrConfigMap,
        path: &str,
    ) -> Result<Option<String>, Rejection> {
        match (&selector.secret, &selector.config_map) {
            (Some(_), Some(_)) => {
                Err(Rejection::new(path, Problem::ManyCredentials("`secret`, `configMap`".to_owned())))
            }
            (Some(secret), None) => self.secret(namespace, secret, &format!("{path}.secret")).map(Some),
            (None, Some(map)) => {
                self.value(AssetKind::ConfigMap, namespace, map, &format!("{path}.configMap")).map(Some)
            }
            (None, None) => Ok(None),
        }
    }
}
