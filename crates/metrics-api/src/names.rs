//! What the API speaks about: resources, metrics, objects.
//!
//! Rule: a [`GroupResource`] that leaves [`mapper`](crate::mapper) is plural and has its true group.

use std::fmt;

/// A resource of the Kubernetes API with its group; the core group is empty.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupResource {
    /// `apps`, or empty.
    pub group: String,
    /// `deployments`
    pub resource: String,
}

impl GroupResource {
    /// Takes group and resource as they are.
    #[must_use]
    pub fn new(group: &str, resource: &str) -> Self {
        Self { group: group.to_owned(), resource: resource.to_owned() }
    }

    /// Reads `resource.group`; without a dot the group is empty.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let (resource, group) = text.split_once('.').unwrap_or((text, ""));
        Self::new(group, resource)
    }

    /// The resource `namespaces`.
    #[must_use]
    pub fn namespaces() -> Self {
        Self::new("", "namespaces")
    }

    /// The resource `pods`.
    #[must_use]
    pub fn pods() -> Self {
        Self::new("", "pods")
    }

    /// Whether this is `namespaces`.
    #[must_use]
    pub fn is_namespaces(&self) -> bool {
        self.group.is_empty() && self.resource == "namespaces"
    }

    /// Whether this is `pods`.
    #[must_use]
    pub fn is_pods(&self) -> bool {
        self.group.is_empty() && self.resource == "pods"
    }
}

impl fmt::Display for GroupResource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.resource)?;
        if !self.group.is_empty() {
            write!(f, ".{}", self.group)?;
        }
        Ok(())
    }
}

/// A metric of the custom metrics API.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CustomMetricInfo {
    /// The resource whose objects it describes.
    pub group_resource: GroupResource,
    /// Whether those objects live in namespaces.
    pub namespaced: bool,
    /// Its name.
    pub metric: String,
}

impl fmt::Display for CustomMetricInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scope = if self.namespaced { "namespaced" } else { "root" };
        write!(f, "{}/{}({scope})", self.group_resource, self.metric)
    }
}

/// An object that a metric describes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectName {
    /// Its namespace; `None` at the root.
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
}

impl ObjectName {
    /// An object in a namespace.
    #[must_use]
    pub fn namespaced(namespace: &str, name: &str) -> Self {
        Self { namespace: Some(namespace.to_owned()), name: name.to_owned() }
    }

    /// An object at the root.
    #[must_use]
    pub fn root(name: &str) -> Self {
        Self { namespace: None, name: name.to_owned() }
    }
}

/// Longest name of an object, a namespace or a metric in a request. Kubernetes allows 253 bytes for
/// objects; series names may be longer.
pub const MAX_NAME_BYTES: usize = 512;

/// Whether a text can be the name of an object. Wider than Kubernetes' own rules (roles have colons), but
/// without what would have a meaning in a query.
#[must_use]
pub fn is_object_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b':');
    !name.is_empty() && name.len() <= MAX_NAME_BYTES && name != "." && name != ".." && name.bytes().all(allowed)
}
