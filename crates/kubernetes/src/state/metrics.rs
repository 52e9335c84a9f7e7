//! What the watches of state series say of themselves.
//!
//! Rule: a child for each resource, of which there are six.

use datamodel::MetricType;
use datamodel::registry::{Descriptor, RegisterError, Registry};

use super::watches::StateSeries;

const DESCRIPTORS: [Descriptor; 2] = [
    Descriptor {
        name: "crescendo_kube_state_objects",
        metric_type: MetricType::Gauge,
        help: "Objects of the cluster that state series tell of",
    },
    Descriptor {
        name: "crescendo_kube_state_watch_up",
        metric_type: MetricType::Gauge,
        help: "Whether all objects of the resource were listed, and the API could be asked the last time",
    },
];

impl StateSeries {
    /// Declares what the watches say of themselves.
    ///
    /// # Errors
    ///
    /// A name is taken.
    pub fn register(&self, registry: &Registry) -> Result<(), RegisterError> {
        let series = self.clone();
        registry.collector(&DESCRIPTORS, move |emit| {
            for watch in series.watches() {
                let labels = [("resource", watch.resource.as_str())];
                emit.sample(0, &labels, watch.objects as f64);
                emit.sample(1, &labels, f64::from(watch.is_up));
            }
        })
    }
}
