//! External metrics: a rule, a query, one value a series.
//!
//! Rule: as for metrics of objects, an answer is never empty, and its ages and floor are the same.

use std::sync::Arc;
use std::time::Duration;

use datamodel::Labels;

use crate::api::{MetricSelector, MetricsApi, Published, hint_for_missing};
use crate::config::Config;
use crate::error::ApiError;
use crate::mapper::ResourceMapper;
use crate::names::GroupResource;
use crate::naming::Rule;
use crate::naming::query::{ExternalQuery, terms};
use crate::registry::{Entry, RuleId};
use crate::request::EXTERNAL_GROUP;
use crate::source::InstantValue;
use crate::trace::Trace;
use crate::values::{ExternalMetricValue, Held, Measured, Unused, measure, saturated};
use crate::window::window_of;

impl MetricsApi {
    /// An external metric in a namespace, one value a series.
    ///
    /// # Errors
    ///
    /// There is no value at all; the error says why.
    pub async fn external_metric(
        &self,
        namespace: &str,
        metric: &str,
        selector: &MetricSelector,
    ) -> Result<Vec<ExternalMetricValue>, ApiError> {
        self.traced_external_metric(namespace, metric, selector, None, None).await
    }

    /// The same, for a client that waits so long; `trace` is filled as far as the question comes.
    ///
    /// # Errors
    ///
    /// There is no value at all; the error says why.
    pub async fn traced_external_metric(
        &self,
        namespace: &str,
        metric: &str,
        selector: &MetricSelector,
        deadline: Option<Duration>,
        trace: Option<&mut Trace>,
    ) -> Result<Vec<ExternalMetricValue>, ApiError> {
        let begun = self.backends.clock.now();
        let outcome = self.answer_for_external(namespace, metric, selector, deadline, trace).await;
        if let Some(metrics) = &self.metrics {
            let values = outcome.as_deref().map(|values| values.iter().map(|value| (value.timestamp, value.state)));
            metrics.answered(EXTERNAL_GROUP, values, begun, self.backends.clock.now());
        }
        outcome
    }

    async fn answer_for_external(
        &self,
        namespace: &str,
        metric: &str,
        selector: &MetricSelector,
        deadline: Option<Duration>,
        mut trace: Option<&mut Trace>,
    ) -> Result<Vec<ExternalMetricValue>, ApiError> {
        let begun = self.backends.clock.now();
        let (config, entry) = self.find_external(namespace, metric).await?;
        if let (Some(trace), Some(rule)) = (&mut trace, config.external_rules.get(entry.rule)) {
            trace.found(RuleId::External(entry.rule), rule, &entry);
        }
        let query = self.build_external_query(&config, &entry, namespace, metric, selector)?;
        let now = self.backends.clock.now();
        if let Some(trace) = &mut trace {
            trace.asks(std::slice::from_ref(&query), None, now);
        }
        let answer = self.ask(&query, now, None, self.left(deadline, begun)?).await?;
        if let Some(reason) = &answer.undated {
            self.reveal_undated(RuleId::External(entry.rule), reason);
        }
        let window = window_of(&query);
        let ages = self.settings.ages;
        if let Some(trace) = trace {
            trace.answered(&answer, ages, now);
        }
        let mut unused = Unused::default();
        let mut values: Vec<(Option<&Labels>, Measured)> = Vec::new();
        match &answer.value {
            InstantValue::Vector(samples) => {
                unused.series = samples.len();
                let held = Held::new(&answer, samples);
                for sample in samples {
                    let held = held.concerns(&sample.labels);
                    let measured = measure(sample.value, sample.timestamp, held, ages, now, &mut unused);
                    values.extend(measured.map(|measured| (Some(&sample.labels), measured)));
                }
            }
            InstantValue::Scalar(value) => {
                unused.series = 1;
                let measured = measure(
                    *value,
                    now,
                    !(answer.held.is_empty() && answer.missing.is_empty()),
                    ages,
                    now,
                    &mut unused,
                );
                values.extend(measured.map(|measured| (None, measured)));
            }
            InstantValue::Other(found) => return Err(ApiError::ExternalResultType { found, query }),
        }
        if values.is_empty() {
            let hint = unused.reason(None, ages, now);
            return Err(ApiError::NoExternalSamples { metric: metric.to_owned(), hint });
        }
        let key = format!("external/{namespace}/{metric}?{selector}");
        self.apply_floor(&key, values.iter_mut().map(|(_, measured)| measured), now);
        let document = |(labels, measured): (Option<&Labels>, Measured)| {
            let labels = labels.map(|labels| labels.iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect());
            Some(ExternalMetricValue {
                metric: metric.to_owned(),
                labels,
                value: saturated(measured.value)?,
                timestamp: measured.timestamp,
                window,
                state: measured.state,
            })
        };
        Ok(values.into_iter().filter_map(document).collect())
    }

    async fn find_external(&self, namespace: &str, metric: &str) -> Result<(Arc<Config>, Entry), ApiError> {
        let look_up = |published: &Published| {
            let entry = published.registry.external.get(metric).cloned()?;
            Some((Arc::clone(&published.config), entry))
        };
        let mut found = look_up(&self.published());
        if found.is_none() && self.relist_for_question().await {
            found = look_up(&self.published());
        }
        found.ok_or_else(|| ApiError::ExternalNotRegistered {
            metric: metric.to_owned(),
            namespace: namespace.to_owned(),
            hint: hint_for_external(&self.published()),
        })
    }

    fn build_external_query(
        &self,
        config: &Config,
        entry: &Entry,
        namespace: &str,
        metric: &str,
        selector: &MetricSelector,
    ) -> Result<String, ApiError> {
        let failed = |reason: String| ApiError::BuildExternalQuery { metric: metric.to_owned(), reason };
        let rule = config.external_rules.get(entry.rule).ok_or_else(|| failed("the rule is gone".to_owned()))?;
        let label = external_namespace_label(rule, namespace, &*self.backends.mapper).map_err(failed)?;
        let terms = terms(selector).map_err(|cause| failed(cause.to_string()))?;
        let query = ExternalQuery {
            series: &entry.series,
            namespace: label.as_deref().map(|label| (label, namespace)),
            group_by: &[],
            terms: &terms,
        };
        rule.query.build_external(&query).map_err(|cause| failed(cause.to_string()))
    }
}

/// The label that confines an external metric to a namespace; `None` where its rule does not.
fn external_namespace_label(
    rule: &Rule,
    namespace: &str,
    mapper: &dyn ResourceMapper,
) -> Result<Option<String>, String> {
    if !rule.namespaced || namespace.is_empty() {
        return Ok(None);
    }
    let label = rule.resources.label_for(&GroupResource::namespaces(), mapper);
    label.map(Some).map_err(|cause| format!("{cause} (or set `resources.namespaced: false`)"))
}

fn hint_for_external(published: &Published) -> String {
    hint_for_missing(published, published.config.external_rules.len())
}
