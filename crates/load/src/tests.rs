//! Whole runs: against transports that behave as told, in simulated time, and over a real loopback.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use expect_test::expect;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::run::drive;
use crate::transport::{Answer, Transport};
use crate::*;

#[tokio::test(start_paused = true)]
async fn open_loop_is_honest_about_a_stalled_server() {
    // 20 s at 10 requests a second; from second 5 to second 10 nothing is answered.
    let server = FakeServer { stall: Some((5, 10)), ..FakeServer::new(Duration::from_millis(50), 1000) };
    let report = simulate(&open_loop("10", 20), server).await;
    assert_eq!((report.requests, report.failed, report.shed), (200, 0, 0));
    // A quarter of all requests fall into the stall; their latencies are spread evenly up to 5 s.
    let Quantiles { p50, p99, max, .. } = report.latency_seconds;
    assert!(p99.is_some_and(|p99| p99 >= 4.0), "{p99:?}");
    assert!(max.is_some_and(|max| (4.9..5.2).contains(&max)), "{max:?}");
    assert!(p50.is_some_and(|p50| p50 < 0.1), "{p50:?}");
}

#[tokio::test(start_paused = true)]
async fn waiting_for_a_slow_server_counts_in_full() {
    // One at a time takes 200 ms: of 10 requests a second, half queue up more and more.
    let report = simulate(&open_loop("10", 10), FakeServer::new(Duration::from_millis(200), 1)).await;
    assert_eq!((report.requests, report.succeeded), (100, 100));
    // The last one is due at 9.9 s and answered at 20 s.
    let max = report.latency_seconds.max.unwrap();
    assert!((10.0..10.3).contains(&max), "{max}");
    assert!((report.elapsed_seconds - 20.0).abs() < 0.1, "{}", report.elapsed_seconds);
    assert!((report.throughput_per_second - 5.0).abs() < 0.1, "{}", report.throughput_per_second);
}

#[tokio::test(start_paused = true)]
async fn closed_loop_keeps_so_many_under_way() {
    let server = FakeServer::new(Duration::from_millis(250), 1000);
    let most = Arc::clone(&server.most_at_once);
    let report = simulate(&closed_loop(12, 10), server).await;
    assert_eq!(most.load(Ordering::SeqCst), 12);
    assert_eq!((report.requests, report.succeeded), (480, 480));
    assert_eq!(report.mode, "closed");
    assert!(report.timeline.iter().take(10).all(|moment| moment.in_flight == 12), "{:?}", report.timeline);
}

#[tokio::test(start_paused = true)]
async fn arrivals_beyond_the_limit_are_shed_and_said() {
    let mut config = open_loop("10", 10);
    if let Mode::OpenLoop { max_in_flight, .. } = &mut config.mode {
        *max_in_flight = 5;
    }
    let report = simulate(&config, FakeServer::new(Duration::from_secs(1), 1000)).await;
    assert_eq!(report.requests + report.shed, 100);
    // Five of every ten or eleven, as places come free within the timer's millisecond.
    assert!((48..=56).contains(&report.shed), "{}", report.shed);
    assert!(report.table().contains("were due but not sent"));
}

#[tokio::test(start_paused = true)]
async fn time_outs_count_with_the_time_they_took() {
    let config = LoadConfig { timeout: Duration::from_secs(3), ..open_loop("1", 5) };
    let report = simulate(&config, FakeServer::new(Duration::from_secs(60), 1000)).await;
    assert_eq!((report.requests, report.succeeded, report.failed), (5, 0, 5));
    assert_eq!(report.errors, [("timeout", 5)].into());
    assert!(report.latency_seconds.p50.is_some_and(|p50| (3.0..3.1).contains(&p50)));
}

#[tokio::test(start_paused = true)]
async fn failures_are_counted_by_kind_and_not_as_quick_answers() {
    let server = FakeServer { refuse_every: 2, ..FakeServer::new(Duration::from_millis(100), 1000) };
    let report = simulate(&open_loop("10", 10), server).await;
    assert_eq!((report.requests, report.succeeded, report.failed), (100, 50, 50));
    assert_eq!(report.errors, [("overloaded", 50)].into());
    assert!(report.latency_seconds.p50.is_some_and(|p50| p50 >= 0.1));
}

#[tokio::test(start_paused = true)]
async fn refusals_do_not_make_a_closed_loop_spin() {
    let server = FakeServer { refuse_every: 1, ..FakeServer::new(Duration::ZERO, 1000) };
    let report = simulate(&closed_loop(1, 1), server).await;
    assert!((900..=1001).contains(&report.requests), "{}", report.requests);
    assert_eq!(report.failed, report.requests);
}

#[tokio::test(start_paused = true)]
async fn shutdown_ends_the_run_and_says_what_was_given_up() {
    let shutdown = CancellationToken::new();
    let config = open_loop("10", 60);
    let server = FakeServer::new(Duration::from_secs(2), 1000);
    let ending = shutdown.clone();
    let stop_after = move |progress: &Progress| {
        if progress.elapsed >= Duration::from_secs(10) {
            ending.cancel();
        }
    };
    let report = drive(&config, &server, stop_after, shutdown).await;
    assert!((report.elapsed_seconds - 10.0).abs() < 0.1, "{}", report.elapsed_seconds);
    assert!((19..=21).contains(&report.aborted), "{}", report.aborted);
    assert_eq!(report.requests, report.succeeded + report.aborted);
}

#[tokio::test(start_paused = true)]
async fn ramp_offers_what_it_says() {
    let report = simulate(&open_loop("2..20/30s", 40), FakeServer::new(Duration::from_millis(10), 1000)).await;
    // 30 s at 11 on average and 10 s at 20.
    assert_eq!(report.requests, 530);
    let offered: Vec<f64> = report.timeline.iter().map(|moment| moment.offered_per_second).collect();
    for (second, expected) in [(0, 2.3), (15, 11.3), (29, 19.7), (35, 20.0)] {
        assert!((offered[second] - expected).abs() <= 1.0, "second {second}: {}", offered[second]);
    }
}

#[tokio::test(start_paused = true)]
async fn timeline_tells_what_was_under_way_in_each_second() {
    let config = LoadConfig { duration: Duration::from_secs(10), ..open_loop("0/5s,1/3s,0/9s,1", 10) };
    let report = simulate(&config, FakeServer::new(Duration::from_millis(1500), 1000)).await;
    let in_flight: Vec<usize> = report.timeline.iter().map(|moment| moment.in_flight).collect();
    // Due at 5, 6, 7 and 8 s; the last one ends at 9.5 s.
    assert_eq!(in_flight, [0, 0, 0, 0, 0, 1, 2, 2, 2, 1]);
    let ended: Vec<f64> = report.timeline.iter().map(|moment| moment.succeeded_per_second).collect();
    assert_eq!(ended, [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0]);
}

#[tokio::test(start_paused = true)]
async fn report_reads_well() {
    let server = FakeServer { refuse_every: 10, ..FakeServer::new(Duration::from_millis(250), 1000) };
    let mut config = open_loop("4", 10);
    config.url = "http://127.0.0.1:2269".to_owned();
    let report = simulate(&config, server).await;
    expect![[r#"
        target              http://127.0.0.1:2269
        load                open loop, 4 requests/s
        requests            40 in 10s
        succeeded           36
        failed              4 (4 overloaded)
        throughput          3.6/s
        latency             p50 250ms  p95 250ms  p99 250ms  max 250ms
          once sent         p50 250ms  p95 250ms  p99 250ms  max 250ms
        real-time factor    p50 0.100  p95 0.100
        audio               1m30s transcribed
        word error rate     25%
    "#]]
    .assert_eq(&report.table());
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!((&json["requests"], &json["failed"]), (&40.into(), &4.into()));
    for name in ["p50", "p95", "p99", "max"] {
        let value = json["latency_seconds"][name].as_f64().unwrap();
        assert!((0.25..0.26).contains(&value), "{name}: {value}");
    }
    let svg = report.chart().to_svg();
    for text in ["Load: open loop, 4 requests/s", "offered", "failed or shed", "Under way"] {
        assert!(svg.contains(text), "{text}");
    }
}

#[tokio::test]
async fn real_connections_carry_real_uploads() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let shutdown = CancellationToken::new();
    let served = Arc::new(AtomicUsize::new(0));
    let connections = Arc::new(AtomicUsize::new(0));
    let mut server = JoinSet::new();
    server.spawn(serve(listener, Arc::clone(&served), Arc::clone(&connections), shutdown.clone()));
    let mode = Mode::ClosedLoop { clients: 3 };
    let config = LoadConfig {
        mode,
        duration: Duration::from_millis(200),
        api_key: Some("key".to_owned()),
        ..LoadConfig::new(url)
    };
    let mut told = 0;
    let report = run(config, |_| told += 1, CancellationToken::new()).await.unwrap();
    assert!(report.requests >= 3 && report.failed == 0, "{report:?}");
    assert_eq!(report.requests, served.load(Ordering::SeqCst) as u64);
    assert_eq!(connections.load(Ordering::SeqCst), 3, "one kept-alive connection a client");
    assert_eq!(report.word_error_rate, Some(0.0));
    assert!(told >= 1);
    shutdown.cancel();
    server.join_all().await;
}

#[tokio::test]
async fn server_that_is_not_there_is_a_connect_failure() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let mode = Mode::OpenLoop { rate: Rate::parse("100").unwrap(), spacing: Spacing::Even, seed: 0, max_in_flight: 10 };
    let config = LoadConfig { mode, duration: Duration::from_millis(50), ..LoadConfig::new(url) };
    let report = run(config, |_| {}, CancellationToken::new()).await.unwrap();
    assert_eq!(report.errors, [("connect", 5)].into());
}

/// Answers in a given time, so many at once, in simulated time.
#[derive(Clone)]
struct FakeServer {
    service_time: Duration,
    places: Arc<Semaphore>,
    /// From and to which second nothing is answered.
    stall: Option<(u64, u64)>,
    /// Every so manieth request is refused; 0 refuses none.
    refuse_every: usize,
    start: Instant,
    count: Arc<AtomicUsize>,
    at_once: Arc<AtomicUsize>,
    most_at_once: Arc<AtomicUsize>,
}

impl FakeServer {
    fn new(service_time: Duration, places: usize) -> Self {
        Self {
            service_time,
            places: Arc::new(Semaphore::new(places)),
            stall: None,
            refuse_every: 0,
            start: Instant::now(),
            count: Arc::default(),
            at_once: Arc::default(),
            most_at_once: Arc::default(),
        }
    }
}

impl Transport for FakeServer {
    async fn send(&self, _clip: usize) -> Result<Answer, Failure> {
        let number = self.count.fetch_add(1, Ordering::SeqCst) + 1;
        if self.refuse_every > 0 && number.is_multiple_of(self.refuse_every) {
            return Err(Failure::Overloaded);
        }
        let at_once = self.at_once.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_at_once.fetch_max(at_once, Ordering::SeqCst);
        let place = self.places.acquire().await.unwrap();
        if let Some((from, to)) = self.stall {
            let seconds = self.start.elapsed().as_secs();
            if (from..to).contains(&seconds) {
                sleep_until(self.start + Duration::from_secs(to)).await;
            }
        }
        sleep(self.service_time).await;
        drop(place);
        self.at_once.fetch_sub(1, Ordering::SeqCst);
        Ok(Answer { text: "one two three".to_owned(), audio_seconds: None })
    }

    fn separate(&self) -> Self {
        self.clone()
    }
}

async fn simulate(config: &LoadConfig, server: FakeServer) -> Report {
    drive(config, &server, |_| {}, CancellationToken::new()).await
}

fn open_loop(rate: &str, seconds: u64) -> LoadConfig {
    let rate = Rate::parse(rate).unwrap();
    let mode = Mode::OpenLoop { rate, spacing: Spacing::Even, seed: 0, max_in_flight: 1000 };
    LoadConfig { mode, ..closed_loop(1, seconds) }
}

/// Recordings of 2.5 s, with four words of which the fake server knows three.
fn closed_loop(clients: usize, seconds: u64) -> LoadConfig {
    let clip = Clip {
        name: "a.wav".to_owned(),
        bytes: Bytes::from_static(b"x"),
        audio_seconds: Some(2.5),
        text: Some("One, two, three, go!".to_owned()),
    };
    LoadConfig {
        mode: Mode::ClosedLoop { clients },
        duration: Duration::from_secs(seconds),
        clips: Clips::of(vec![clip]),
        ..LoadConfig::new("http://localhost".to_owned())
    }
}

/// A server that checks each upload and answers with the sample's text.
async fn serve(
    listener: TcpListener,
    served: Arc<AtomicUsize>,
    connections: Arc<AtomicUsize>,
    shutdown: CancellationToken,
) {
    let mut open = JoinSet::new();
    loop {
        let (stream, _) = tokio::select! {
            accepted = listener.accept() => accepted.unwrap(),
            () = shutdown.cancelled() => return,
        };
        connections.fetch_add(1, Ordering::SeqCst);
        let served = Arc::clone(&served);
        let service = service_fn(move |request: Request<Incoming>| {
            let served = Arc::clone(&served);
            async move {
                assert_eq!(request.uri().path(), "/v1/audio/transcriptions");
                assert_eq!(request.headers()["authorization"], "Bearer key");
                let boundary =
                    request.headers()["content-type"].to_str().unwrap().split_once("boundary=").unwrap().1.to_owned();
                let body = request.into_body().collect().await.unwrap().to_bytes();
                let sample = Clips::sample();
                let text = String::from_utf8_lossy(&body);
                assert!(
                    text.starts_with(&format!("--{boundary}\r\n"))
                        && text.ends_with(&format!("\r\n--{boundary}--\r\n"))
                );
                assert!(text.contains("name=\"model\"\r\n\r\nwhisper-1\r\n"));
                let audio = &sample.all()[0].bytes;
                assert!(body.windows(audio.len()).any(|part| part == audio));
                served.fetch_add(1, Ordering::SeqCst);
                let answer = serde_json::json!({"text": sample.all()[0].text, "usage": {"seconds": 5}}).to_string();
                Ok::<_, hyper::Error>(Response::new(Full::new(Bytes::from(answer))))
            }
        });
        open.spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}
