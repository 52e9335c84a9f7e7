//! Which objects exist, told by the engine that scrapes them.
//!
//! The engine has a series `up` for each target that is discovered, whether it answers or not, and ends it with the
//! target. Its labels `namespace`, `pod`, `service` and their like name objects.
//!
//! Rule: what only the Kubernetes API knows is refused by name: labels of objects, and objects that are not scraped.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use datamodel::labels::Quoted;
use datamodel::selector::Selector;
use datamodel::{Clock, Labels};
use metrics_api::{
    BoxFuture, GroupResource, InstantValue, ListError, MAX_OBJECTS, MetricsSource, ObjectLister, ObjectName,
    ResourceMapper,
};

/// Longest time for a list.
const LIST_TIMEOUT: Duration = Duration::from_secs(10);

/// Lists the objects behind the targets of a source.
#[derive(Clone)]
pub struct SeriesObjects {
    source: Arc<dyn MetricsSource>,
    mapper: Arc<dyn ResourceMapper>,
    clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for SeriesObjects {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SeriesObjects").finish_non_exhaustive()
    }
}

impl SeriesObjects {
    /// Takes the source, and what tells the label of a resource.
    #[must_use]
    pub fn new(source: Arc<dyn MetricsSource>, mapper: Arc<dyn ResourceMapper>, clock: Arc<dyn Clock>) -> Self {
        Self { source, mapper, clock }
    }

    async fn names(
        &self,
        resource: &GroupResource,
        namespace: Option<&str>,
        selector: &Selector,
    ) -> Result<Vec<ObjectName>, ListError> {
        let forbidden = |reason: &str| ListError::Forbidden { resource: resource.clone(), reason: reason.to_owned() };
        if *selector != Selector::everything() {
            return Err(forbidden("the labels of objects are known to the Kubernetes API alone, which is not asked"));
        }
        let info = self.mapper.resource(&resource.group, &resource.resource);
        let info = info.ok_or_else(|| forbidden("there is no such resource"))?;
        // Only words of letters: the mapper's own table.
        let label = info.singular;
        let within = namespace.map_or(String::new(), |namespace| format!(",namespace={}", Quoted(namespace)));
        let query = format!("group by ({label}) (up{{{label}!=\"\"{within}}})");
        let answer = self.source.instant(&query, self.clock.now(), None, LIST_TIMEOUT).await;
        let answer = answer.map_err(|error| ListError::Unavailable(error.to_string()))?;
        if let Some(warning) = answer.warnings.first() {
            return Err(ListError::Unavailable(format!("source answers with warnings: {warning}")));
        }
        let InstantValue::Vector(samples) = answer.value else {
            return Err(ListError::Unavailable("the source gives no vector".to_owned()));
        };
        if samples.len() > MAX_OBJECTS {
            return Err(ListError::TooMany(resource.clone()));
        }
        let name = |labels: &Labels| labels.get(&label).map(str::to_owned);
        let names: BTreeSet<String> = samples.iter().filter_map(|sample| name(&sample.labels)).collect();
        let object = |name: String| ObjectName { namespace: namespace.map(str::to_owned), name };
        Ok(names.into_iter().map(object).collect())
    }
}

impl ObjectLister for SeriesObjects {
    fn list<'a>(
        &'a self,
        resource: &'a GroupResource,
        namespace: Option<&'a str>,
        selector: &'a Selector,
    ) -> BoxFuture<'a, Result<Vec<ObjectName>, ListError>> {
        Box::pin(self.names(resource, namespace, selector))
    }
}
