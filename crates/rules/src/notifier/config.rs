//! Whom to tell of alerts, and how: checked, and without any state.
//!
//! Rule: what stands here can be served.

use std::sync::Arc;
use std::time::Duration;

use datamodel::Labels;
use datamodel::relabel::RelabelRule;
use discovery::Discoverer;
use http_client::Scheme;

use super::http::Post;

/// How long one request may take, unless the configuration says otherwise.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

/// How Alertmanagers are reached, and what they are told.
#[derive(Clone, Debug)]
pub struct AlertmanagerConfig {
    /// The scheme, unless relabelling sets another.
    pub scheme: Scheme,
    /// Goes before `/api/v2/alerts`.
    pub path_prefix: String,
    /// How long one request may take.
    pub timeout: Duration,
    /// Rules on the labels of discovered Alertmanagers.
    pub relabel: Arc<[RelabelRule]>,
    /// Rules on the labels of alerts, for these Alertmanagers alone.
    pub alert_relabel: Arc<[RelabelRule]>,
}

impl Default for AlertmanagerConfig {
    fn default() -> Self {
        Self {
            scheme: Scheme::Http,
            path_prefix: String::new(),
            timeout: DEFAULT_TIMEOUT,
            relabel: Arc::default(),
            alert_relabel: Arc::default(),
        }
    }
}

/// Alertmanagers that are reached in one way.
#[derive(Debug)]
pub struct AlertmanagerSet {
    /// How.
    pub config: AlertmanagerConfig,
    /// Who finds them.
    pub discoverers: Vec<Box<dyn Discoverer>>,
    /// The client that speaks to them.
    pub post: Arc<dyn Post>,
}

/// Whom to tell of alerts.
#[derive(Debug, Default)]
pub struct NotifierConfig {
    /// Labels that every alert gets, unless it has them.
    pub external_labels: Labels,
    /// Rules on the labels of all alerts.
    pub alert_relabel: Arc<[RelabelRule]>,
    /// The Alertmanagers.
    pub sets: Vec<AlertmanagerSet>,
}
