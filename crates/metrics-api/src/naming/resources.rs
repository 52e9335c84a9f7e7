//! Which label names which resource, and back: a template for all, overrides for some.
//!
//! Rule: an override wins over the template, and the first override of a resource gives its label.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use datamodel::regex::{Regex, RegexError};

use crate::mapper::{ResourceMapper, guess_singular};
use crate::names::GroupResource;
use crate::template::{Template, TemplateError, Value};

/// Why labels and resources cannot be brought together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResourceError {
    /// The template is none.
    #[error("unable to parse label template \"{template}\": {cause}")]
    Template {
        /// The text as given.
        template: String,
        /// What is wrong with it.
        cause: TemplateError,
    },
    /// The template does not become an expression.
    #[error("unable to convert label template to matcher: {0}")]
    Pattern(#[from] RegexError),
    /// The template does not name the resource.
    #[error("must include at least `<<.Resource>>` in the label template")]
    NoResource,
    /// There is neither an override nor a template for the resource.
    #[error("unable to convert resource {0} into label: no generic resource label form specified for this metric")]
    NoLabel(GroupResource),
    /// The template gave nothing for the resource.
    #[error("unable to convert resource {0} into label: empty label produced by label template")]
    EmptyLabel(GroupResource),
    /// No kind of that name is known in the cluster.
    #[error("unable to normalize group-resource {0}: the cluster has no such resource (yet)")]
    UnknownResource(GroupResource),
}

/// The `resources` part of a rule.
#[derive(Clone, Debug, Default)]
pub(crate) struct ResourceConverter {
    template: Option<LabelTemplate>,
    overrides: Vec<(String, GroupResource)>,
}

#[derive(Clone, Debug)]
struct LabelTemplate {
    template: Template,
    pattern: Regex,
}

/// What the labels of one series say.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct SeriesResources {
    /// The resources, normalised.
    pub(crate) resources: BTreeSet<GroupResource>,
    /// Whether a label names the namespace.
    pub(crate) namespaced: bool,
}

impl ResourceConverter {
    /// Builds a converter; an empty template is none. Overrides map a label to a resource.
    pub(crate) fn new(template: &str, overrides: Vec<(String, GroupResource)>) -> Result<Self, ResourceError> {
        let template = if template.is_empty() { None } else { Some(LabelTemplate::new(template)?) };
        Ok(Self { template, overrides })
    }

    /// The overrides whose resource the cluster does not have.
    pub(crate) fn unknown_overrides<'a>(
        &'a self,
        mapper: &'a dyn ResourceMapper,
    ) -> impl Iterator<Item = ResourceError> + 'a {
        let unknown =
            self.overrides.iter().filter(|(_, wanted)| mapper.resource(&wanted.group, &wanted.resource).is_none());
        unknown.map(|(_, wanted)| ResourceError::UnknownResource(wanted.clone()))
    }

    /// The label that names a resource, which must be normalised.
    pub(crate) fn label_for(
        &self,
        resource: &GroupResource,
        mapper: &dyn ResourceMapper,
    ) -> Result<String, ResourceError> {
        for (label, wanted) in &self.overrides {
            let found = mapper.resource(&wanted.group, &wanted.resource);
            if found.is_some_and(|info| info.group_resource == *resource) {
                return Ok(label.clone());
            }
        }
        let template = self.template.as_ref().ok_or_else(|| ResourceError::NoLabel(resource.clone()))?;
        let known = mapper.resource(&resource.group, &resource.resource);
        let singular = known.map_or_else(|| guess_singular(&resource.resource), |info| info.singular);
        let group = resource.group.replace(['.', '-'], "_");
        let label = template.execute(&group, &singular)?;
        if label.is_empty() { Err(ResourceError::EmptyLabel(resource.clone())) } else { Ok(label) }
    }

    /// The resources that the labels of a series name.
    pub(crate) fn resources_of<'a>(
        &self,
        labels: impl IntoIterator<Item = &'a str>,
        mapper: &dyn ResourceMapper,
    ) -> SeriesResources {
        let mut found = SeriesResources::default();
        for label in labels {
            let overridden = self.overrides.iter().find(|(known, _)| known == label).map(|(_, wanted)| wanted.clone());
            let templated = || self.template.as_ref().and_then(|template| template.resource_in(label));
            let Some(wanted) = overridden.or_else(templated) else {
                continue;
            };
            if let Some(info) = mapper.resource(&wanted.group, &wanted.resource) {
                found.namespaced |= info.group_resource.is_namespaces();
                found.resources.insert(info.group_resource);
            }
        }
        found
    }
}

impl LabelTemplate {
    fn new(source: &str) -> Result<Self, ResourceError> {
        let failed = |cause| ResourceError::Template { template: source.to_owned(), cause };
        let template = Template::parse(source, "<<", ">>").map_err(failed)?;
        let pattern = execute(&template, "(?P<group>.+?)", "(?P<resource>.+?)").map_err(failed)?;
        let pattern = Regex::unanchored(&format!("^{pattern}$"))?;
        if !pattern.group_names().iter().any(|name| name.as_deref() == Some("resource")) {
            return Err(ResourceError::NoResource);
        }
        Ok(Self { template, pattern })
    }

    fn execute(&self, group: &str, resource: &str) -> Result<String, ResourceError> {
        let failed = |cause| ResourceError::Template { template: self.template.source().to_owned(), cause };
        execute(&self.template, group, resource).map_err(failed)
    }

    /// The raw group and resource in a label, before any mapper has seen them.
    fn resource_in(&self, label: &str) -> Option<GroupResource> {
        let captures = self.pattern.captures(label)?;
        Some(GroupResource::new(captures.name("group").unwrap_or(""), captures.name("resource")?))
    }
}

fn execute(template: &Template, group: &str, resource: &str) -> Result<String, TemplateError> {
    template.execute(&Value::Record(Arc::new(BTreeMap::from([
        ("Group", Value::Text(group.to_owned())),
        ("Resource", Value::Text(resource.to_owned())),
    ]))))
}

/// The raw group and resource that a template finds in a label.
#[cfg(test)]
pub(crate) fn split_label(template: &str, label: &str) -> Result<Option<GroupResource>, ResourceError> {
    Ok(LabelTemplate::new(template)?.resource_in(label))
}
