//! How series become metrics of objects, and metrics of objects become queries.
//!
//! - [`name`]: which series a rule takes, and what their metric is called.
//! - [`resources`]: which label names which resource, and back.
//! - [`query`]: the template that becomes a query.
//! - [`Rule`]: one rule of the configuration with all three, compiled.
//!
//! Rule: what can be wrong with the text of a rule is found when it is compiled; only what depends on the
//! cluster's resources is found later, and then concerns this rule alone.

pub(crate) mod name;
pub(crate) mod query;
pub(crate) mod resources;

use datamodel::Matcher;

use name::{MetricName, NameError, SeriesFilter};
use query::MetricsQuery;
use resources::ResourceConverter;

/// One compiled rule.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    /// The selector of its series, as given.
    pub(crate) series_query: String,
    /// The same, parsed.
    pub(crate) matchers: Vec<Matcher>,
    /// All must let a series pass.
    pub(crate) filters: Vec<SeriesFilter>,
    /// How a series is called in the API.
    pub(crate) name: MetricName,
    /// Labels and resources.
    pub(crate) resources: ResourceConverter,
    /// What is asked for a metric.
    pub(crate) query: MetricsQuery,
    /// Whether an external metric is confined to the namespace of the request.
    pub(crate) namespaced: bool,
}

impl Rule {
    /// The metric name of a series, or `None` when the rule does not take it. An error is for the report.
    pub(crate) fn metric_name(&self, series: &str) -> Option<Result<String, NameError>> {
        self.filters.iter().all(|filter| filter.keeps(series)).then(|| self.name.of_series(series))
    }

    /// Whether two rules take the same series and ask and call them the same.
    pub(crate) fn is_same_as(&self, other: &Self) -> bool {
        self.series_query == other.series_query
            && self.query.source() == other.query.source()
            && self.name.is_same_as(&other.name)
    }
}
