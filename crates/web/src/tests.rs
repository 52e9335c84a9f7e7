mod pages;
mod reference;
mod remote;
mod server;

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Method, Request, StatusCode};
use datamodel::registry::{Gauge, Registry};
use datamodel::time::{ManualClock, TimeRange};
use datamodel::{Clock, Histogram, Labels, Timestamp};
use expect_test::{Expect, expect};
use promql::{Engine, EngineOptions};
use scrape::{ScrapeManager, ScrapeOptions};
use storage::{Appendable, MemoryStorage, Querier, QueryError, Queryable};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tower_service::Service;

use crate::error::ErrorType;
use crate::gate::Gate;
use crate::{Api, BuildInfo, MAX_BODY_BYTES, Parts, Readiness, serve};

#[tokio::test]
async fn instant_queries_answer_each_type() {
    check(
        &[
            "/api/v1/query?query=up",
            "/api/v1/query?query=up&time=1000",
            "/api/v1/query?query=up&time=1970-01-01T00:16:40.5Z",
            "/api/v1/query?query=1/0&time=-1.5",
            "/api/v1/query?query=%22a%5C%22b%22&time=0.007",
            "/api/v1/query?query=up[30s]&time=1000",
            "/api/v1/query?query=h&time=1000",
            "/api/v1/query?query=none",
            "/api/v1/query?query=up&time=1000&limit=1",
            "/api/v1/query?query=rate(up[1m])&time=1000",
            "/api/v1/query?query=up&time=1010&lookback_delta=5s",
        ],
        &expect![[r#"
            /api/v1/query?query=up
              200 {"status":"success","data":{"resultType":"vector","result":[{"metric":{"__name__":"up","pod":"a"},"value":[1000,"1"]},{"metric":{"__name__":"up","pod":"b"},"value":[1000,"0"]}]}}
            /api/v1/query?query=up&time=1000
              200 {"status":"success","data":{"resultType":"vector","result":[{"metric":{"__name__":"up","pod":"a"},"value":[1000,"1"]},{"metric":{"__name__":"up","pod":"b"},"value":[1000,"0"]}]}}
            /api/v1/query?query=up&time=1970-01-01T00:16:40.5Z
              200 {"status":"success","data":{"resultType":"vector","result":[{"metric":{"__name__":"up","pod":"a"},"value":[1000.500,"1"]},{"metric":{"__name__":"up","pod":"b"},"value":[1000.500,"0"]}]}}
            /api/v1/query?query=1/0&time=-1.5
              200 {"status":"success","data":{"resultType":"scalar","result":[-1.500,"+Inf"]}}
            /api/v1/query?query=%22a%5C%22b%22&time=0.007
              200 {"status":"success","data":{"resultType":"string","result":[0.007,"a\"b"]}}
            /api/v1/query?query=up[30s]&time=1000
              200 {"status":"success","data":{"resultType":"matrix","result":[{"metric":{"__name__":"up","pod":"a"},"values":[[980,"1"],[990,"1"],[1000,"1"]]},{"metric":{"__name__":"up","pod":"b"},"values":[[980,"0"],[990,"0"],[1000,"0"]]}]}}
            /api/v1/query?query=h&time=1000
              200 {"status":"success","data":{"resultType":"vector","result":[{"metric":{"__name__":"h","quote":"a\"\\"},"histogram":[1000,{"count":"4","sum":"5.5","buckets":[[3,"-0.001","0.001","1"],[0,"0.5","1","1"],[0,"1","2","2"]]}]}]}}
            /api/v1/query?query=none
              200 {"status":"success","data":{"resultType":"vector","result":[]}}
            /api/v1/query?query=up&time=1000&limit=1
              200 {"status":"success","data":{"resultType":"vector","result":[{"metric":{"__name__":"up","pod":"a"},"value":[1000,"1"]}]},"warnings":["results truncated due to limit"]}
            /api/v1/query?query=rate(up[1m])&time=1000
              200 {"status":"success","data":{"resultType":"vector","result":[{"metric":{"pod":"a"},"value":[1000,"0"]},{"metric":{"pod":"b"},"value":[1000,"0"]}]},"infos":["PromQL info: metric might not be a counter, name does not end in _total/_sum/_count/_bucket: \"up\" (1:6)"]}
            /api/v1/query?query=up&time=1010&lookback_delta=5s
              200 {"status":"success","data":{"resultType":"vector","result":[]}}
        "#]],
    )
    .await;
}

#[tokio::test]
async fn range_queries_answer_matrices() {
    check(
        &[
            "/api/v1/query_range?query=sum(up)&start=980&end=1000&step=10",
            "/api/v1/query_range?query=1e-7&start=0&end=0.5&step=250ms",
            "/api/v1/query_range?query=h&start=1000&end=1000&step=1",
            "/api/v1/query_range?query=up&start=1000&end=1000&step=1&limit=1",
            "/api/v1/query_range?query=7&start=1&end=1&step=1&stats=all",
        ],
        &expect![[r#"
            /api/v1/query_range?query=sum(up)&start=980&end=1000&step=10
              200 {"status":"success","data":{"resultType":"matrix","result":[{"metric":{},"values":[[980,"1"],[990,"1"],[1000,"1"]]}]}}
            /api/v1/query_range?query=1e-7&start=0&end=0.5&step=250ms
              200 {"status":"success","data":{"resultType":"matrix","result":[{"metric":{},"values":[[0,"1e-07"],[0.250,"1e-07"],[0.500,"1e-07"]]}]}}
            /api/v1/query_range?query=h&start=1000&end=1000&step=1
              200 {"status":"success","data":{"resultType":"matrix","result":[{"metric":{"__name__":"h","quote":"a\"\\"},"histograms":[[1000,{"count":"4","sum":"5.5","buckets":[[3,"-0.001","0.001","1"],[0,"0.5","1","1"],[0,"1","2","2"]]}]]}]}}
            /api/v1/query_range?query=up&start=1000&end=1000&step=1&limit=1
              200 {"status":"success","data":{"resultType":"matrix","result":[{"metric":{"__name__":"up","pod":"a"},"values":[[1000,"1"]]}]},"warnings":["results truncated due to limit"]}
            /api/v1/query_range?query=7&start=1&end=1&step=1&stats=all
              200 {"status":"success","data":{"resultType":"matrix","result":[{"metric":{},"values":[[1,"7"]]}],"stats":{"timings":{"evalTotalTime":0,"execQueueTime":0,"execTotalTime":0}}}}
        "#]],
    )
    .await;
}

#[tokio::test]
async fn bad_parameters_are_refused_by_name() {
    check(
        &[
            "/api/v1/query?query=sum(",
            "/api/v1/query",
            "/api/v1/query?query=up&time=now",
            "/api/v1/query?query=up&timeout=x",
            "/api/v1/query?query=up&limit=-1",
            "/api/v1/query?query=up&limit=x",
            "/api/v1/query?query=up&lookback_delta=x",
            "/api/v1/query_range?query=up&start=0&end=1",
            "/api/v1/query_range?query=up&start=x&end=1&step=1",
            "/api/v1/query_range?query=up&start=2&end=1&step=1",
            "/api/v1/query_range?query=up&start=0&end=1&step=0",
            "/api/v1/query_range?query=up&start=0&end=11002&step=1",
            "/api/v1/query_range?query=up[1m]&start=0&end=1&step=1",
            "/api/v1/query?query=up*on()up&time=1000",
            "/api/v1/series",
            "/api/v1/series?match[]=up{",
            "/api/v1/series?match[]={job=~\".*\"}",
            "/api/v1/labels?start=x",
            "/api/v1/label/U__/values",
        ],
        &expect![[r#"
            /api/v1/query?query=sum(
              400 {"status":"error","errorType":"bad_data","error":"invalid parameter \"query\": 1:5: parse error: unclosed left parenthesis"}
            /api/v1/query
              400 {"status":"error","errorType":"bad_data","error":"invalid parameter \"query\": 1:1: parse error: no expression found in input"}
            /api/v1/query?query=up&time=now
              400 {"status":"error","errorType":"bad_data","error":"invalid parameter \"time\": invalid time value for 'time': cannot parse \"now\" to a valid timestamp"}
            /api/v1/query?query=up&timeout=x
              400 {"status":"error","errorType":"bad_data","error":"invalid parameter \"timeout\": cannot parse \"x\" to a valid duration"}
            /api/v1/query?query=up&limit=-1
              400 {"status":"error","errorType":"bad_data","error":"invalid parameter \"limit\": limit must be non-negative"}
            /api/v1/query?query=up&limit=x
              400 {"status":"error","errorType":"bad_data","error":"invalid parameter \"limit\": strconv.Atoi: parsing \"x\": invalid syntax"}
            /api/v1/query?query=up&lookback_delta=x
              400 {"status":"error","errorType":"bad_data","error":"error parsing lookback delta duration: cannot parse \"x\" to a valid duration"}
            /api/v1/query_range?query=up&start=0&end=1
              400 {"status":"error","errorType":"bad_data","error":"invalid parameter \"step\": cannot parse \"\" to a valid duration"}
            /api/v1/query_range?query=up&start=x&end=1&step=1
              400 {"status":"error","errorType":"bad_data","error":"invalid parameter \"start\": cannot parse \"x\" to a valid timestamp"}
            /api/v1/query_range?query=up&start=2&end=1&step=1
              400 {"status":"error","errorType":"bad_data","error":"invalid parameter \"end\": end timestamp must not be before start time"}
            /api/v1/query_range?query=up&start=0&end=1&step=0
              400 {"status":"error","errorType":"bad_data","error":"invalid parameter \"step\": zero or negative query resolution step widths are not accepted. Try a positive integer"}
            /api/v1/query_range?query=up&start=0&end=11002&step=1
              400 {"status":"error","errorType":"bad_data","error":"exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)"}
            /api/v1/query_range?query=up[1m]&start=0&end=1&step=1
              400 {"status":"error","errorType":"bad_data","error":"invalid parameter \"query\": invalid expression type \"range vector\" for range query, must be Scalar or instant Vector"}
            /api/v1/query?query=up*on()up&time=1000
              422 {"status":"error","errorType":"execution","error":"found duplicate series for the match group {} on the right hand-side of the operation: [{__name__=\"up\", pod=\"a\"}, {__name__=\"up\", pod=\"b\"}];many-to-many matching not allowed: matching labels must be unique on one side"}
            /api/v1/series
              400 {"status":"error","errorType":"bad_data","error":"no match[] parameter provided"}
            /api/v1/series?match[]=up{
              400 {"status":"error","errorType":"bad_data","error":"invalid parameter \"match[]\": 1:4: parse error: unexpected end of input inside braces"}
            /api/v1/series?match[]={job=~".*"}
              400 {"status":"error","errorType":"bad_data","error":"invalid parameter \"match[]\": 1:1: parse error: vector selector must contain at least one non-empty matcher"}
            /api/v1/labels?start=x
              400 {"status":"error","errorType":"bad_data","error":"invalid parameter \"start\": invalid time value for 'start': cannot parse \"x\" to a valid timestamp"}
            /api/v1/label/U__/values
              400 {"status":"error","errorType":"bad_data","error":"invalid label name: \"\""}
        "#]],
    )
    .await;
}

#[tokio::test]
async fn metadata_lists_are_sorted_and_cut() {
    check(
        &[
            "/api/v1/series?match[]=up&match[]=up{pod=%22b%22}",
            "/api/v1/series?match[]=up&limit=1",
            "/api/v1/series?match[]=up&end=10",
            "/api/v1/labels",
            "/api/v1/labels?match[]=h&limit=1",
            "/api/v1/label/__name__/values",
            "/api/v1/label/pod/values?match[]=up{pod!=%22a%22}",
            "/api/v1/label/pod/values?limit=1",
            "/api/v1/label/absent/values",
        ],
        &expect![[r#"
            /api/v1/series?match[]=up&match[]=up{pod=%22b%22}
              200 {"status":"success","data":[{"__name__":"up","pod":"a"},{"__name__":"up","pod":"b"}]}
            /api/v1/series?match[]=up&limit=1
              200 {"status":"success","data":[{"__name__":"up","pod":"a"}],"warnings":["results truncated due to limit"]}
            /api/v1/series?match[]=up&end=10
              200 {"status":"success","data":[{"__name__":"up","pod":"a"},{"__name__":"up","pod":"b"}]}
            /api/v1/labels
              200 {"status":"success","data":["__name__","pod","quote"]}
            /api/v1/labels?match[]=h&limit=1
              200 {"status":"success","data":["__name__"],"warnings":["results truncated due to limit"]}
            /api/v1/label/__name__/values
              200 {"status":"success","data":["h","up"]}
            /api/v1/label/pod/values?match[]=up{pod!=%22a%22}
              200 {"status":"success","data":["b"]}
            /api/v1/label/pod/values?limit=1
              200 {"status":"success","data":["a"],"warnings":["results truncated due to limit"]}
            /api/v1/label/absent/values
              200 {"status":"success","data":[]}
        "#]],
    )
    .await;
}

#[tokio::test]
async fn endpoints_that_are_not_served_say_so() {
    check(
        &[
            "/api/v1/otlp/v1/metrics",
            "/api/v1/nothing",
            "/no/such/page",
            "/-/ready",
            "/-/healthy",
            "/api/v1/status/buildinfo",
            "/version",
        ],
        &expect![[r#"
            /api/v1/otlp/v1/metrics
              404 {"status":"error","errorType":"not_found","error":"endpoint is not served by this server: `/api/v1/otlp/v1/metrics`"}
            /api/v1/nothing
              404 {"status":"error","errorType":"not_found","error":"no such endpoint: `/api/v1/nothing`"}
            /no/such/page
              404 {"status":"error","errorType":"not_found","error":"no such endpoint: `/no/such/page`"}
            /-/ready
              200 Crescendo is Ready.
            /-/healthy
              200 Crescendo is Healthy.
            /api/v1/status/buildinfo
              200 {"status":"success","data":{"version":"1.2.3","revision":"abc","branch":"","buildUser":"","buildDate":"","goVersion":""}}
            /version
              200 {"version":"1.2.3","revision":"abc","branch":"","buildUser":"","buildDate":"","goVersion":""}
        "#]],
    )
    .await;
    let fixture = Fixture::new();
    let (status, body) = fixture.ask(Method::DELETE, "/api/v1/query", "").await;
    assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED);
    assert!(body.contains("method DELETE is not allowed for `/api/v1/query`"), "{body}");
}

#[tokio::test]
async fn only_health_and_figures_are_told_before_the_server_is_ready() {
    let fixture = Fixture::new();
    fixture.readiness.set(false);
    let refused = (StatusCode::SERVICE_UNAVAILABLE, "Service Unavailable".to_owned());
    for path in ["/-/ready", "/api/v1/query?query=up", "/federate", "/api/v1/rules"] {
        assert_eq!(fixture.ask(Method::GET, path, "").await, refused, "{path}");
    }
    let (_, page) = fixture.ask(Method::GET, "/metrics", "").await;
    assert!(page.contains("prometheus_ready 0\n"), "{page}");
    assert_eq!(fixture.ask(Method::GET, "/-/healthy", "").await.0, StatusCode::OK);
    assert_eq!(fixture.ask(Method::GET, "/api/v1/notifications", "").await.0, StatusCode::OK);
}

#[tokio::test]
async fn posted_forms_are_read_up_to_their_bound() {
    let fixture = Fixture::new();
    let posted = fixture.ask(Method::POST, "/api/v1/query?time=1000&query=none", "query=count(up)").await;
    let got = fixture.ask(Method::GET, "/api/v1/query?query=count(up)&time=1000", "").await;
    assert_eq!(posted, got);
    let (status, body) = fixture.ask(Method::POST, "/api/v1/query", &"q".repeat(MAX_BODY_BYTES + 1)).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(body.contains("error parsing form values"), "{body}");
}

#[tokio::test]
async fn targets_are_shown_where_there_is_a_scraper() {
    let fixture = Fixture::new();
    let (status, body) = fixture.ask(Method::GET, "/api/v1/targets", "").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert!(body.contains("this server scrapes no targets"), "{body}");
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::default());
    let registry = Registry::new();
    let storage = Arc::new(MemoryStorage::new());
    let manager = ScrapeManager::new(ScrapeOptions::default(), storage, clock, &registry).unwrap();
    let fixture = Fixture::with(|parts| parts.targets = Some(manager.handle()));
    let (status, body) = fixture.ask(Method::GET, "/api/v1/targets?state=active", "").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(
        body,
        r#"{"status":"success","data":{"activeTargets":[],"droppedTargets":[],"droppedTargetCounts":{}}}"#
    );
    let (_, body) = fixture.ask(Method::GET, "/api/v1/scrape_pools", "").await;
    assert_eq!(body, r#"{"status":"success","data":{"scrapePools":[]}}"#);
}

#[tokio::test]
async fn requests_and_queries_are_counted() {
    let fixture = Fixture::new();
    fixture.ask(Method::GET, "/api/v1/query?query=up", "").await;
    fixture.ask(Method::GET, "/api/v1/query?query=(", "").await;
    fixture.ask(Method::GET, "/any/path", "").await;
    let (status, page) = fixture.ask(Method::GET, "/metrics", "").await;
    assert_eq!(status, StatusCode::OK);
    for line in [
        "prometheus_engine_queries 0",
        "prometheus_engine_queries_concurrent_max 20",
        "prometheus_engine_query_duration_seconds_count{slice=\"inner_eval\"} 1",
        "prometheus_http_requests_total{code=\"200\",handler=\"/api/v1/query\"} 1",
        "prometheus_http_requests_total{code=\"400\",handler=\"/api/v1/query\"} 1",
        "prometheus_http_requests_total{code=\"404\",handler=\"other\"} 1",
    ] {
        assert!(page.contains(&format!("{line}\n")), "{line}\n{page}");
    }
}

/// A storage that cannot be read.
struct Broken(fn() -> QueryError);

impl Queryable for Broken {
    fn querier(&self, _range: TimeRange) -> Result<Box<dyn Querier + '_>, QueryError> {
        Err(self.0())
    }
}

#[tokio::test]
async fn failures_have_upstreams_status_and_type() {
    let broken = || QueryError::Storage {
        context: "reading a part".to_owned(),
        source: std::io::Error::new(std::io::ErrorKind::UnexpectedEof, "short file"),
    };
    for (error, status, error_type, text) in [
        (broken as fn() -> QueryError, 500, "internal", "storage failed: reading a part: short file"),
        (|| QueryError::Closed, 503, "unavailable", "storage is closed"),
        (|| QueryError::Cancelled, 499, "canceled", "query was cancelled"),
        (|| QueryError::Limit("too much".to_owned()), 422, "execution", "query exceeds its limit: too much"),
    ] {
        let fixture = Fixture::with(|parts| parts.queryable = Arc::new(Broken(error)));
        for path in ["/api/v1/query?query=up", "/api/v1/labels"] {
            let (found, body) = fixture.ask(Method::GET, path, "").await;
            let is_query = path.contains("query");
            let prefix = if is_query && error_type != "canceled" { "expanding series: " } else { "" };
            let text =
                if is_query && error_type == "canceled" { "query was canceled in expression evaluation" } else { text };
            let expected = format!(r#"{{"status":"error","errorType":"{error_type}","error":"{prefix}{text}"}}"#);
            assert_eq!((found.as_u16(), body), (status, expected), "{path}");
        }
    }
    let fixture = Fixture::new();
    let late = fixture.ask(Method::GET, "/api/v1/query?query=up&timeout=-1", "").await;
    assert_eq!(late.0, StatusCode::SERVICE_UNAVAILABLE, "{}", late.1);
}

#[tokio::test(start_paused = true)]
async fn queries_wait_for_their_turn_and_no_longer_than_they_may() {
    let gate = Gate::new(1, 1, Gauge::default());
    let first = gate.turn(Duration::ZERO).await.unwrap();
    let (late, refused) = tokio::join!(gate.turn(Duration::from_secs(5)), gate.turn(Duration::from_secs(5)));
    assert_eq!(late.unwrap_err().error_type, ErrorType::Timeout);
    assert_eq!(refused.unwrap_err().error_type, ErrorType::Unavailable);
    drop(first);
    assert!(gate.turn(Duration::ZERO).await.is_ok());
}

/// A storage that says that it is asked, and answers when it is told to.
struct Slow {
    asked: CancellationToken,
    go: std::sync::Mutex<std::sync::mpsc::Receiver<()>>,
}

impl Queryable for Slow {
    fn querier(&self, _range: TimeRange) -> Result<Box<dyn Querier + '_>, QueryError> {
        self.asked.cancel();
        self.go.lock().unwrap().recv().unwrap();
        Err(QueryError::Closed)
    }
}

#[tokio::test]
async fn server_finishes_its_requests_after_shutdown() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (asked, shutdown) = (CancellationToken::new(), CancellationToken::new());
    let (go, wait) = std::sync::mpsc::channel();
    let slow = Slow { asked: asked.clone(), go: wait.into() };
    let server = serve(
        listener,
        Fixture::with(|parts| parts.queryable = Arc::new(slow)).router,
        None,
        crate::ServeOptions::default(),
        shutdown.clone(),
    );
    let client = async {
        let mut idle = TcpStream::connect(address).await.unwrap();
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET /api/v1/labels HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        asked.cancelled().await;
        shutdown.cancel();
        // An idle connection is closed at once, the busy one after its answer.
        assert_eq!(idle.read(&mut [0; 1]).await.unwrap(), 0);
        go.send(()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    };
    let ((), answer) = tokio::join!(server, client);
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert!(
        answer.ends_with(r#"{"status":"error","errorType":"unavailable","error":"storage is closed"}"#),
        "{answer}"
    );
}

struct Fixture {
    router: Router,
    readiness: Readiness,
}

impl Fixture {
    fn new() -> Self {
        Self::with(|_| {})
    }

    /// An API over samples of two pods, every 10 s up to 1,000 s, at 1,000 s; changed by `change`.
    fn with(change: impl FnOnce(&mut Parts)) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(Timestamp::from_unix_ms(1_000_000)));
        let readiness = Readiness::default();
        let engine = Engine::new(EngineOptions { clock: Arc::clone(&clock), ..EngineOptions::default() });
        let mut parts = Parts::new(Arc::new(samples()), engine, clock, Registry::new());
        readiness.set(true);
        parts.readiness = readiness.clone();
        parts.build = BuildInfo { version: "1.2.3".to_owned(), revision: "abc".to_owned(), branch: String::new() };
        change(&mut parts);
        Self { router: Api::new(parts).unwrap().router(), readiness }
    }

    async fn ask(&self, method: Method, path: &str, form: &str) -> (StatusCode, String) {
        let path = path.replace('{', "%7B").replace('}', "%7D").replace('"', "%22");
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(Body::from(form.to_owned()))
            .unwrap();
        let response = self.router.clone().call(request).await.unwrap();
        let status = response.status();
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }
}

fn samples() -> MemoryStorage {
    let storage = MemoryStorage::new();
    let mut appender = storage.appender();
    for (pod, value) in [("a", 1.0), ("b", 0.0)] {
        let series = appender.series(None, &Labels::from_pairs([("__name__", "up"), ("pod", pod)])).unwrap();
        for at in (10..=1000).step_by(10) {
            appender.append(series, Timestamp::from_unix_ms(at * 1000), value).unwrap();
        }
    }
    let series = appender.series(None, &Labels::from_pairs([("__name__", "h"), ("quote", "a\"\\")])).unwrap();
    let histogram = Histogram {
        schema: 0,
        zero_threshold: 0.001,
        zero_count: 1.0,
        count: 4.0,
        sum: 5.5,
        positive_spans: vec![datamodel::histogram::Span { offset: 0, length: 2 }],
        positive_buckets: vec![1.0, 2.0],
        ..Histogram::default()
    };
    appender.append_histogram(series, Timestamp::from_unix_ms(1_000_000), histogram).unwrap();
    assert!(appender.commit().unwrap().is_empty());
    storage
}

/// The answers to GET requests at 1,000 s, one paragraph for each.
async fn check(paths: &[&str], expected: &Expect) {
    let fixture = Fixture::new();
    let mut text = String::new();
    for path in paths {
        let (status, body) = fixture.ask(Method::GET, path, "").await;
        writeln!(text, "{path}\n  {} {}", status.as_u16(), body.trim_end()).unwrap();
    }
    expected.assert_eq(&text);
}
