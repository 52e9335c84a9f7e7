//! A small world on a paused clock: targets behind in-memory connections, a storage in memory.
//!
//! Rule: time passes only when everything waits, so that every timestamp is exact.

mod crowd;
mod hostile;
mod log;
mod overlay;
mod pages;
mod pulling;
mod rows;
mod schedule;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt::Write as _;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use datamodel::registry::Registry;
use datamodel::time::TimeRange;
use datamodel::{Clock, Labels, MatchOp, Matcher, Timestamp, is_stale_nan};
use discovery::{TargetGroup, WatchedDiscoverer};
use http::{Response, StatusCode};
use http_body_util::Full;
use http_client::{ClientOptions, ConnectFuture, Connector, Stream};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use storage::{Appendable, MemoryStorage, Queryable, Samples, SelectHints};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::{Job, ScrapeConfig, ScrapeHandle, ScrapeManager, ScrapeOptions, TargetStatus};

pub(super) const INTERVAL: Duration = Duration::from_secs(10);

/// What a target answers.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) content_type: &'static str,
    pub(super) body: String,
    pub(super) delay: Duration,
    pub(super) location: Option<String>,
}

impl Default for Answer {
    fn default() -> Self {
        let (content_type, delay) = ("text/plain; version=0.0.4", Duration::ZERO);
        Self { status: 200, content_type, body: String::new(), delay, location: None }
    }
}

/// Targets by host name, behind in-memory connections.
#[derive(Debug, Default)]
pub(super) struct FakeNet {
    hosts: Mutex<BTreeMap<String, Answer>>,
    /// Requests that came, by host, with their time.
    requests: Mutex<Vec<(String, Instant, http::request::Parts)>>,
    connections: Mutex<JoinSet<()>>,
    opened: Mutex<usize>,
    /// Requests that are being answered, and the most at once.
    busy: Mutex<(usize, usize)>,
}

impl FakeNet {
    pub(super) fn set(&self, host: &str, answer: Answer) {
        self.hosts.lock().unwrap().insert(host.to_owned(), answer);
    }

    pub(super) fn page(&self, host: &str, body: &str) {
        self.set(host, Answer { body: body.to_owned(), ..Answer::default() });
    }

    pub(super) fn request_count(&self, host: &str) -> usize {
        self.requests.lock().unwrap().iter().filter(|(of, ..)| of == host).count()
    }

    pub(super) fn last_request(&self, host: &str) -> http::request::Parts {
        let requests = self.requests.lock().unwrap();
        requests.iter().rfind(|(of, ..)| of == host).unwrap().2.clone()
    }

    pub(super) fn most_at_once(&self) -> usize {
        self.busy.lock().unwrap().1
    }

    fn begin(&self) {
        let mut busy = self.busy.lock().unwrap();
        busy.0 += 1;
        busy.1 = busy.1.max(busy.0);
    }

    fn end(&self) {
        self.busy.lock().unwrap().0 -= 1;
    }

    pub(super) fn opened(&self) -> usize {
        *self.opened.lock().unwrap()
    }
}

/// The connector shares the network with the test.
#[derive(Debug)]
struct FakeConnector(Arc<FakeNet>);

impl Connector for FakeConnector {
    fn connect<'a>(&'a self, host: &'a str, _port: u16) -> ConnectFuture<'a> {
        Box::pin(async move {
            if !self.0.hosts.lock().unwrap().contains_key(host) {
                return Err(io::Error::from(io::ErrorKind::ConnectionRefused));
            }
            *self.0.opened.lock().unwrap() += 1;
            let (client, server) = tokio::io::duplex(1024);
            let (net, host) = (Arc::clone(&self.0), host.to_owned());
            let service = service_fn(move |request: http::Request<hyper::body::Incoming>| {
                let (net, host) = (Arc::clone(&net), host.clone());
                async move {
                    let parts = request.into_parts().0;
                    net.requests.lock().unwrap().push((host.clone(), Instant::now(), parts));
                    let answer = net.hosts.lock().unwrap().get(&host).cloned().unwrap();
                    net.begin();
                    sleep_until(Instant::now() + answer.delay).await;
                    net.end();
                    let mut response = Response::new(Full::new(Bytes::from(answer.body)));
                    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap();
                    let headers = response.headers_mut();
                    if !answer.content_type.is_empty() {
                        headers.insert("content-type", answer.content_type.parse().unwrap());
                    }
                    if let Some(location) = answer.location {
                        headers.insert("location", location.parse().unwrap());
                    }
                    Ok::<_, Infallible>(response)
                }
            });
            self.0.connections.lock().unwrap().spawn(async move {
                http1::Builder::new().serve_connection(TokioIo::new(server), service).await.ok();
            });
            let client: Box<dyn Stream> = Box::new(client);
            Ok(client)
        })
    }
}

/// Wall-clock time that follows the paused clock.
#[derive(Debug)]
pub(super) struct FollowingClock(Instant);

impl Clock for FollowingClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_unix_ms(1_000_000_000_000).saturating_add(self.0.elapsed())
    }
}

/// A running manager and all around it.
#[derive(Debug)]
pub(super) struct World {
    pub(super) net: Arc<FakeNet>,
    pub(super) storage: Arc<MemoryStorage>,
    pub(super) handle: ScrapeHandle,
    pub(super) groups: watch::Sender<Vec<TargetGroup>>,
    pub(super) registry: Registry,
    clock: Arc<FollowingClock>,
    shutdown: CancellationToken,
    manager: JoinSet<()>,
}

pub(super) fn config() -> ScrapeConfig {
    ScrapeConfig {
        job_name: "asr".to_owned(),
        scrape_interval: INTERVAL,
        scrape_timeout: Duration::from_secs(5),
        ..ScrapeConfig::default()
    }
}

pub(super) fn group(hosts: &[&str]) -> TargetGroup {
    TargetGroup::from_addresses("test", Labels::empty(), hosts.iter().map(|host| format!("{host}:1")))
}

impl World {
    /// Starts a job with the given targets and their pages.
    pub(super) async fn start(config: ScrapeConfig, targets: &[(&str, &str)]) -> Self {
        let net = Arc::new(FakeNet::default());
        for (host, page) in targets {
            net.page(host, page);
        }
        let hosts: Vec<&str> = targets.iter().map(|(host, _)| *host).collect();
        Self::start_with(Arc::new(FakeConnector(Arc::clone(&net))), net, config, group(&hosts)).await
    }

    /// Starts a job whose targets are reached by another connector.
    pub(super) async fn start_with(
        connector: Arc<dyn Connector>,
        net: Arc<FakeNet>,
        config: ScrapeConfig,
        group: TargetGroup,
    ) -> Self {
        let storage = Arc::new(MemoryStorage::new());
        let registry = Registry::new();
        let client = ClientOptions { connector, ..ClientOptions::default() };
        let options = ScrapeOptions { client, ..ScrapeOptions::default() };
        let appendable: Arc<dyn Appendable> = Arc::<MemoryStorage>::clone(&storage);
        let clock = Arc::new(FollowingClock(Instant::now()));
        let manager_clock: Arc<dyn Clock> = Arc::<FollowingClock>::clone(&clock);
        let manager = ScrapeManager::new(options, appendable, manager_clock, &registry).unwrap();
        let handle = manager.handle();
        let (groups, watched) = watch::channel(vec![group]);
        let shutdown = CancellationToken::new();
        let mut tasks = JoinSet::new();
        tasks.spawn(manager.run(shutdown.clone()));
        let discoverers: Vec<Box<dyn discovery::Discoverer>> = vec![Box::new(WatchedDiscoverer::new(watched))];
        handle.apply(vec![Job { config, discoverers }]).await.unwrap();
        Self { net, storage, handle, groups, registry, clock, shutdown, manager: tasks }
    }

    /// Lets time pass.
    pub(super) async fn pass(&self, duration: Duration) {
        sleep_until(Instant::now() + duration).await;
    }

    /// Waits until a target was scraped, then half an interval more; gives back the time of that scrape.
    pub(super) async fn scraped(&self, host: &str) -> i64 {
        let scraped = |status: &TargetStatus| {
            status.labels.get("instance") == Some(&format!("{host}:1")) && status.last_scrape.is_some()
        };
        loop {
            if let Some(status) = self.handle.active_targets().into_iter().find(scraped) {
                let at = status.last_scrape.unwrap();
                self.pass(INTERVAL / 2 - self.clock.now().since(at)).await;
                return at.unix_ms();
            }
            self.pass(Duration::from_millis(1)).await;
        }
    }

    /// Ends the server and waits for it.
    pub(super) async fn stop(&mut self) {
        self.shutdown.cancel();
        while let Some(joined) = self.manager.join_next().await {
            joined.unwrap();
        }
    }

    /// The stored series with this name, one a line: labels but for `job`, then value and seconds since
    /// `from`.
    #[track_caller]
    pub(super) fn check(&self, name: &str, from: i64, expected: &[&str]) {
        assert_eq!(show(self.storage.as_ref(), name, from), expected);
    }

    pub(super) fn status(&self, host: &str) -> TargetStatus {
        let instance = format!("{host}:1");
        let of = |status: &TargetStatus| status.labels.get("instance") == Some(&instance);
        self.handle.active_targets().into_iter().find(of).unwrap()
    }
}

pub(super) fn show(storage: &dyn Queryable, name: &str, from: i64) -> Vec<String> {
    let querier = storage.querier(TimeRange::ALL).unwrap();
    let matcher = Matcher::new(MatchOp::Regex, "__name__", name).unwrap();
    let mut set = querier.select(&[matcher], &SelectHints::default()).unwrap();
    let mut lines = Vec::new();
    while let Some(series) = set.next() {
        let series = series.unwrap();
        let mut samples = Samples::default();
        series.read(TimeRange::ALL, &mut samples).unwrap();
        let mut line = series.labels().filter(|label| label != "job").to_string();
        for (index, (at, value)) in samples.timestamps.iter().zip(&samples.values).enumerate() {
            let seconds = (at - from) as f64 / 1000.0;
            if let Some((_, histogram)) = samples.histograms.iter().find(|(of, _)| *of == index) {
                write!(line, " {histogram}@{seconds}").unwrap();
            } else if is_stale_nan(*value) {
                write!(line, " stale@{seconds}").unwrap();
            } else {
                write!(line, " {value}@{seconds}").unwrap();
            }
        }
        lines.push(line);
    }
    lines
}
