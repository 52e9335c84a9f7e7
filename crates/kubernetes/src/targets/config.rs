//! What one item of `kubernetes_sd_configs` says.
//!
//! Rule: keys and refusals are Prometheus'.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use discovery::{Discoverer, DiscoveryConfig, DiscoveryContext, DiscoveryError};
use http::Uri;
use http_client::kubeconfig::{Cluster, own_cluster, read_cluster};
use http_client::{HttpClientConfig, http_client_config, http_url};
use yaml::decoders::{boolean, list, one_of, string};
use yaml::{Fields, Node, Report};

use super::discoverer::KubernetesDiscoverer;
use super::role::Role;
use crate::client::Client;

/// The key of the list.
pub const KEY: &str = "kubernetes_sd_configs";

/// Where the API is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Server {
    /// Where the pod finds it.
    Own,
    /// Here.
    Address(Uri, Box<HttpClientConfig>),
    /// Where the current context of this file says.
    Kubeconfig(PathBuf),
}

/// Which objects of a role are looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RoleSelector {
    pub(super) role: Role,
    pub(super) label: String,
    pub(super) field: String,
}

/// How targets are found in a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KubernetesSdConfig {
    server: Server,
    pub(super) role: Role,
    /// Namespaces that are looked into; none: all.
    pub(super) namespaces: Vec<String>,
    pub(super) own_namespace: bool,
    pub(super) selectors: Vec<RoleSelector>,
    pub(super) attach_node: bool,
    pub(super) attach_namespace: bool,
}

impl KubernetesSdConfig {
    fn cluster(&self) -> Result<Cluster, http_client::kubeconfig::KubeconfigError> {
        match &self.server {
            Server::Own => own_cluster(&|name| std::env::var(name).ok()),
            Server::Kubeconfig(path) => read_cluster(path),
            Server::Address(server, http) => {
                Ok(Cluster { server: server.clone(), http: (**http).clone(), namespace: None })
            }
        }
    }
}

impl DiscoveryConfig for KubernetesSdConfig {
    fn discoverer(&self, context: &DiscoveryContext) -> Result<Box<dyn Discoverer>, DiscoveryError> {
        let cluster = self.cluster().map_err(|error| DiscoveryError { kind: KEY, source: error.into() })?;
        let client = Arc::new(Client::new(cluster, context.client.clone()));
        Ok(Box::new(KubernetesDiscoverer::new(self.clone(), client, context)))
    }
}

/// Reads one item of the list. Relative paths lead from `directory`, that of the configuration file.
pub fn kubernetes_sd(node: &Node, report: &mut Report, directory: &Path) -> Option<Arc<dyn DiscoveryConfig>> {
    let config = yaml::mapping(node, report, |fields| config(fields, directory))?;
    Some(Arc::new(config))
}

fn config(fields: &mut Fields<'_, '_>, directory: &Path) -> Option<KubernetesSdConfig> {
    let role = fields.required("role", one_of(&Role::NAMES));
    let address = fields.optional("api_server", http_url);
    let file = fields.optional("kubeconfig_file", string).filter(|path| !path.is_empty());
    let http = http_client_config(fields, directory);
    let (namespaces, own_namespace) = fields.optional("namespaces", namespaces).unwrap_or_default();
    let selectors = fields.optional("selectors", list(selector)).unwrap_or_default();
    let (attach_node, attach_namespace) = fields.optional("attach_metadata", attached).unwrap_or_default();
    let has_http = http != HttpClientConfig::default();
    if has_http && file.is_some() {
        fields.error("kubeconfig_file", "cannot be used together with keys of the HTTP client: the file says it all");
    } else if has_http && address.is_none() && !fields.has("api_server") {
        fields.error_here("keys of the HTTP client need `api_server`: a pod's own account needs none of them");
    }
    if address.is_some() && file.is_some() {
        fields.error("kubeconfig_file", "cannot be used together with `api_server`");
    }
    if own_namespace && (address.is_some() || file.is_some()) {
        fields.error("namespaces", "`own_namespace` is that of this pod: it cannot be used with another API server");
    }
    let role = role?;
    check_selectors(fields, role, &selectors);
    let server = match (address, file) {
        (Some(address), _) => Server::Address(address, Box::new(http)),
        (None, Some(file)) => Server::Kubeconfig(directory.join(file)),
        (None, None) => Server::Own,
    };
    Some(KubernetesSdConfig { server, role, namespaces, own_namespace, selectors, attach_node, attach_namespace })
}

fn namespaces(node: &Node, report: &mut Report) -> Option<(Vec<String>, bool)> {
    yaml::mapping(node, report, |fields| {
        let own = fields.or("own_namespace", boolean, false);
        let names = fields.optional("names", list(string)).unwrap_or_default();
        Some((names, own))
    })
}

fn selector(node: &Node, report: &mut Report) -> Option<RoleSelector> {
    yaml::mapping(node, report, |fields| {
        let role = fields.required("role", one_of(&Role::NAMES));
        let label = fields.or("label", string, String::new());
        if let Err(error) = datamodel::selector::Selector::parse(&label) {
            fields.error("label", error.to_string());
        }
        let field = fields.or("field", string, String::new());
        Some(RoleSelector { role: role?, label, field })
    })
}

fn attached(node: &Node, report: &mut Report) -> Option<(bool, bool)> {
    yaml::mapping(node, report, |fields| {
        Some((fields.or("node", boolean, false), fields.or("namespace", boolean, false)))
    })
}

fn check_selectors(fields: &mut Fields<'_, '_>, role: Role, selectors: &[RoleSelector]) {
    for (index, selector) in selectors.iter().enumerate() {
        let of = selector.role.as_str();
        if !role.watched().contains(&selector.role) {
            let known: Vec<String> = role.watched().iter().map(|role| format!("`{}`", role.as_str())).collect();
            let known = known.join(", ");
            fields
                .error("selectors", format!("role `{}` takes selectors of {known} only, found `{of}`", role.as_str()));
        }
        if selectors.iter().skip(index + 1).any(|later| later.role == selector.role) {
            fields.error("selectors", format!("two selectors of the role `{of}`"));
        }
    }
}
