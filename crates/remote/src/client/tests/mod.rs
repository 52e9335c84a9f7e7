//! The client against a server of the tests' own.

mod server;
mod tls;

pub(crate) mod testing {
    pub(crate) use super::tls::Authority;
}

use std::time::Duration;

use datamodel::{METRIC_NAME, MatchOp, Sample};

use super::*;
use server::{Asked, Server, json, status};

const DEADLINE: Duration = Duration::from_secs(20);

#[tokio::test]
async fn instant_query_is_asked_and_read() {
    let body = r#"{"status":"success","data":{"resultType":"vector","result":[
        {"metric":{"__name__":"load","pod":"a"},"value":[1.5,"3"]},
        {"metric":{"pod":"b"},"value":[1.5,"NaN"]},
        {"metric":{"pod":"c"},"histogram":[1.5,{"count":"7","sum":"+Inf","buckets":[[0,"1","2","7"]]}]}]},
        "warnings":["partial"],"infos":["hint"]}"#;
    let server = Server::start(vec![json(body)]).await;
    let client = client(&server, |_| ());
    let answer = client.query("load{pod=~\"a|b\"}", at(1500), DEADLINE).await.unwrap();
    let QueryValue::Vector(elements) = answer.value else { panic!("no vector") };
    let labels: Vec<_> = elements.iter().map(|element| element.labels.to_string()).collect();
    assert_eq!(labels, ["load{pod=\"a\"}", "{pod=\"b\"}", "{pod=\"c\"}"]);
    assert_eq!(elements[0].at, at(1500));
    assert_eq!(elements[0].value, ElementValue::Float(3.0));
    assert!(matches!(elements[1].value, ElementValue::Float(value) if value.is_nan()));
    assert_eq!(elements[2].value, ElementValue::Histogram { count: 7.0, sum: f64::INFINITY });
    assert_eq!((answer.warnings, answer.infos), (vec!["partial".to_owned()], vec!["hint".to_owned()]));
    let asked = server.asked();
    let expected = "GET /prom/api/v1/query?query=load%7Bpod%3D~%22a%7Cb%22%7D&time=1.500&timeout=20000ms";
    assert_eq!(asked[0].line, expected);
}

#[tokio::test]
async fn document_of_an_endpoint_is_read_and_a_missing_endpoint_is_named() {
    let found = r#"{"status":"success","data":{"scrapePools":["a","b"]}}"#;
    let server = Server::start(vec![json(found), status(404, "text/plain", "404 page not found")]).await;
    let client = client(&server, |_| ());
    let answer = client.document::<serde_json::Value>("scrape_pools", DEADLINE).await.unwrap();
    assert_eq!(answer.value, serde_json::json!({"scrapePools": ["a", "b"]}));
    assert_eq!(server.asked()[0].line, "GET /prom/api/v1/scrape_pools");
    let error = client.document::<serde_json::Value>("rules", DEADLINE).await.unwrap_err();
    assert!(matches!(error, ClientError::Status(StatusCode::NOT_FOUND)), "{error:?}");
}

#[tokio::test]
async fn every_result_type_is_read() {
    let check = async |data: &str, expected: Result<QueryValue, &str>| {
        let server = Server::start(vec![json(&format!(r#"{{"status":"success","data":{data}}}"#))]).await;
        let client = client(&server, |_| ());
        let range = TimeRange { start: at(0), end: at(60_000) };
        let found = client.query_range("x", range, Duration::from_millis(1500), DEADLINE).await;
        let line = "GET /prom/api/v1/query_range?query=x&start=0&end=60&step=1.5&timeout=20000ms";
        assert_eq!(server.asked()[0].line, line);
        match (found, expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found.value, expected),
            (Err(found), Err(expected)) => assert!(printed(&found).contains(expected), "{}", printed(&found)),
            (found, _) => panic!("{found:?}"),
        }
    };
    let sample = |ms, value| Sample { timestamp: at(ms), value };
    check(r#"{"resultType":"scalar","result":[2,"1"]}"#, Ok(QueryValue::Scalar(sample(2000, 1.0)))).await;
    check(r#"{"resultType":"string","result":[2,"a"]}"#, Ok(QueryValue::String("a".to_owned()))).await;
    let element = MatrixElement {
        labels: Labels::from_pairs([("a", "b")]),
        samples: vec![sample(1000, 1.0), sample(2001, -0.5)],
        histograms: vec![(at(3000), 1.0, 2.0)],
    };
    let matrix = r#"{"resultType":"matrix","result":[{"metric":{"a":"b"},"values":[[1,"1"],[2.001,"-0.5"]],
        "histograms":[[3,{"count":"1","sum":"2"}]]}]}"#;
    check(matrix, Ok(QueryValue::Matrix(vec![element]))).await;
    check(r#"{"resultType":"vector","result":[{"metric":{}}]}"#, Err("element without a value")).await;
    check(r#"{"resultType":"vector","result":[{"metric":{},"value":[1,"x"]}]}"#, Err("invalid value `x`")).await;
    check(r#"{"resultType":"tensor","result":[]}"#, Err("unknown variant `tensor`")).await;
    check("null", Err("answer without data")).await;
}

#[tokio::test]
async fn errors_of_the_api_keep_their_kind_and_their_words() {
    let check = async |answer: String, expected: &str| {
        let server = Server::start(vec![answer]).await;
        let error = client(&server, |_| ()).query("x", at(0), DEADLINE).await.unwrap_err();
        assert!(printed(&error).contains(expected), "{}", printed(&error));
        assert_eq!(server.asked().len(), 1, "{expected}");
    };
    let error = |code, kind: &str| {
        status(code, "application/json", &format!(r#"{{"status":"error","errorType":"{kind}","error":"why"}}"#))
    };
    check(error(400, "bad_data"), "bad_data: why").await;
    check(error(422, "execution"), "execution: why").await;
    check(error(503, "timeout"), "timeout: why").await;
    check(error(404, "not_found"), "bad_response: unknown response code 404").await;
    check(status(401, "text/plain", "go away"), "bad_response: unknown response code 401").await;
    check(json("{"), "bad_response: invalid document").await;
    check(json(r#"{"status":"maybe"}"#), "unknown status `maybe`").await;
}

#[tokio::test]
async fn transient_failures_are_tried_again_within_the_deadline() {
    let good = json(r#"{"status":"success","data":["a"]}"#);
    let busy = || status(503, "text/html", "<html>");
    let server = Server::start(vec![busy(), String::new(), status(429, "text/plain", ""), good.clone()]).await;
    let names = client(&server, |_| ()).label_names(&[], None, DEADLINE).await.unwrap();
    assert_eq!((names.value, server.asked().len()), (vec!["a".to_owned()], 4));
    let server = Server::start((0..9).map(|_| busy()).collect()).await;
    let error = client(&server, |_| ()).label_names(&[], None, DEADLINE).await.unwrap_err();
    assert_eq!(error.to_string(), "bad_response: unknown response code 503");
    assert_eq!(server.asked().len(), usize::try_from(MAX_TRIES).unwrap());
    // The deadline is shorter than the first rest.
    let server = Server::start(vec![busy(), good]).await;
    let error = client(&server, |_| ()).label_names(&[], None, Duration::from_millis(40)).await.unwrap_err();
    assert!(matches!(error, ClientError::Status(_) | ClientError::Timeout(_)), "{error:?}");
    assert!(server.asked().len() <= 1);
}

#[tokio::test]
async fn long_questions_and_stubborn_servers_get_the_other_method() {
    let good = || json(r#"{"status":"success","data":{"resultType":"scalar","result":[1,"1"]}}"#);
    let long = format!("vector({})", "1+".repeat(MAX_GET_BYTES));
    let methods = async |answers, expression: &str, verb| {
        let server = Server::start(answers).await;
        let client = client(&server, |options| options.verb = verb);
        client.query(expression, at(1000), DEADLINE).await.unwrap();
        server.asked().into_iter().map(|asked| asked.line.split(' ').next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(methods(vec![good()], "1", Verb::Get).await, ["GET"]);
    assert_eq!(methods(vec![good()], "1", Verb::Post).await, ["POST"]);
    assert_eq!(methods(vec![good()], &long, Verb::Get).await, ["POST"]);
    let (no_post, too_long) = (status(405, "text/plain", ""), status(414, "text/plain", ""));
    assert_eq!(methods(vec![no_post, good()], "1", Verb::Post).await, ["POST", "GET"]);
    assert_eq!(methods(vec![too_long, good()], "1", Verb::Get).await, ["GET", "POST"]);
    let server = Server::start(vec![good()]).await;
    client(&server, |options| options.verb = Verb::Post).query("a b", at(1000), DEADLINE).await.unwrap();
    let Asked { line, headers, body } = server.asked().remove(0);
    assert_eq!((line.as_str(), body.as_str()), ("POST /prom/api/v1/query", "query=a%20b&time=1&timeout=20000ms"));
    assert!(headers.contains("content-type: application/x-www-form-urlencoded"), "{headers}");
}

#[tokio::test]
async fn headers_and_credentials_go_with_each_request() {
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, "first\n").unwrap();
    let good = || json(r#"{"status":"success","data":[]}"#);
    let server = Server::start(vec![good(), good(), good()]).await;
    let bearer = client(&server, |options| {
        let flags = crate::AdapterFlags {
            url: options.url.to_string(),
            token_file: Some(token.clone()),
            headers: vec!["X-Scope=a".to_owned(), "x-scope=b".to_owned()],
            ..crate::AdapterFlags::default()
        };
        *options = flags.options().unwrap();
    });
    bearer.label_names(&[], None, DEADLINE).await.unwrap();
    std::fs::write(&token, "second").unwrap();
    bearer.label_names(&[], None, DEADLINE).await.unwrap();
    let basic = client(&server, |options| options.url.user = Some(("u".to_owned(), "p".to_owned())));
    basic.label_names(&[], None, DEADLINE).await.unwrap();
    let asked = server.asked();
    assert!(asked[0].headers.contains("authorization: Bearer first\r\n"), "{}", asked[0].headers);
    assert!(asked[0].headers.contains("x-scope: a\r\nx-scope: b\r\n"), "{}", asked[0].headers);
    assert!(asked[1].headers.contains("authorization: Bearer second\r\n"), "{}", asked[1].headers);
    assert!(asked[2].headers.contains("authorization: Basic dTpw\r\n"), "{}", asked[2].headers);
    std::fs::remove_file(&token).unwrap();
    let error = bearer.label_names(&[], None, DEADLINE).await.unwrap_err();
    assert_eq!(error.to_string(), format!("cannot read `{}`", token.display()));
}

#[tokio::test]
async fn series_come_one_after_the_other() {
    let many: Vec<String> = (0..5000).map(|at| format!(r#"{{"__name__":"m","pod":"p{at}"}}"#)).collect();
    let body = format!(r#"{{"status":"success","data":[{}],"warnings":["w"]}}"#, many.join(","));
    let server = Server::start(vec![json(&body), json(r#"{"status":"success","data":[7]}"#)]).await;
    let client = client(&server, |_| ());
    let matchers = [Matcher::equal(METRIC_NAME, "m"), Matcher::new(MatchOp::NotEqual, "pod", "").unwrap()];
    let mut count = 0;
    let range = TimeRange { start: at(-1), end: at(1000) };
    let selectors: [&[Matcher]; 1] = [&matchers];
    let warnings = client.series(&selectors, Some(range), DEADLINE, |labels| {
        assert_eq!(labels.get("pod"), Some(format!("p{count}").as_str()));
        count += 1;
        Ok(())
    });
    assert_eq!(warnings.await.unwrap(), ["w"]);
    assert_eq!(count, 5000);
    let line = "GET /prom/api/v1/series?match%5B%5D=%7B__name__%3D%22m%22%2Cpod%21%3D%22%22%7D&start=-0.001&end=1";
    assert_eq!(server.asked()[0].line, line);
    let error = client.series(&[&matchers], None, DEADLINE, |_labels| Ok(())).await.unwrap_err();
    assert!(printed(&error).starts_with("bad_response"), "{error:?}");
}

#[tokio::test]
async fn label_values_escape_names_that_are_no_words() {
    let good = || json(r#"{"status":"success","data":["x"]}"#);
    let server = Server::start(vec![good(), good()]).await;
    let client = client(&server, |_| ());
    let values = client.label_values("pod", &[], None, DEADLINE).await.unwrap();
    assert_eq!(values.value, ["x"]);
    client.label_values("http.status_é", &[], None, DEADLINE).await.unwrap();
    let lines: Vec<_> = server.asked().into_iter().map(|asked| asked.line).collect();
    assert_eq!(lines, ["GET /prom/api/v1/label/pod/values", "GET /prom/api/v1/label/U__http_2e_status___e9_/values"]);
}

#[tokio::test]
async fn silence_and_excess_end_at_their_bounds() {
    let server = Server::silent().await;
    let error = client(&server, |_| ()).query("x", at(0), Duration::from_millis(50)).await.unwrap_err();
    assert_eq!(error.to_string(), "no answer within 50 ms");
    let endless = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", MAX_ANSWER_BYTES + 10);
    let server = Server::start(vec![endless + &" ".repeat(MAX_ANSWER_BYTES + 10)]).await;
    let error = client(&server, |_| ()).query("x", at(0), DEADLINE).await.unwrap_err();
    assert_eq!(error.to_string(), format!("answer has more than {MAX_ANSWER_BYTES} bytes"));
    let unreachable = ClientOptions::new(BaseUrl::parse("http://127.0.0.1:1").unwrap());
    let unreachable = Client::new(unreachable, http_client::ClientOptions::default());
    let error = unreachable.query("x", at(0), DEADLINE).await.unwrap_err();
    assert_eq!(error.to_string(), "cannot connect to `127.0.0.1:1`");
}

fn at(unix_ms: i64) -> Timestamp {
    Timestamp::from_unix_ms(unix_ms)
}

fn client(server: &Server, change: impl FnOnce(&mut ClientOptions)) -> Client {
    let mut options = ClientOptions::new(BaseUrl::parse(&format!("http://{}/prom/", server.address())).unwrap());
    change(&mut options);
    Client::new(options, http_client::ClientOptions::default())
}

/// An error and its causes.
fn printed(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), |source| format!("{error}: {}", printed(source)))
}
