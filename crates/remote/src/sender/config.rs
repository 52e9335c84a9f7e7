//! The section `remote_write`.
//!
//! Rule: a key that upstream knows is taken, or refused with the reason; nothing is ignored silently.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use datamodel::relabel::RelabelConfig;
use http::{HeaderName, HeaderValue, Uri};
use http_client::{HttpClientConfig, http_client_config, http_url};
use yaml::decoders::{boolean, duration, integer, list, map, one_of, string};
use yaml::{Fields, Node, Report, relabel_configs};

use super::MAX_REMOTES;
use crate::wire::WriteVersion;

/// Samples that may wait, whatever the configuration says: 2 GB of them.
const MAX_WAITING: usize = 50_000_000;

/// Samples of one request, whatever the configuration says: what a receiver of ours takes.
const MAX_PER_SEND: usize = 100_000;

/// Headers that the sender sets itself.
const RESERVED: [&str; 7] = [
    "authorization",
    "content-encoding",
    "content-length",
    "content-type",
    "host",
    "user-agent",
    "x-prometheus-remote-write-version",
];

/// A storage to write to.
#[derive(Clone, Debug, PartialEq)]
pub struct RemoteWriteConfig {
    /// Its name in metrics and the log.
    pub name: String,
    /// Where it takes samples.
    pub url: Uri,
    /// How long one request may take.
    pub timeout: Duration,
    /// Headers of each request.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Rules on the labels of series.
    pub relabel: Vec<RelabelConfig>,
    /// Whether exemplars are sent.
    pub send_exemplars: bool,
    /// Whether native histograms are sent.
    pub send_native_histograms: bool,
    /// Which message is sent.
    pub version: WriteVersion,
    /// How samples wait and are sent.
    pub queue: QueueConfig,
    /// Whether metadata are sent.
    pub metadata: MetadataConfig,
    /// How requests are sent.
    pub client: HttpClientConfig,
}

/// How samples wait and are sent. The defaults are upstream's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueConfig {
    /// Samples that may wait for each shard.
    pub capacity: usize,
    /// Shards of upstream. Here one request at a time is sent, and the samples of all shards wait in one queue.
    pub max_shards: usize,
    /// Samples of one request.
    pub max_samples_per_send: usize,
    /// How long samples wait for others to make a request full.
    pub batch_send_deadline: Duration,
    /// The first wait after a failure.
    pub min_backoff: Duration,
    /// The longest wait after failures.
    pub max_backoff: Duration,
    /// Whether a request that met a limit of rates is sent again.
    pub retry_on_http_429: bool,
    /// Samples that are older are not sent; zero for no limit.
    pub sample_age_limit: Duration,
}

impl Default for QueueConfig {
    fn default() -> Self {
        Self {
            capacity: 10_000,
            max_shards: 50,
            max_samples_per_send: 2_000,
            batch_send_deadline: Duration::from_secs(5),
            min_backoff: Duration::from_millis(30),
            max_backoff: Duration::from_secs(5),
            retry_on_http_429: false,
            sample_age_limit: Duration::ZERO,
        }
    }
}

impl QueueConfig {
    /// Samples that may wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.capacity.saturating_mul(self.max_shards).clamp(self.max_samples_per_send, MAX_WAITING)
    }
}

/// Whether metadata are sent. The defaults are upstream's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetadataConfig {
    /// Whether.
    pub send: bool,
    /// How often.
    pub send_interval: Duration,
    /// Families of one request.
    pub max_samples_per_send: usize,
}

impl Default for MetadataConfig {
    fn default() -> Self {
        Self { send: true, send_interval: Duration::from_secs(60), max_samples_per_send: 2_000 }
    }
}

/// Reads the section; relative paths lead from `directory`.
pub fn remote_write_configs(fields: &mut Fields<'_, '_>, directory: &Path) -> Vec<RemoteWriteConfig> {
    let mut names = BTreeSet::new();
    let one = |node: &Node, report: &mut Report| {
        let config = remote_write(node, report, directory)?;
        if !names.insert(config.name.clone()) {
            let message = format!("another remote storage has the same name: `{}`; set `name`", config.name);
            report.error(node, message);
        }
        Some(config)
    };
    let found = fields.optional("remote_write", list(one)).unwrap_or_default();
    if found.len() > MAX_REMOTES {
        fields.error("remote_write", format!("more than {MAX_REMOTES} remote storages"));
    }
    found
}

fn remote_write(node: &Node, report: &mut Report, directory: &Path) -> Option<RemoteWriteConfig> {
    if node.is_null() {
        report.expected(node, "a remote storage");
        return None;
    }
    yaml::mapping(node, report, |fields| {
        let url = fields.required("url", http_url);
        let name = fields.optional("name", string).filter(|name| !name.is_empty());
        let timeout = positive(fields, "remote_timeout", Duration::from_secs(30));
        let headers = headers(fields);
        let relabel = fields.optional("write_relabel_configs", relabel_configs).unwrap_or_default();
        let send_exemplars = fields.or("send_exemplars", boolean, false);
        let send_native_histograms = fields.or("send_native_histograms", boolean, false);
        let versions =
            [("prometheus.WriteRequest", WriteVersion::V1), ("io.prometheus.write.v2.Request", WriteVersion::V2)];
        let version = fields.or("protobuf_message", one_of(&versions), WriteVersion::V1);
        // Failures are logged with what the receiver answered.
        fields.optional("failed_request_logging", boolean);
        fields.unsupported("round_robin_dns", "connections are kept; put a load balancer before the receivers");
        fields.unsupported("sigv4", "requests are not signed for AWS");
        fields.unsupported("azuread", "use `oauth2`");
        fields.unsupported("google_iam", "use `authorization` with a token from a file");
        let queue = fields.or("queue_config", queue_config, QueueConfig::default());
        let metadata = fields.or("metadata_config", metadata_config, MetadataConfig::default());
        let client = http_client_config(fields, directory);
        let url = url?;
        Some(RemoteWriteConfig {
            name: name.unwrap_or_else(|| default_name(&url)),
            url,
            timeout,
            headers,
            relabel,
            send_exemplars,
            send_native_histograms,
            version,
            queue,
            metadata,
            client,
        })
    })
}

/// Host, port and path, without what could be a secret.
fn default_name(url: &Uri) -> String {
    let host = url.authority().map_or("", http::uri::Authority::as_str);
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    format!("{host}{}", url.path().trim_end_matches('/'))
}

fn headers(fields: &mut Fields<'_, '_>) -> Vec<(HeaderName, HeaderValue)> {
    let given = fields.optional("headers", map(string)).unwrap_or_default();
    let mut headers = Vec::with_capacity(given.len());
    for (name, value) in given {
        if RESERVED.contains(&name.to_ascii_lowercase().as_str()) {
            fields.error("headers", format!("header cannot be set here: `{name}`"));
            continue;
        }
        match (HeaderName::try_from(&name), HeaderValue::try_from(&value)) {
            (Ok(name), Ok(value)) => headers.push((name, value)),
            _ => fields.error("headers", format!("not a header: `{name}`")),
        }
    }
    headers
}

fn positive(fields: &mut Fields<'_, '_>, key: &'static str, default: Duration) -> Duration {
    let found = fields.or(key, duration, default);
    if found.is_zero() {
        fields.error(key, "must be greater than zero");
    }
    found
}

/// A count from 1 to `most`.
fn count(fields: &mut Fields<'_, '_>, key: &'static str, default: usize, most: usize) -> usize {
    let found = fields.or(key, integer::<usize>, default);
    if found == 0 || found > most {
        fields.error(key, format!("must be from 1 to {most}"));
    }
    found
}

fn queue_config(node: &Node, report: &mut Report) -> Option<QueueConfig> {
    yaml::mapping(node, report, |fields| {
        let default = QueueConfig::default();
        let capacity = count(fields, "capacity", default.capacity, MAX_WAITING);
        let max_shards = count(fields, "max_shards", default.max_shards, MAX_WAITING);
        let min_shards = count(fields, "min_shards", 1, MAX_WAITING);
        if min_shards > max_shards {
            fields.error("min_shards", format!("greater than `max_shards`: {min_shards} > {max_shards}"));
        }
        let min_backoff = positive(fields, "min_backoff", default.min_backoff);
        let max_backoff = positive(fields, "max_backoff", default.max_backoff);
        if min_backoff > max_backoff {
            fields.error("min_backoff", "greater than `max_backoff`");
        }
        Some(QueueConfig {
            capacity,
            max_shards,
            max_samples_per_send: count(fields, "max_samples_per_send", default.max_samples_per_send, MAX_PER_SEND),
            batch_send_deadline: positive(fields, "batch_send_deadline", default.batch_send_deadline),
            min_backoff,
            max_backoff,
            retry_on_http_429: fields.or("retry_on_http_429", boolean, default.retry_on_http_429),
            sample_age_limit: fields.or("sample_age_limit", duration, default.sample_age_limit),
        })
    })
}

fn metadata_config(node: &Node, report: &mut Report) -> Option<MetadataConfig> {
    yaml::mapping(node, report, |fields| {
        let default = MetadataConfig::default();
        Some(MetadataConfig {
            send: fields.or("send", boolean, default.send),
            send_interval: positive(fields, "send_interval", default.send_interval),
            max_samples_per_send: count(fields, "max_samples_per_send", default.max_samples_per_send, MAX_PER_SEND),
        })
    })
}
