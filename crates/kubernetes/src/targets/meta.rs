//! Meta labels, as they are put together.
//!
//! Rule: characters that no label name has become `_`; of two keys that become one name, the later wins.

use datamodel::Labels;

use crate::client::ObjectMeta;
use crate::operator::meta_name;

/// What all meta labels of a cluster begin with.
const PREFIX: &str = "__meta_kubernetes_";

/// Labels of a group or a target.
#[derive(Clone, Debug, Default)]
pub(super) struct Meta(Vec<(String, String)>);

impl Meta {
    /// A target at this address.
    pub(super) fn target(address: &str) -> Self {
        let mut meta = Self::default();
        meta.plain("__address__", address);
        meta
    }

    /// A label as it is called.
    pub(super) fn plain(&mut self, name: &str, value: &str) {
        self.0.push((name.to_owned(), value.to_owned()));
    }

    /// A meta label.
    pub(super) fn put(&mut self, name: &str, value: &str) {
        self.0.push((format!("{PREFIX}{name}"), value.to_owned()));
    }

    /// A meta label, if it has a value.
    pub(super) fn some(&mut self, name: &str, value: Option<&String>) {
        if let Some(value) = value {
            self.put(name, value);
        }
    }

    /// Name, labels and annotations of an object of a kind (`pod`).
    pub(super) fn object(&mut self, kind: &str, of: &ObjectMeta) {
        self.put(&format!("{kind}_name"), &of.name);
        self.marks(kind, of);
    }

    /// Labels and annotations of an object of a kind.
    pub(super) fn marks(&mut self, kind: &str, of: &ObjectMeta) {
        for (mark, entries) in [("label", &of.labels), ("annotation", &of.annotations)] {
            for (key, value) in entries {
                let key = meta_name(key);
                self.put(&format!("{kind}_{mark}_{key}"), value);
                self.put(&format!("{kind}_{mark}present_{key}"), "true");
            }
        }
    }

    /// Labels that hold where there are no own ones of the same name.
    pub(super) fn behind(mut self, others: &Self) -> Self {
        self.0.splice(0..0, others.0.iter().cloned());
        self
    }

    pub(super) fn labels(&self) -> Labels {
        // The last of a name wins.
        let mut seen = std::collections::BTreeMap::new();
        for (name, value) in &self.0 {
            seen.insert(name.as_str(), value.as_str());
        }
        Labels::from_pairs(seen)
    }
}

/// Host and port of an address; an IPv6 address gets brackets.
pub(super) fn with_port(host: &str, port: u32) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}
