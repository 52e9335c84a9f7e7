//! What the API is made of: what its owner must give, and what may be absent.
//!
//! - [`Parts`]; [`ApiOptions`], [`BuildInfo`], [`Readiness`].
//!
//! Rule: a part that is absent has no endpoints, or endpoints that say by name that it is absent.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use datamodel::Clock;
use datamodel::regex::Regex;
use datamodel::registry::Registry;
use promql::Engine;
use rules::RuleHandle;
use scrape::ScrapeHandle;
use storage::{Appendable, ExemplarQueryable, Queryable};

use crate::api::StatusReceiver;
use crate::guard::HostGuard;
use crate::notifications::Notifications;
use crate::seams::{Alertmanagers, Lifecycle, MetricsPage, ServerStatus, StorageAdmin, StorageStatus};

/// How many queries run at once, as upstream's `--query.max-concurrency`.
pub const DEFAULT_MAX_CONCURRENCY: usize = 20;

/// How many queries may wait for their turn: as many as upstream's bound on connections (512).
pub const MAX_QUEUED_QUERIES: usize = 512;

/// Samples in an answer to one remote read, as upstream's `--storage.remote.read-sample-limit`.
pub const DEFAULT_READ_SAMPLE_LIMIT: usize = 50_000_000;

/// What the server says about its build.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BuildInfo {
    /// The version; clients choose their requests by it.
    pub version: String,
    /// The commit.
    pub revision: String,
    /// The branch.
    pub branch: String,
}

/// Bounds of the API, and how it is reached.
#[derive(Clone, Debug)]
pub struct ApiOptions {
    /// How many queries run at once.
    pub max_concurrency: usize,
    /// How many queries may wait for their turn.
    pub max_queued: usize,
    /// Samples in an answer to one remote read.
    pub read_sample_limit: usize,
    /// Which origins may read answers in a browser: `--web.cors.origin`, matched as a whole. None: no
    /// other origin than the server's own.
    pub cors_origin: Option<Regex>,
    /// Where people reach this server: `--web.external-url`, or empty. The path of it stands before the
    /// links of pages.
    pub external_url: String,
    /// The port on which this server listens, where it has one.
    pub listen_port: Option<u16>,
    /// What stands before every path: `--web.route-prefix`; empty or `/` for nothing.
    pub route_prefix: String,
    /// The heading of pages, as `--web.page-title`.
    pub page_title: String,
}

impl Default for ApiOptions {
    fn default() -> Self {
        Self {
            max_concurrency: DEFAULT_MAX_CONCURRENCY,
            max_queued: MAX_QUEUED_QUERIES,
            read_sample_limit: DEFAULT_READ_SAMPLE_LIMIT,
            cors_origin: None,
            external_url: String::new(),
            listen_port: None,
            route_prefix: String::new(),
            page_title: "Crescendo".to_owned(),
        }
    }
}

/// Whether the server can answer queries. A clone is the same switch; it starts off.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<AtomicBool>);

impl Readiness {
    /// Says whether the server is ready: on when the storage was replayed, off when the server stops.
    pub fn set(&self, ready: bool) {
        self.0.store(ready, Ordering::Release);
    }

    /// Whether the server is ready.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// What the API reads.
pub struct Parts {
    /// The samples.
    pub queryable: Arc<dyn Queryable>,
    /// The evaluator.
    pub engine: Engine,
    /// The time of queries that name none.
    pub clock: Arc<dyn Clock>,
    /// Our own metrics, served at `/metrics`; those of the API are declared in it.
    pub registry: Registry,
    /// The exemplars of the samples; without them there are none.
    pub exemplars: Option<Arc<dyn ExemplarQueryable>>,
    /// The scrape targets.
    pub targets: Option<ScrapeHandle>,
    /// The rule groups and their alerts.
    pub rules: Option<RuleHandle>,
    /// Who is told of alerts.
    pub alertmanagers: Option<Arc<dyn Alertmanagers>>,
    /// Configuration, flags and state of the process.
    pub server: Option<Arc<dyn ServerStatus>>,
    /// What the storage says about itself.
    pub storage: Option<Arc<dyn StorageStatus>>,
    /// Changes the storage: `--web.enable-admin-api`.
    pub admin: Option<Arc<dyn StorageAdmin>>,
    /// Reloads and ends the server: `--web.enable-lifecycle`.
    pub lifecycle: Option<Arc<dyn Lifecycle>>,
    /// Takes samples from remote writers: `--web.enable-remote-write-receiver`.
    pub receiver: Option<Arc<dyn Appendable>>,
    /// What a cluster says of itself, served at [`KUBE_STATE_PATH`](crate::KUBE_STATE_PATH); without it nothing is there.
    pub kube_state: Option<Arc<dyn MetricsPage>>,
    /// What the autoscaler of this process does; without it the live page is not served.
    pub autoscaling: Option<StatusReceiver>,
    /// What whoever opens a page should know.
    pub notifications: Notifications,
    /// Whether queries are answered yet.
    pub readiness: Readiness,
    /// For `/api/v1/status/buildinfo`.
    pub build: BuildInfo,
    /// Refuses requests under a foreign name, where the listener is for this machine only.
    pub host_guard: Option<HostGuard>,
    /// Bounds.
    pub options: ApiOptions,
}

impl Parts {
    /// What cannot be absent; everything else is.
    #[must_use]
    pub fn new(queryable: Arc<dyn Queryable>, engine: Engine, clock: Arc<dyn Clock>, registry: Registry) -> Self {
        Self {
            queryable,
            engine,
            clock,
            registry,
            exemplars: None,
            targets: None,
            rules: None,
            alertmanagers: None,
            server: None,
            storage: None,
            admin: None,
            lifecycle: None,
            receiver: None,
            kube_state: None,
            autoscaling: None,
            notifications: Notifications::default(),
            readiness: Readiness::default(),
            build: BuildInfo::default(),
            host_guard: None,
            options: ApiOptions::default(),
        }
    }
}

impl fmt::Debug for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parts").field("build", &self.build).field("options", &self.options).finish_non_exhaustive()
    }
}
