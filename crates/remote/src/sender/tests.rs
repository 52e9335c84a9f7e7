//! The way from a commit to a receiver, which is a server of the tests' own.
//!
//! Rule: time is tokio's paused one where waiting matters; receivers say what they got.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use datamodel::registry::Registry;
use datamodel::time::SystemClock;
use datamodel::{Labels, STALE_NAN, Timestamp};
use expect_test::expect;
use storage::{AppendError, Appendable, MemoryPool, MemoryStorage};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::wire::{WriteRequest, WriteVersion, decompress};

fn decode(text: &str) -> Result<Vec<RemoteWriteConfig>, yaml::Errors> {
    yaml::decode("p.yml", text, |node, report| {
        yaml::mapping(node, report, |fields| Some(remote_write_configs(fields, Path::new("/etc/p"))))
    })
}

#[test]
fn section_of_the_documentation_is_read() {
    let configs = decode(
        "
remote_write:
- url: https://user:secret@metrics.example/api/v1/write
  name: far
  remote_timeout: 10s
  headers: {X-Scope-OrgID: speech}
  write_relabel_configs: [{source_labels: [__name__], regex: 'go_.*', action: drop}]
  send_exemplars: true
  send_native_histograms: true
  protobuf_message: io.prometheus.write.v2.Request
  queue_config: {capacity: 100, max_shards: 7, min_shards: 2, max_samples_per_send: 50, batch_send_deadline: 1s,
    min_backoff: 1s, max_backoff: 8s, retry_on_http_429: true, sample_age_limit: 2h}
  metadata_config: {send: false, send_interval: 5m, max_samples_per_send: 9}
  basic_auth: {username: u, password_file: secret}
- url: http://near:9090/api/v1/write
",
    )
    .unwrap();
    let [far, near] = configs.as_slice() else { panic!("{configs:?}") };
    assert_eq!((far.name.as_str(), far.version, far.queue.waiting()), ("far", WriteVersion::V2, 700));
    assert_eq!(
        (far.client.files().as_slice(), far.relabel.len()),
        ([Path::new("/etc/p/secret").to_owned()].as_slice(), 1)
    );
    assert_eq!((near.name.as_str(), near.queue.waiting()), ("near:9090/api/v1/write", 500_000));
    assert_eq!((near.timeout, near.metadata.send), (Duration::from_secs(30), true));
    assert!(decode("").unwrap().is_empty());
}

#[test]
fn everything_wrong_is_told_at_once() {
    let errors = decode(
        "
remote_write:
- url: ftp://x
  headers: {Content-Type: a}
  remote_timeout: 0s
  protobuf_message: x
  queue_config: {capacity: 0, min_shards: 60, shards: 1}
  sigv4: {region: eu}
- url: http://a/w
- url: http://a/w
-
",
    )
    .unwrap_err();
    expect![[r#"
        p.yml:3:8: remote_write[0].url: not a URL of `http` or `https`: `ftp://x`
        p.yml:4:12: remote_write[0].headers: header cannot be set here: `Content-Type`
        p.yml:5:19: remote_write[0].remote_timeout: must be greater than zero
        p.yml:6:21: remote_write[0].protobuf_message: expected one of `prometheus.WriteRequest`, `io.prometheus.write.v2.Request`, found `x`
        p.yml:7:28: remote_write[0].queue_config.capacity: must be from 1 to 50000000
        p.yml:7:43: remote_write[0].queue_config.min_shards: greater than `max_shards`: 60 > 50
        p.yml:7:47: remote_write[0].queue_config.shards: unknown key
        p.yml:8:3: remote_write[0].sigv4: not supported: requests are not signed for AWS
        p.yml:10:3: remote_write[2]: another remote storage has the same name: `a/w`; set `name`
        p.yml:11:2: remote_write[3]: expected a remote storage, found null"#]].assert_eq(&errors.to_string());
}

/// A receiver that answers each request with the next of its statuses, at last with 204.
struct Receiver {
    address: std::net::SocketAddr,
    got: Arc<Mutex<Vec<WriteRequest>>>,
    asked: Arc<AtomicU64>,
    changed: Arc<Notify>,
    _task: JoinSet<()>,
}

impl Receiver {
    async fn start(statuses: &[u16]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (got, asked, changed) = (Arc::default(), Arc::default(), Arc::new(Notify::new()));
        let statuses: Arc<Mutex<VecDeque<u16>>> = Arc::new(Mutex::new(statuses.iter().copied().collect()));
        let mut task = JoinSet::new();
        let shared = (Arc::clone(&got), Arc::clone(&statuses), Arc::clone(&asked), Arc::clone(&changed));
        task.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, shared.clone()));
            }
        });
        Self { address, got, asked, changed, _task: task }
    }

    fn values(&self, name: &str) -> Vec<f64> {
        let got = self.got.lock().unwrap();
        let series = got.iter().flat_map(|request| &request.series);
        let named = series.filter(|series| series.labels.metric_name() == Some(name));
        named.flat_map(|series| series.samples.iter().map(|sample| sample.value)).collect()
    }

    async fn until(&self, done: impl Fn(&Self) -> bool) {
        while !done(self) {
            self.changed.notified().await;
        }
    }
}

type Heard = (Arc<Mutex<Vec<WriteRequest>>>, Arc<Mutex<VecDeque<u16>>>, Arc<AtomicU64>, Arc<Notify>);

async fn serve(mut stream: TcpStream, (got, statuses, asked, changed): Heard) {
    let mut buffer = Vec::new();
    loop {
        let head = loop {
            if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                break end + 4;
            }
            let mut chunk = [0; 4096];
            match stream.read(&mut chunk).await {
                Ok(count) if count > 0 => buffer.extend_from_slice(&chunk[..count]),
                _ => return,
            }
        };
        let text = String::from_utf8_lossy(&buffer[..head]).to_lowercase();
        assert!(
            text.contains("content-encoding: snappy") && text.contains("x-prometheus-remote-write-version: "),
            "{text}"
        );
        let length =
            text.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap().parse::<usize>().unwrap();
        while buffer.len() < head + length {
            let mut chunk = [0; 4096];
            let count = stream.read(&mut chunk).await.unwrap();
            buffer.extend_from_slice(&chunk[..count]);
        }
        let version = if text.contains("write.v2.request") { WriteVersion::V2 } else { WriteVersion::V1 };
        let body = decompress(&buffer[head..head + length], 1 << 20).unwrap();
        buffer.drain(..head + length);
        let status = statuses.lock().unwrap().pop_front().unwrap_or(204);
        if status == 204 {
            got.lock().unwrap().push(WriteRequest::decode(version, &body).unwrap());
        }
        asked.fetch_add(1, Ordering::SeqCst);
        changed.notify_one();
        let answer = format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\n\r\n");
        stream.write_all(answer.as_bytes()).await.unwrap();
    }
}

/// A writer with a storage behind its tee.
struct Setup {
    tee: Tee,
    storage: Arc<MemoryStorage>,
    handle: RemoteWriteHandle,
    registry: Registry,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

impl Setup {
    async fn start(config: &str, external_labels: &[(&str, &str)]) -> Self {
        Self::with_memory(config, external_labels, MemoryPool::unlimited()).await
    }

    async fn with_memory(config: &str, external_labels: &[(&str, &str)], memory: MemoryPool) -> Self {
        let registry = Registry::new();
        let options = RemoteWriteOptions {
            client: ClientOptions::default(),
            memory,
            drain_timeout: DEFAULT_DRAIN_TIMEOUT,
            clock: Arc::new(SystemClock),
            metadata: Arc::new(Vec::new),
        };
        let writer = RemoteWriter::new(options, &registry).unwrap();
        let (handle, storage) = (writer.handle(), Arc::new(MemoryStorage::default()));
        let tee = handle.tee(Arc::clone(&storage) as Arc<dyn Appendable>);
        let (stop, mut tasks) = (CancellationToken::new(), JoinSet::new());
        tasks.spawn(writer.run(stop.clone()));
        let setup = Self { tee, storage, handle, registry, stop, tasks };
        setup.apply(config, external_labels).await;
        setup
    }

    async fn apply(&self, config: &str, external_labels: &[(&str, &str)]) {
        let remotes = decode(config).unwrap();
        let count = remotes.len();
        let external_labels = Labels::from_pairs(external_labels.iter().copied());
        self.handle.apply(RemoteWrites { external_labels, remotes }).await.unwrap();
        // Taken by the writer's task, which needs a turn.
        while self.handle.shared.senders.read().unwrap().len() != count {
            tokio::task::yield_now().await;
        }
    }

    fn write(&self, name: &str, at_ms: i64, value: f64) {
        let mut appender = self.tee.appender();
        let series = appender.series(None, &Labels::from_pairs([("__name__", name), ("pod", "a")])).unwrap();
        appender.append(series, Timestamp::from_unix_ms(at_ms), value).unwrap();
        appender.commit().unwrap();
    }

    fn metric(&self, start: &str) -> u64 {
        let mut text = String::new();
        self.registry.encode_text(&mut text);
        let lines = text.lines().filter(|line| line.starts_with(start) && !line.starts_with('#'));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
    }

    /// Ends the writer, after which its figures are settled.
    async fn end(&mut self) {
        self.stop.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap();
        }
    }
}

fn config(receiver: &Receiver, more: &str) -> String {
    format!("remote_write: [{{name: r, url: 'http://{}/w', {more}}}]", receiver.address)
}

const FAST: &str =
    "queue_config: {batch_send_deadline: 5ms, min_backoff: 1ms, max_backoff: 2ms}, metadata_config: {send: false}";

#[tokio::test]
async fn commits_arrive_with_external_labels_and_without_what_relabelling_drops() {
    let receiver = Receiver::start(&[]).await;
    let more = format!("{FAST}, write_relabel_configs: [{{source_labels: [__name__], regex: go_.*, action: drop}}]");
    let mut setup = Setup::start(&config(&receiver, &more), &[("zone", "eu"), ("pod", "never")]).await;
    setup.write("go_threads", 1_000, 9.0);
    setup.write("up", 1_000, 1.0);
    setup.write("up", 2_000, STALE_NAN);
    receiver.until(|receiver| receiver.values("up").len() == 2).await;
    let labels = receiver.got.lock().unwrap()[0].series[0].labels.clone();
    assert_eq!(labels, Labels::from_pairs([("__name__", "up"), ("pod", "a"), ("zone", "eu")]));
    assert!(datamodel::is_stale_nan(receiver.values("up")[1]));
    assert!(receiver.values("go_threads").is_empty());
    setup.end().await;
    assert_eq!(setup.metric("prometheus_remote_storage_samples_total"), 2);
    let dropped = "prometheus_remote_storage_samples_dropped_total{";
    assert_eq!(setup.metric(dropped), 1);
    // The own storage has all of it.
    assert_eq!(setup.storage.series_count(), 2);
}

#[tokio::test]
async fn outage_loses_nothing_and_keeps_the_order() {
    let receiver = Receiver::start(&[503, 500, 503, 502]).await;
    let mut setup = Setup::start(&config(&receiver, FAST), &[]).await;
    for value in 0..100 {
        setup.write("up", 1_000 + value, value as f64);
        tokio::task::yield_now().await;
    }
    receiver.until(|receiver| receiver.values("up").len() == 100).await;
    assert_eq!(receiver.values("up"), (0..100).map(f64::from).collect::<Vec<_>>());
    setup.end().await;
    assert!(setup.metric("prometheus_remote_storage_samples_retried_total") >= 4);
    assert_eq!(setup.metric("prometheus_remote_storage_samples_failed_total"), 0);
}

#[tokio::test]
async fn refused_samples_are_counted_and_others_go_on() {
    let receiver = Receiver::start(&[400, 429]).await;
    let mut setup = Setup::start(&config(&receiver, FAST), &[]).await;
    setup.write("first", 1_000, 1.0);
    receiver.until(|receiver| receiver.asked.load(Ordering::SeqCst) == 1).await;
    setup.write("second", 1_000, 1.0);
    receiver.until(|receiver| receiver.asked.load(Ordering::SeqCst) == 2).await;
    setup.write("third", 1_000, 1.0);
    receiver.until(|receiver| receiver.values("third").len() == 1).await;
    assert!(receiver.values("first").is_empty() && receiver.values("second").is_empty());
    setup.end().await;
    assert_eq!(setup.metric("prometheus_remote_storage_samples_failed_total"), 2);
}

#[tokio::test]
async fn rate_limit_is_waited_for_where_it_is_asked_for() {
    let receiver = Receiver::start(&[429, 429]).await;
    let more = FAST.replace("{batch", "{retry_on_http_429: true, batch");
    let mut setup = Setup::start(&config(&receiver, &more), &[]).await;
    setup.write("up", 1_000, 1.0);
    receiver.until(|receiver| receiver.values("up").len() == 1).await;
    setup.end().await;
    assert_eq!(setup.metric("prometheus_remote_storage_samples_retried_total"), 2);
}

#[tokio::test]
async fn full_queue_drops_the_oldest_and_counts_them() {
    // Nobody listens there.
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = nobody.local_addr().unwrap();
    drop(nobody);
    let queue = "queue_config: {capacity: 10, max_shards: 1, max_samples_per_send: 5, batch_send_deadline: 1h, min_backoff: 1h, max_backoff: 1h}";
    let text =
        format!("remote_write: [{{name: r, url: 'http://{address}/w', {queue}, metadata_config: {{send: false}}}}]");
    let mut setup = Setup::start(&text, &[]).await;
    for value in 0..40 {
        setup.write("up", 1_000 + value, value as f64);
    }
    let dropped = setup.metric("prometheus_remote_storage_samples_dropped_total{");
    // All but those that wait and those of the one request.
    assert!((25..=30).contains(&dropped), "{dropped}");
    assert_eq!(setup.metric("prometheus_remote_storage_samples_pending"), 10);
    setup.end().await;
}

#[tokio::test]
async fn what_waits_is_reserved_from_the_common_memory() {
    let receiver = Receiver::start(&[]).await;
    let memory = MemoryPool::new(6_000);
    let more = "queue_config: {batch_send_deadline: 1h}, metadata_config: {send: false}";
    let mut setup = Setup::with_memory(&config(&receiver, more), &[], memory.clone()).await;
    for value in 0..500 {
        setup.write("up", 1_000 + value, value as f64);
    }
    assert!(memory.used() > 3_000 && memory.used() <= 6_000, "{}", memory.used());
    assert!(setup.metric("prometheus_remote_storage_samples_dropped_total{") > 300);
    setup.end().await;
    // The end sends what waited, the newest.
    assert_eq!(receiver.values("up").last(), Some(&499.0));
}

#[tokio::test]
async fn what_the_storage_refuses_is_not_sent() {
    let receiver = Receiver::start(&[]).await;
    let mut setup = Setup::start(&config(&receiver, FAST), &[]).await;
    setup.write("up", 5_000, 5.0);
    let mut appender = setup.tee.appender();
    let series = appender.series(None, &Labels::from_pairs([("__name__", "up"), ("pod", "a")])).unwrap();
    let mut refused = 0;
    for (at, value) in [(1_000, 1.0), (6_000, 6.0)] {
        refused += usize::from(appender.append(series, Timestamp::from_unix_ms(at), value).is_err());
    }
    refused += appender.commit().unwrap().len();
    assert_eq!(refused, 1);
    receiver.until(|receiver| receiver.values("up").len() == 2).await;
    assert_eq!(receiver.values("up"), [5.0, 6.0]);
    setup.end().await;
}

#[tokio::test]
async fn references_from_before_the_configuration_are_asked_for_anew() {
    let receiver = Receiver::start(&[]).await;
    let mut setup = Setup::start("", &[]).await;
    let labels = Labels::from_pairs([("__name__", "up")]);
    let mut appender = setup.tee.appender();
    let series = appender.series(None, &labels).unwrap();
    appender.append(series, Timestamp::from_unix_ms(1), 1.0).unwrap();
    appender.commit().unwrap();
    setup.apply(&config(&receiver, FAST), &[]).await;
    let mut appender = setup.tee.appender();
    let unknown = appender.append(series, Timestamp::from_unix_ms(2), 2.0);
    assert!(matches!(unknown, Err(AppendError::UnknownSeries)), "{unknown:?}");
    let series = appender.series(None, &labels).unwrap();
    appender.append(series, Timestamp::from_unix_ms(2), 2.0).unwrap();
    appender.commit().unwrap();
    receiver.until(|receiver| receiver.values("up") == [2.0]).await;
    setup.apply("", &[]).await;
    assert_eq!(setup.metric("prometheus_remote_storage_samples_total"), 0);
    setup.end().await;
}

#[tokio::test]
async fn version_2_is_sent_where_it_is_asked_for() {
    let receiver = Receiver::start(&[]).await;
    let more = format!("{FAST}, protobuf_message: io.prometheus.write.v2.Request");
    let mut setup = Setup::start(&config(&receiver, &more), &[]).await;
    setup.write("up", 1_000, 1.0);
    receiver.until(|receiver| receiver.values("up") == [1.0]).await;
    setup.end().await;
}
