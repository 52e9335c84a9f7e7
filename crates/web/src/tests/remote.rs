//! Remote write and remote read through the router.

use ::remote::wire::{
    ReadQuery, ReadRequest, ReadResponse, ResponseType, TimeSeries, WireSample, WriteRequest, WriteVersion, compress,
    decompress,
};
use datamodel::METRIC_NAME;

use super::*;

/// An answer, with the header that counts written samples.
struct Answer {
    status: StatusCode,
    samples: Option<String>,
    body: Vec<u8>,
}

async fn send(fixture: &Fixture, path: &str, content_type: &str, body: Vec<u8>) -> Answer {
    let request = Request::post(path).header("content-type", content_type).body(Body::from(body)).unwrap();
    let response = fixture.router.clone().call(request).await.unwrap();
    let header = response.headers().get("x-prometheus-remote-write-samples-written");
    let samples = header.map(|value| value.to_str().unwrap().to_owned());
    let status = response.status();
    let body = to_bytes(response.into_body(), usize::MAX).await.unwrap().to_vec();
    Answer { status, samples, body }
}

fn receiving(storage: &Arc<MemoryStorage>) -> Fixture {
    let storage = Arc::clone(storage);
    Fixture::with(|parts| {
        parts.receiver = Some(Arc::clone(&storage) as _);
        parts.queryable = storage;
    })
}

fn series(name: &str, samples: &[(i64, f64)]) -> TimeSeries {
    let sample = |&(at, value): &(i64, f64)| WireSample { at: Timestamp::from_unix_ms(at), value, start: None };
    TimeSeries {
        labels: Labels::from_pairs([(METRIC_NAME, name), ("pod", "a")]),
        samples: samples.iter().map(sample).collect(),
        ..TimeSeries::default()
    }
}

fn packed(series: Vec<TimeSeries>, version: WriteVersion) -> Vec<u8> {
    compress(&WriteRequest { series, ..WriteRequest::default() }.encode(version)).unwrap()
}

async fn read(fixture: &Fixture, query: ReadQuery) -> Vec<(Labels, Vec<(i64, f64)>)> {
    let body = compress(&ReadRequest { queries: vec![query], accepted: Vec::new() }.encode()).unwrap();
    let answer = send(fixture, "/api/v1/read", "application/x-protobuf", body).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", String::from_utf8_lossy(&answer.body));
    let response = ReadResponse::decode(&decompress(&answer.body, 1 << 20).unwrap()).unwrap();
    let plain = |series: TimeSeries| {
        let samples = series.samples.iter().map(|sample| (sample.at.unix_ms(), sample.value));
        (series.labels, samples.collect())
    };
    response.results.into_iter().flatten().map(plain).collect()
}

fn all(name: &str) -> ReadQuery {
    let range = TimeRange { start: Timestamp::from_unix_ms(0), end: Timestamp::from_unix_ms(i64::MAX) };
    let matcher = datamodel::Matcher::new(datamodel::MatchOp::Equal, METRIC_NAME, name).unwrap();
    ReadQuery { range, matchers: vec![matcher], hints: None }
}

#[tokio::test]
async fn what_was_written_is_read_back() {
    let fixture = receiving(&Arc::new(MemoryStorage::new()));
    let body = packed(vec![series("load", &[(1000, 1.5), (2000, 2.5)])], WriteVersion::V1);
    let answer = send(&fixture, "/api/v1/write", "application/x-protobuf", body).await;
    assert_eq!((answer.status, answer.samples), (StatusCode::NO_CONTENT, None));
    let labels = Labels::from_pairs([(METRIC_NAME, "load"), ("pod", "a")]);
    assert_eq!(read(&fixture, all("load")).await, [(labels, vec![(1000, 1.5), (2000, 2.5)])]);
    assert_eq!(read(&fixture, all("other")).await, []);
}

#[tokio::test]
async fn series_that_is_known_by_its_bytes_is_the_same_series() {
    let fixture = receiving(&Arc::new(MemoryStorage::new()));
    let proto = "application/x-protobuf";
    for (at, value) in [(1000, 1.0), (2000, 2.0), (3000, 3.0)] {
        let both = vec![series("load", &[(at, value)]), series("other", &[(at, -value)])];
        let answer = send(&fixture, "/api/v1/write", proto, packed(both, WriteVersion::V1)).await;
        assert_eq!(answer.status, StatusCode::NO_CONTENT);
    }
    assert_eq!(read(&fixture, all("load")).await[0].1, [(1000, 1.0), (2000, 2.0), (3000, 3.0)]);
    assert_eq!(read(&fixture, all("other")).await[0].1, [(1000, -1.0), (2000, -2.0), (3000, -3.0)]);

    // A known series is named where its sample is refused, and where the storage refuses it at the end.
    for (at, value, reason) in [(1_700_000, 4.0, "more than 10 minutes ahead"), (3000, 4.0, "")] {
        let body = packed(vec![series("load", &[(at, value)])], WriteVersion::V1);
        let answer = send(&fixture, "/api/v1/write", proto, body).await;
        let text = String::from_utf8(answer.body).unwrap();
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{text}");
        assert!(text.contains(reason) && text.contains("load{pod=\"a\"}"), "{text}");
    }

    // The same bytes in front, and a label behind the samples: another series.
    let mut message = WriteRequest { series: vec![series("load", &[(5000, 5.0)])], ..WriteRequest::default() };
    let mut bytes = message.encode(WriteVersion::V1);
    message.series[0].labels = Labels::from_pairs([("zone", "z")]);
    message.series[0].samples.clear();
    let label = message.encode(WriteVersion::V1).split_off(2);
    bytes.extend_from_slice(&label);
    bytes[1] += u8::try_from(label.len()).unwrap();
    let answer = send(&fixture, "/api/v1/write", proto, compress(&bytes).unwrap()).await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT);
    let found = read(&fixture, all("load")).await;
    let labels = Labels::from_pairs([(METRIC_NAME, "load"), ("pod", "a"), ("zone", "z")]);
    assert!(found.contains(&(labels, vec![(5000, 5.0)])), "{found:?}");
}

#[tokio::test]
async fn what_cannot_be_stored_is_named_and_the_rest_is_stored() {
    let fixture = receiving(&Arc::new(MemoryStorage::new()));
    // The fixture's time is 1,000 s; the second sample is further ahead than ten minutes.
    let body = packed(vec![series("load", &[(1000, 1.0), (1_700_000, 2.0)])], WriteVersion::V2);
    let answer = send(&fixture, "/api/v1/write", WriteVersion::V2.content_type(), body).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert_eq!(answer.samples.as_deref(), Some("1"));
    let text = String::from_utf8(answer.body).unwrap();
    assert!(text.contains("more than 10 minutes ahead: at 1700000 ms: ") && text.contains("load"), "{text}");
    assert_eq!(read(&fixture, all("load")).await[0].1, [(1000, 1.0)]);

    let body = packed(vec![series("load", &[(1000, 7.0), (3000, 3.0)])], WriteVersion::V2);
    let answer = send(&fixture, "/api/v1/write", WriteVersion::V2.content_type(), body).await;
    assert_eq!((answer.status, answer.samples.as_deref()), (StatusCode::BAD_REQUEST, Some("1")));
    assert_eq!(read(&fixture, all("load")).await[0].1, [(1000, 1.0), (3000, 3.0)]);
}

#[tokio::test]
async fn what_is_no_remote_write_is_refused() {
    let storage = Arc::new(MemoryStorage::new());
    let fixture = receiving(&storage);
    let proto = "application/x-protobuf";
    let garbage = compress(b"\xff\xff\xff").unwrap();
    for (content_type, body, status) in [
        ("application/json", packed(Vec::new(), WriteVersion::V1), StatusCode::UNSUPPORTED_MEDIA_TYPE),
        (proto, b"not snappy".to_vec(), StatusCode::BAD_REQUEST),
        (proto, garbage, StatusCode::BAD_REQUEST),
    ] {
        let answer = send(&fixture, "/api/v1/write", content_type, body).await;
        assert_eq!(answer.status, status, "{content_type}: {}", String::from_utf8_lossy(&answer.body));
    }
    let closed = Fixture::new();
    let answer = send(&closed, "/api/v1/write", proto, packed(Vec::new(), WriteVersion::V1)).await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
    assert!(String::from_utf8_lossy(&answer.body).contains("--web.enable-remote-write-receiver"));
}

#[tokio::test]
async fn reads_keep_to_their_limit_and_their_form() {
    let fixture = Fixture::with(|parts| parts.options.read_sample_limit = 150);
    let request = |accepted: Vec<ResponseType>| compress(&ReadRequest { queries: vec![all("up")], accepted }.encode());
    let answer = send(&fixture, "/api/v1/read", "application/x-protobuf", request(Vec::new()).unwrap()).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert_eq!(String::from_utf8_lossy(&answer.body).trim(), "exceeded sample limit (150)");
    let streamed = request(vec![ResponseType::StreamedChunks]).unwrap();
    let answer = send(&fixture, "/api/v1/read", "application/x-protobuf", streamed).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert!(String::from_utf8_lossy(&answer.body).contains("SAMPLES"));
}
