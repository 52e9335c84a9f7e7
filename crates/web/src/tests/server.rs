//! Endpoints about the server itself: rules, status, administration, lifecycle, headers.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::http::HeaderMap;
use datamodel::exposition::{
    Format, HistogramForm, PageError, PageFamily, PageFormat, PageSample, PageVisitor, Parser, read_protobuf,
};
use datamodel::{Matcher, Metadata, MetricType};
use rules::{RuleManager, RuleOptions};
use storage::{Appendable, Exemplar};

use super::*;
use crate::{
    ActionError, Alertmanagers, BoxFuture, Cardinality, Count, DiskStatus, HeadStatus, HostGuard, KUBE_STATE_PATH,
    Lifecycle, MetricsPage, ReplayStatus, RuntimeInfo, ServerStatus, StorageAdmin, StorageStatus, kube_state_router,
};

const RULES: &str = "
groups:
- name: asr
  interval: 10s
  rules:
  - record: pods:up
    expr: sum(up)
    labels: {team: speech}
  - alert: PodDown
    expr: up == 0
    keep_firing_for: 1m
    labels: {severity: page}
    annotations: {summary: 'pod {{ $labels.pod }} is down'}
- name: other
  rules:
  - alert: Never
    expr: up > 1
    for: 5m
";

/// What a process would tell, with what was asked of it.
#[derive(Default)]
pub(super) struct Process {
    calls: Mutex<Vec<String>>,
    reloads: AtomicUsize,
}

impl Process {
    fn note(&self, call: String) {
        self.calls.lock().unwrap().push(call);
    }
}

impl ServerStatus for Process {
    fn config_yaml(&self) -> String {
        "global:\n  scrape_interval: 15s\n".to_owned()
    }

    fn flags(&self) -> Vec<(String, String)> {
        vec![("web.enable-lifecycle".to_owned(), "true".to_owned()), ("log.level".to_owned(), "info".to_owned())]
    }

    fn external_labels(&self) -> Labels {
        Labels::from_pairs([("cluster", "c1"), ("pod", "not this one")])
    }

    fn runtime(&self) -> RuntimeInfo {
        RuntimeInfo { hostname: "box".to_owned(), storage_retention: "15d".to_owned(), ..RuntimeInfo::default() }
    }
}

impl StorageStatus for Process {
    fn head(&self) -> HeadStatus {
        let bounds = Some(TimeRange { start: Timestamp::from_unix_ms(1), end: Timestamp::from_unix_ms(2) });
        HeadStatus { series: 3, label_pairs: 5, chunks: 4, bounds }
    }

    fn disk(&self) -> DiskStatus {
        DiskStatus { bytes: 2048, ..DiskStatus::default() }
    }

    fn cardinality(&self, limit: usize) -> Cardinality {
        let count = |name: &str, value| Count { name: name.to_owned(), value };
        let mut table = vec![count("up", 2), count("h", 1)];
        table.truncate(limit);
        Cardinality {
            series_by_metric: table,
            values_by_label: vec![count("pod", 2)],
            bytes_by_label: vec![count("pod", 9)],
            series_by_pair: vec![count("pod=a", 1)],
        }
    }

    fn metadata(&self) -> Vec<(Arc<str>, Metadata)> {
        let of = |metric_type, help: &str| Metadata { metric_type, unit: "".into(), help: help.into() };
        vec![
            ("up".into(), of(MetricType::Gauge, "Whether it is <up>.")),
            ("asr_seconds_bucket".into(), of(MetricType::Histogram, "Times.")),
            ("asr_seconds_sum".into(), of(MetricType::Histogram, "Times.")),
        ]
    }

    fn replay(&self) -> ReplayStatus {
        ReplayStatus { min: 1, max: 4, current: 2 }
    }
}

impl StorageAdmin for Process {
    fn snapshot(&self, skip_head: bool) -> Result<String, ActionError> {
        self.note(format!("snapshot {skip_head}"));
        Ok("s1".to_owned())
    }

    fn delete_series(&self, matchers: &[Matcher], range: TimeRange) -> Result<(), ActionError> {
        self.note(format!("delete {} {}", matchers[0], range.start.unix_ms()));
        Ok(())
    }

    fn clean_tombstones(&self) -> Result<(), ActionError> {
        Err(ActionError { action: "clean tombstones", source: "disk is full".into() })
    }

    fn merge(&self) -> Result<(), ActionError> {
        self.note("merge".to_owned());
        Ok(())
    }
}

impl Alertmanagers for Process {
    fn active(&self) -> Vec<String> {
        vec!["http://am:9093/api/v2/alerts".to_owned()]
    }

    fn dropped(&self) -> Vec<String> {
        Vec::new()
    }
}

impl Lifecycle for Process {
    fn reload(&self) -> BoxFuture<'_, Result<(), ActionError>> {
        let first = self.reloads.fetch_add(1, Ordering::Relaxed) == 0;
        let failed = || ActionError { action: "load `prometheus.yml`", source: "line 3: unknown key".into() };
        Box::pin(std::future::ready(if first { Ok(()) } else { Err(failed()) }))
    }

    fn quit(&self) {
        self.note("quit".to_owned());
    }
}

/// A server with everything connected; its rules were evaluated once.
pub(super) async fn whole() -> (Fixture, Arc<Process>) {
    let process = Arc::new(Process::default());
    let rules = evaluated_rules().await;
    let fixture = Fixture::with(|parts| {
        parts.rules = Some(rules);
        parts.alertmanagers = Some(Arc::clone(&process) as _);
        parts.server = Some(Arc::clone(&process) as _);
        parts.storage = Some(Arc::clone(&process) as _);
        parts.admin = Some(Arc::clone(&process) as _);
        parts.lifecycle = Some(Arc::clone(&process) as _);
        parts.notifications.raise("Configuration reload has failed.", Timestamp::from_unix_ms(5_000));
    });
    (fixture, process)
}

/// The groups of [`RULES`]; the first was evaluated soon after 1,000 s.
async fn evaluated_rules() -> rules::RuleHandle {
    let clock = Arc::new(ManualClock::new(Timestamp::from_unix_ms(1_000_000)));
    let engine = Engine::new(EngineOptions { clock: Arc::clone(&clock) as _, ..EngineOptions::default() });
    let storage = Arc::new(samples());
    let manager = RuleManager::new(
        RuleOptions::default(),
        engine,
        Arc::clone(&storage) as _,
        storage,
        Arc::clone(&clock) as _,
        &Registry::new(),
    )
    .unwrap();
    let handle = manager.handle();
    let groups = rules::parse_rule_file("rules.yml", RULES, &promql::Features::DEFAULT).unwrap();
    let shutdown = CancellationToken::new();
    let drive = async {
        handle.apply(groups).await.unwrap();
        // Both clocks go on together until the first group was evaluated.
        tokio::time::pause();
        while handle.status().first().is_none_or(|group| group.last_evaluation.is_none()) {
            clock.advance(Duration::from_secs(1));
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        tokio::time::resume();
        shutdown.cancel();
    };
    tokio::join!(manager.run(shutdown.clone()), drive);
    handle
}

async fn check_whole(requests: &[(Method, &str)], expected: &Expect) {
    let (fixture, _) = whole().await;
    let mut text = String::new();
    for (method, path) in requests {
        let (status, body) = fixture.ask(method.clone(), path, "").await;
        writeln!(text, "{method} {path}\n  {} {}", status.as_u16(), body.trim_end()).unwrap();
    }
    expected.assert_eq(&text);
}

#[tokio::test]
async fn rules_are_shown_as_the_request_filters_them() {
    check_whole(
        &[
            (Method::GET, "/api/v1/rules"),
            (Method::GET, "/api/v1/rules?type=record"),
            (Method::GET, "/api/v1/rules?rule_name[]=Never&exclude_alerts=true"),
            (Method::GET, "/api/v1/rules?rule_group[]=other&file[]=elsewhere.yml"),
            (Method::GET, "/api/v1/rules?match[]={severity=\"page\"}&exclude_alerts=1"),
            (Method::GET, "/api/v1/rules?group_limit=1&type=alert&exclude_alerts=t"),
            (Method::GET, "/api/v1/rules?type=x"),
            (Method::GET, "/api/v1/rules?exclude_alerts=x"),
            (Method::GET, "/api/v1/rules?group_limit=x"),
            (Method::GET, "/api/v1/rules?group_limit=0"),
            (Method::GET, "/api/v1/rules?group_next_token=x"),
            (Method::GET, "/api/v1/rules?group_limit=1&group_next_token=x"),
            (Method::GET, "/api/v1/rules?match[]=("),
            (Method::GET, "/api/v1/alerts"),
            (Method::GET, "/api/v1/alertmanagers"),
        ],
        &expect![[r#"
            GET /api/v1/rules
              200 {"status":"success","data":{"groups":[{"name":"asr","file":"rules.yml","rules":[{"name":"pods:up","query":"sum(up)","labels":{"team":"speech"},"health":"ok","evaluationTime":0,"lastEvaluation":"1970-01-01T00:16:41.485Z","type":"recording"},{"state":"firing","name":"PodDown","query":"up == 0","duration":0,"keepFiringFor":60,"labels":{"severity":"page"},"annotations":{"summary":"pod {{ $labels.pod }} is down"},"alerts":[{"labels":{"alertname":"PodDown","pod":"b","severity":"page"},"annotations":{"summary":"pod b is down"},"state":"firing","activeAt":"1970-01-01T00:16:41.485Z","value":"0e+00"}],"health":"ok","evaluationTime":0,"lastEvaluation":"1970-01-01T00:16:41.485Z","type":"alerting"}],"interval":10,"limit":0,"evaluationTime":0,"lastEvaluation":"1970-01-01T00:16:41.485Z"},{"name":"other","file":"rules.yml","rules":[{"state":"unknown","name":"Never","query":"up > 1","duration":300,"keepFiringFor":0,"labels":{},"annotations":{},"alerts":[],"health":"unknown","evaluationTime":0,"lastEvaluation":"0001-01-01T00:00:00Z","type":"alerting"}],"interval":60,"limit":0,"evaluationTime":0,"lastEvaluation":"0001-01-01T00:00:00Z"}]}}
            GET /api/v1/rules?type=record
              200 {"status":"success","data":{"groups":[{"name":"asr","file":"rules.yml","rules":[{"name":"pods:up","query":"sum(up)","labels":{"team":"speech"},"health":"ok","evaluationTime":0,"lastEvaluation":"1970-01-01T00:16:41.485Z","type":"recording"}],"interval":10,"limit":0,"evaluationTime":0,"lastEvaluation":"1970-01-01T00:16:41.485Z"}]}}
            GET /api/v1/rules?rule_name[]=Never&exclude_alerts=true
              200 {"status":"success","data":{"groups":[{"name":"other","file":"rules.yml","rules":[{"state":"unknown","name":"Never","query":"up > 1","duration":300,"keepFiringFor":0,"labels":{},"annotations":{},"alerts":null,"health":"unknown","evaluationTime":0,"lastEvaluation":"0001-01-01T00:00:00Z","type":"alerting"}],"interval":60,"limit":0,"evaluationTime":0,"lastEvaluation":"0001-01-01T00:00:00Z"}]}}
            GET /api/v1/rules?rule_group[]=other&file[]=elsewhere.yml
              200 {"status":"success","data":{"groups":[]}}
            GET /api/v1/rules?match[]={severity="page"}&exclude_alerts=1
              200 {"status":"success","data":{"groups":[{"name":"asr","file":"rules.yml","rules":[{"state":"firing","name":"PodDown","query":"up == 0","duration":0,"keepFiringFor":60,"labels":{"severity":"page"},"annotations":{"summary":"pod {{ $labels.pod }} is down"},"alerts":null,"health":"ok","evaluationTime":0,"lastEvaluation":"1970-01-01T00:16:41.485Z","type":"alerting"}],"interval":10,"limit":0,"evaluationTime":0,"lastEvaluation":"1970-01-01T00:16:41.485Z"}]}}
            GET /api/v1/rules?group_limit=1&type=alert&exclude_alerts=t
              200 {"status":"success","data":{"groups":[{"name":"asr","file":"rules.yml","rules":[{"state":"firing","name":"PodDown","query":"up == 0","duration":0,"keepFiringFor":60,"labels":{"severity":"page"},"annotations":{"summary":"pod {{ $labels.pod }} is down"},"alerts":null,"health":"ok","evaluationTime":0,"lastEvaluation":"1970-01-01T00:16:41.485Z","type":"alerting"}],"interval":10,"limit":0,"evaluationTime":0,"lastEvaluation":"1970-01-01T00:16:41.485Z"}],"groupNextToken":"b15355bf5670630f7f261673c712e49a96dae41196d09ac113b976def8158fa1"}}
            GET /api/v1/rules?type=x
              400 {"status":"error","errorType":"bad_data","error":"invalid parameter \"type\": not supported value \"x\""}
            GET /api/v1/rules?exclude_alerts=x
              400 {"status":"error","errorType":"bad_data","error":"invalid parameter \"exclude_alerts\": error converting exclude_alerts: strconv.ParseBool: parsing \"x\": invalid syntax"}
            GET /api/v1/rules?group_limit=x
              400 {"status":"error","errorType":"bad_data","error":"invalid parameter \"group_limit\": group_limit needs to be a valid number: strconv.ParseInt: parsing \"x\": invalid syntax"}
            GET /api/v1/rules?group_limit=0
              400 {"status":"error","errorType":"bad_data","error":"invalid parameter \"group_limit\": group_limit needs to be greater than 0"}
            GET /api/v1/rules?group_next_token=x
              400 {"status":"error","errorType":"bad_data","error":"invalid parameter \"group_next_token\": group_limit needs to be present in order to paginate over the groups"}
            GET /api/v1/rules?group_limit=1&group_next_token=x
              400 {"status":"error","errorType":"bad_data","error":"invalid parameter \"group_next_token\": invalid group_next_token 'x'. were rule groups changed?"}
            GET /api/v1/rules?match[]=(
              400 {"status":"error","errorType":"bad_data","error":"1:2: parse error: unclosed left parenthesis"}
            GET /api/v1/alerts
              200 {"status":"success","data":{"alerts":[{"labels":{"alertname":"PodDown","pod":"b","severity":"page"},"annotations":{"summary":"pod b is down"},"state":"firing","activeAt":"1970-01-01T00:16:41.485Z","value":"0e+00"}]}}
            GET /api/v1/alertmanagers
              200 {"status":"success","data":{"activeAlertmanagers":[{"url":"http://am:9093/api/v2/alerts"}],"droppedAlertmanagers":[]}}
        "#]],
    )
    .await;
}

#[tokio::test]
async fn status_is_what_the_process_tells() {
    check_whole(
        &[
            (Method::GET, "/api/v1/status/config"),
            (Method::GET, "/api/v1/status/flags"),
            (Method::GET, "/api/v1/status/tsdb"),
            (Method::GET, "/api/v1/status/tsdb?limit=1"),
            (Method::GET, "/api/v1/status/tsdb?limit=0"),
            (Method::GET, "/api/v1/status/tsdb?limit=10001"),
            (Method::GET, "/api/v1/status/walreplay"),
            (Method::GET, "/api/v1/notifications"),
            (Method::GET, "/api/v1/metadata"),
            (Method::GET, "/api/v1/metadata?metric=up"),
            (Method::GET, "/api/v1/metadata?limit=1"),
            (Method::GET, "/api/v1/metadata?limit=x"),
            (Method::GET, "/federate?match[]=up&match[]=h"),
            (Method::GET, "/federate?match[]=("),
        ],
        &expect![[r#"
            GET /api/v1/status/config
              200 {"status":"success","data":{"yaml":"global:\n  scrape_interval: 15s\n"}}
            GET /api/v1/status/flags
              200 {"status":"success","data":{"log.level":"info","web.enable-lifecycle":"true"}}
            GET /api/v1/status/tsdb
              200 {"status":"success","data":{"headStats":{"numSeries":3,"numLabelPairs":5,"chunkCount":4,"minTime":1,"maxTime":2},"seriesCountByMetricName":[{"name":"up","value":2},{"name":"h","value":1}],"labelValueCountByLabelName":[{"name":"pod","value":2}],"memoryInBytesByLabelName":[{"name":"pod","value":9}],"seriesCountByLabelValuePair":[{"name":"pod=a","value":1}]}}
            GET /api/v1/status/tsdb?limit=1
              200 {"status":"success","data":{"headStats":{"numSeries":3,"numLabelPairs":5,"chunkCount":4,"minTime":1,"maxTime":2},"seriesCountByMetricName":[{"name":"up","value":2}],"labelValueCountByLabelName":[{"name":"pod","value":2}],"memoryInBytesByLabelName":[{"name":"pod","value":9}],"seriesCountByLabelValuePair":[{"name":"pod=a","value":1}]}}
            GET /api/v1/status/tsdb?limit=0
              400 {"status":"error","errorType":"bad_data","error":"limit must be a positive number"}
            GET /api/v1/status/tsdb?limit=10001
              400 {"status":"error","errorType":"bad_data","error":"limit must not exceed 10000"}
            GET /api/v1/status/walreplay
              200 {"status":"success","data":{"min":1,"max":4,"current":2}}
            GET /api/v1/notifications
              200 {"status":"success","data":[{"text":"Configuration reload has failed.","date":"1970-01-01T00:00:05Z","active":true}]}
            GET /api/v1/metadata
              200 {"status":"success","data":{"asr_seconds":[{"type":"histogram","unit":"","help":"Times."}],"up":[{"type":"gauge","unit":"","help":"Whether it is <up>."}]}}
            GET /api/v1/metadata?metric=up
              200 {"status":"success","data":{"up":[{"type":"gauge","unit":"","help":"Whether it is <up>."}]}}
            GET /api/v1/metadata?limit=1
              200 {"status":"success","data":{"asr_seconds":[{"type":"histogram","unit":"","help":"Times."}]}}
            GET /api/v1/metadata?limit=x
              400 {"status":"error","errorType":"bad_data","error":"limit must be a number"}
            GET /federate?match[]=up&match[]=h
              200 # TYPE up untyped
            up{pod="a",cluster="c1",instance=""} 1 1000000
            up{pod="b",cluster="c1",instance=""} 0 1000000
            GET /federate?match[]=(
              400 1:2: parse error: unclosed left parenthesis
        "#]],
    )
    .await;
    let (fixture, _) = whole().await;
    let (_, body) = fixture.ask(Method::GET, "/api/v1/status/runtimeinfo", "").await;
    let body: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(body["data"]["hostname"], "box");
    assert_eq!(body["data"]["serverTime"], "1970-01-01T00:16:40Z");
    assert!(body["data"]["GOMAXPROCS"].as_u64().unwrap() >= 1);
}

#[tokio::test]
async fn pages_of_metrics_come_in_the_format_that_is_asked_for() {
    let (fixture, _) = whole().await;
    let ask = async |path: &str, accept: &str| {
        let request = Request::builder().uri(path).header("accept", accept).body(Body::empty()).unwrap();
        let response = fixture.router.clone().call(request).await.unwrap();
        let named = response.headers()["content-type"].to_str().unwrap().to_owned();
        (PageFormat::from_content_type(&named).unwrap(), to_bytes(response.into_body(), usize::MAX).await.unwrap())
    };
    let protobuf = PageFormat::Protobuf.content_type();
    let (format, page) = ask("/federate?match[]=h&match[]=up", protobuf).await;
    let mut seen = Seen::default();
    read_protobuf(&page, HistogramForm::Native, &mut seen).unwrap();
    assert_eq!(format, PageFormat::Protobuf);
    expect![[r#"
        h{cluster="c1",instance="",pod="not this one",quote="a\"\\"} is a histogram
        up{cluster="c1",instance="",pod="a"} 1
        up{cluster="c1",instance="",pod="b"} 0"#]]
    .assert_eq(&seen.0.join("\n"));

    let openmetrics = "application/openmetrics-text;version=1.0.0,text/plain;q=0.5";
    let (format, page) = ask("/metrics", openmetrics).await;
    assert_eq!(format, PageFormat::Text(Format::OpenMetrics100));
    let mut parser = Parser::strict(&page, Format::OpenMetrics100);
    let mut entries = 0;
    while parser.next().unwrap().is_some() {
        entries += 1;
    }
    assert!(entries > 10, "{entries}");
    let (format, _) = ask("/metrics", protobuf).await;
    assert_eq!(format, PageFormat::Protobuf);
    for (path, accept) in [("/metrics", "*/*"), ("/federate?match[]=up", openmetrics)] {
        assert_eq!(ask(path, accept).await.0, PageFormat::Text(Format::PrometheusText004), "{path}");
    }
}

/// The samples of a page of protobuf, a line each.
#[derive(Default)]
struct Seen(Vec<String>);

impl<'p> PageVisitor<'p> for Seen {
    type Error = PageError;

    fn family(&mut self, _family: PageFamily<'p>) -> Result<(), PageError> {
        Ok(())
    }

    fn sample(&mut self, sample: PageSample<'_>) -> Result<(), PageError> {
        let value = sample.histogram.map_or(format!("{}", sample.line.value), |_| "is a histogram".to_owned());
        self.0.push(format!("{} {value}", sample.line.series));
        Ok(())
    }
}

#[tokio::test]
async fn storage_and_lifecycle_change_only_where_they_may() {
    check_whole(
        &[
            (Method::POST, "/api/v1/admin/tsdb/snapshot"),
            (Method::PUT, "/api/v1/admin/tsdb/snapshot?skip_head=true"),
            (Method::POST, "/api/v1/admin/tsdb/snapshot?skip_head=x"),
            (Method::POST, "/api/v1/admin/tsdb/delete_series?match[]=up&start=5"),
            (Method::POST, "/api/v1/admin/tsdb/delete_series"),
            (Method::POST, "/api/v1/admin/tsdb/clean_tombstones"),
            (Method::POST, "/api/v1/admin/tsdb/merge"),
            (Method::GET, "/api/v1/admin/tsdb/snapshot"),
            (Method::GET, "/-/reload"),
            (Method::POST, "/-/reload"),
            (Method::PUT, "/-/reload"),
            (Method::POST, "/-/quit"),
            (Method::POST, "/-/quit"),
        ],
        &expect![[r#"
            POST /api/v1/admin/tsdb/snapshot
              200 {"status":"success","data":{"name":"s1"}}
            PUT /api/v1/admin/tsdb/snapshot?skip_head=true
              200 {"status":"success","data":{"name":"s1"}}
            POST /api/v1/admin/tsdb/snapshot?skip_head=x
              400 {"status":"error","errorType":"bad_data","error":"invalid parameter \"skip_head\": unable to parse boolean: strconv.ParseBool: parsing \"x\": invalid syntax"}
            POST /api/v1/admin/tsdb/delete_series?match[]=up&start=5
              204 
            POST /api/v1/admin/tsdb/delete_series
              400 {"status":"error","errorType":"bad_data","error":"no match[] parameter provided"}
            POST /api/v1/admin/tsdb/clean_tombstones
              500 {"status":"error","errorType":"internal","error":"cannot clean tombstones: disk is full"}
            POST /api/v1/admin/tsdb/merge
              204 
            GET /api/v1/admin/tsdb/snapshot
              405 {"status":"error","errorType":"bad_data","error":"method GET is not allowed for `/api/v1/admin/tsdb/snapshot`"}
            GET /-/reload
              405 Only POST or PUT requests allowed
            POST /-/reload
              200 
            PUT /-/reload
              500 failed to reload config: cannot load `prometheus.yml`: line 3: unknown key
            POST /-/quit
              200 Requesting termination... Goodbye!
            POST /-/quit
              200 Termination already in progress.
        "#]],
    )
    .await;
    let (fixture, process) = whole().await;
    fixture.ask(Method::POST, "/api/v1/admin/tsdb/delete_series", "match[]=up&match[]=h&start=5").await;
    fixture.ask(Method::POST, "/-/quit", "").await;
    let calls = process.calls.lock().unwrap().clone();
    assert_eq!(calls, ["delete __name__=\"up\" 5000", "delete __name__=\"h\" 5000", "quit"]);
    let bare = Fixture::new();
    for (path, status, text) in [
        ("/api/v1/admin/tsdb/snapshot", 500, "admin APIs disabled"),
        ("/api/v1/admin/tsdb/delete_series?match[]=up", 500, "admin APIs disabled"),
        ("/-/reload", 403, "Lifecycle API is not enabled."),
        ("/-/quit", 403, "Lifecycle API is not enabled."),
    ] {
        let (found, body) = bare.ask(Method::POST, path, "").await;
        assert_eq!(found.as_u16(), status, "{path}");
        assert!(body.contains(text), "{path}: {body}");
    }
}

#[tokio::test]
async fn expressions_are_formatted_and_shown_as_trees() {
    check_whole(
        &[
            (Method::GET, "/api/v1/format_query?query=sum(up)by(pod)"),
            (Method::GET, "/api/v1/format_query?query=("),
            (Method::POST, "/api/v1/parse_query?query=up"),
            (Method::GET, "/api/v1/parse_query?query=rate(up{pod=\"a\"}[5m]%20offset%201m)"),
            (Method::GET, "/api/v1/parse_query?query=topk(2,a)/on(x)group_left(y)b"),
            (Method::GET, "/api/v1/parse_query?query=-(1)%2B\"t\""),
            (Method::GET, "/api/v1/parse_query?query=max_over_time(up[5m:1m]%20@%20end())"),
            (Method::GET, "/api/v1/query_exemplars?query=up"),
            (Method::GET, "/api/v1/query_exemplars?query=1"),
            (Method::GET, "/api/v1/query_exemplars?query=("),
            (Method::GET, "/api/v1/query_exemplars?query=up&start=2&end=1"),
        ],
        &expect![[r#"
            GET /api/v1/format_query?query=sum(up)by(pod)
              200 {"status":"success","data":"sum by (pod) (up)"}
            GET /api/v1/format_query?query=(
              400 {"status":"error","errorType":"bad_data","error":"invalid parameter \"query\": 1:2: parse error: unclosed left parenthesis"}
            POST /api/v1/parse_query?query=up
              200 {"status":"success","data":{"name":"up","offset":0,"offsetExpr":null,"matchers":[{"name":"__name__","value":"up","type":"="}],"timestamp":null,"startOrEnd":null,"anchored":false,"smoothed":false,"type":"vectorSelector"}}
            GET /api/v1/parse_query?query=rate(up{pod="a"}[5m]%20offset%201m)
              200 {"status":"success","data":{"type":"call","func":{"name":"rate","argTypes":["matrix"],"variadic":0,"returnType":"vector"},"args":[{"name":"up","offset":60000,"offsetExpr":null,"matchers":[{"name":"pod","value":"a","type":"="},{"name":"__name__","value":"up","type":"="}],"timestamp":null,"startOrEnd":null,"anchored":false,"smoothed":false,"type":"matrixSelector","range":300000,"rangeExpr":null}]}}
            GET /api/v1/parse_query?query=topk(2,a)/on(x)group_left(y)b
              200 {"status":"success","data":{"type":"binaryExpr","op":"/","lhs":{"type":"aggregation","op":"topk","expr":{"name":"a","offset":0,"offsetExpr":null,"matchers":[{"name":"__name__","value":"a","type":"="}],"timestamp":null,"startOrEnd":null,"anchored":false,"smoothed":false,"type":"vectorSelector"},"param":{"type":"numberLiteral","val":"2"},"grouping":[],"without":false},"rhs":{"name":"b","offset":0,"offsetExpr":null,"matchers":[{"name":"__name__","value":"b","type":"="}],"timestamp":null,"startOrEnd":null,"anchored":false,"smoothed":false,"type":"vectorSelector"},"matching":{"card":"many-to-one","labels":["x"],"on":true,"include":["y"],"fillValues":{"lhs":null,"rhs":null}},"bool":false}}
            GET /api/v1/parse_query?query=-(1)%2B"t"
              400 {"status":"error","errorType":"bad_data","error":"invalid parameter \"query\": 1:6: parse error: binary expression must contain only scalar and instant vector types"}
            GET /api/v1/parse_query?query=max_over_time(up[5m:1m]%20@%20end())
              200 {"status":"success","data":{"type":"call","func":{"name":"max_over_time","argTypes":["matrix"],"variadic":0,"returnType":"vector"},"args":[{"type":"subquery","expr":{"name":"up","offset":0,"offsetExpr":null,"matchers":[{"name":"__name__","value":"up","type":"="}],"timestamp":null,"startOrEnd":null,"anchored":false,"smoothed":false,"type":"vectorSelector"},"range":300000,"rangeExpr":null,"offset":0,"offsetExpr":null,"step":60000,"stepExpr":null,"timestamp":null,"startOrEnd":"end"}]}}
            GET /api/v1/query_exemplars?query=up
              200 {"status":"success","data":[]}
            GET /api/v1/query_exemplars?query=1
              204 
            GET /api/v1/query_exemplars?query=(
              400 {"status":"error","errorType":"bad_data","error":"1:2: parse error: unclosed left parenthesis"}
            GET /api/v1/query_exemplars?query=up&start=2&end=1
              400 {"status":"error","errorType":"bad_data","error":"end timestamp must not be before start timestamp"}
        "#]],
    )
    .await;
}

#[tokio::test]
async fn exemplars_are_those_of_the_storage() {
    let storage = Arc::new(samples());
    let mut appender = storage.appender();
    let series = appender.series(None, &Labels::from_pairs([("__name__", "up"), ("pod", "a")])).unwrap();
    let at = Timestamp::from_unix_ms(1_000_500);
    let exemplar = Exemplar { labels: Labels::from_pairs([("trace", "t1")]), value: 0.5, at, has_timestamp: true };
    appender.append(series, Timestamp::from_unix_ms(1_001_000), 1.0).unwrap();
    appender.append_exemplar(series, exemplar).unwrap();
    appender.commit().unwrap();
    let fixture = Fixture::with(|parts| parts.exemplars = Some(storage));
    let (_, body) = fixture.ask(Method::GET, "/api/v1/query_exemplars?query=sum(rate(up[1m]))", "").await;
    let expected = r#"[{"seriesLabels":{"__name__":"up","pod":"a"},"exemplars":[{"labels":{"trace":"t1"},"value":"0.5","timestamp":1000.5}]}]"#;
    assert_eq!(body, format!(r#"{{"status":"success","data":{expected}}}"#));
}

async fn headers(router: &Router, path: &str, asked: &[(&'static str, &str)]) -> (StatusCode, HeaderMap, Vec<u8>) {
    let mut request = Request::builder().method(Method::GET).uri(path);
    for (name, value) in asked {
        request = if *name == ":method" { request.method(*value) } else { request.header(*name, *value) };
    }
    let response = router.clone().call(request.body(Body::empty()).unwrap()).await.unwrap();
    let (head, body) = response.into_parts();
    (head.status, head.headers, to_bytes(body, usize::MAX).await.unwrap().to_vec())
}

#[tokio::test]
async fn other_origins_read_answers_where_the_flag_lets_them() {
    let with = |pattern: &str| {
        let pattern = datamodel::regex::Regex::anchored(pattern).unwrap();
        Fixture::with(|parts| parts.options.cors_origin = Some(pattern)).router
    };
    let allowed = |headers: &HeaderMap| {
        headers.get("access-control-allow-origin").map(|value| value.to_str().unwrap().to_owned())
    };
    let path = "/api/v1/query?query=1";
    let all = with(".*");
    let (_, found, _) = headers(&all, path, &[("origin", "http://a")]).await;
    assert_eq!(allowed(&found).as_deref(), Some("*"));
    let (status, found, body) =
        headers(&all, "/api/v1/any/path", &[(":method", "OPTIONS"), ("origin", "http://a")]).await;
    assert_eq!((status, allowed(&found).as_deref(), body.len()), (StatusCode::NO_CONTENT, Some("*"), 0));
    let one = with("http://a");
    assert_eq!(allowed(&headers(&one, path, &[("origin", "http://a")]).await.1).as_deref(), Some("http://a"));
    assert_eq!(allowed(&headers(&one, path, &[("origin", "http://ab")]).await.1), None);
    assert_eq!(allowed(&headers(&Fixture::new().router, path, &[("origin", "http://a")]).await.1), None);
}

#[tokio::test]
async fn large_answers_are_compressed_for_those_who_take_it() {
    let router = Fixture::new().router;
    let (_, plain, page) = headers(&router, "/metrics", &[]).await;
    assert!(page.len() > 1024 && !plain.contains_key("content-encoding"));
    let (_, packed, body) = headers(&router, "/metrics", &[("accept-encoding", "gzip")]).await;
    assert_eq!(packed["content-encoding"], "gzip");
    let mut unpacked = String::new();
    std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(body.as_slice()), &mut unpacked).unwrap();
    assert!(unpacked.starts_with("# HELP"), "{unpacked}");
    let (_, small, _) = headers(&router, "/-/healthy", &[("accept-encoding", "gzip")]).await;
    assert!(!small.contains_key("content-encoding"));
}

#[tokio::test]
async fn foreign_hosts_are_refused_on_a_loopback_listener() {
    let guard = HostGuard::for_listener("127.0.0.1:9090".parse().unwrap(), "http://box.example/").unwrap();
    let router = guard.protect(Fixture::new().router);
    for (host, status) in [
        ("localhost:9090", StatusCode::OK),
        ("box.example", StatusCode::OK),
        ("evil.example:9090", StatusCode::FORBIDDEN),
    ] {
        let (found, _, body) = headers(&router, "/api/v1/query?query=up", &[("host", host)]).await;
        assert_eq!(found, status, "{host}");
        let text = String::from_utf8(body).unwrap();
        assert!(status == StatusCode::OK || text.contains("--web.external-url=http://evil.example:9090/"), "{text}");
    }
    let (found, ..) = headers(&router, "http://evil.example/api/v1/query?query=up", &[]).await;
    assert_eq!(found, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn routes_stand_below_their_prefix() {
    let router = Fixture::with(|parts| parts.options.route_prefix = "/prom/".to_owned()).router;
    assert_eq!(headers(&router, "/prom/api/v1/query?query=1", &[]).await.0, StatusCode::OK);
    assert_eq!(headers(&router, "/api/v1/query?query=1", &[]).await.0, StatusCode::NOT_FOUND);
    let (status, found, _) = headers(&router, "/", &[]).await;
    assert_eq!((status, &found["location"]), (StatusCode::SEE_OTHER, &"/prom/".parse().unwrap()));
    let (_, _, page) = headers(&router, "/prom/metrics", &[]).await;
    let page = String::from_utf8(page).unwrap();
    assert!(page.contains("prometheus_http_requests_total{code=\"200\",handler=\"/api/v1/query\"} 1\n"), "{page}");
}

/// A cluster that says in which format it was asked, or that it is not known yet.
struct Cluster(Option<&'static str>);

impl MetricsPage for Cluster {
    fn page(&self, format: Format) -> Result<String, ActionError> {
        let unknown = || ActionError { action: "tell the state of the cluster", source: "pods are not known".into() };
        self.0.map(|text| format!("{text}{format:?}\n")).ok_or_else(unknown)
    }
}

#[tokio::test]
async fn page_about_a_cluster_is_there_in_the_format_that_is_asked_for_or_refused_with_the_reason() {
    let (status, _, _) = headers(&Fixture::new().router, KUBE_STATE_PATH, &[]).await;
    assert_eq!(status, StatusCode::NOT_FOUND, "without a cluster there is no such page");
    let with = |page| Fixture::with(|parts| parts.kube_state = Some(Arc::new(page))).router;
    for router in [with(Cluster(Some("# "))), kube_state_router(Arc::new(Cluster(Some("# "))))] {
        for (accept, body, content_type) in [
            ("text/plain", "# PrometheusText004\n", "text/plain; version=0.0.4; charset=utf-8"),
            (
                "application/openmetrics-text;version=1.0.0;q=0.5,*/*;q=0.2",
                "# OpenMetrics100\n",
                "application/openmetrics-text; version=1.0.0; charset=utf-8",
            ),
        ] {
            let (status, found, page) = headers(&router, KUBE_STATE_PATH, &[("accept", accept)]).await;
            assert_eq!((status, found["content-type"].to_str().unwrap()), (StatusCode::OK, content_type));
            assert_eq!(String::from_utf8(page).unwrap(), body);
        }
    }
    let (status, _, body) = headers(&with(Cluster(None)), KUBE_STATE_PATH, &[]).await;
    let body = String::from_utf8(body).unwrap();
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(body.contains("cannot tell the state of the cluster: pods are not known"), "{body}");
}
