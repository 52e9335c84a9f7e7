//! The server with a backend that needs no model: each endpoint, each refusal, and the ends of things.

mod client;
mod fake;

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use expect_test::{Expect, expect};
use serde_json::json;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto};

use self::client::{CONTENT_TYPE, Client, Multipart};
use self::fake::{TestServer, config};
use super::{ServeError, ServerConfig, metric_catalogue};

#[tokio::test]
async fn plain_endpoints_answer() {
    let server = TestServer::start(config()).await;
    let mut client = server.client().await;
    for (path, status, body) in
        [("/health", 200, json!({"status": "healthy"})), ("/ready", 200, json!({"status": "ready"}))]
    {
        let reply = client.get(path).await;
        assert_eq!((reply.status, reply.json()), (status, body), "{path}");
    }
    let list = client.get("/v1/models").await.json();
    assert_eq!(list["object"], "list");
    assert_eq!(list["data"][0]["id"], "tiny.en");
    assert!(list["data"][0]["created"].as_i64().unwrap() > 1_600_000_000);
    for name in ["tiny.en", "whisper-1"] {
        let reply = client.get(&format!("/v1/models/{name}")).await;
        assert_eq!((reply.status, &reply.json()), (200, &list["data"][0]));
    }
    assert_eq!(client.get("/v1/models/large").await.error().1, "model_not_found");
    server.stop().await;
}

#[tokio::test]
async fn transcripts_come_in_five_formats() {
    let server = TestServer::start(config()).await;
    let mut client = server.client().await;
    let mut check = async |fields: &[(&str, &str)], content_type: &str, expected: Expect| {
        let form = fields.iter().fold(Multipart::of("say hello"), |form, (name, value)| form.field(name, value));
        let reply = client.transcribe(&form).await;
        assert_eq!((reply.status, reply.header("content-type")), (200, Some(content_type)), "{}", reply.body);
        expected.assert_eq(&reply.body);
    };
    check(&[], "application/json", expect![[r#"{"text":"hello","usage":{"type":"duration","seconds":3}}"#]]).await;
    check(&[("response_format", "text")], "text/plain; charset=utf-8", expect![["hello\n"]]).await;
    let verbose = ("response_format", "verbose_json");
    check(
        &[verbose, ("timestamp_granularities[]", "word")],
        "application/json",
        expect![[
            r#"{"task":"transcribe","language":"english","duration":2.5,"text":"hello","words":[{"word":"hello","start":0.5,"end":1.0}],"usage":{"type":"duration","seconds":3}}"#
        ]],
    )
    .await;
    check(
        &[verbose],
        "application/json",
        expect![[
            r#"{"task":"transcribe","language":"english","duration":2.5,"text":"hello","segments":[{"id":0,"seek":0,"start":0.0,"end":2.5,"text":" hello","tokens":[1],"temperature":0.0,"avg_logprob":-0.5,"compression_ratio":1.0,"no_speech_prob":0.0}],"usage":{"type":"duration","seconds":3}}"#
        ]],
    )
    .await;
    check(
        &[("response_format", "srt")],
        "text/plain; charset=utf-8",
        expect![["1\n00:00:00,000 --> 00:00:02,500\nhello\n\n"]],
    )
    .await;
    check(
        &[("response_format", "vtt")],
        "text/vtt; charset=utf-8",
        expect![["WEBVTT\n\n00:00:00.000 --> 00:00:02.500\nhello\n\n"]],
    )
    .await;
    server.stop().await;
}

#[tokio::test]
async fn options_reach_the_backend() {
    let server = TestServer::start(config()).await;
    let form = Multipart::of("options")
        .field("language", "English")
        .field("prompt", "Names: Marianne, Elinor.")
        .field("temperature", "0.4")
        .field("response_format", "verbose_json")
        .field("timestamp_granularities[]", "word")
        .field("timestamp_granularities[]", "segment")
        .field("stream", "false")
        .field("chunking_strategy", "auto");
    let reply = server.client().await.transcribe(&form).await;
    let expected = "TranscribeOptions { language: Some(\"en\"), prompt: Some(\"Names: Marianne, Elinor.\"), \
                    temperature: 0.4, word_timestamps: true, segment_timestamps: true, seed: 0 }";
    assert_eq!(reply.json()["text"], expected);
    server.stop().await;
}

#[tokio::test]
async fn bad_forms_get_a_clear_error_and_keep_the_connection() {
    let server = TestServer::start(ServerConfig { max_upload_bytes: 1000, ..config() }).await;
    let mut client = server.client().await;
    let file = || Multipart::default().file(b"say x");
    let cases = [
        (Multipart::default(), (400, "missing_required_parameter", Some("file"))),
        (file(), (400, "missing_required_parameter", Some("model"))),
        (file().field("model", "gpt-4o-transcribe"), (404, "model_not_found", Some("model"))),
        (Multipart::of(""), (400, "empty_file", Some("file"))),
        (Multipart::of("noise"), (400, "not_audio", Some("file"))),
        (Multipart::of(&"x".repeat(1001)), (413, "file_too_large", Some("file"))),
        (Multipart::of("say x").file(b"say y"), (400, "duplicate_parameter", Some("file"))),
        (Multipart::of("say x").field("model", "tiny.en"), (400, "duplicate_parameter", Some("model"))),
        (Multipart::of("say x").field("language", "fr"), (400, "unsupported_language", Some("language"))),
        (Multipart::of("say x").field("temperature", "1.5"), (400, "invalid_value", Some("temperature"))),
        (Multipart::of("say x").field("temperature", "NaN"), (400, "invalid_value", Some("temperature"))),
        (Multipart::of("say x").field("response_format", "xml"), (400, "invalid_value", Some("response_format"))),
        (
            Multipart::of("say x").field("response_format", "diarized_json"),
            (400, "unsupported_value", Some("response_format")),
        ),
        (
            Multipart::of("say x").field("timestamp_granularities[]", "word"),
            (400, "invalid_value", Some("timestamp_granularities[]")),
        ),
        (
            Multipart::of("say x").field("response_format", "verbose_json").field("timestamp_granularities[]", "char"),
            (400, "invalid_value", Some("timestamp_granularities[]")),
        ),
        (Multipart::of("say x").field("stream", "true"), (400, "unsupported_value", Some("stream"))),
        (Multipart::of("say x").field("stream", "maybe"), (400, "invalid_value", Some("stream"))),
        (
            Multipart::of("say x").field("chunking_strategy", "{}"),
            (400, "unsupported_value", Some("chunking_strategy")),
        ),
        (Multipart::of("say x").field("include[]", "logprobs"), (400, "unsupported_parameter", Some("include[]"))),
        (Multipart::of("say x").field("langauge", "en"), (400, "unknown_parameter", Some("langauge"))),
        (Multipart::of("say x").field("prompt", &"p".repeat(20_000)), (400, "value_too_long", Some("prompt"))),
    ];
    for (form, expected) in cases {
        let (status, code, param): (u16, &str, Option<&str>) = expected;
        let reply = client.transcribe(&form).await;
        assert_eq!(reply.error(), (status, code.to_owned(), param.map(str::to_owned)), "{}", reply.body);
        assert_eq!(reply.header("connection"), None);
    }
    assert_eq!(client.transcribe(&Multipart::of("say still here")).await.json()["text"], "still here");
    server.stop().await;
}

#[tokio::test]
async fn bad_requests_get_a_clear_error() {
    let server = TestServer::start(config()).await;
    let path = "/v1/audio/transcriptions";
    let check = async |method: &str, path: &str, headers: &str, body: &str, expected: (u16, &str)| {
        let reply = server.client().await.request(method, path, headers, body.as_bytes()).await;
        let (status, code, _) = reply.error();
        assert_eq!((status, code.as_str()), expected, "{method} {path} {headers}");
        reply
    };
    check("POST", path, "content-type: application/json\r\n", "{}", (415, "unsupported_media_type")).await;
    check("POST", path, "", "", (415, "unsupported_media_type")).await;
    check("POST", path, "content-type: multipart/form-data\r\n", "", (415, "unsupported_media_type")).await;
    check("POST", path, CONTENT_TYPE, "no part", (400, "invalid_multipart_form")).await;
    check("POST", path, CONTENT_TYPE, "--xyz\r\n", (400, "invalid_multipart_form")).await;
    let nameless = "--xyz\r\ncontent-disposition: form-data\r\n\r\nx\r\n--xyz--\r\n";
    check("POST", path, CONTENT_TYPE, nameless, (400, "invalid_multipart_form")).await;
    check("GET", "/v1/audio/speech", "", "", (404, "unknown_url")).await;
    check("POST", "/v1/audio/translations", CONTENT_TYPE, "", (404, "unknown_url")).await;
    let reply = check("GET", path, "", "", (405, "method_not_allowed")).await;
    assert_eq!(reply.header("allow"), Some("POST"));
    let upgrade = "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n";
    check("GET", "/v1/realtime", upgrade, "", (501, "websocket_not_supported")).await;
    server.stop().await;
}

#[tokio::test]
async fn announced_length_above_the_limit_is_refused_before_the_upload() {
    let server = TestServer::start(ServerConfig { max_upload_bytes: 1000, ..config() }).await;
    let mut client = server.client().await;
    let head =
        "POST /v1/audio/transcriptions HTTP/1.1\r\nhost: x\r\ncontent-length: 99000000\r\nexpect: 100-continue\r\n";
    client.write(format!("{head}{CONTENT_TYPE}\r\n").as_bytes()).await;
    let reply = client.read().await.unwrap();
    assert_eq!((reply.error().0, reply.header("connection")), (413, Some("close")));
    assert!(client.is_closed().await);
    server.until_metric("asr_rejected_requests_total{reason=\"too_large\"} 1").await;
    server.stop().await;
}

#[tokio::test]
async fn request_id_is_the_clients_or_ours() {
    let server = TestServer::start(config()).await;
    let mut client = server.client().await;
    let reply = client.request("GET", "/health", "x-request-id: abc-1\r\n", b"").await;
    assert_eq!(reply.header("x-request-id"), Some("abc-1"));
    let first = client.get("/nowhere").await.header("x-request-id").unwrap().to_owned();
    let second = client.get("/nowhere").await.header("x-request-id").unwrap().to_owned();
    assert!(first.starts_with("req_") && first != second, "{first} {second}");
    server.stop().await;
}

#[tokio::test]
async fn page_of_metrics_is_the_documented_one() {
    let server = TestServer::start(ServerConfig { pod_name: Some("lightning-asr-xxx".to_owned()), ..config() }).await;
    let mut client = server.client().await;
    assert_eq!(client.transcribe(&Multipart::of("say hello")).await.status, 200);
    assert_eq!(client.transcribe(&Multipart::of("fail")).await.status, 500);
    assert_eq!(client.transcribe(&Multipart::of("panic")).await.status, 500);
    assert_eq!(client.transcribe(&Multipart::of("noise")).await.status, 400);
    let mut blocked = server.client().await;
    blocked.start(&Multipart::of("block x")).await;
    server.until_metric("asr_requests_dequeued_total{pod=\"lightning-asr-xxx\"} 5").await;
    let accept = "accept: application/openmetrics-text; version=1.0.0\r\n";
    let reply = client.request("GET", "/metrics", accept, b"").await;
    assert_eq!(reply.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let begin: Vec<&str> = reply.body.lines().take_while(|line| !line.contains("duration")).collect();
    expect![[r#"
        # HELP asr_active_requests Current active requests
        # TYPE asr_active_requests gauge
        asr_active_requests{pod="lightning-asr-xxx"} 1
        # HELP asr_total_requests Total requests processed
        # TYPE asr_total_requests counter
        asr_total_requests{pod="lightning-asr-xxx"} 4
        # HELP asr_failed_requests Total failed requests
        # TYPE asr_failed_requests counter
        asr_failed_requests{pod="lightning-asr-xxx"} 2"#]]
    .assert_eq(&begin.join("\n"));
    for line in [
        "# HELP asr_request_duration_seconds Request processing time",
        "# TYPE asr_request_duration_seconds histogram",
        "asr_request_duration_seconds_bucket{pod=\"lightning-asr-xxx\",le=\"120\"} 4",
        "asr_request_duration_seconds_count{pod=\"lightning-asr-xxx\"} 4",
        "# HELP asr_model_load_time_seconds Time to load model on startup",
        "# TYPE asr_model_load_time_seconds gauge",
        "asr_model_load_time_seconds{pod=\"lightning-asr-xxx\"} 0.25",
        "asr_requests_enqueued_total{pod=\"lightning-asr-xxx\"} 5",
        "asr_requests_dequeued_total{pod=\"lightning-asr-xxx\"} 5",
        "asr_queued_requests{pod=\"lightning-asr-xxx\"} 0",
        "asr_max_concurrent_requests{pod=\"lightning-asr-xxx\"} 1",
        "asr_ready{pod=\"lightning-asr-xxx\"} 1",
        "asr_audio_seconds_total{pod=\"lightning-asr-xxx\"} 2.5",
        "asr_real_time_factor_count{pod=\"lightning-asr-xxx\"} 1",
        "asr_processing_seconds_count{pod=\"lightning-asr-xxx\"} 1",
        "asr_rejected_requests_total{pod=\"lightning-asr-xxx\",reason=\"queue_full\"} 0",
        "# TYPE process_resident_memory_bytes gauge",
    ] {
        assert!(reply.body.lines().any(|present| present == line), "{line} is not in\n{}", reply.body);
    }
    assert!(!reply.body.contains("gpu"), "a value of a GPU that is not there");
    server.gate.open();
    assert_eq!(blocked.read().await.unwrap().status, 200);
    server.stop().await;
}

#[test]
fn names_of_metrics_have_units_and_only_the_contract_breaks_the_suffix_rule() {
    let catalogue = metric_catalogue().unwrap();
    let names: Vec<&str> = catalogue.iter().map(|metric| metric.name).collect();
    let contract = [
        "asr_active_requests",
        "asr_total_requests",
        "asr_failed_requests",
        "asr_request_duration_seconds",
        "asr_model_load_time_seconds",
        "asr_gpu_utilization",
        "asr_gpu_memory_used_bytes",
    ];
    assert_eq!(names[..7], contract);
    for metric in &catalogue[7..] {
        let is_counter = metric.metric_type == datamodel::MetricType::Counter;
        assert_eq!(is_counter, metric.name.ends_with("_total"), "{}", metric.name);
    }
}

#[tokio::test]
async fn gpu_of_this_worker_is_on_the_page() {
    let library = crate::gpu::tests::FakeNvml::build();
    let gpu = ServerConfig { nvml_library: library.path(), visible_devices: Some("GPU-bbbb".to_owned()), ..config() };
    let server = TestServer::start(gpu).await;
    server.until_metric("asr_gpu_utilization 93").await;
    server.until_metric("asr_gpu_memory_used_bytes 1.8e+10").await;
    server.stop().await;
}

#[tokio::test]
async fn full_queue_sends_away_with_retry_after() {
    let small = ServerConfig { max_queued_requests: 2, max_concurrent_requests: 1, ..config() };
    let server = TestServer::start(small).await;
    let mut inside = Vec::new();
    for count in 1..=3 {
        let mut client = server.client().await;
        client.start(&Multipart::of("block in")).await;
        server.until_metric(&format!("asr_active_requests {count}")).await;
        inside.push(client);
    }
    server.until_metric("asr_queued_requests 2").await;
    let reply = server.client().await.transcribe(&Multipart::of("say out")).await;
    assert_eq!(reply.error().0, 429);
    assert_eq!(reply.header("retry-after"), Some("1"));
    server.gate.open();
    for client in &mut inside {
        assert_eq!(client.read().await.unwrap().json()["text"], "in");
    }
    server.until_metric("asr_active_requests 0").await;
    server.until_metric("asr_total_requests 3").await;
    server.until_metric("asr_failed_requests 0").await;
    server.until_metric("asr_rejected_requests_total{reason=\"queue_full\"} 1").await;
    server.stop().await;
}

#[tokio::test]
async fn uploads_share_a_bounded_memory() {
    let small = ServerConfig { max_upload_bytes: 1000, upload_memory_bytes: 1500, ..config() };
    let server = TestServer::start(small).await;
    let mut first = server.client().await;
    first.start(&Multipart::of(&format!("block {}", "x".repeat(900)))).await;
    server.until_metric("asr_active_requests 1").await;
    let large = Multipart::of(&format!("say {}", "y".repeat(900)));
    let mut second = server.client().await;
    assert_eq!(second.transcribe(&large).await.error().1, "upload_memory");
    server.gate.open();
    assert_eq!(first.read().await.unwrap().status, 200);
    assert_eq!(second.transcribe(&large).await.status, 200);
    server.stop().await;
}

#[tokio::test]
async fn clients_that_hang_up_leave_nothing_behind() {
    let server = TestServer::start(config()).await;
    let (mut running, mut queued) = (server.client().await, server.client().await);
    running.start(&Multipart::of("block running")).await;
    server.until_metric("asr_requests_dequeued_total 1").await;
    queued.start(&Multipart::of("block queued")).await;
    server.until_metric("asr_queued_requests 1").await;
    drop(queued);
    server.until_metric("asr_client_hangups_total{phase=\"queued\"} 1").await;
    server.until_metric("asr_queued_requests 0").await;
    drop(running);
    server.until_metric("asr_client_hangups_total{phase=\"running\"} 1").await;
    // The thread is free again although the gate never opened.
    assert_eq!(server.client().await.transcribe(&Multipart::of("say next")).await.status, 200);
    assert_eq!(server.gate.cancelled(), 1);
    let mut sending = server.client().await;
    sending
        .write(
            format!(
                "POST /v1/audio/transcriptions HTTP/1.1\r\nhost: x\r\ncontent-length: 999\r\n{CONTENT_TYPE}\r\n--x"
            )
            .as_bytes(),
        )
        .await;
    drop(sending);
    server.until_metric("asr_client_hangups_total{phase=\"upload\"} 1").await;
    for line in ["asr_active_requests 0", "asr_total_requests 3", "asr_failed_requests 0"] {
        server.until_metric(line).await;
    }
    server.stop().await;
}

#[tokio::test]
async fn drain_finishes_what_was_accepted() {
    let server = TestServer::start(ServerConfig { max_concurrent_requests: 2, ..config() }).await;
    let mut clients = Vec::new();
    for count in 1..=5 {
        let mut client = server.client().await;
        client.start(&Multipart::of("block kept")).await;
        server.until_metric(&format!("asr_active_requests {count}")).await;
        clients.push(client);
    }
    // An upload that is under way when the shutdown begins is accepted too.
    let mut late = server.client().await;
    let body = Multipart::of("say late").body();
    let head = format!("POST /v1/audio/transcriptions HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n", body.len());
    late.write(format!("{head}{CONTENT_TYPE}\r\n").as_bytes()).await;
    late.write(&body[..20]).await;
    let mut idle = server.client().await;
    assert_eq!(idle.get("/ready").await.status, 200);
    server.shutdown.cancel();
    assert!(idle.is_closed().await);
    late.write(&body[20..]).await;
    server.gate.open();
    for client in &mut clients {
        let reply = client.read().await.unwrap();
        assert_eq!((reply.status, reply.header("connection")), (200, Some("close")));
        assert!(client.is_closed().await);
    }
    assert_eq!(late.read().await.unwrap().json()["text"], "late");
    server.ended().await.unwrap();
}

#[tokio::test]
async fn while_routers_learn_of_the_shutdown_requests_are_still_served() {
    let slow = ServerConfig { drain_delay: Duration::from_secs(20), grace_period: Duration::from_secs(20), ..config() };
    let server = TestServer::start(slow).await;
    let mut kept = server.client().await;
    assert_eq!(kept.get("/ready").await.header("connection"), None);
    server.shutdown.cancel();
    let mut client = server.client().await;
    let ready = client.get("/ready").await;
    assert_eq!((ready.status, ready.json()), (503, json!({"status": "draining"})));
    let reply = kept.transcribe(&Multipart::of("say late")).await;
    assert_eq!((reply.status, reply.header("connection")), (200, Some("close")));
    server.until_metric("asr_ready 0").await;
    drop(server);
}

#[tokio::test]
async fn grace_period_ends_what_does_not_end() {
    let impatient = ServerConfig { grace_period: Duration::from_millis(50), ..config() };
    let server = TestServer::start(impatient).await;
    let (mut running, mut queued) = (server.client().await, server.client().await);
    running.start(&Multipart::of("block forever")).await;
    server.until_metric("asr_active_requests 1").await;
    queued.start(&Multipart::of("block too")).await;
    server.until_metric("asr_active_requests 2").await;
    server.shutdown.cancel();
    for client in [&mut running, &mut queued] {
        assert_eq!(client.read().await.unwrap().error(), (503, "shutting_down".to_owned(), None));
    }
    server.ended().await.unwrap();
}

#[tokio::test]
async fn request_that_takes_too_long_is_ended() {
    let server = TestServer::start(ServerConfig { request_timeout: Duration::from_millis(20), ..config() }).await;
    let reply = server.client().await.transcribe(&Multipart::of("block forever")).await;
    assert_eq!(reply.error().1, "timeout");
    server.until_metric("asr_failed_requests 1").await;
    server.until_metric("asr_active_requests 0").await;
    assert_eq!(server.client().await.transcribe(&Multipart::of("say x")).await.status, 200);
    server.stop().await;
}

#[tokio::test]
async fn slow_uploads_and_slow_headers_are_ended() {
    let impatient = ServerConfig {
        body_read_timeout: Duration::from_millis(20),
        header_read_timeout: Duration::from_millis(300),
        ..config()
    };
    let server = TestServer::start(impatient).await;
    let mut body = server.client().await;
    let head = "POST /v1/audio/transcriptions HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 999\r\n";
    body.write(format!("{head}{CONTENT_TYPE}\r\n").as_bytes()).await;
    assert_eq!(body.read().await.unwrap().status, 100);
    assert_eq!(body.read().await.unwrap().error().1, "upload_timeout");
    let mut headers = server.client().await;
    headers.write(b"GET /health HTTP/1.1\r\nhost:").await;
    assert!(headers.is_closed().await);
    server.stop().await;
}

#[tokio::test]
async fn connections_have_an_age_and_say_farewell() {
    let server = TestServer::start(ServerConfig { max_connection_age: Duration::from_millis(30), ..config() }).await;
    let mut client = server.client().await;
    let mut answers = 0;
    loop {
        let reply = client.get("/health").await;
        answers += 1;
        if reply.header("connection") == Some("close") {
            break;
        }
    }
    assert!(client.is_closed().await);
    assert!(answers > 1, "the first answer already said farewell");
    server.stop().await;
}

#[tokio::test]
async fn connections_are_bounded_and_wait_their_turn() {
    let server = TestServer::start(ServerConfig { max_connections: 1, ..config() }).await;
    let mut first = server.client().await;
    assert_eq!(first.get("/health").await.status, 200);
    let mut second = server.client().await;
    second.send("GET", "/health", "", b"").await;
    for _ in 0..10 {
        assert_eq!(first.get("/health").await.status, 200);
    }
    drop(first);
    assert_eq!(second.read().await.unwrap().status, 200);
    server.stop().await;
}

#[tokio::test]
async fn server_answers_while_the_model_loads() {
    let (server, loader) = TestServer::loading(config()).await;
    let mut client = server.client().await;
    assert_eq!(client.get("/health").await.status, 200);
    let ready = client.get("/ready").await;
    assert_eq!((ready.status, ready.json()), (503, json!({"status": "loading"})));
    let page = client.get("/metrics").await.body;
    assert!(page.contains("\nasr_ready 0\n") && !page.contains("asr_model_load_time_seconds"), "{page}");
    let reply = client.transcribe(&Multipart::of("say x")).await;
    assert_eq!((reply.error(), reply.header("retry-after")), ((503, "model_loading".to_owned(), None), Some("1")));
    assert_eq!(client.get("/v1/models").await.error().1, "model_loading");
    loader.send(Ok(())).unwrap();
    server.until_ready().await;
    assert_eq!(client.transcribe(&Multipart::of("say x")).await.status, 200);
    server.stop().await;
}

#[tokio::test]
async fn failed_load_ends_the_server_with_the_reason() {
    let (server, loader) = TestServer::loading(config()).await;
    loader.send(Err("model.bin: wrong hash")).unwrap();
    match server.ended().await {
        Err(ServeError::LoadModel(source)) => assert_eq!(source.to_string(), "model.bin: wrong hash"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn taken_port_is_named() {
    let server = TestServer::start(config()).await;
    let taken = ServerConfig { listen_address: server.address, ..config() };
    let second = super::Server::new(taken, Box::new(|| Err("never asked".into()))).unwrap();
    let error = second.run(server.shutdown.clone()).await.unwrap_err();
    assert_eq!(error.to_string(), format!("cannot listen on {}", server.address));
    server.stop().await;
}

#[tokio::test]
async fn keys_protect_the_api_alone() {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), "sk-one\n").unwrap();
    let server = TestServer::start(ServerConfig { api_keys_file: Some(file.path().into()), ..config() }).await;
    let mut client = server.client().await;
    for path in ["/health", "/ready", "/metrics"] {
        assert_eq!(client.get(path).await.status, 200, "{path}");
    }
    let body = Multipart::of("say x").body();
    let mut ask = async |key: &str| {
        let headers = format!("{CONTENT_TYPE}{key}");
        client.request("POST", "/v1/audio/transcriptions", &headers, &body).await
    };
    assert_eq!(ask("authorization: Bearer sk-one\r\n").await.status, 200);
    let reply = ask("authorization: Bearer sk-two\r\n").await;
    assert_eq!((reply.error().1.as_str(), reply.header("www-authenticate")), ("invalid_api_key", Some("Bearer")));
    assert_eq!(ask("").await.error().0, 401);
    assert_eq!(client.get("/v1/models").await.error().0, 401);
    server.until_metric("asr_rejected_requests_total{reason=\"unauthorized\"} 2").await;
    server.stop().await;
}

#[tokio::test]
async fn tls_serves_the_same() {
    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/tls"));
    let (cert, key) = (folder.join("cert.pem"), folder.join("key.pem"));
    let tls = ServerConfig { tls_cert_file: Some(cert.clone()), tls_key_file: Some(key), ..config() };
    let (server, loader) = TestServer::loading(tls).await;
    loader.send(Ok(())).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&cert).unwrap()).unwrap();
    let client_config = ClientConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = TlsConnector::from(Arc::new(client_config));
    let stream = TcpStream::connect(server.address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let mut client = Client::over(connector.connect(name, stream).await.unwrap());
    assert_eq!(client.get("/health").await.status, 200);
    // Without TLS there is no answer.
    let mut plain = server.client().await;
    plain.write(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n").await;
    drop(plain);
    server.stop().await;
}

#[tokio::test]
async fn bad_tls_files_and_bad_keys_files_are_named() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = || Some(file.path().to_owned());
    let run = async |config| {
        let server = super::Server::new(config, Box::new(|| Err("never asked".into()))).unwrap();
        let error = server.run(Default::default()).await.unwrap_err();
        std::error::Error::source(&error).unwrap().to_string()
    };
    let name = file.path().display();
    let tls = ServerConfig { tls_cert_file: path(), tls_key_file: path(), ..config() };
    assert_eq!(run(tls).await, format!("cannot read the TLS key file: {name}"));
    let keys = ServerConfig { api_keys_file: path(), ..config() };
    assert_eq!(run(keys).await, format!("the API keys file holds no key: {name}"));
}

#[tokio::test]
async fn many_clients_at_once_are_all_answered_and_counted() {
    let server = TestServer::start(ServerConfig { max_queued_requests: 100, ..config() }).await;
    let mut clients = JoinSet::new();
    for number in 0..20 {
        let address = server.address;
        clients.spawn(async move {
            let mut client = Client::connect(address).await;
            for round in 0..10 {
                let text = format!("{number} {round}");
                let reply = client.transcribe(&Multipart::of(&format!("say {text}"))).await;
                assert_eq!(reply.json()["text"], text.as_str());
            }
        });
    }
    while let Some(joined) = clients.join_next().await {
        joined.unwrap();
    }
    server.until_metric("asr_total_requests 200").await;
    for line in ["asr_active_requests 0", "asr_queued_requests 0", "asr_requests_dequeued_total 200"] {
        server.until_metric(line).await;
    }
    server.stop().await;
}
