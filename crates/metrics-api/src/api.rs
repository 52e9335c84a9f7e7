//! The metrics API without HTTP: questions of types in, values of types out.
//!
//! - [`MetricsApi`]: rules, registry and floor; shared by the HTTP layer and the local autoscaler.
//! - [`Backends`]: what it is connected to.
//!
//! ```text
//! question ─▶ registry ─▶ objects ─▶ freshen ─▶ query ─▶ source ─▶ match ─▶ ages ─▶ floor ─▶ values
//!             (rule)      (lister)                                  (values)   (hold)
//! ```
//!
//! Rule: an answer is never empty. Where there is no value, there is an error that names the stage.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use datamodel::selector::Selector;
use datamodel::{Clock, Timestamp};
use storage::Queryable;

use crate::config::{Config, Listing};
use crate::error::{ApiError, Wanted, excerpt};
use crate::hold::{Ages, Floor, raise_to};
use crate::mapper::{ResourceInfo, ResourceMapper};
use crate::metrics::ApiMetrics;
use crate::names::{CustomMetricInfo, GroupResource, ObjectName};
use crate::naming::query::{ObjectQuery, terms};
use crate::objects::{ListError, MAX_OBJECTS, ObjectLister};
use crate::registry::{Entry, MAX_PROBLEMS, Problem, Registry, RuleId};
use crate::request::CUSTOM_GROUP;
use crate::server::REQUEST_DEADLINE;
use crate::source::{Freshen, InstantAnswer, InstantValue, MetricsSource};
use crate::trace::Trace;
use crate::values::{Held, Measured, MetricValue, ObjectReference, Unused, match_to_objects, saturated};
use crate::window::window_of;

/// Most time that fresh scrapes may take before an answer is computed (design: min of this and half of the
/// request's deadline).
pub const FRESHEN_BUDGET: Duration = Duration::from_millis(200);

/// A selector for the labels of a metric, where [`Selector`] is one for the labels of objects.
pub type MetricSelector = Selector;

/// What the API is connected to.
#[derive(Clone)]
pub struct Backends {
    /// Where metrics come from.
    pub source: Arc<dyn MetricsSource>,
    /// Which resources there are.
    pub mapper: Arc<dyn ResourceMapper>,
    /// Which objects there are.
    pub lister: Arc<dyn ObjectLister>,
    /// Who scrapes before an answer, if anyone.
    pub freshen: Option<Arc<dyn Freshen>>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for Backends {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Backends").field("clock", &self.clock).finish_non_exhaustive()
    }
}

/// How the API behaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// How often series are listed, and how far back.
    pub listing: Listing,
    /// Until when a sample counts.
    pub ages: Ages,
}

/// Which objects a question is about.
#[derive(Clone, Copy, Debug)]
pub enum Objects<'a> {
    /// One, by name.
    Named(&'a str),
    /// All that a selector matches.
    Matching(&'a Selector),
}

/// A question for the metric of objects.
#[derive(Clone, Copy, Debug)]
pub struct ObjectQuestion<'a> {
    /// The resource, plural or singular.
    pub resource: &'a GroupResource,
    /// The namespace; `None` at the root.
    pub namespace: Option<&'a str>,
    /// The objects.
    pub objects: Objects<'a>,
    /// The metric.
    pub metric: &'a str,
    /// What its own labels must be.
    pub metric_selector: &'a MetricSelector,
    /// Time that is left to answer, where it is known.
    pub deadline: Option<Duration>,
}

/// Rules and what they publish, exchanged as a whole.
#[derive(Debug, Default)]
pub(crate) struct Published {
    pub(crate) config: Arc<Config>,
    pub(crate) registry: Registry,
    pub(crate) problems: Vec<Problem>,
    /// When the last round of listings was begun.
    pub(crate) listed: Option<Timestamp>,
    /// How long it took.
    pub(crate) took: Duration,
}

/// Answers questions for metrics.
#[derive(Debug)]
pub struct MetricsApi {
    pub(crate) backends: Backends,
    pub(crate) settings: Settings,
    pub(crate) published: RwLock<Arc<Published>>,
    /// Held while series are listed, so that one round runs at a time.
    pub(crate) listing: tokio::sync::Mutex<()>,
    floor: Mutex<Floor>,
    /// What answers revealed about rules.
    revealed: Mutex<BTreeSet<Problem>>,
    pub(crate) metrics: Option<ApiMetrics>,
}

impl MetricsApi {
    /// Puts the parts together. Nothing is published before [`relist`](Self::relist) has run once, by
    /// [`run`](Self::run) or by the first question.
    #[must_use]
    pub fn new(config: Config, settings: Settings, backends: Backends) -> Self {
        let published = Published { config: Arc::new(config), ..Published::default() };
        Self {
            backends,
            settings,
            published: RwLock::new(Arc::new(published)),
            listing: tokio::sync::Mutex::new(()),
            floor: Mutex::default(),
            revealed: Mutex::default(),
            metrics: None,
        }
    }

    /// Counts in these instruments from now on.
    #[must_use]
    pub fn with_metrics(mut self, metrics: ApiMetrics) -> Self {
        self.metrics = Some(metrics);
        self
    }

    /// The metric of the pods that a selector matches, one value a pod. A pod without usable sample is left
    /// out.
    ///
    /// # Errors
    ///
    /// There is no value at all; the error says why.
    pub async fn pods_metric(
        &self,
        namespace: &str,
        selector: &Selector,
        metric: &str,
        metric_selector: &MetricSelector,
    ) -> Result<Vec<MetricValue>, ApiError> {
        self.objects_metric(&ObjectQuestion {
            resource: &GroupResource::pods(),
            namespace: Some(namespace),
            objects: Objects::Matching(selector),
            metric,
            metric_selector,
            deadline: None,
        })
        .await
    }

    /// The metric of one object.
    ///
    /// # Errors
    ///
    /// There is no value; the error says why.
    pub async fn object_metric(
        &self,
        resource: &GroupResource,
        object: &ObjectName,
        metric: &str,
        metric_selector: &MetricSelector,
    ) -> Result<MetricValue, ApiError> {
        let question = ObjectQuestion {
            resource,
            namespace: object.namespace.as_deref(),
            objects: Objects::Named(&object.name),
            metric,
            metric_selector,
            deadline: None,
        };
        let mut values = self.objects_metric(&question).await?;
        values.pop().ok_or_else(|| ApiError::NoSamples { wanted: question.wanted(), hint: String::new() })
    }

    /// The metric of some objects, in the order of their names.
    ///
    /// # Errors
    ///
    /// There is no value at all; the error says why.
    pub async fn objects_metric(&self, question: &ObjectQuestion<'_>) -> Result<Vec<MetricValue>, ApiError> {
        self.traced_objects_metric(question, None).await
    }

    /// The same; `trace` is filled as far as the question comes.
    ///
    /// # Errors
    ///
    /// There is no value at all; the error says why.
    pub async fn traced_objects_metric(
        &self,
        question: &ObjectQuestion<'_>,
        trace: Option<&mut Trace>,
    ) -> Result<Vec<MetricValue>, ApiError> {
        let begun = self.backends.clock.now();
        let outcome = self.answer_for_objects(question, trace).await;
        if let Some(metrics) = &self.metrics {
            let values = outcome.as_deref().map(|values| values.iter().map(|value| (value.timestamp, value.state)));
            metrics.answered(CUSTOM_GROUP, values, begun, self.backends.clock.now());
        }
        outcome
    }

    async fn answer_for_objects(
        &self,
        question: &ObjectQuestion<'_>,
        mut trace: Option<&mut Trace>,
    ) -> Result<Vec<MetricValue>, ApiError> {
        let begun = self.backends.clock.now();
        let found = self.find_custom(question).await?;
        if let (Some(trace), Some(rule)) = (&mut trace, found.config.rules.get(found.entry.rule)) {
            trace.found(RuleId::Custom(found.entry.rule), rule, &found.entry);
        }
        let objects = self.objects_of(question, &found.info).await?;
        let fresh = self.freshen(&found.info, &objects, question.deadline).await;
        let names: Vec<&str> = objects.iter().map(|object| object.name.as_str()).collect();
        let Queries { queries, label, window } = self.build_queries(question, &found, &names)?;
        let now = self.backends.clock.now();
        if let Some(trace) = &mut trace {
            trace.asks(&queries, Some(&label), now);
        }
        let ages = self.settings.ages;
        let mut unused = Unused::default();
        let mut values = std::collections::HashMap::new();
        for query in &queries {
            let left = self.left(question.deadline, begun)?;
            let answer = self.ask(query, now, fresh.clone(), left).await?;
            if let Some(reason) = &answer.undated {
                self.reveal_undated(RuleId::Custom(found.entry.rule), reason);
            }
            if let Some(trace) = &mut trace {
                trace.answered(&answer, ages, now);
            }
            let samples = match &answer.value {
                InstantValue::Vector(samples) => samples,
                InstantValue::Scalar(_) => return Err(wrong_type("scalar", query)),
                InstantValue::Other(found) => return Err(wrong_type(found, query)),
            };
            let held = Held::new(&answer, samples);
            values.extend(match_to_objects(samples, &held, &label, &names, ages, now, &mut unused));
        }
        if unused.duplicates > 0 {
            let rule = RuleId::Custom(found.entry.rule);
            self.reveal(rule, "gives several series for one object, which are added up: aggregate by `<<.GroupBy>>`");
        }
        if values.is_empty() {
            let hint = unused.reason(Some(&label), ages, now);
            return Err(ApiError::NoSamples { wanted: question.wanted(), hint });
        }
        let mut measured: Vec<(&ObjectName, Measured)> =
            objects.iter().filter_map(|object| Some((object, *values.get(object.name.as_str())?))).collect();
        self.apply_floor(&question.key(&found.info), measured.iter_mut().map(|(_, measured)| measured), now);
        Ok(measured
            .into_iter()
            .filter_map(|(object, measured)| found.value(question, object, measured, window))
            .collect())
    }

    /// The metrics of objects that are published, in the order of their resources.
    #[must_use]
    pub fn custom_metrics(&self) -> Vec<CustomMetricInfo> {
        self.published().registry.custom.keys().cloned().collect()
    }

    /// The external metrics that are published, in order.
    #[must_use]
    pub fn external_metrics(&self) -> Vec<String> {
        self.published().registry.external.keys().cloned().collect()
    }

    /// Whether the series of the rules were listed once, completely or not.
    #[must_use]
    pub fn is_listed(&self) -> bool {
        self.published().listed.is_some()
    }

    /// What the authors of the rules should know: failed listings, unknown resources, conflicts, doubtful
    /// queries. In the order of the rules.
    #[must_use]
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems: BTreeSet<Problem> = self.published().problems.iter().cloned().collect();
        problems.extend(self.revealed.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned());
        problems.into_iter().collect()
    }

    pub(crate) fn published(&self) -> Arc<Published> {
        Arc::clone(&self.published.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Forgets what answers revealed about rules that are no longer there.
    pub(crate) fn forget_revealed(&self) {
        self.revealed.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn reveal(&self, rule: RuleId, message: &str) {
        let mut revealed = self.revealed.lock().unwrap_or_else(PoisonError::into_inner);
        if revealed.len() < MAX_PROBLEMS {
            revealed.insert(Problem { rule, message: message.to_owned() });
        }
    }

    async fn find_custom(&self, question: &ObjectQuestion<'_>) -> Result<Found, ApiError> {
        let missing = |hint: String| ApiError::NotRegistered { wanted: question.wanted(), hint };
        let wanted = question.resource;
        let resource = self.backends.mapper.resource(&wanted.group, &wanted.resource);
        let resource = resource.ok_or_else(|| missing(format!("the cluster has no resource {wanted}")))?;
        let info = CustomMetricInfo {
            group_resource: resource.group_resource.clone(),
            namespaced: question.namespace.is_some(),
            metric: question.metric.to_owned(),
        };
        let look_up = |published: &Published| {
            let entry = published.registry.custom.get(&info).cloned()?;
            Some((Arc::clone(&published.config), entry))
        };
        let mut found = look_up(&self.published());
        if found.is_none() && self.relist_for_question().await {
            found = look_up(&self.published());
        }
        let Some((config, entry)) = found else {
            return Err(missing(hint_for_custom(&self.published(), &info)));
        };
        Ok(Found { config, entry, info, resource })
    }

    async fn objects_of(
        &self,
        question: &ObjectQuestion<'_>,
        info: &CustomMetricInfo,
    ) -> Result<Vec<ObjectName>, ApiError> {
        let selector = match question.objects {
            Objects::Named(name) => {
                return Ok(vec![ObjectName {
                    namespace: question.namespace.map(str::to_owned),
                    name: name.to_owned(),
                }]);
            }
            Objects::Matching(selector) => selector,
        };
        let listed = self.backends.lister.list(&info.group_resource, question.namespace, selector).await;
        let objects = listed.map_err(ApiError::ListObjects)?;
        if objects.len() > MAX_OBJECTS {
            return Err(ApiError::ListObjects(ListError::TooMany(info.group_resource.clone())));
        }
        if objects.is_empty() {
            let place = question.namespace.map_or(String::new(), |namespace| format!(" in namespace {namespace}"));
            let hint = format!("no {}{place} match the selector `{selector}`", info.group_resource);
            return Err(ApiError::NoObjects { wanted: question.wanted(), hint });
        }
        Ok(objects)
    }

    /// Scrapes the pods of a question before it is answered. Gives the storage to read then.
    async fn freshen(
        &self,
        info: &CustomMetricInfo,
        objects: &[ObjectName],
        deadline: Option<Duration>,
    ) -> Option<Arc<dyn Queryable>> {
        let freshen = self.backends.freshen.as_ref()?;
        let namespace = objects.first()?.namespace.as_deref()?;
        if !info.group_resource.is_pods() {
            return None;
        }
        let pods: Vec<String> = objects.iter().map(|object| object.name.clone()).collect();
        let budget = deadline.map_or(FRESHEN_BUDGET, |deadline| FRESHEN_BUDGET.min(deadline / 2));
        freshen.freshen(namespace, &pods, budget).await
    }

    /// The queries for the named objects.
    fn build_queries(&self, question: &ObjectQuestion<'_>, found: &Found, names: &[&str]) -> Result<Queries, ApiError> {
        let missing = |hint: String| ApiError::NotRegistered { wanted: question.wanted(), hint };
        let rule = found.config.rules.get(found.entry.rule).ok_or_else(|| missing(String::new()))?;
        let mapper = &*self.backends.mapper;
        let label_for = |resource: &GroupResource| rule.resources.label_for(resource, mapper);
        let label = label_for(&found.info.group_resource).map_err(|cause| missing(cause.to_string()))?;
        let namespace_label = match question.namespace {
            Some(_) => Some(label_for(&GroupResource::namespaces()).map_err(|cause| missing(cause.to_string()))?),
            None => None,
        };
        let build_error =
            |source| ApiError::BuildQuery { wanted: question.wanted(), series: found.entry.series.clone(), source };
        let terms = terms(question.metric_selector).map_err(build_error)?;
        let query = ObjectQuery {
            series: &found.entry.series,
            namespace: namespace_label.as_deref().zip(question.namespace),
            resource_label: &label,
            names,
            extra_group_by: &[],
            terms: &terms,
        };
        let queries = rule.query.build_chunks(&query, self.backends.source.max_name_bytes()).map_err(build_error)?;
        // A query for one name has the same ranges and is parsed in no time.
        let names = names.get(..1).unwrap_or_default();
        let window = rule.query.build(&ObjectQuery { names, ..query }).ok().and_then(|query| window_of(&query));
        Ok(Queries { queries, label, window })
    }

    /// What is left of the time that an answer may take.
    pub(crate) fn left(&self, deadline: Option<Duration>, begun: Timestamp) -> Result<Duration, ApiError> {
        let deadline = deadline.unwrap_or(REQUEST_DEADLINE);
        let left = deadline.saturating_sub(self.backends.clock.now().since(begun));
        if left.is_zero() { Err(ApiError::Timeout) } else { Ok(left) }
    }

    pub(crate) fn reveal_undated(&self, rule: RuleId, reason: &str) {
        self.reveal(rule, &format!("the age of its values is not known, they count as just taken: {reason}"));
    }

    pub(crate) async fn ask(
        &self,
        query: &str,
        now: Timestamp,
        fresh: Option<Arc<dyn Queryable>>,
        left: Duration,
    ) -> Result<InstantAnswer, ApiError> {
        let answer = self.backends.source.instant(query, now, fresh, left).await.map_err(ApiError::Fetch)?;
        if answer.warnings.is_empty() {
            Ok(answer)
        } else {
            Err(ApiError::Warnings(answer.warnings.iter().take(5).map(|warning| excerpt(warning)).collect()))
        }
    }

    /// Notes the answer, and raises it where it has held inputs and lies below the floor.
    pub(crate) fn apply_floor<'a>(
        &self,
        question: &str,
        values: impl Iterator<Item = &'a mut Measured>,
        now: Timestamp,
    ) {
        let mut values: Vec<&mut Measured> = values.collect();
        let total = values.iter().map(|measured| measured.value).sum();
        let highest = self.floor.lock().unwrap_or_else(PoisonError::into_inner).note(question, total, now);
        let mut raised: Vec<_> = values.iter().map(|measured| (measured.value, measured.state)).collect();
        raise_to(highest, &mut raised);
        for (measured, (value, _)) in values.iter_mut().zip(raised) {
            measured.value = value;
        }
    }
}

/// What is asked for a question.
struct Queries {
    queries: Vec<String>,
    /// The label that tells the objects apart.
    label: String,
    window: Option<Duration>,
}

/// What answers for a question.
struct Found {
    config: Arc<Config>,
    entry: Entry,
    info: CustomMetricInfo,
    resource: ResourceInfo,
}

impl Found {
    fn value(
        &self,
        question: &ObjectQuestion<'_>,
        object: &ObjectName,
        measured: Measured,
        window: Option<Duration>,
    ) -> Option<MetricValue> {
        Some(MetricValue {
            described_object: ObjectReference {
                kind: self.resource.kind.clone(),
                object: object.clone(),
                api_version: self.resource.api_version(),
            },
            metric: question.metric.to_owned(),
            metric_selector: question.metric_selector.clone(),
            value: saturated(measured.value)?,
            timestamp: measured.timestamp,
            window,
            state: measured.state,
        })
    }
}

impl ObjectQuestion<'_> {
    fn wanted(&self) -> Box<Wanted> {
        let name = match self.objects {
            Objects::Named(name) => Some(name.to_owned()),
            Objects::Matching(_) => None,
        };
        Box::new(Wanted { metric: self.metric.to_owned(), resource: self.resource.clone(), name })
    }

    /// What makes two questions the same for the floor.
    fn key(&self, info: &CustomMetricInfo) -> String {
        let namespace = self.namespace.unwrap_or("");
        let objects = match self.objects {
            Objects::Named(name) => name.to_owned(),
            Objects::Matching(selector) => format!("*?{selector}"),
        };
        format!("custom/{namespace}/{}/{objects}/{}?{}", info.group_resource, info.metric, self.metric_selector)
    }
}

fn wrong_type(found: &'static str, query: &str) -> ApiError {
    ApiError::ResultType { found, query: query.to_owned() }
}

fn hint_for_custom(published: &Published, info: &CustomMetricInfo) -> String {
    let other_scope = CustomMetricInfo { namespaced: !info.namespaced, ..info.clone() };
    if published.registry.custom.contains_key(&other_scope) {
        let scope = if info.namespaced { "without" } else { "with" };
        return format!("it is published for {}, but only {scope} a namespace in the path", info.group_resource);
    }
    let resources: Vec<String> =
        published.registry.resources_with(&info.metric).iter().map(ToString::to_string).collect();
    if !resources.is_empty() {
        let list = resources.join(", ");
        return format!("the metric is published for {list}: its series have no label for {}", info.group_resource);
    }
    hint_for_missing(published, published.config.rules.len())
}

pub(crate) fn hint_for_missing(published: &Published, rules: usize) -> String {
    let mut hint = format!("none of the {rules} rules publishes a metric of this name");
    if let Some(problem) = published.problems.first() {
        hint.push_str(&format!("; {}: {}", problem.rule, problem.message));
    }
    hint
}

#[cfg(test)]
mod tests;
