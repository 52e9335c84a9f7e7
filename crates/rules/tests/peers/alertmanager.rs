//! Alerts at a real Alertmanager: ours, and those of Debian's Prometheus from the same rules and values.
//!
//! ```text
//! gauge ─┬▶ our storage ─▶ our rules ─▶ our notifier ─┐
//!        └▶ /metrics ◀─ Debian's Prometheus ──────────┴▶ Debian's Alertmanager ─▶ webhook
//! ```
//!
//! Rule: what is waited for is a message of the webhook or a state of the rules, never a time.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use datamodel::registry::Registry;
use datamodel::time::SystemClock;
use datamodel::{Clock, Labels};
use discovery::{DecodeContext, DiscoveryContext, DiscoveryMetrics};
use http_body_util::{BodyExt, Full};
use http_client::ClientOptions;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use promql::{Engine, Features};
use rules::notifier::{Notifier, NotifierOptions, alerting_config};
use rules::{AlertSink, AlertState, RuleHandle, RuleKind, RuleManager, RuleOptions, parse_rule_file};
use serde_json::Value;
use storage::{Appendable, MemoryStorage};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::peer;

/// Longer than anything here takes on a busy machine; only a failing test waits for it.
const PATIENCE: Duration = Duration::from_secs(90);

const RULES: &str = r#"
groups:
  - name: g
    interval: 200ms
    rules:
      - {alert: Fast, expr: probe == 0, labels: {severity: page}, annotations: {summary: '{{ $labels.instance }} is {{ $value }}'}}
      - {alert: Slow, expr: probe == 0, for: 4s, annotations: {link: '{{ $externalURL }}/x'}}
      - {alert: Kept, expr: probe == 0, for: 1s, keep_firing_for: 3s}
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn alerts_go_from_pending_to_firing_to_resolved_as_those_of_prometheus() {
    let (Some(alertmanager), Some(prometheus)) = (peer("prometheus-alertmanager"), peer("prometheus")) else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut tasks = JoinSet::new();
    let is_well = Arc::new(AtomicBool::new(true));
    let (hook_sender, mut hook) = mpsc::channel(100);
    let server = serve(&mut tasks, Arc::clone(&is_well), hook_sender).await;
    let alertmanager = start_alertmanager(&alertmanager, folder.path(), &server);
    let ours = Ours::start(&mut tasks, &alertmanager.address).await;
    let prometheus = start_prometheus(&prometheus, folder.path(), &server, &alertmanager.address);
    // Both have evaluated: whoever begins later would see no change.
    ours.write(1.0);
    server.scraped.notified().await;
    is_well.store(false, Ordering::SeqCst);
    ours.write(0.0);
    timeout(PATIENCE, ours.saw_pending()).await.unwrap();
    let mut events = Events::default();
    timeout(PATIENCE, events.until(&mut hook, 6, "firing")).await.unwrap();
    is_well.store(true, Ordering::SeqCst);
    ours.write(1.0);
    timeout(PATIENCE, events.until(&mut hook, 6, "resolved")).await.unwrap();
    // Those that resolve first are told together, in no order; the one that is kept comes last.
    let firing = |by| events.names(by, "firing");
    let resolved = |by| {
        let mut names = events.names(by, "resolved");
        names[..2].sort();
        names
    };
    for by in ["crescendo", "prometheus"] {
        assert_eq!(firing(by), ["Fast", "Kept", "Slow"], "{by}: {:?}", events.0);
        assert_eq!(resolved(by), ["Fast", "Slow", "Kept"], "{by}: {:?}", events.0);
    }
    let alert = |by, name| events.alert(by, name);
    for name in ["Fast", "Slow", "Kept"] {
        let (ours, theirs) = (alert("crescendo", name), alert("prometheus", name));
        assert_eq!(ours["annotations"], theirs["annotations"], "{name}");
        let without_origin = |alert: &Value| {
            let mut labels: BTreeMap<String, String> = serde_json::from_value(alert["labels"].clone()).unwrap();
            labels.remove("by");
            labels
        };
        assert_eq!(without_origin(&ours), without_origin(&theirs), "{name}");
        assert_eq!(ours["generatorURL"], theirs["generatorURL"], "{name}");
    }
    ours.shutdown.cancel();
    drop((alertmanager, prometheus));
    tasks.shutdown().await;
}

/// What the webhook was told: who, state, the alert.
#[derive(Debug, Default)]
struct Events(Vec<(String, String, Value)>);

impl Events {
    /// Waits until so many different alerts were told in a state.
    async fn until(&mut self, hook: &mut mpsc::Receiver<Value>, count: usize, state: &str) {
        while self.0.iter().filter(|(_, of, _)| of == state).count() < count {
            let message = hook.recv().await.unwrap();
            for alert in message["alerts"].as_array().unwrap() {
                let text = |value: &Value| value.as_str().unwrap().to_owned();
                let event = (text(&alert["labels"]["by"]), text(&alert["status"]), alert.clone());
                let same = |(by, state, known): &(String, String, Value)| {
                    *by == event.0 && *state == event.1 && known["labels"] == alert["labels"]
                };
                if !self.0.iter().any(same) {
                    self.0.push(event);
                }
            }
        }
    }

    fn names(&self, by: &str, state: &str) -> Vec<String> {
        let of = self.0.iter().filter(|(b, s, _)| b == by && s == state);
        of.map(|(_, _, alert)| alert["labels"]["alertname"].as_str().unwrap().to_owned()).collect()
    }

    fn alert(&self, by: &str, name: &str) -> Value {
        let found =
            self.0.iter().find(|(b, s, alert)| b == by && s == "firing" && alert["labels"]["alertname"] == name);
        found.unwrap().2.clone()
    }
}

/// Our rules and our notifier.
struct Ours {
    storage: Arc<MemoryStorage>,
    rules: RuleHandle,
    shutdown: CancellationToken,
}

impl Ours {
    async fn start(tasks: &mut JoinSet<()>, alertmanager: &str) -> Self {
        let registry = Registry::new();
        let shutdown = CancellationToken::new();
        let external_url = "http://eye:9090".to_owned();
        let notifier = Notifier::new(
            NotifierOptions { external_url: external_url.clone(), ..NotifierOptions::default() },
            &registry,
        );
        let notifier = notifier.unwrap();
        let to_alertmanagers = notifier.handle();
        tasks.spawn(notifier.run(shutdown.clone()));
        let external_labels = Labels::from_pairs([("by", "crescendo")]);
        let section = format!("alertmanagers: [{{static_configs: [{{targets: ['{alertmanager}']}}]}}]");
        let decode = DecodeContext { directory: Path::new("/"), others: &[] };
        let section = yaml::decode("p.yml", &section, |node, report| alerting_config(node, report, &decode)).unwrap();
        let metrics = DiscoveryMetrics::new(&registry).unwrap();
        let context = DiscoveryContext { client: ClientOptions::default(), metrics, id_seed: 1 };
        let config = section.notifier_config(external_labels.clone(), &context).unwrap();
        to_alertmanagers.apply(config).await.unwrap();
        while to_alertmanagers.alertmanagers().active.is_empty() {
            tokio::task::yield_now().await;
        }
        let storage = Arc::new(MemoryStorage::new());
        let sink: Arc<dyn AlertSink> = Arc::new(to_alertmanagers);
        let options = RuleOptions { external_labels, external_url, sink: Some(sink), ..RuleOptions::default() };
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let manager =
            RuleManager::new(options, Engine::default(), storage.clone(), storage.clone(), clock, &registry).unwrap();
        let rules = manager.handle();
        tasks.spawn(manager.run(shutdown.clone()));
        rules.apply(parse_rule_file("rules.yml", RULES, &Features::DEFAULT).unwrap()).await.unwrap();
        Self { storage, rules, shutdown }
    }

    fn write(&self, value: f64) {
        let mut appender = self.storage.appender();
        let labels = Labels::from_pairs([("__name__", "probe"), ("instance", "i"), ("job", "j")]);
        let series = appender.series(None, &labels).unwrap();
        appender.append(series, SystemClock.now(), value).unwrap();
        assert!(appender.commit().unwrap().is_empty());
    }

    /// Waits until the slow alert is pending, and none that waits is firing before it was.
    async fn saw_pending(&self) {
        loop {
            let status = self.rules.status();
            let state =
                status.iter().flat_map(|group| &group.rules).find(|rule| rule.name == "Slow").map(|rule| &rule.kind);
            match state {
                Some(RuleKind::Alerting { state: AlertState::Pending, .. }) => return,
                Some(RuleKind::Alerting { state: AlertState::Firing, .. }) => panic!("it was never pending"),
                // Between two evaluations.
                _ => sleep(Duration::from_millis(10)).await,
            }
        }
    }
}

/// A server that tells the gauge and takes notifications.
struct Server {
    address: String,
    scraped: Arc<tokio::sync::Notify>,
}

async fn serve(tasks: &mut JoinSet<()>, is_well: Arc<AtomicBool>, hook: mpsc::Sender<Value>) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let scraped = Arc::new(tokio::sync::Notify::new());
    let notify = Arc::clone(&scraped);
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (is_well, hook, notify) = (Arc::clone(&is_well), hook.clone(), Arc::clone(&notify));
            let answer = service_fn(move |request: Request<hyper::body::Incoming>| {
                let (is_well, hook, notify) = (Arc::clone(&is_well), hook.clone(), Arc::clone(&notify));
                async move {
                    if request.uri().path() == "/metrics" {
                        let value = u8::from(is_well.load(Ordering::SeqCst));
                        // The page before this one was taken.
                        notify.notify_one();
                        return Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(format!("probe {value}\n")))));
                    }
                    let body = request.into_body().collect().await.unwrap().to_bytes();
                    hook.send(serde_json::from_slice(&body).unwrap()).await.ok();
                    Ok(Response::new(Full::new(Bytes::new())))
                }
            });
            connections
                .spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer));
        }
    });
    Server { address, scraped }
}

/// A program that ends with the test.
struct Running {
    child: Child,
    address: String,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Starts a program and waits until its log tells where it listens.
fn start(program: &Path, folder: &Path, args: &[&str]) -> Running {
    let mut child = Command::new(program)
        .args(args)
        .current_dir(folder)
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap());
    let mut seen = String::new();
    let address = loop {
        let mut line = String::new();
        assert!(log.read_line(&mut line).unwrap() > 0, "{} ended: {seen}", program.display());
        if let Some((_, address)) = line.split_once("msg=\"Listening on\" address=") {
            break address.trim().to_owned();
        }
        seen.push_str(&line);
    };
    // The rest of the log is read, so that the program never waits for a reader; the thread ends with it.
    std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
    Running { child, address }
}

fn start_alertmanager(program: &Path, folder: &Path, server: &Server) -> Running {
    let config = format!(
        "route: {{receiver: hook, group_by: ['...'], group_wait: 0s, group_interval: 100ms, repeat_interval: 1h}}\n\
         receivers: [{{name: hook, webhook_configs: [{{url: 'http://{}/hook', send_resolved: true}}]}}]\n",
        server.address
    );
    std::fs::write(folder.join("alertmanager.yml"), config).unwrap();
    let args = [
        "--config.file=alertmanager.yml",
        "--storage.path=alertmanager",
        "--web.listen-address=127.0.0.1:0",
        "--cluster.listen-address=",
    ];
    start(program, folder, &args)
}

fn start_prometheus(program: &Path, folder: &Path, server: &Server, alertmanager: &str) -> Running {
    std::fs::write(folder.join("rules.yml"), RULES).unwrap();
    let config = format!(
        "global: {{scrape_interval: 200ms, scrape_timeout: 200ms, external_labels: {{by: prometheus}}}}\n\
         rule_files: [rules.yml]\n\
         alerting: {{alertmanagers: [{{static_configs: [{{targets: ['{alertmanager}']}}]}}]}}\n\
         scrape_configs: [{{job_name: j, static_configs: [{{targets: ['{}'], labels: {{instance: i}}}}]}}]\n",
        server.address
    );
    std::fs::write(folder.join("prometheus.yml"), config).unwrap();
    let args = [
        "--config.file=prometheus.yml",
        "--storage.tsdb.path=prometheus",
        "--web.listen-address=127.0.0.1:0",
        "--web.external-url=http://eye:9090",
    ];
    start(program, folder, &args)
}
