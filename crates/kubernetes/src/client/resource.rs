//! What is asked for: a resource, and which of its objects.
//!
//! Rule: names and selectors come from users and objects, and are escaped where they become part of a URL.

use std::fmt::Write as _;

use form_urlencoded::Serializer;

/// A resource of the API.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Resource {
    /// `apps`; empty for the core.
    pub group: String,
    /// `v1`
    pub version: String,
    /// `deployments`
    pub plural: String,
}

impl Resource {
    /// Takes group, version and plural name.
    #[must_use]
    pub fn new(group: &str, version: &str, plural: &str) -> Self {
        Self { group: group.to_owned(), version: version.to_owned(), plural: plural.to_owned() }
    }

    /// A resource of the core.
    #[must_use]
    pub fn core(plural: &str) -> Self {
        Self::new("", "v1", plural)
    }

    /// The path of all its objects, or of those in a namespace.
    #[must_use]
    pub fn path(&self, namespace: Option<&str>) -> String {
        let mut path = match self.group.as_str() {
            "" => "/api/".to_owned(),
            group => format!("/apis/{}/", segment(group)),
        };
        path.push_str(&segment(&self.version));
        if let Some(namespace) = namespace {
            path.push_str("/namespaces/");
            path.push_str(&segment(namespace));
        }
        path.push('/');
        path.push_str(&segment(&self.plural));
        path
    }

    /// The path of one object.
    #[must_use]
    pub fn object_path(&self, namespace: Option<&str>, name: &str) -> String {
        format!("{}/{}", self.path(namespace), segment(name))
    }

    /// The path of a part of one object (`scale`), or of a metric of it.
    #[must_use]
    pub fn subresource_path(&self, namespace: Option<&str>, name: &str, subresource: &str) -> String {
        format!("{}/{}", self.object_path(namespace, name), segment(subresource))
    }
}

/// A part of a path, in which nothing leads elsewhere.
fn segment(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    let only_dots = text.bytes().all(|byte| byte == b'.');
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_".contains(&byte) || (byte == b'.' && !only_dots) {
            escaped.push(char::from(byte));
        } else {
            // Writing to a text cannot fail.
            let _infallible = write!(escaped, "%{byte:02X}");
        }
    }
    escaped
}

/// Which objects of a resource.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scope {
    /// Those in this namespace; `None`: all.
    pub namespace: Option<String>,
    /// Those whose labels match; empty: all.
    pub label_selector: String,
    /// Those whose fields match; empty: all.
    pub field_selector: String,
}

impl Scope {
    /// All objects of a namespace.
    #[must_use]
    pub fn namespace(name: impl Into<String>) -> Self {
        Self { namespace: Some(name.into()), ..Self::default() }
    }

    /// The parameters of a question about these objects.
    pub(super) fn query(&self, more: &[(&str, &str)]) -> String {
        let mut query = Serializer::new(String::new());
        for (key, value) in [("labelSelector", &self.label_selector), ("fieldSelector", &self.field_selector)] {
            if !value.is_empty() {
                query.append_pair(key, value);
            }
        }
        query.extend_pairs(more);
        query.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_of_the_api_and_names_cannot_leave_them() {
        let pods = Resource::core("pods");
        assert_eq!(pods.path(None), "/api/v1/pods");
        assert_eq!(pods.path(Some("a")), "/api/v1/namespaces/a/pods");
        let slices = Resource::new("discovery.k8s.io", "v1", "endpointslices");
        assert_eq!(slices.path(None), "/apis/discovery.k8s.io/v1/endpointslices");
        assert_eq!(
            slices.object_path(Some("a"), "b-1.c"),
            "/apis/discovery.k8s.io/v1/namespaces/a/endpointslices/b-1.c"
        );
        assert_eq!(pods.path(Some("../x?y=%")), "/api/v1/namespaces/..%2Fx%3Fy%3D%25/pods");
        assert_eq!(pods.path(Some("..")), "/api/v1/namespaces/%2E%2E/pods");
        let custom = Resource::new("custom.metrics.k8s.io", "v1beta1", "pods");
        assert_eq!(
            custom.subresource_path(Some("a"), "*", "asr:active/avg"),
            "/apis/custom.metrics.k8s.io/v1beta1/namespaces/a/pods/%2A/asr%3Aactive%2Favg"
        );
    }

    #[test]
    fn selectors_are_escaped() {
        let scope = Scope { label_selector: "a=b,c in (d)".to_owned(), ..Scope::default() };
        assert_eq!(scope.query(&[("limit", "5")]), "labelSelector=a%3Db%2Cc+in+%28d%29&limit=5");
    }
}
