//! Paths and parameters of the metrics APIs, as Kubernetes routes them.
//!
//! ```text
//! /apis                                                                groups
//! /apis/GROUP                                                          versions
//! /apis/GROUP/VERSION                                                  metrics
//! …/VERSION/namespaces/NS/RESOURCE[.GROUP]/NAME|*/METRIC               custom, in a namespace
//! …/VERSION/RESOURCE[.GROUP]/NAME|*/METRIC                             custom, at the root
//! …/VERSION/namespaces/NS/metrics/METRIC                               custom, of the namespace itself
//! …/VERSION/namespaces/NS/METRIC                                       external
//! /openapi/v2, /openapi/v3, /openapi/v3/apis/GROUP/VERSION             descriptions of all that
//! ```
//!
//! Pure: text in, request out.
//!
//! Rule: a name from a path goes into queries, so that only what can be a name passes.

use std::time::Duration;

use datamodel::selector::Selector;
use datamodel::time::parse_duration;

use crate::error::ApiError;
use crate::names::{GroupResource, MAX_NAME_BYTES, is_object_name};

/// The group of metrics of objects.
pub const CUSTOM_GROUP: &str = "custom.metrics.k8s.io";
/// The group of external metrics.
pub const EXTERNAL_GROUP: &str = "external.metrics.k8s.io";
/// The group of CPU and memory, which is not served here.
const RESOURCE_GROUP: &str = "metrics.k8s.io";
/// Longest path with parameters, in bytes: the longest selector, percent-encoded throughout.
pub const MAX_URI_BYTES: usize = 48 << 10;

/// The versions of custom.metrics.k8s.io.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CustomVersion {
    /// Flat `metricName`.
    V1Beta1,
    /// `metric: {name, selector}`.
    V1Beta2,
}

impl CustomVersion {
    /// The version as it stands in paths.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V1Beta1 => "v1beta1",
            Self::V1Beta2 => "v1beta2",
        }
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        [Self::V1Beta1, Self::V1Beta2].into_iter().find(|version| version.as_str() == text)
    }
}

/// A request for the metric of objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CustomRequest {
    /// The version that was asked.
    pub version: CustomVersion,
    /// The namespace; `None` at the root, and for the metric of a namespace itself.
    pub namespace: Option<String>,
    /// The resource as it stands in the path.
    pub resource: GroupResource,
    /// The object; `None` for `*`.
    pub name: Option<String>,
    /// The metric.
    pub metric: String,
    /// Which objects, with `*`.
    pub selector: Selector,
    /// Which of the metric's series.
    pub metric_selector: Selector,
    /// How long the client waits, where it says so.
    pub timeout: Option<Duration>,
}

/// A request for an external metric.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExternalRequest {
    /// The namespace.
    pub namespace: String,
    /// The metric.
    pub metric: String,
    /// Which of its series.
    pub metric_selector: Selector,
    /// How long the client waits, where it says so.
    pub timeout: Option<Duration>,
}

/// What a path asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// The groups.
    Groups,
    /// The versions of a group.
    Group(String),
    /// The metrics of a version.
    Resources {
        /// The group.
        group: String,
        /// The version.
        version: String,
    },
    /// The `OpenAPI` document of all groups, version 2.
    OpenApiV2,
    /// Where the `OpenAPI` documents of version 3 are.
    OpenApiIndex,
    /// The `OpenAPI` document of a version, version 3.
    OpenApiV3 {
        /// The group.
        group: String,
        /// The version.
        version: String,
    },
    /// The metric of objects.
    Custom(CustomRequest),
    /// An external metric.
    External(ExternalRequest),
}

/// What a request wants to do, as Kubernetes' authorisation sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attributes {
    /// A resource.
    Resource {
        /// `get`, or `list` for external metrics.
        verb: &'static str,
        /// The group of the API.
        group: String,
        /// Its version.
        version: String,
        /// The namespace, or empty.
        namespace: String,
        /// The resource as it stands in the path; of external metrics the metric.
        resource: String,
        /// The object, `*`, or empty.
        name: String,
        /// The metric, or empty.
        subresource: String,
    },
    /// A path that is no resource.
    NonResource {
        /// The path.
        path: String,
    },
}

impl std::fmt::Display for Attributes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Resource { verb, group, namespace, resource, name, subresource, .. } => {
                write!(f, "{verb} {resource}")?;
                if !subresource.is_empty() {
                    write!(f, "/{subresource}")?;
                }
                write!(f, " \"{name}\" in API group \"{group}\" in namespace \"{namespace}\"")
            }
            Self::NonResource { path } => write!(f, "get path \"{path}\""),
        }
    }
}

/// A request with what it needs to be allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Routed {
    /// What is asked for.
    pub(crate) request: Request,
    /// What must be allowed.
    pub(crate) attributes: Attributes,
}

/// What a request for a path with parameters must be allowed to do.
///
/// # Errors
///
/// There is nothing at the path, or a parameter or a name is malformed.
pub fn attributes_of(path: &str, query: Option<&str>) -> Result<Attributes, ApiError> {
    route(path, query).map(|routed| routed.attributes)
}

/// Reads a path with parameters (`/apis/…?…`, `/openapi/…`, percent-encoded).
///
/// # Errors
///
/// There is nothing at the path, or a parameter or a name is malformed.
pub(crate) fn route(path: &str, query: Option<&str>) -> Result<Routed, ApiError> {
    if let Some(rest) = path.strip_prefix("/openapi/") {
        return openapi(path, rest);
    }
    let rest = path.strip_prefix("/apis").ok_or(ApiError::NoSuchPath)?;
    let non_resource = |request| Routed { request, attributes: Attributes::NonResource { path: path.to_owned() } };
    if rest.is_empty() {
        return Ok(non_resource(Request::Groups));
    }
    let rest = rest.strip_prefix('/').ok_or(ApiError::NoSuchPath)?;
    let segments = rest.split('/').map(decoded).collect::<Result<Vec<String>, ApiError>>()?;
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    match segments.as_slice() {
        [group] if is_known_group(group) => Ok(non_resource(Request::Group((*group).to_owned()))),
        [group, version] if is_known_version(group, version) => {
            let request = Request::Resources { group: (*group).to_owned(), version: (*version).to_owned() };
            Ok(non_resource(request))
        }
        [CUSTOM_GROUP, version, rest @ ..] => {
            let version = CustomVersion::parse(version).ok_or(ApiError::NoSuchPath)?;
            custom(version, rest, &Parameters::parse(query)?)
        }
        [EXTERNAL_GROUP, "v1beta1", "namespaces", namespace, metric] => {
            external(namespace, metric, &Parameters::parse(query)?)
        }
        [RESOURCE_GROUP, ..] => Err(ApiError::NotServed { group: RESOURCE_GROUP, instead: "use metrics-server" }),
        _ => Err(ApiError::NoSuchPath),
    }
}

fn openapi(path: &str, rest: &str) -> Result<Routed, ApiError> {
    let request = match rest.split('/').collect::<Vec<_>>().as_slice() {
        ["v2"] => Request::OpenApiV2,
        ["v3"] => Request::OpenApiIndex,
        ["v3", "apis", group, version] if is_known_version(group, version) => {
            Request::OpenApiV3 { group: (*group).to_owned(), version: (*version).to_owned() }
        }
        _ => return Err(ApiError::NoSuchPath),
    };
    Ok(Routed { request, attributes: Attributes::NonResource { path: path.to_owned() } })
}

fn is_known_group(group: &str) -> bool {
    group == CUSTOM_GROUP || group == EXTERNAL_GROUP
}

fn is_known_version(group: &str, version: &str) -> bool {
    match group {
        CUSTOM_GROUP => CustomVersion::parse(version).is_some(),
        EXTERNAL_GROUP => version == "v1beta1",
        _ => false,
    }
}

fn custom(version: CustomVersion, segments: &[&str], parameters: &Parameters) -> Result<Routed, ApiError> {
    let (namespace, resource, name, metric) = match segments {
        // The metric of a namespace itself.
        ["namespaces", namespace, "metrics", metric] => ("", "namespaces", *namespace, *metric),
        ["namespaces", namespace, resource, name, metric] => (*namespace, *resource, *name, *metric),
        [resource, name, metric] => ("", *resource, *name, *metric),
        _ => return Err(ApiError::NoSuchPath),
    };
    let is_of_namespace = matches!(segments, [_, _, "metrics", _]);
    if !namespace.is_empty() {
        check_name("namespace", namespace)?;
    }
    check_name("resource", resource)?;
    check_metric(metric)?;
    let name = if name == "*" { None } else { Some(name) };
    if let Some(name) = name {
        check_name("object", name)?;
    }
    parameters.check_options(if is_of_namespace { Some(metric) } else { name })?;
    let attributes = Attributes::Resource {
        verb: "get",
        group: CUSTOM_GROUP.to_owned(),
        version: version.as_str().to_owned(),
        namespace: if is_of_namespace { name.unwrap_or("") } else { namespace }.to_owned(),
        resource: if is_of_namespace { "metrics" } else { resource }.to_owned(),
        name: if is_of_namespace { metric } else { name.unwrap_or("*") }.to_owned(),
        subresource: if is_of_namespace { "" } else { metric }.to_owned(),
    };
    let request = Request::Custom(CustomRequest {
        version,
        namespace: if namespace.is_empty() { None } else { Some(namespace.to_owned()) },
        resource: GroupResource::parse(resource),
        name: name.map(str::to_owned),
        metric: metric.to_owned(),
        selector: parameters.selector("labelSelector")?,
        metric_selector: parameters.selector("metricLabelSelector")?,
        timeout: parameters.timeout()?,
    });
    Ok(Routed { request, attributes })
}

fn external(namespace: &str, metric: &str, parameters: &Parameters) -> Result<Routed, ApiError> {
    check_name("namespace", namespace)?;
    check_metric(metric)?;
    parameters.check_options(None)?;
    let attributes = Attributes::Resource {
        verb: "list",
        group: EXTERNAL_GROUP.to_owned(),
        version: "v1beta1".to_owned(),
        namespace: namespace.to_owned(),
        resource: metric.to_owned(),
        name: String::new(),
        subresource: String::new(),
    };
    let request = Request::External(ExternalRequest {
        namespace: namespace.to_owned(),
        metric: metric.to_owned(),
        metric_selector: parameters.selector("labelSelector")?,
        timeout: parameters.timeout()?,
    });
    Ok(Routed { request, attributes })
}

fn check_name(what: &str, name: &str) -> Result<(), ApiError> {
    if is_object_name(name) {
        return Ok(());
    }
    let begin: String = name.chars().take(80).collect();
    Err(ApiError::BadRequest(format!("invalid {what} name {begin:?}")))
}

/// A metric name may be any text of `UTF-8`; it is only looked up.
fn check_metric(metric: &str) -> Result<(), ApiError> {
    if metric.is_empty() {
        return Err(ApiError::NoSuchPath);
    }
    if metric.len() > MAX_NAME_BYTES || metric.chars().any(char::is_control) {
        return Err(ApiError::BadRequest("invalid metric name".to_owned()));
    }
    Ok(())
}

/// The parameters of a request, decoded.
struct Parameters(Vec<(String, String)>);

impl Parameters {
    fn parse(query: Option<&str>) -> Result<Self, ApiError> {
        let pairs = query.unwrap_or("").split('&').filter(|pair| !pair.is_empty());
        let decoded_pair = |pair: &str| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let plain = |text: &str| decoded(&text.replace('+', " "));
            Ok((plain(name)?, plain(value)?))
        };
        pairs.map(decoded_pair).collect::<Result<_, ApiError>>().map(Self)
    }

    fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }

    fn selector(&self, name: &str) -> Result<Selector, ApiError> {
        Selector::parse(self.get(name)).map_err(|cause| ApiError::BadRequest(format!("{name}: {cause}")))
    }

    /// Nothing can be watched, and of field selectors only `metadata.name=NAME` is allowed, with the name of
    /// the path.
    fn check_options(&self, name: Option<&str>) -> Result<(), ApiError> {
        if !matches!(self.get("watch"), "" | "0" | "false") {
            return Err(ApiError::MethodNotAllowed);
        }
        let selector = self.get("fieldSelector");
        if selector.is_empty() {
            return Ok(());
        }
        let selected = selector.strip_prefix("metadata.name=").map(|value| value.trim_start_matches('='));
        if selected.is_some() && selected == name {
            return Ok(());
        }
        Err(ApiError::BadRequest("fieldSelector metadata.name doesn't match requested name".to_owned()))
    }

    fn timeout(&self) -> Result<Option<Duration>, ApiError> {
        match self.get("timeout") {
            "" => Ok(None),
            text => parse_duration(text).map(Some).map_err(|cause| ApiError::BadRequest(format!("timeout: {cause}"))),
        }
    }
}

/// A percent-encoded text, decoded.
fn decoded(text: &str) -> Result<String, ApiError> {
    let malformed = || ApiError::BadRequest("malformed percent-encoding".to_owned());
    if !text.contains('%') {
        return Ok(text.to_owned());
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || rest.next().and_then(|byte| char::from(byte).to_digit(16));
        let value = digit().zip(digit()).map(|(high, low)| high * 16 + low);
        bytes.push(value.and_then(|value| u8::try_from(value).ok()).ok_or_else(malformed)?);
    }

    String::from_utf8(bytes).map_err(|_not_utf8| malformed())
}

#[cfg(test)]
mod tests;
