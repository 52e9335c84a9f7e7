//! The questions to a Prometheus-compatible server.
//!
//! Rule: an endpoint that a server does not have is no failure of that server: `VictoriaMetrics` and Thanos lack some.

use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use datamodel::{Labels, Timestamp};
use hpa::status::AutoscalingStatus;
use http::{Response, StatusCode, Uri};
use http_client::kubeconfig::Cluster;
use http_client::{HttpClient, HttpClientConfig};
use kubernetes::client::Client as ApiClient;
use kubernetes::operator;
use remote::client::{BaseUrl, Client, ClientError, ClientOptions, ElementValue, QueryValue};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::timeout;

use super::super::facts::{METRICS, Prometheus, QUERIES};
use super::super::finding::Asked;
use super::Ask;
use crate::printer::{chain, clean};

/// Pages that are read as a whole: own metrics, the state of an autoscaler.
const MAX_PAGE_BYTES: usize = 16 * 1024 * 1024;

/// What counts the scrapes that a question to the metrics API made.
const PULLS: &str = "crescendo_target_pulls_total{";

/// A server, and how it is asked.
#[derive(Debug)]
pub(in super::super) struct Engine {
    api: Client,
    pages: HttpClient,
    http: HttpClientConfig,
}

impl Engine {
    pub(in super::super) fn new(url: &str, flag: &str, http: HttpClientConfig) -> Result<Self> {
        let url = BaseUrl::parse(url).with_context(|| format!("`{flag}` is no URL of a server"))?;
        let options = ClientOptions { http: http.clone(), ..ClientOptions::new(url) };
        let common = http_client::ClientOptions::default;
        let pages = HttpClient::new(http.clone(), common());
        Ok(Self { api: Client::new(options, common()), pages, http })
    }

    pub(in super::super) fn url(&self) -> String {
        self.api.url().to_string()
    }

    /// The same server, asked as one of the metrics API.
    pub(in super::super) fn as_api(&self) -> Option<ApiClient> {
        let server = self.url().parse::<Uri>().ok()?;
        let cluster = Cluster { server, http: self.http.clone(), namespace: None };
        Some(ApiClient::new(cluster, http_client::ClientOptions::default()))
    }

    async fn page(&self, path: &str, patience: Duration) -> Result<Response<Bytes>, String> {
        let request = http::Request::builder().uri(format!("{}{path}", self.url())).body(Bytes::new());
        let request = request.map_err(|error| error.to_string())?;
        match timeout(patience, self.pages.send(request, MAX_PAGE_BYTES)).await {
            Ok(answer) => answer.map_err(|error| clean(&chain(&error))),
            Err(_late) => Err(format!("no answer within {patience:?}")),
        }
    }

    /// The state of the autoscaler, if this is `crescendo up`.
    pub(super) async fn autoscaling(&self, patience: Duration) -> Option<AutoscalingStatus> {
        let answer = self.page("/api/v1/autoscaling", patience).await.ok()?;
        answer.status().is_success().then(|| serde_json::from_slice(answer.body()).ok())?
    }

    /// How often a question made it scrape; none where it is no engine of ours, which counts that.
    pub(super) async fn pulls(&self, patience: Duration) -> Option<f64> {
        let answer = self.page("/metrics", patience).await.ok().filter(|answer| answer.status().is_success())?;
        let text = String::from_utf8_lossy(answer.body());
        let value = |line: &str| line.rsplit(' ').next().and_then(|value| value.parse::<f64>().ok());
        let values: Vec<f64> = text.lines().filter(|line| line.starts_with(PULLS)).filter_map(value).collect();
        text.contains("crescendo_").then(|| values.iter().sum())
    }

    async fn document<T: DeserializeOwned>(&self, path: &'static str, patience: Duration) -> Asked<T> {
        let value = match self.api.document::<Value>(path, patience).await {
            Ok(answer) => answer.value,
            Err(error) => return unanswered(&error),
        };
        operator::read(value).map_or_else(
            |error| Asked::failed(clean(&error.to_string()), "is it a server that speaks Prometheus' API?"),
            Asked::Answer,
        )
    }

    /// An instant vector; a native histogram counts by its sum.
    pub(super) async fn vector(&self, expr: &str, now: Timestamp, patience: Duration) -> Asked<Vec<(Labels, f64)>> {
        match self.api.query(expr, now, patience).await {
            Ok(answer) => match answer.value {
                QueryValue::Vector(elements) => {
                    let value = |value| match value {
                        ElementValue::Float(value) => value,
                        ElementValue::Histogram { sum, .. } => sum,
                    };
                    Asked::Answer(elements.into_iter().map(|element| (element.labels, value(element.value))).collect())
                }
                _ => Asked::failed("the answer is no instant vector", "is it a server that speaks Prometheus' API?"),
            },
            Err(error) => unanswered(&error),
        }
    }
}

/// Why there is no answer; an endpoint that is not there is no failure.
fn unanswered<T>(error: &ClientError) -> Asked<T> {
    match error {
        ClientError::Status(StatusCode::NOT_FOUND) => Asked::not_here("the server has no such endpoint"),
        ClientError::Status(status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)) => {
            Asked::failed(format!("the server answers {}", status.as_u16()), "give credentials by `--http.config.file`")
        }
        ClientError::Timeout(_) => {
            Asked::failed(clean(&chain(error)), "a longer `--timeout`, or a server with less to do")
        }
        error => Asked::failed(clean(&chain(error)), "the log of the server; `--prometheus-url` names another"),
    }
}

/// Asks for all that is checked. `None`: nobody is to be asked.
pub(super) async fn ask(engine: Option<&Engine>, now: Timestamp, ask: &mut Ask<'_>) -> Prometheus {
    let Some(engine) = engine else {
        return unasked("none", Asked::not_here("not wanted: `--prometheus-url none`"), "no server was asked");
    };
    let (url, patience) = (engine.url(), ask.patience);
    ask.working(&format!("{url}: is it ready?"));
    let ready = match engine.page("/-/ready", patience).await {
        Ok(answer) => {
            let text = String::from_utf8_lossy(answer.body());
            Asked::Answer((answer.status().as_u16(), clean(text.trim())))
        }
        Err(why) => {
            let remedy = "does the server run, and is this its address? In a cluster: `kubectl port-forward -n default \
                          svc/smallest-prometheus-stack-prometheus 9090:9090`; `--prometheus-url` names another, and \
                          `none` asks none";
            return unasked(&url, Asked::failed(why, remedy), "the server does not answer");
        }
    };
    let mut found = unasked(&url, ready, "");
    ask.working(&format!("{url}: targets and rules"));
    found.runtime = engine.document("status/runtimeinfo", patience).await;
    found.targets = engine.document("targets", patience).await;
    found.pools = engine.document::<Pools>("scrape_pools", patience).await.map(|pools| pools.scrape_pools);
    found.rules = engine.document::<Groups>("rules", patience).await.map(|groups| groups.groups);
    for (metric, samples) in &mut found.samples {
        ask.working(&format!("{url}: {metric}"));
        let at =
            |(labels, seconds): (Labels, f64)| (labels, Timestamp::from_unix_ms((seconds * 1000.0).round() as i64));
        let series = engine.vector(&format!("timestamp({metric})"), now, patience).await;
        *samples = series.map(|series| series.into_iter().map(at).collect());
    }
    for (expr, values) in &mut found.queries {
        ask.working(&format!("{url}: {expr}"));
        let series = engine.vector(expr, now, patience).await;
        *values = series.map(|series| series.into_iter().map(|(_, value)| value).collect());
    }
    found
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Pools {
    scrape_pools: Vec<String>,
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
struct Groups {
    groups: Vec<super::super::facts::RuleGroup>,
}

/// Facts without answers.
fn unasked(url: &str, ready: Asked<(u16, String)>, why: &str) -> Prometheus {
    Prometheus {
        url: url.to_owned(),
        ready,
        runtime: Asked::not_here(why),
        targets: Asked::not_here(why),
        pools: Asked::not_here(why),
        rules: Asked::not_here(why),
        samples: METRICS.map(|metric| (metric, Asked::not_here(why))).into(),
        queries: QUERIES.map(|expr| (expr, Asked::not_here(why))).into(),
    }
}
