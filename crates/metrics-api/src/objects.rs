//! Which objects exist.
//!
//! Rule: with `*`, an object that is not listed has no value, whatever its series say.

use std::collections::BTreeMap;

use datamodel::selector::Selector;

use crate::names::{GroupResource, ObjectName};
use crate::source::BoxFuture;

/// Most objects of one list. 10,000 pods are measured; beyond ten times that a request is refused.
pub const MAX_OBJECTS: usize = 100_000;

/// Why objects could not be listed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ListError {
    /// The lister may not list this resource.
    #[error("listing {resource} is forbidden: {reason}")]
    Forbidden {
        /// The resource.
        resource: GroupResource,
        /// Why.
        reason: String,
    },
    /// The cluster does not answer.
    #[error("objects cannot be listed: {0}")]
    Unavailable(String),
    /// There are more than [`MAX_OBJECTS`].
    #[error("more than {MAX_OBJECTS} {0} match")]
    TooMany(GroupResource),
}

/// Lists the objects of a resource.
pub trait ObjectLister: Send + Sync {
    /// The objects that the selector matches: in the namespace, or with `None` at the root. Ascending by
    /// name.
    ///
    /// # Errors
    ///
    /// The list would not be complete.
    fn list<'a>(
        &'a self,
        resource: &'a GroupResource,
        namespace: Option<&'a str>,
        selector: &'a Selector,
    ) -> BoxFuture<'a, Result<Vec<ObjectName>, ListError>>;
}

/// A list of objects that is given, for tests and where the set never changes.
#[derive(Clone, Debug, Default)]
pub struct FixedObjects(BTreeMap<(GroupResource, ObjectName), BTreeMap<String, String>>);

impl FixedObjects {
    /// Adds an object with its labels.
    pub fn add(&mut self, resource: GroupResource, name: ObjectName, labels: &[(&str, &str)]) {
        let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        self.0.insert((resource, name), labels.collect());
    }
}

impl ObjectLister for FixedObjects {
    fn list<'a>(
        &'a self,
        resource: &'a GroupResource,
        namespace: Option<&'a str>,
        selector: &'a Selector,
    ) -> BoxFuture<'a, Result<Vec<ObjectName>, ListError>> {
        let matching = self.0.iter().filter(move |((of, name), labels)| {
            of == resource && name.namespace.as_deref() == namespace && selector.matches(labels)
        });
        let names = matching.map(|((_, name), _)| name.clone()).collect();
        Box::pin(std::future::ready(Ok(names)))
    }
}
