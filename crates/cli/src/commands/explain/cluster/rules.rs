//! Rule, query and series of a metric, where the rules of the metrics API and its engine are given.
//!
//! - [`RuleSource`]: the rules, and where the engine is. [`Rules`]: a metrics API of this process over both.
//!
//! Rule: it tells where values come from; the values themselves are those of the API server.

use std::sync::Arc;

use adapter::RemoteSource;
use anyhow::{Context, Result, ensure};
use datamodel::selector::Selector;
use datamodel::time::SystemClock;
use hpa::MetricSpec;
use hpa::origin::MetricOrigin;
use http_client::kubeconfig::Cluster;
use metrics_api::{
    Ages, Backends, Config, FixedObjects, GroupResource, Listing, MetricsApi, ObjectName, ResourceMapper, Settings,
    Trace,
};
use remote::client::{BaseUrl, Client, ClientOptions};
use serde_json::Value;

use super::ClusterArgs;
use crate::commands::cluster_flags::behind_service;
use crate::commands::hpa_metric::{self, Refusal};
use crate::commands::query::http_config;

/// A metrics API of this process over the same rules and the same engine.
pub(super) struct Rules {
    api: MetricsApi,
    namespace: String,
}

/// The rules as they are given, before anybody is asked.
pub(super) struct RuleSource {
    config: Config,
    client: Client,
    ages: Ages,
}

impl RuleSource {
    /// Reads the rules; none where they are not given.
    ///
    /// # Errors
    ///
    /// A file cannot be read, or the URL is none.
    pub(super) fn of(args: &ClusterArgs, cluster: &Cluster) -> Result<Option<Self>> {
        let (Some(path), Some(url)) = (&args.adapter_config, &args.prometheus_url) else { return Ok(None) };
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let config = Config::parse(&path.display().to_string(), &text)?;
        let http_file = args.prometheus_http_config.as_deref();
        let (url, http) = match url.strip_prefix("svc/") {
            Some(service) => {
                ensure!(http_file.is_none(), "`--prometheus.http.config.file` is of no use for a Service");
                behind_service(Some(cluster), service)?
            }
            None => (url.clone(), http_file.map(http_config).transpose()?.unwrap_or_default()),
        };
        let url = BaseUrl::parse(&url).context("`--prometheus-url` is no URL of a server")?;
        let options = ClientOptions { http, ..ClientOptions::new(url) };
        let client = Client::new(options, http_client::ClientOptions::default());
        Ok(Some(Self { config, client, ages: Ages::for_interval(args.scrape_interval) }))
    }
}

impl Rules {
    /// Lists the series of the rules.
    pub(super) async fn load(
        source: RuleSource,
        pods: &[Value],
        namespace: &str,
        mapper: &Arc<dyn ResourceMapper>,
    ) -> Self {
        let RuleSource { config, client, ages } = source;
        let mut objects = FixedObjects::default();
        for pod in pods {
            let metadata = &pod["metadata"];
            let labels = metadata["labels"].as_object().into_iter().flatten();
            let labels: Vec<(&str, &str)> =
                labels.filter_map(|(name, value)| Some((name.as_str(), value.as_str()?))).collect();
            let name = metadata["name"].as_str().unwrap_or_default().to_owned();
            objects.add(GroupResource::pods(), ObjectName { namespace: Some(namespace.to_owned()), name }, &labels);
        }
        let backends = Backends {
            source: Arc::new(RemoteSource::new(client, ages)),
            mapper: Arc::clone(mapper),
            lister: Arc::new(objects),
            freshen: None,
            clock: Arc::new(SystemClock),
        };
        let api = MetricsApi::new(config, Settings { listing: Listing::default(), ages }, backends);
        api.relist().await;
        Self { api, namespace: namespace.to_owned() }
    }

    /// Where the values of a metric come from; and why there are none, if there are none.
    pub(super) async fn origin(&self, spec: &MetricSpec, pods: &str) -> (MetricOrigin, Option<String>) {
        let mut trace = Trace::default();
        let Ok(pods) = Selector::parse(pods) else { return Default::default() };
        match hpa_metric::values(&self.api, &self.namespace, spec, &pods, &mut trace).await {
            Ok(_values) => (hpa_metric::of_answer(&trace), None),
            Err(Refusal::Api(error)) => (hpa_metric::of_error(&trace, &error), Some(error.message())),
            // Whoever asks the API server is told so.
            Err(Refusal::Manifest(_)) => Default::default(),
        }
    }
}
