//! The metrics API: paths with parameters, and the templates of its queries.
//!
//! Rule: what a name of a request becomes part of has no room for anything else.

use metrics_api::{Attributes, Config, attributes_of, is_object_name};

/// Paths of all forms, with parameters.
pub const PATH_SEEDS: &[&[u8]] = &[
    b"/apis/custom.metrics.k8s.io/v1beta1/namespaces/asr/pods/*/asr_active_requests?labelSelector=app%3Dasr,tier+in+(a,b)",
    b"/apis/custom.metrics.k8s.io/v1beta2/namespaces/asr/deployments.apps/a/x%3Ay?metricLabelSelector=!c&timeout=10s",
    b"/apis/custom.metrics.k8s.io/v1beta1/namespaces/asr/metrics/m?fieldSelector=metadata.name%3Dm",
    b"/apis/custom.metrics.k8s.io/v1beta1/nodes/%2A/m",
    b"/apis/external.metrics.k8s.io/v1beta1/namespaces/asr/queue?labelSelector=a!=b",
    b"/openapi/v3/apis/custom.metrics.k8s.io/v1beta2",
];

/// Templates of `metricsQuery`.
pub const TEMPLATE_SEEDS: &[&[u8]] = &[
    b"sum(<<.Series>>{<<.LabelMatchers>>}) by (<<.GroupBy>>)",
    b"<< range $k, $v := .LabelValuesByName >><< if eq $k \"pod\" >><< printf \"%s=~%q\" $k $v >><< else >>,<< end >><<- end >>",
    b"<<with index .GroupBySlice 0>>avg by (<< . | printf \"%10s\" >>) (x)<<else>>y<<end>><</* c */>>",
];

/// Most bytes of a query, as the documents of the metrics API say.
const MAX_QUERY_BYTES: usize = 1 << 20;

/// Paths: what is allowed names objects and nothing else, and an encoded path is the same as the plain one.
pub fn path(text: &[u8]) {
    let Ok(text) = std::str::from_utf8(text) else { return };
    let (path, query) = text.split_once('?').map_or((text, None), |(path, query)| (path, Some(query)));
    let found = attributes_of(path, query);
    if let Ok(Attributes::Resource { group, namespace, name, resource, subresource, .. }) = &found {
        assert!(namespace.is_empty() || is_object_name(namespace), "{text}: {found:?}");
        let is_metric = |text: &str| !text.is_empty() && !text.chars().any(char::is_control);
        if group == metrics_api::CUSTOM_GROUP && !subresource.is_empty() {
            assert!(is_object_name(resource) && is_metric(subresource), "{text}: {found:?}");
            assert!(name == "*" || is_object_name(name), "{text}: {found:?}");
        }
        assert_eq!(attributes_of(&encoded(path), query).ok().as_ref(), found.as_ref().ok(), "{text}");
    }
}

/// The segments behind `/apis/` with every byte encoded.
fn encoded(path: &str) -> String {
    // A byte that is encoded already stays.
    let mut encoded = String::new();
    let mut rest = path.strip_prefix("/apis/").unwrap_or(path).bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'/' => encoded.push('/'),
            b'%' => {
                let digits = [rest.next(), rest.next()];
                encoded.push('%');
                encoded.extend(digits.into_iter().flatten().map(char::from));
            }
            other => encoded.push_str(&format!("%{other:02X}")),
        }
    }
    format!("/apis/{encoded}")
}

/// Query templates: a parsed one gives the same query each time, within its bound.
pub fn query_template(text: &[u8]) {
    let Ok(text) = std::str::from_utf8(text) else { return };
    let rule = format!("{{seriesQuery: a, metricsQuery: \"{}\"}}", quoted(text));
    let file = format!("rules:\n- {rule}\nexternalRules:\n- {rule}\n");
    let Ok(config) = Config::parse("config.yaml", &file) else { return };
    let (first, again): (Vec<_>, Vec<_>) =
        (config.example_queries("a").collect(), config.example_queries("a").collect());
    assert_eq!(first, again);
    assert_eq!(first.len(), 2, "both rules: {file}");
    for query in first.iter().filter_map(|(_, query)| query.as_ref().ok()) {
        assert!(!query.is_empty() && query.len() <= MAX_QUERY_BYTES, "{} bytes from {text}", query.len());
    }
    // Without an action the query is the text.
    if !text.contains("<<") && !text.is_empty() {
        assert!(first.iter().all(|(_, query)| query.as_deref() == Ok(text)), "{first:?} from {text}");
    }
}

/// A text between double quotes of YAML.
fn quoted(text: &str) -> String {
    let mut quoted = String::new();
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            plain if plain == ' ' || plain.is_ascii_graphic() => quoted.push(plain),
            other => quoted.push_str(&format!("\\U{:08X}", u32::from(other))),
        }
    }
    quoted
}
