//! A group of targets.
//!
//! Rule: a target is a label set and nothing more; its address is the label [`ADDRESS`].

use std::sync::Arc;

use datamodel::Labels;

/// Name of the label that holds `host:port` of a target before relabelling.
pub const ADDRESS: &str = "__address__";

/// Targets that come and go together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TargetGroup {
    /// Names the group among those of its discoverer: a later group with the same source replaces it.
    pub source: Arc<str>,
    /// Labels of all its targets; a target's own label of the same name wins.
    pub labels: Labels,
    /// The targets. None: the group is gone.
    pub targets: Vec<Labels>,
}

impl TargetGroup {
    /// A group of plain addresses (`host:port`).
    #[must_use]
    pub fn from_addresses<A: AsRef<str>>(
        source: impl Into<Arc<str>>,
        labels: Labels,
        addresses: impl IntoIterator<Item = A>,
    ) -> Self {
        let targets = addresses.into_iter().map(|address| Labels::from_pairs([(ADDRESS, address.as_ref())])).collect();
        Self { source: source.into(), labels, targets }
    }

    /// The group that says that the groups of this source are gone.
    #[must_use]
    pub fn gone(source: impl Into<Arc<str>>) -> Self {
        Self { source: source.into(), ..Self::default() }
    }
}
