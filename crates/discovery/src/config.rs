//! `*_sd_configs`: how targets are found, as a configuration file says it.
//!
//! - [`discovery_configs`]: reads all of them out of the mapping that holds them.
//! - [`DiscoveryConfig`]: one of them, checked; it builds its [`Discoverer`].
//! - [`OtherKind`]: the way in for a kind that another crate reads, such as `kubernetes_sd_configs`.
//!
//! Rule: a kind that upstream knows and nobody here serves is refused by name.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use http_client::{ClientOptions, HttpClient, HttpClientConfig, http_client_config, http_url};
use yaml::decoders::{duration, integer, list, string};
use yaml::{Fields, Node, Report};

use crate::dns::RecordType;
use crate::document::{group, to_groups};
use crate::file::{check_pattern, known_groups};
use crate::{
    Discoverer, DiscoveryMetrics, DnsDiscoverer, FileDiscoverer, HttpDiscoverer, Resolver, StaticDiscoverer,
    TargetGroup,
};

const FILE_REFRESH: Duration = Duration::from_secs(300);
const HTTP_REFRESH: Duration = Duration::from_secs(60);
const DNS_REFRESH: Duration = Duration::from_secs(30);

/// Discoveries of upstream that are not served.
const UNSERVED: [&str; 25] = [
    "aws_sd_configs",
    "azure_sd_configs",
    "consul_sd_configs",
    "digitalocean_sd_configs",
    "docker_sd_configs",
    "dockerswarm_sd_configs",
    "ec2_sd_configs",
    "eureka_sd_configs",
    "gce_sd_configs",
    "hetzner_sd_configs",
    "ionos_sd_configs",
    "kuma_sd_configs",
    "lightsail_sd_configs",
    "linode_sd_configs",
    "marathon_sd_configs",
    "nerve_sd_configs",
    "nomad_sd_configs",
    "openstack_sd_configs",
    "ovhcloud_sd_configs",
    "puppetdb_sd_configs",
    "scaleway_sd_configs",
    "serverset_sd_configs",
    "stackit_sd_configs",
    "triton_sd_configs",
    "uyuni_sd_configs",
];
const KUBERNETES: &str = "kubernetes_sd_configs";

/// What discoverers are built with.
#[derive(Clone, Debug)]
pub struct DiscoveryContext {
    /// How connections are opened, and what we call ourselves to servers.
    pub client: ClientOptions,
    /// Where discoverers count.
    pub metrics: DiscoveryMetrics,
    /// Seed of the numbers of DNS questions; should be random.
    pub id_seed: u64,
}

/// Why a discoverer cannot be built.
#[derive(Debug, thiserror::Error)]
#[error("{kind} cannot be started")]
pub struct DiscoveryError {
    /// The key of its configuration.
    pub kind: &'static str,
    /// Why.
    #[source]
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

/// One way to find targets, as it is configured.
pub trait DiscoveryConfig: fmt::Debug + Send + Sync {
    /// Makes a discoverer of it; asked again after each reload.
    ///
    /// # Errors
    ///
    /// Something outside of the configuration stands in the way.
    fn discoverer(&self, context: &DiscoveryContext) -> Result<Box<dyn Discoverer>, DiscoveryError>;

    /// What can be told without asking anybody, for a check: groups of the configuration and of files.
    fn known(&self) -> KnownGroups {
        KnownGroups::default()
    }
}

/// Groups that are known before anything runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KnownGroups {
    /// The groups.
    pub groups: Vec<TargetGroup>,
    /// Files that are named and not there; they may come later.
    pub missing: Vec<String>,
    /// Files that are wrong, with their place.
    pub problems: Vec<String>,
}

/// Reads one item of the list under a key.
pub type DecodeDiscovery<'a> = dyn Fn(&Node, &mut Report) -> Option<Arc<dyn DiscoveryConfig>> + 'a;

/// A kind of discovery that another crate reads.
#[derive(Clone, Copy)]
pub struct OtherKind<'a> {
    /// Its key, such as `kubernetes_sd_configs`.
    pub key: &'static str,
    /// Reads one item of the list under it.
    pub decode: &'a DecodeDiscovery<'a>,
}

impl fmt::Debug for OtherKind<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OtherKind").field("key", &self.key).finish_non_exhaustive()
    }
}

/// What a decoder knows beside the text.
#[derive(Clone, Copy, Debug)]
pub struct DecodeContext<'a> {
    /// The directory of the configuration file: relative paths lead from it.
    pub directory: &'a Path,
    /// Kinds that other crates read.
    pub others: &'a [OtherKind<'a>],
}

/// Reads all `*_sd_configs` and `static_configs` of a mapping. `urls_may_be_targets` is set where relabelling
/// rules may make an address of a URL, as with exporters that probe.
pub fn discovery_configs(
    fields: &mut Fields<'_, '_>,
    context: &DecodeContext<'_>,
    urls_may_be_targets: bool,
) -> Vec<Arc<dyn DiscoveryConfig>> {
    let mut configs: Vec<Arc<dyn DiscoveryConfig>> = Vec::new();
    let groups =
        fields.optional("static_configs", list(|node, report| static_group(node, report, urls_may_be_targets)));
    if let Some(groups) = groups.filter(|groups| !groups.is_empty()) {
        configs.push(Arc::new(StaticConfig { groups: to_groups("static", groups) }));
    }
    let directory = context.directory;
    let file = |node: &Node, report: &mut Report| shared(file_config(node, report, directory)?);
    let http = |node: &Node, report: &mut Report| shared(http_config(node, report, directory)?);
    let dns = |node: &Node, report: &mut Report| shared(dns_config(node, report)?);
    configs.extend(fields.optional("file_sd_configs", list(file)).into_iter().flatten());
    configs.extend(fields.optional("http_sd_configs", list(http)).into_iter().flatten());
    configs.extend(fields.optional("dns_sd_configs", list(dns)).into_iter().flatten());
    for other in context.others {
        configs.extend(fields.optional(other.key, list(other.decode)).into_iter().flatten());
    }
    let served = |key: &str| context.others.iter().any(|other| other.key == key);
    if !served(KUBERNETES) {
        fields.unsupported(KUBERNETES, "this command does not watch a cluster");
    }
    for key in UNSERVED.into_iter().filter(|key| !served(key)) {
        fields.unsupported(key, "use `http_sd_configs` or `file_sd_configs` with a program that lists the targets");
    }
    configs
}

#[expect(clippy::unnecessary_wraps, reason = "the form of a decoder's last step")]
fn shared(config: impl DiscoveryConfig + 'static) -> Option<Arc<dyn DiscoveryConfig>> {
    Some(Arc::new(config))
}

/// `static_configs`: groups in the configuration itself.
#[derive(Clone, Debug, PartialEq, Eq)]
struct StaticConfig {
    groups: Vec<TargetGroup>,
}

impl DiscoveryConfig for StaticConfig {
    fn discoverer(&self, _context: &DiscoveryContext) -> Result<Box<dyn Discoverer>, DiscoveryError> {
        Ok(Box::new(StaticDiscoverer::new(self.groups.clone())))
    }

    fn known(&self) -> KnownGroups {
        KnownGroups { groups: self.groups.clone(), ..KnownGroups::default() }
    }
}

fn static_group(node: &Node, report: &mut Report, urls_may_be_targets: bool) -> Option<crate::document::Group> {
    let found = group(node, report)?;
    if !urls_may_be_targets {
        let addresses = node.get("targets").and_then(Node::as_sequence).unwrap_or_default();
        report.within_key("targets", |report| {
            for (index, address) in addresses.iter().enumerate() {
                report.within_index(index, |report| refuse_url(address, report));
            }
        });
    }
    Some(found)
}

fn refuse_url(address: &Node, report: &mut Report) {
    let text = address.as_scalar().map_or("", |address| &address.text);
    if text.contains('/') {
        let hint = "expected `host` or `host:port`; scheme and path have keys of their own";
        report.error(address, format!("not a valid address: `{text}` ({hint})"));
    }
}

/// `file_sd_configs`: groups in files.
#[derive(Clone, Debug, PartialEq, Eq)]
struct FileConfig {
    files: Vec<String>,
    refresh_interval: Duration,
}

impl DiscoveryConfig for FileConfig {
    fn discoverer(&self, context: &DiscoveryContext) -> Result<Box<dyn Discoverer>, DiscoveryError> {
        let made = FileDiscoverer::new(&self.files, self.refresh_interval, context.metrics.clone());
        match made {
            Ok(discoverer) => Ok(Box::new(discoverer)),
            Err(source) => Err(DiscoveryError { kind: "file_sd_configs", source: source.into() }),
        }
    }

    fn known(&self) -> KnownGroups {
        known_groups(&self.files)
    }
}

fn file_config(node: &Node, report: &mut Report, directory: &Path) -> Option<FileConfig> {
    let pattern = |node: &Node, report: &mut Report| {
        let path = string(node, report)?;
        if let Err(error) = check_pattern(&path) {
            report.error(node, error.to_string());
            return None;
        }
        Some(directory.join(path))
    };
    yaml::mapping(node, report, |fields| {
        let files = fields.required("files", list(pattern));
        if files.as_ref().is_some_and(Vec::is_empty) {
            fields.error("files", "at least one file is needed");
        }
        let refresh_interval = refresh(fields, FILE_REFRESH);
        let text = |path: PathBuf| path.to_string_lossy().into_owned();
        Some(FileConfig { files: files?.into_iter().map(text).collect(), refresh_interval })
    })
}

/// `http_sd_configs`: groups that a server answers.
#[derive(Clone, Debug, PartialEq, Eq)]
struct HttpConfig {
    url: Uri,
    refresh_interval: Duration,
    client: HttpClientConfig,
}

impl DiscoveryConfig for HttpConfig {
    fn discoverer(&self, context: &DiscoveryContext) -> Result<Box<dyn Discoverer>, DiscoveryError> {
        let client = HttpClient::new(self.client.clone(), context.client.clone());
        Ok(Box::new(HttpDiscoverer::new(self.url.clone(), self.refresh_interval, client, context.metrics.clone())))
    }
}

fn http_config(node: &Node, report: &mut Report, directory: &Path) -> Option<HttpConfig> {
    yaml::mapping(node, report, |fields| {
        let url = fields.required("url", http_url);
        let refresh_interval = refresh(fields, HTTP_REFRESH);
        let client = http_client_config(fields, directory);
        Some(HttpConfig { url: url?, refresh_interval, client })
    })
}

/// `dns_sd_configs`: groups that the domain name system answers.
#[derive(Clone, Debug, PartialEq, Eq)]
struct DnsConfig {
    names: Vec<String>,
    record: RecordType,
    port: u16,
    refresh_interval: Duration,
}

impl DiscoveryConfig for DnsConfig {
    fn discoverer(&self, context: &DiscoveryContext) -> Result<Box<dyn Discoverer>, DiscoveryError> {
        let resolver = Resolver::system(context.id_seed);
        let (names, record, port) = (self.names.clone(), self.record, self.port);
        let metrics = context.metrics.clone();
        Ok(Box::new(DnsDiscoverer::new(names, record, port, self.refresh_interval, resolver, metrics)))
    }
}

fn dns_config(node: &Node, report: &mut Report) -> Option<DnsConfig> {
    yaml::mapping(node, report, |fields| {
        let names = fields.required("names", list(string));
        if names.as_ref().is_some_and(Vec::is_empty) {
            fields.error("names", "at least one name is needed");
        }
        let record = fields.or("type", record_type, RecordType::Srv);
        let port = fields.or("port", integer::<u16>, 0);
        if port == 0 && record != RecordType::Srv {
            fields.error("port", "a port is needed for every record type but `SRV`");
        }
        let refresh_interval = refresh(fields, DNS_REFRESH);
        Some(DnsConfig { names: names?, record, port, refresh_interval })
    })
}

fn record_type(node: &Node, report: &mut Report) -> Option<RecordType> {
    let text = string(node, report)?;
    let record = RecordType::parse(&text);
    if record.is_none() {
        report.error(node, format!("expected one of `A`, `AAAA`, `MX`, `NS`, `SRV`, found `{text}`"));
    }
    record
}

fn refresh(fields: &mut Fields<'_, '_>, default: Duration) -> Duration {
    let interval = fields.or("refresh_interval", duration, default);
    if interval.is_zero() {
        fields.error("refresh_interval", "must be greater than zero");
    }
    interval
}
