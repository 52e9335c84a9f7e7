//! Cases about names, labels and queries.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use datamodel::selector::SelectorOp;
use serde_json::Value;

use super::{Context, outcome, same, text_of, texts_of};
use crate::config::Config;
use crate::mapper::{BuiltinResources, ResourceMapper};
use crate::names::{GroupResource, ObjectName};
use crate::naming::name::{MetricName, SeriesFilter};
use crate::naming::query::{ExternalQuery, MetricsQuery, ObjectQuery, Term};
use crate::naming::resources::{ResourceConverter, split_label};
use crate::objects::FixedObjects;
use crate::registry::{Listed, Registry, Round};
use crate::source::SeriesShape;
use crate::testing::{FakeSource, Rig, at, cluster, labels};
use crate::{ObjectQuestion, Objects};

struct OwnedTerm {
    key: String,
    op: SelectorOp,
    values: Vec<String>,
}

fn owned_term(term: &Value) -> OwnedTerm {
    let op = match text_of(&term["operator"]) {
        "=" => SelectorOp::Equals,
        "==" => SelectorOp::DoubleEquals,
        "!=" => SelectorOp::NotEquals,
        "in" => SelectorOp::In,
        "notin" => SelectorOp::NotIn,
        "exists" => SelectorOp::Exists,
        "!" => SelectorOp::DoesNotExist,
        "gt" => SelectorOp::GreaterThan,
        "lt" => SelectorOp::LessThan,
        other => panic!("unknown operator {other}"),
    };
    let values = texts_of(&term["values"]).into_iter().map(str::to_owned).collect();
    OwnedTerm { key: text_of(&term["key"]).to_owned(), op, values }
}

fn owned_terms(input: &Value) -> Vec<OwnedTerm> {
    input["metric_selector"].as_array().map(|terms| terms.iter().map(owned_term).collect()).unwrap_or_default()
}

fn borrowed(terms: &[OwnedTerm]) -> Vec<Term<'_>> {
    terms.iter().map(|term| Term { key: &term.key, op: term.op, values: &term.values }).collect()
}

pub(super) fn build_query(input: &Value, expect: &Value) -> Result<(), String> {
    let labels = &input["labels_by_resource"];
    let namespace = text_of(&input["namespace"]);
    let owned = owned_terms(input);
    let build = || {
        let query = MetricsQuery::new(text_of(&input["template"])).map_err(|error| error.to_string())?;
        query
            .build(&ObjectQuery {
                series: text_of(&input["series"]),
                namespace: (!namespace.is_empty()).then_some((text_of(&labels["namespaces"]), namespace)),
                resource_label: text_of(&labels[text_of(&input["resource"]["resource"])]),
                names: &texts_of(&input["names"]),
                extra_group_by: &texts_of(&input["extra_group_by"]),
                terms: &borrowed(&owned),
            })
            .map_err(|error| error.to_string())
    };
    outcome(build(), expect, "query")
}

pub(super) fn build_external_query(input: &Value, expect: &Value) -> Result<(), String> {
    let namespace = text_of(&input["namespace"]);
    let confined = input["namespaced"] == true && !namespace.is_empty();
    let mut group_by = texts_of(&input["group_by_slice"]);
    if group_by.is_empty() && !text_of(&input["group_by"]).is_empty() {
        group_by.push(text_of(&input["group_by"]));
    }
    let owned = owned_terms(input);
    let build = || {
        let query = MetricsQuery::new(text_of(&input["template"])).map_err(|error| error.to_string())?;
        query
            .build_external(&ExternalQuery {
                series: text_of(&input["series"]),
                namespace: confined.then_some((text_of(&input["namespace_label"]), namespace)),
                group_by: &group_by,
                terms: &borrowed(&owned),
            })
            .map_err(|error| error.to_string())
    };
    outcome(build(), expect, "query")
}

pub(super) fn selector_term(input: &Value, expect: &Value) -> Result<(), String> {
    let owned = owned_term(input);
    let term = Term { key: &owned.key, op: owned.op, values: &owned.values };
    outcome(term.matcher().map_err(|error| error.to_string()), expect, "matcher")
}

pub(super) fn series_filter(input: &Value, expect: &Value) -> Result<(), String> {
    let filter = &input["filter"];
    match SeriesFilter::new(text_of(&filter["is"]), text_of(&filter["isNot"])) {
        Ok(filter) => same(Some(filter.keeps(text_of(&input["series_name"]))), expect["keep"].as_bool()),
        Err(error) => outcome(Err(error.to_string()), expect, "keep"),
    }
}

/// Better: a rule whose names would be empty is refused when it is loaded.
pub(super) fn metric_name(input: &Value, expect: &Value, better: bool) -> Result<(), String> {
    let name = &input["name"];
    let found = MetricName::new(text_of(&name["matches"]), text_of(&name["as"]));
    if better {
        return same(found.is_err(), true);
    }
    let series = text_of(&input["series_name"]);
    let found = found.and_then(|name| name.of_series(series));
    outcome(found.map_err(|error| error.to_string()), expect, "name")
}

pub(super) fn label_template(input: &Value, expect: &Value) -> Result<(), String> {
    match split_label(text_of(&input["template"]), text_of(&input["label"])) {
        Ok(found) => {
            let resource = expect["resource"].as_str();
            let expected = resource.map(|resource| GroupResource::new(text_of(&expect["group"]), resource));
            same(found, expected)
        }
        Err(error) => outcome(Err(error.to_string()), expect, "resource"),
    }
}

pub(super) fn label_for_resource(input: &Value, expect: &Value) -> Result<(), String> {
    let resource = GroupResource::new(text_of(&input["group"]), text_of(&input["resource"]));
    let found = ResourceConverter::new(text_of(&input["template"]), Vec::new())
        .and_then(|converter| converter.label_for(&resource, &BuiltinResources));
    outcome(found.map_err(|error| error.to_string()), expect, "label")
}

/// The default rules with a prefix for labels, or the rules of the case.
fn rules_of(context: &Context, input: &Value, prefix: &str) -> Config {
    let rules = match &input["rules"] {
        Value::Null => context.default_rules.to_string().replace("PREFIX", prefix),
        rules => rules.to_string(),
    };
    Config::parse("case", &format!("{{\"rules\": {rules}}}")).unwrap()
}

fn shapes(series: &Value) -> BTreeSet<SeriesShape> {
    let shape = |series: &Value| SeriesShape {
        metric: Arc::from(text_of(&series["name"])),
        labels: texts_of(&series["labels"]).into_iter().map(Arc::from).collect(),
    };
    series.as_array().map(|series| series.iter().map(shape).collect()).unwrap_or_default()
}

pub(super) fn discovery_list(context: &Context, input: &Value, expect: &Value) -> Result<(), String> {
    let config = rules_of(context, input, text_of(&input["label_prefix"]));
    let listed = |index: usize, query: &str| -> Listed {
        if let Some(by_rule) = input["series_by_rule"].as_array() {
            let of_rule = by_rule.iter().find(|entry| entry["rule_index"] == index);
            return Ok(of_rule.map(|entry| shapes(&entry["series"])).unwrap_or_default());
        }
        match &input["series_by_selector"] {
            Value::Null => Ok(shapes(&input["series"])),
            by_selector => Ok(shapes(&by_selector[query])),
        }
    };
    let custom = config.rules.iter().enumerate().map(|(index, rule)| listed(index, &rule.series_query)).collect();
    let round = Round { custom, external: Vec::new(), at: at(0) };
    let (registry, _problems) = Registry::default().after(&config, &round, &cluster(), Duration::ZERO);
    let found: BTreeSet<(String, bool)> = registry
        .custom
        .keys()
        .map(|info| (format!("{}/{}", info.group_resource, info.metric), info.namespaced))
        .collect();
    let resources = expect["resources"].as_array().unwrap();
    let pair = |entry: &Value| (text_of(&entry["name"]).to_owned(), entry["namespaced"] == true);
    same(found, resources.iter().map(pair).collect())
}

/// From the series to the query that the source is asked, through the whole API.
pub(super) async fn registry_query(context: &Context, input: &Value, expect: &Value) -> Result<(), String> {
    let mut config = rules_of(context, input, "kube_");
    let index = usize::try_from(input["rule_index"].as_u64().unwrap()).unwrap();
    config.rules = vec![config.rules.swap_remove(index)];
    let rule = &config.rules[0];
    let mapper = cluster();
    let asked = GroupResource::new(text_of(&input["resource"]["group"]), text_of(&input["resource"]["resource"]));
    let known = mapper.resource(&asked.group, &asked.resource).unwrap();
    let label_of = |resource: &GroupResource| rule.resources.label_for(resource, &mapper).unwrap();
    let mut pairs = vec![("__name__".to_owned(), text_of(&input["series"]).to_owned())];
    pairs.push((label_of(&known.group_resource), "x".to_owned()));
    let namespace = Some(text_of(&input["namespace"])).filter(|namespace| !namespace.is_empty());
    if namespace.is_some() || rule.series_query.contains("namespace!=") {
        pairs.push((label_of(&GroupResource::namespaces()), "ns".to_owned()));
    }
    let pairs: Vec<(&str, &str)> = pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let mut objects = FixedObjects::default();
    let names = texts_of(&input["names"]);
    for name in &names {
        let object = ObjectName { namespace: namespace.map(str::to_owned), name: (*name).to_owned() };
        objects.add(known.group_resource.clone(), object, &[]);
    }
    let rig = Rig::new(config, FakeSource::new(&[labels(&pairs)]), objects, mapper).await;
    let terms = owned_terms(input);
    let requirement =
        |term: &OwnedTerm| datamodel::selector::Requirement::new(&*term.key, term.op, term.values.clone()).unwrap();
    let metric_selector = datamodel::selector::Selector::from_requirements(terms.iter().map(requirement));
    let everything = datamodel::selector::Selector::everything();
    let question = ObjectQuestion {
        resource: &asked,
        namespace,
        objects: if let [name] = names.as_slice() { Objects::Named(name) } else { Objects::Matching(&everything) },
        metric: text_of(&input["metric"]),
        metric_selector: &metric_selector,
        deadline: None,
    };
    let answer = rig.api.objects_metric(&question).await;
    let asked = rig.source.asked.lock().unwrap().clone();
    match asked.as_slice() {
        [query] => same(query.as_str(), text_of(&expect["query"])),
        _ => Err(format!("{} queries were asked: {answer:?}", asked.len())),
    }
}
