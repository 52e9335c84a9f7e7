//! The questions: everything that is asked over the network.
//!
//! - [`Places`]: who is asked. [`facts`]: asks them, one after the other, and says whom on the way.
//! - `prometheus`, `metrics_api`, `cluster`: the questions to each. `comparison`: the same questions to two.
//!
//! Rule: an answer that does not come is a fact too; nothing here judges. Whoever could not be reached is asked once.

mod cluster;
mod comparison;
mod metrics_api;
mod prometheus;

use std::time::Duration;

use datamodel::Clock;
use datamodel::time::SystemClock;
use kubernetes::client::{ApiError, Client};
use tokio::time::timeout;

use super::facts::{Expected, Facts};
use super::finding::{Asked, Failure};
use crate::printer::{chain, clean};
use crate::progress::Bar;

pub(super) use comparison::{Other, compare};
pub(super) use prometheus::Engine;

/// Time between two decisions of kube-controller-manager, unless its flag says otherwise.
const CONTROLLER_SYNC: Duration = Duration::from_secs(15);

/// … of `crescendo up`, unless its flag says otherwise.
const UP_SYNC: Duration = Duration::from_secs(2);

/// More than the least time between two scrapes of a target, of which one is for a question.
const PULL_REST: Duration = Duration::from_millis(1100);

/// Who is asked.
#[derive(Debug)]
pub(super) struct Places {
    pub(super) prometheus: Option<Engine>,
    /// The metrics API by itself; else it is asked for through the cluster.
    pub(super) metrics_api: Option<Client>,
    pub(super) cluster: Option<Client>,
    /// How long an answer may take.
    pub(super) patience: Duration,
    /// As the user says it.
    pub(super) sync_period: Option<Duration>,
}

/// Asks everybody.
pub(super) async fn facts(places: &Places, expected: Expected, bar: &mut Bar) -> Facts {
    let mut ask = Ask { patience: places.patience, bar };
    let engine = places.prometheus.as_ref();
    let mut up = None;
    if let Some(engine) = engine.filter(|_| places.cluster.is_none()) {
        ask.working(&format!("{}: is it `crescendo up`?", engine.url()));
        up = engine.autoscaling(ask.patience).await;
    }
    let is_up = up.is_some();
    let no_cluster =
        if is_up { "`crescendo up` runs without a cluster" } else { "no cluster was named: `--kubeconfig`" };
    let cluster = cluster::ask(places.cluster.as_ref(), &expected, no_cluster, &mut ask).await;
    let autoscalers = match (&up, &places.cluster) {
        (Some(status), _) => Asked::Answer(vec![cluster::of_status(status)]),
        (None, Some(client)) => cluster::autoscalers(client, &expected.namespace, &mut ask).await,
        (None, None) => Asked::not_here(no_cluster),
    };
    let own_api = match (engine, is_up) {
        (Some(engine), true) => engine.as_api(),
        _ => None,
    };
    let api = places.metrics_api.as_ref().or(places.cluster.as_ref()).or(own_api.as_ref());
    let pulls_before = pulls(engine, &mut ask).await;
    let read = autoscalers.known().map(Vec::as_slice).unwrap_or_default();
    let metrics_api = metrics_api::ask(api, &expected, read, &mut ask).await;
    let is_pulled = match (pulls_before, api) {
        (Some(before), Some(api)) => is_pulled(engine, before, api, &expected.namespace, &mut ask).await,
        _ => false,
    };
    let now = SystemClock.now();
    let prometheus = prometheus::ask(engine, now, &mut ask).await;
    let usual = if is_up { UP_SYNC } else { CONTROLLER_SYNC };
    Facts {
        expected,
        now,
        prometheus,
        metrics_api,
        cluster,
        autoscalers,
        is_pulled,
        sync_period: places.sync_period.unwrap_or(usual),
    }
}

/// How often the engine was made to scrape by a question, where it counts that.
async fn pulls(engine: Option<&Engine>, ask: &mut Ask<'_>) -> Option<f64> {
    let engine = engine?;
    ask.working(&format!("{}: own metrics", engine.url()));
    engine.pulls(ask.patience).await
}

/// Whether the questions so far made the engine scrape, or one more does: a target that was scraped within the last
/// second is not scraped for a question.
async fn is_pulled(engine: Option<&Engine>, before: f64, api: &Client, namespace: &str, ask: &mut Ask<'_>) -> bool {
    let has_risen = |now: Option<f64>| now.is_some_and(|now| now > before);
    if has_risen(pulls(engine, ask).await) {
        return true;
    }
    tokio::time::sleep(PULL_REST).await;
    metrics_api::active_requests(api, namespace, ask).await;
    has_risen(pulls(engine, ask).await)
}

/// How is asked.
#[derive(Debug)]
struct Ask<'a> {
    patience: Duration,
    bar: &'a mut Bar,
}

impl Ask<'_> {
    fn working(&mut self, what: &str) {
        self.bar.working(what);
    }

    /// A question to the Kubernetes API or what stands behind it; no error: no answer in time.
    async fn answer<T>(
        &mut self,
        what: &str,
        question: impl Future<Output = Result<T, ApiError>> + Send,
    ) -> Result<T, Option<ApiError>> {
        self.working(what);
        timeout(self.patience, question).await.map_or(Err(None), |answer| answer.map_err(Some))
    }

    /// The same. `None`: there is no such thing.
    async fn kubernetes<T>(
        &mut self,
        what: &str,
        question: impl Future<Output = Result<T, ApiError>> + Send,
    ) -> Asked<Option<T>> {
        match self.answer(what, question).await {
            Ok(answer) => Asked::Answer(Some(answer)),
            Err(Some(error)) if error.is_not_found() => Asked::Answer(None),
            Err(error) => Asked::Failed(self.failure(error.as_ref(), what)),
        }
    }

    /// What helps against an error.
    fn failure(&self, error: Option<&ApiError>, what: &str) -> Failure {
        let Some(error) = error else {
            let why = format!("no answer within {:?}", self.patience);
            return Failure { why, remedy: "a longer `--timeout`, or a server with less to do".to_owned() };
        };
        let remedy = match error {
            error if error.is_forbidden() => format!("a role that may read it: `kubectl auth can-i get` for {what}"),
            ApiError::Client(_) => {
                "is the server there, and the kubeconfig the right one? `kubectl version`".to_owned()
            }
            ApiError::Status { code: 503, .. } => {
                "nobody serves it at the moment: `kubectl get apiservices` says why".to_owned()
            }
            _ => "the log of whoever serves it".to_owned(),
        };
        Failure { why: clean(&chain(error)), remedy }
    }
}
