//! `crescendo server` among real peers: Debian's Prometheus writes to it and reads from it, Debian's Alertmanager
//! hears of its alerts.
//!
//! Rule: without the programs (`make tools`) nothing is compared, which is said in one line and fails in CI.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use e2e::client::Client;
use e2e::peer::{Peer, free_address};
use e2e::server::{SOON, Server, first_value};
use e2e::target::Target;
use e2e::wait;
use serde_json::{Value, json};
use tokio::process::Command;

const PAGE: &str = "# TYPE asr_total_requests counter\nasr_total_requests VISITS\n";

/// A program of Debian's, if it is there.
fn peer(name: &str) -> Option<PathBuf> {
    let found = e2e::peer::find(name).unwrap();
    if found.is_none() {
        println!("not run: no {name} in PATH; `make tools` gets it");
    }
    found
}

/// The values of a range query, series by series.
async fn values(web: &Client, expression: &str, start: f64, end: f64) -> Value {
    let expression = e2e::client::encode(expression);
    let path = format!("/api/v1/query_range?query={expression}&start={start}&end={end}&step=1");
    web.json(&path).await.unwrap()["data"]["result"].clone()
}

#[tokio::test]
async fn prometheus_writes_to_us_and_reads_from_us() {
    let Some(program) = peer("prometheus") else { return };
    let target = Target::start(PAGE).await.unwrap();
    let server = Server::start("", &["--web.enable-remote-write-receiver"]).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let config = format!(
        "global: {{scrape_interval: 200ms, scrape_timeout: 200ms}}\n\
         scrape_configs:\n- {{job_name: asr, static_configs: [{{targets: ['{}']}}]}}\n\
         remote_write:\n- {{url: '{}/api/v1/write', queue_config: {{batch_send_deadline: 200ms}}}}\n",
        target.address(),
        server.web.base(),
    );
    let writer = Peer::start_prometheus(&program, folder.path(), &config, &[]).await.unwrap();
    server.until("asr_total_requests", |result| first_value(result).is_some_and(|value| value > 5.0)).await.unwrap();
    // What has arrived is the same there and here, raw samples with their times.
    let here = server.web.query("asr_total_requests[1m]", None).await.unwrap();
    let newest = here[0]["values"].as_array().unwrap().last().unwrap()[0].as_f64().unwrap();
    let raw = |web: Client| async move { web.query("asr_total_requests[1m]", Some(newest)).await.unwrap() };
    let (here, there) = (raw(server.web.clone()).await, raw(writer.web.clone()).await);
    assert!(here[0]["values"].as_array().unwrap().len() > 3, "{here}");
    assert_eq!(here, there);
    drop(writer);

    // A second Prometheus has nothing of its own: all that it answers is read from here.
    let folder = tempfile::tempdir().unwrap();
    let config = format!("remote_read:\n- {{url: '{}/api/v1/read', read_recent: true}}\n", server.web.base());
    let reader = Peer::start_prometheus(&program, folder.path(), &config, &[]).await.unwrap();
    let (start, end) = (newest.floor() - 10.0, newest.floor());
    for expression in ["asr_total_requests", "sum by (job) (up)", "count_over_time(asr_total_requests[5s])"] {
        let (here, there) =
            (values(&server.web, expression, start, end).await, values(&reader.web, expression, start, end).await);
        assert!(!here.as_array().unwrap().is_empty(), "{expression}");
        assert_eq!(here, there, "{expression}");
    }
}

#[tokio::test]
async fn prometheus_takes_what_we_write_and_an_outage_of_it_loses_nothing() {
    let Some(program) = peer("prometheus") else { return };
    let target = Target::start(PAGE).await.unwrap();
    let (address, folder) = (free_address().unwrap(), tempfile::tempdir().unwrap());
    let receive = ["--web.enable-remote-write-receiver"];
    let receiver = Peer::start_prometheus_at(&program, folder.path(), "", &receive, address).await.unwrap();
    let config = format!(
        "global: {{scrape_interval: 200ms, scrape_timeout: 200ms, external_labels: {{zone: a}}}}\n\
         scrape_configs:\n- {{job_name: asr, static_configs: [{{targets: ['{}']}}]}}\n\
         remote_write:\n- url: http://{address}/api/v1/write\n  name: peer\n\
         \x20 queue_config: {{batch_send_deadline: 200ms, max_samples_per_send: 7}}\n\
         \x20 write_relabel_configs: [{{source_labels: [__name__], regex: scrape_.*, action: drop}}]\n",
        target.address()
    );
    let server = Server::start(&config, &[]).await.unwrap();
    let newest = |result: &Value| first_value(result).unwrap_or_default();
    let received = async |peer: &Peer, least: f64| {
        let ask = || peer.web.query("asr_total_requests", None);
        wait::until("samples at the peer", SOON, ask, |result: &Value| newest(result) > least).await.unwrap()
    };
    let before = newest(&received(&receiver, 3.0).await);

    // Away, until there is something that it missed; then back on the data that it had.
    receiver.kill().await.unwrap();
    server.until("asr_total_requests", |result| newest(result) > before + 10.0).await.unwrap();
    let receiver = Peer::start_prometheus_at(&program, folder.path(), "", &receive, address).await.unwrap();
    let there = received(&receiver, before + 10.0).await;
    assert_eq!(there[0]["metric"]["zone"], "a");
    let at = there[0]["value"][0].as_f64().unwrap();
    let end = receiver.web.query("timestamp(asr_total_requests)", Some(at)).await.unwrap();
    let end = first_value(&end).unwrap();
    let raw = |web: Client| async move { web.query("asr_total_requests[10m]", Some(end)).await.unwrap() };
    let (here, there) = (raw(server.web.clone()).await, raw(receiver.web.clone()).await);
    assert!(here[0]["values"].as_array().unwrap().len() > 13, "{here}");
    assert_eq!(here[0]["values"], there[0]["values"]);
    assert_eq!(receiver.web.query("scrape_duration_seconds", None).await.unwrap(), json!([]));
    let retried = server.web.get("/metrics").await.unwrap().text();
    let retried = retried.lines().find(|line| line.starts_with("prometheus_remote_storage_samples_retried_total{"));
    assert!(retried.is_some_and(|line| !line.ends_with(" 0")), "{retried:?}");
}

#[tokio::test]
async fn data_go_to_prometheus_and_come_back() {
    let Some(promtool) = peer("promtool") else { return };
    let target = Target::start(PAGE).await.unwrap();
    let config = format!(
        "global: {{scrape_interval: 200ms, scrape_timeout: 200ms}}\n\
         scrape_configs:\n- {{job_name: asr, static_configs: [{{targets: ['{}']}}]}}\n",
        target.address()
    );
    let server = Server::start(&config, &[]).await.unwrap();
    server.until("asr_total_requests", |result| first_value(result).is_some_and(|value| value > 5.0)).await.unwrap();
    let Server { mut process, folder, .. } = server;
    process.signal("TERM").await.unwrap();
    process.wait(SOON).await.unwrap();

    let place = |name: &str| folder.path().join(name).display().to_string();
    let (data, blocks, back) = (place("data"), place("blocks"), place("back"));
    let listed: Value = serde_json::from_str(&ours(&["tsdb", "list", &data, "-o", "json"]).await).unwrap();
    let samples = |listed: &Value| {
        let sealed = listed["segments"].as_array().unwrap().iter().map(|segment| segment["samples"].as_u64().unwrap());
        sealed.sum::<u64>() + listed["head"]["samples"].as_u64().unwrap()
    };
    assert!(samples(&listed) > 20, "{listed}");
    assert!(ours(&["tsdb", "analyze", &data]).await.contains("asr_total_requests"));
    let exported: Value = serde_json::from_str(&ours(&["tsdb", "export", &data, &blocks, "-o", "json"]).await).unwrap();
    assert_eq!(exported["blocks"][0]["samples"].as_u64(), Some(samples(&listed)), "{exported}");

    let seen = Command::new(promtool).args(["tsdb", "list", &blocks]).output().await.unwrap();
    let seen = String::from_utf8_lossy(&seen.stdout).into_owned();
    assert!(seen.contains(exported["blocks"][0]["ulid"].as_str().unwrap()), "{seen}");

    ours(&["tsdb", "import", &back, &blocks]).await;
    assert_eq!(ours(&["tsdb", "dump", &back]).await, ours(&["tsdb", "dump", &data]).await);
    let one = ours(&["tsdb", "dump", &data, "--match", "asr_total_requests"]).await;
    assert!(one.lines().count() > 5 && one.lines().all(|line| line.starts_with("asr_total_requests{")), "{one}");
    let nowhere =
        Command::new(e2e::process::binary().unwrap()).args(["tsdb", "list", "/nowhere"]).output().await.unwrap();
    assert_eq!(nowhere.status.code(), Some(2));
}

/// What a command of ours prints.
async fn ours(words: &[&str]) -> String {
    let output = Command::new(e2e::process::binary().unwrap()).args(words).output().await.unwrap();
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Debian's Alertmanager, with a route to nobody; nothing where there is none.
async fn alertmanager() -> Option<(Peer, String, tempfile::TempDir)> {
    let program = peer("prometheus-alertmanager")?;
    let (address, folder) = (free_address().unwrap(), tempfile::tempdir().unwrap());
    let file = folder.path().join("alertmanager.yml");
    std::fs::write(&file, "route: {receiver: none}\nreceivers: [{name: none}]\n").unwrap();
    let words = vec![
        format!("--config.file={}", file.display()),
        format!("--storage.path={}", folder.path().join("data").display()),
        format!("--web.listen-address={address}"),
        "--cluster.listen-address=".to_owned(),
    ];
    let started = Peer::start(&program, words, address).await.unwrap();
    Some((started, address.to_string(), folder))
}

#[tokio::test]
async fn alertmanager_hears_of_our_alerts() {
    let Some((alertmanager, address, _folder)) = alertmanager().await else { return };

    let own = tempfile::tempdir().unwrap();
    let rules = "groups: [{name: g, rules: [{alert: Always, expr: vector(1) > 0, labels: {severity: page}}]}]";
    std::fs::write(own.path().join("rules.yml"), rules).unwrap();
    let config = format!(
        "global: {{evaluation_interval: 200ms, external_labels: {{zone: a}}}}\nrule_files: [rules.yml]\n\
         alerting: {{alertmanagers: [{{static_configs: [{{targets: ['{address}']}}]}}]}}\n"
    );
    std::fs::write(own.path().join("prometheus.yml"), config).unwrap();
    let server = Server::start_in(own, &["--web.external-url=http://asr.example:9090"]).await.unwrap();
    let asked = || async { alertmanager.web.json("/api/v2/alerts").await };
    let alerts = wait::until("the alert", SOON, asked, |alerts: &Value| alerts[0]["labels"].is_object()).await.unwrap();
    assert_eq!(alerts[0]["labels"], json!({"alertname": "Always", "severity": "page", "zone": "a"}));
    let link = alerts[0]["generatorURL"].as_str().unwrap();
    assert!(link.starts_with("http://asr.example:9090/graph?g0.expr=vector%281%29"), "{link}");
    let told = server.web.json("/api/v1/alertmanagers").await.unwrap();
    assert_eq!(told["data"]["activeAlertmanagers"], json!([{"url": format!("http://{address}/api/v2/alerts")}]));
}

/// What one Alertmanager was told by two servers, which differ by their external label `from`.
#[derive(Default)]
struct Told {
    /// By server and name.
    firing: BTreeMap<(String, String), Value>,
    /// Names in the order in which they began, by server.
    began: BTreeMap<String, Vec<String>>,
    /// Names of those that ended, by server.
    ended: BTreeMap<String, BTreeSet<String>>,
}

impl Told {
    fn look(&mut self, alerts: &Value) {
        let label = |alert: &Value, name: &str| alert["labels"][name].as_str().unwrap().to_owned();
        let key = |alert: &Value| (label(alert, "from"), label(alert, "alertname"));
        let now: BTreeMap<_, _> = alerts.as_array().unwrap().iter().map(|alert| (key(alert), alert.clone())).collect();
        for (from, name) in self.firing.keys().filter(|key| !now.contains_key(key)) {
            self.ended.entry(from.clone()).or_default().insert(name.clone());
        }
        // Who looks late sees several at once: what they say of their begin orders them.
        let mut new: Vec<_> = now.iter().filter(|(key, _)| !self.firing.contains_key(key)).collect();
        new.sort_by_key(|(_, alert)| alert["startsAt"].as_str().unwrap().to_owned());
        for ((from, name), _) in new {
            self.began.entry(from.clone()).or_default().push(name.clone());
        }
        self.firing = now;
    }

    fn firing(&self, from: &str) -> Vec<&str> {
        self.firing.keys().filter(|(of, _)| of == from).map(|(_, name)| name.as_str()).collect()
    }

    /// What an alert says, but for who told it and when.
    fn content(&self, from: &str, name: &str) -> Value {
        let alert = &self.firing[&(from.to_owned(), name.to_owned())];
        let mut labels = alert["labels"].clone();
        labels.as_object_mut().unwrap().remove("from");
        json!({"labels": labels, "annotations": alert["annotations"]})
    }
}

#[tokio::test]
async fn alerts_begin_and_end_in_the_order_of_prometheus() {
    let Some(program) = peer("prometheus") else { return };
    let Some((alertmanager, address, _folder)) = alertmanager().await else { return };
    let target = Target::start("load 0\n").await.unwrap();
    let rules = "groups:\n- name: g\n  rules:\n\
                 \x20 - {alert: Idle, expr: load == 0}\n\
                 \x20 - {alert: AtOnce, expr: load > 1, annotations: {text: '{{ $labels.job }} has {{ $value | humanize }}'}}\n\
                 \x20 - {alert: AfterAWhile, expr: load > 1, for: 3s, labels: {severity: page}}\n\
                 \x20 - {alert: Never, expr: load > 1, for: 1h}\n";
    let config = |from: &str| {
        format!(
            "global: {{scrape_interval: 200ms, scrape_timeout: 200ms, evaluation_interval: 200ms, \
             external_labels: {{from: {from}}}}}\nrule_files: [rules.yml]\n\
             alerting: {{alertmanagers: [{{static_configs: [{{targets: ['{address}']}}]}}]}}\n\
             scrape_configs: [{{job_name: asr, static_configs: [{{targets: ['{}']}}]}}]\n",
            target.address()
        )
    };
    let (own, their) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for folder in [&own, &their] {
        std::fs::write(folder.path().join("rules.yml"), rules).unwrap();
    }
    std::fs::write(own.path().join("prometheus.yml"), config("ours")).unwrap();
    let _server = Server::start_in(own, &[]).await.unwrap();
    let _prometheus = Peer::start_prometheus(&program, their.path(), &config("theirs"), &[]).await.unwrap();

    let mut told = Told::default();
    for (page, firing) in
        [("load 0\n", ["Idle"].as_slice()), ("load 5\n", &["AfterAWhile", "AtOnce"]), ("load 0\n", &["Idle"])]
    {
        target.set_page(page);
        let done = |alerts: &Value| {
            told.look(alerts);
            ["ours", "theirs"].iter().all(|from| told.firing(from) == firing)
        };
        let what = format!("{firing:?} of both servers");
        wait::until(&what, SOON, || alertmanager.web.json("/api/v2/alerts"), done).await.unwrap();
        for name in firing {
            assert_eq!(told.content("ours", name), told.content("theirs", name));
        }
    }
    assert_eq!(told.began["ours"], told.began["theirs"]);
    assert_eq!(told.began["ours"], ["Idle", "AtOnce", "AfterAWhile", "Idle"]);
    assert_eq!(told.ended["ours"], told.ended["theirs"]);
    assert_eq!(told.ended["ours"].iter().collect::<Vec<_>>(), ["AfterAWhile", "AtOnce", "Idle"]);
}
