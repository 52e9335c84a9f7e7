//! The notifier on a paused clock, against Alertmanagers that answer as they are told.
//!
//! Rule: time passes only when everything waits.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;
use std::time::Duration;

use ::http::{StatusCode, Uri};
use bytes::Bytes;
use datamodel::Timestamp;
use datamodel::relabel::{RelabelAction, RelabelConfig};
use discovery::StaticDiscoverer;
use expect_test::expect;
use http_client::{ClientError, Scheme};
use serde_json::Value;
use tokio::time::{Instant, sleep_until};

use super::*;
use crate::alert::AlertState;

#[tokio::test(start_paused = true)]
async fn alert_is_sent_as_a_document_of_api_v2() {
    let world = World::start(NotifierOptions { external_url: "http://eye:9090/x".to_owned(), ..options() });
    world.apply(Labels::from_pairs([("cluster", "c1"), ("severity", "none")]), &[], vec![set(&["am:9093"])]).await;
    world.told.send("rate(a[5m]) > 0.1", vec![firing("A", &[("severity", "page"), ("pod", "p\"1")])]);
    world.settle().await;
    expect![[r#"
        http://am:9093/api/v2/alerts [
          {
            "annotations": {
              "summary": "A is bad"
            },
            "endsAt": "1970-01-01T00:04:01.5Z",
            "startsAt": "1970-01-01T00:00:01.5Z",
            "generatorURL": "http://eye:9090/x/graph?g0.expr=rate%28a%5B5m%5D%29+%3E+0.1&g0.tab=1",
            "labels": {
              "alertname": "A",
              "cluster": "c1",
              "pod": "p\"1",
              "severity": "page"
            }
          }
        ]"#]]
    .assert_eq(&world.post.requests().join("\n"));
    world.counts("am:9093", [1, 0, 0, 0]);
}

#[tokio::test(start_paused = true)]
async fn labels_are_relabelled_for_all_and_for_one_set() {
    let world = World::start(options());
    let mut own = set(&["b:1"]);
    own.config.alert_relabel = rules([RelabelConfig {
        target_label: Some("site".to_owned()),
        replacement: Some("b".to_owned()),
        ..RelabelConfig::default()
    }]);
    let drop = RelabelConfig {
        source_labels: vec!["alertname".to_owned()],
        regex: Some("Noise".to_owned()),
        action: RelabelAction::Drop,
        ..RelabelConfig::default()
    };
    world.apply(Labels::empty(), &[drop], vec![set(&["a:1"]), own]).await;
    world.told.send("up", vec![firing("A", &[]), firing("Noise", &[])]);
    world.settle().await;
    assert_eq!(world.post.labels("a:1"), ["{alertname=\"A\"}"]);
    assert_eq!(world.post.labels("b:1"), ["{alertname=\"A\", site=\"b\"}"]);
}

#[tokio::test(start_paused = true)]
async fn queue_is_sent_in_batches_and_loses_its_oldest() {
    let world = World::start(NotifierOptions { queue_capacity: 10, batch_size: 4, ..options() });
    world.apply(Labels::empty(), &[], vec![set(&["am:1"])]).await;
    let alerts = (0..13).map(|i| firing(&format!("A{i:02}"), &[])).collect();
    world.told.send("up", alerts);
    world.settle().await;
    let sizes: Vec<usize> = world.post.bodies().iter().map(|(_, body)| body.as_array().unwrap().len()).collect();
    assert_eq!(sizes, [4, 4, 2]);
    assert_eq!(world.post.labels("am:1").first().unwrap(), "{alertname=\"A03\"}");
    world.counts("am:1", [10, 0, 3, 0]);
}

#[tokio::test(start_paused = true)]
async fn batch_is_sent_again_only_where_that_may_help() {
    let world = World::start(options());
    world.apply(Labels::empty(), &[], vec![set(&["am:1"])]).await;
    world.post.answer([Answer::Status(503), Answer::Status(429), Answer::Status(200), Answer::Status(400)]);
    world.told.send("up", vec![firing("Late", &[])]);
    world.pass(Duration::from_secs(7)).await;
    world.counts("am:1", [1, 2, 0, 0]);
    world.told.send("up", vec![firing("Bad", &[])]);
    world.pass(Duration::from_secs(60)).await;
    assert_eq!(world.post.bodies().len(), 4);
    world.counts("am:1", [1, 3, 1, 0]);
    world.post.answer([Answer::Refused, Answer::Refused, Answer::Refused]);
    world.told.send("up", vec![firing("Away", &[])]);
    world.pass(Duration::from_secs(60)).await;
    world.counts("am:1", [1, 6, 2, 0]);
}

#[tokio::test(start_paused = true)]
async fn alertmanager_that_hangs_holds_up_nobody() {
    let world = World::start(options());
    let mut hanging = set(&["hangs:1"]);
    hanging.post = Arc::new(Fake { hangs: true, ..Fake::default() });
    world.apply(Labels::empty(), &[], vec![hanging, set(&["well:1"])]).await;
    for i in 0..3 {
        world.told.send("up", vec![firing(&format!("A{i}"), &[])]);
        world.settle().await;
    }
    assert_eq!(world.post.labels("well:1").len(), 3);
    world.counts("well:1", [3, 0, 0, 0]);
    // Ten seconds pass, then it is tried again.
    world.pass(Duration::from_secs(10)).await;
    world.counts("hangs:1", [0, 1, 0, 2]);
}

#[tokio::test(start_paused = true)]
async fn reload_keeps_queues_and_ends_those_that_are_gone() {
    let world = World::start(options());
    world.apply(Labels::empty(), &[], vec![set(&["a:1", "b:1"])]).await;
    assert_eq!(world.active(), ["http://a:1/api/v2/alerts", "http://b:1/api/v2/alerts"]);
    world.counts("a:1", [0, 0, 0, 0]);
    world.post.answer([Answer::Refused, Answer::Refused]);
    world.told.send("up", vec![firing("Waits", &[])]);
    world.settle().await;
    let mut changed = set(&["b:1", "c:1", "dropped:1"]);
    changed.config.relabel = rules([RelabelConfig {
        source_labels: vec!["__address__".to_owned()],
        regex: Some("dropped.*".to_owned()),
        action: RelabelAction::Drop,
        ..RelabelConfig::default()
    }]);
    changed.post = world.set_post();
    world.apply(Labels::empty(), &[], vec![changed]).await;
    assert_eq!(world.active(), ["http://b:1/api/v2/alerts", "http://c:1/api/v2/alerts"]);
    assert_eq!(world.handle.alertmanagers().dropped, ["http://dropped:1/api/v2/alerts"]);
    world.pass(Duration::from_secs(2)).await;
    // What had failed is sent to the one that stays, and to the one that is gone while its queue is emptied.
    assert_eq!(world.post.labels("b:1").len(), 2);
    assert_eq!(world.post.labels("a:1").len(), 2);
    assert!(!world.exposition().contains("http://a:1"), "{}", world.exposition());
    world.counts("b:1", [1, 1, 0, 0]);
}

#[tokio::test(start_paused = true)]
async fn queues_are_emptied_at_the_end_within_the_drain_time() {
    for (answer, sent) in [(Answer::Status(200), 3), (Answer::Hang, 2)] {
        let mut world = World::start(NotifierOptions { batch_size: 1, ..options() });
        world.apply(Labels::empty(), &[], vec![set(&["am:1"])]).await;
        world.told.send("up", vec![firing("A", &[]), firing("B", &[]), firing("C", &[])]);
        world.post.answer([answer]);
        let started = Instant::now();
        world.stop().await;
        assert!(started.elapsed() <= DEFAULT_DRAIN_TIMEOUT, "{:?}", started.elapsed());
        assert!(world.post.bodies().len() >= sent, "{:?}", world.post.bodies());
        assert!(world.active().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn address_of_no_use_is_left_out_and_a_prefix_is_kept() {
    let world = World::start(options());
    let mut prefixed = set(&["am:1", "http://am:2/", "", "am:1"]);
    prefixed.config.path_prefix = "/monitoring//am/".to_owned();
    prefixed.config.scheme = Scheme::Https;
    world.apply(Labels::empty(), &[], vec![prefixed]).await;
    assert_eq!(world.active(), ["https://am:1/monitoring/am/api/v2/alerts"]);
}

#[test]
fn queue_counts_what_goes() {
    let queue = queue::Queue::new(3);
    let many: Vec<_> = (0..5)
        .map(|i| Arc::new(Notification::new(&firing(&i.to_string(), &[]), Labels::empty(), Arc::from(""))))
        .collect();
    assert_eq!(queue.push(&many[..2]), 0);
    assert_eq!(queue.push(&many[2..4]), 1);
    assert_eq!(queue.push(&many), 5);
    assert_eq!(queue.take(10), many[2..]);
}

/// What a fake Alertmanager does with a request.
#[derive(Clone, Copy, Debug)]
enum Answer {
    Status(u16),
    Refused,
    Hang,
}

/// All Alertmanagers of a test.
#[derive(Debug, Default)]
struct Fake {
    requests: Mutex<Vec<(String, Value)>>,
    answers: Mutex<VecDeque<Answer>>,
    hangs: bool,
}

impl Fake {
    /// The next answers; those behind them are 200.
    fn answer(&self, answers: impl IntoIterator<Item = Answer>) {
        self.answers.lock().unwrap().extend(answers);
    }

    fn bodies(&self) -> Vec<(String, Value)> {
        self.requests.lock().unwrap().clone()
    }

    fn requests(&self) -> Vec<String> {
        self.bodies().iter().map(|(url, body)| format!("{url} {body:#}")).collect()
    }

    /// Labels of the alerts that an address was told of.
    fn labels(&self, address: &str) -> Vec<String> {
        let bodies = self.bodies();
        let to_address = bodies.iter().filter(|(url, _)| url.contains(&format!("//{address}/")));
        let alerts = to_address.flat_map(|(_, body)| body.as_array().unwrap());
        let labels = alerts.map(|alert| {
            let pairs: BTreeMap<String, String> = serde_json::from_value(alert["labels"].clone()).unwrap();
            Labels::from_pairs(pairs).to_string()
        });
        labels.collect()
    }
}

impl Post for Fake {
    fn post<'a>(&'a self, url: &'a Uri, body: Bytes) -> PostFuture<'a> {
        self.requests.lock().unwrap().push((url.to_string(), serde_json::from_slice(&body).unwrap()));
        let answer = self.answers.lock().unwrap().pop_front();
        let answer = if self.hangs { Some(Answer::Hang) } else { answer };
        Box::pin(async move {
            match answer.unwrap_or(Answer::Status(200)) {
                Answer::Hang => std::future::pending().await,
                Answer::Refused => {
                    let source = std::io::ErrorKind::ConnectionRefused.into();
                    Err(ClientError::Connect { address: url.to_string(), source }.into())
                }
                Answer::Status(status) => Ok(PostAnswer::new(StatusCode::from_u16(status).unwrap(), b"said why")),
            }
        })
    }
}

fn options() -> NotifierOptions {
    NotifierOptions::default()
}

/// A set whose client is that of the world it is applied to.
fn set(addresses: &[&str]) -> AlertmanagerSet {
    let group = TargetGroup::from_addresses("0", Labels::empty(), addresses);
    AlertmanagerSet {
        config: AlertmanagerConfig::default(),
        discoverers: vec![Box::new(StaticDiscoverer::new(vec![group]))],
        post: Arc::new(OfTheWorld),
    }
}

/// Stands for the client of the world.
#[derive(Debug)]
struct OfTheWorld;

impl Post for OfTheWorld {
    fn post<'a>(&'a self, _url: &'a Uri, _body: Bytes) -> PostFuture<'a> {
        unreachable!("replaced when the set is applied")
    }
}

fn rules<const N: usize>(configs: [RelabelConfig; N]) -> Arc<[RelabelRule]> {
    configs.into_iter().map(|config| RelabelRule::new(config).unwrap()).collect()
}

fn firing(name: &str, labels: &[(&str, &str)]) -> Alert {
    let at = Timestamp::from_unix_ms(1500);
    Alert {
        labels: Labels::from_pairs(labels.iter().copied().chain([("alertname", name)])),
        annotations: Labels::from_pairs([("summary", format!("{name} is bad"))]),
        state: AlertState::Firing,
        value: 1.0,
        active_at: at,
        fired_at: Some(at),
        resolved_at: None,
        last_sent_at: Some(at),
        valid_until: Some(at.saturating_add(Duration::from_secs(240))),
        keep_firing_since: None,
    }
}

/// A running notifier and all around it.
#[derive(Debug)]
struct World {
    handle: NotifierHandle,
    told: Arc<dyn AlertSink>,
    post: Arc<Fake>,
    registry: Registry,
    shutdown: CancellationToken,
    tasks: JoinSet<()>,
}

impl World {
    fn start(options: NotifierOptions) -> Self {
        let registry = Registry::new();
        let notifier = Notifier::new(options, &registry).unwrap();
        let handle = notifier.handle();
        let shutdown = CancellationToken::new();
        let mut tasks = JoinSet::new();
        tasks.spawn(notifier.run(shutdown.clone()));
        Self { told: Arc::new(handle.clone()), handle, post: Arc::default(), registry, shutdown, tasks }
    }

    fn set_post(&self) -> Arc<dyn Post> {
        Arc::<Fake>::clone(&self.post)
    }

    async fn apply(&self, external_labels: Labels, relabel: &[RelabelConfig], mut sets: Vec<AlertmanagerSet>) {
        for set in &mut sets {
            if format!("{:?}", set.post) == "OfTheWorld" {
                set.post = self.set_post();
            }
        }
        let alert_relabel = relabel.iter().map(|config| RelabelRule::new(config.clone()).unwrap()).collect();
        self.handle.apply(NotifierConfig { external_labels, alert_relabel, sets }).await.unwrap();
        self.settle().await;
    }

    async fn pass(&self, duration: Duration) {
        sleep_until(Instant::now() + duration).await;
    }

    async fn settle(&self) {
        self.pass(Duration::from_millis(1)).await;
    }

    async fn stop(&mut self) {
        self.shutdown.cancel();
        while let Some(joined) = self.tasks.join_next().await {
            joined.unwrap();
        }
    }

    fn active(&self) -> Vec<String> {
        self.handle.alertmanagers().active
    }

    fn exposition(&self) -> String {
        let mut text = String::new();
        self.registry.encode_text(&mut text);
        text
    }

    /// Sent, affected by errors, dropped, waiting.
    #[track_caller]
    fn counts(&self, address: &str, expected: [u32; 4]) {
        let text = self.exposition();
        for (name, expected) in ["sent_total", "errors_total", "dropped_total", "queue_length"].iter().zip(expected) {
            let url = format!("http://{address}/api/v2/alerts");
            let line = format!("prometheus_notifications_{name}{{alertmanager=\"{url}\"}} {expected}");
            assert!(text.lines().any(|present| present == line), "{line} not in:\n{text}");
        }
    }
}
