//! Groups that a server answers.
//!
//! - [`HttpDiscoverer`]: asks again and again; keeps the last good answer.
//! - [`Fetch`]: gets a document. [`PlainFetch`] does it over plain HTTP; TLS and credentials are the matter
//!   of whoever passes another one in.
//!
//! Rule: anything but a complete, well-formed 200 answer in JSON leaves the groups as they are.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HOST, USER_AGENT};
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use crate::document::parse_groups;
use crate::metrics::DiscoveryMetrics;
use crate::{Discoverer, DiscovererFuture, TargetGroup, Updates};

/// The label with the URL that a target comes from.
pub const META_URL: &str = "__meta_url";

/// The largest answer that is read.
const MAX_BODY_BYTES: usize = yaml::MAX_BYTES;

/// How long one answer may take, as in Prometheus: the interval, but a minute at most.
const MAX_TIMEOUT: Duration = Duration::from_secs(60);

/// A document that is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchRequest {
    /// Where it is.
    pub url: Uri,
    /// The interval of the discoverer; sent as `X-Prometheus-Refresh-Interval-Seconds`.
    pub refresh_interval: Duration,
    /// The most bytes of the answer that may be read.
    pub max_bytes: usize,
}

/// A document as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchAnswer {
    /// The status.
    pub status: StatusCode,
    /// The `Content-Type` header, or empty.
    pub content_type: String,
    /// The whole body.
    pub body: Bytes,
}

/// Why a refresh failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// Plain HTTP only.
    #[error("`https` is not supported here: `{0}`")]
    Https(Uri),
    /// The URL has no host, or another scheme.
    #[error("not an HTTP URL: `{0}`")]
    Url(Uri),
    /// No connection.
    #[error("cannot connect to `{0}`")]
    Connect(String, #[source] std::io::Error),
    /// The exchange broke off.
    #[error("request failed")]
    Exchange(#[source] hyper::Error),
    /// The answer broke off, or is larger than it may be.
    #[error("cannot read the answer")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The answer took too long.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// Another status than 200.
    #[error("server answered {0}")]
    Status(StatusCode),
    /// Another content type than JSON.
    #[error("unsupported content type: `{0}` (expected `application/json`)")]
    ContentType(String),
    /// The body is no document of groups.
    #[error("invalid document")]
    Document(#[source] yaml::Errors),
    /// The body is no UTF-8.
    #[error("document is not UTF-8")]
    Utf8(#[source] std::str::Utf8Error),
}

/// What getting a document is.
pub type FetchFuture<'a> = Pin<Box<dyn Future<Output = Result<FetchAnswer, FetchError>> + Send + 'a>>;

/// Gets documents. The caller limits the time.
pub trait Fetch: Send + Sync + fmt::Debug {
    /// Gets one document.
    fn fetch(&self, request: FetchRequest) -> FetchFuture<'_>;
}

/// Gets documents over plain HTTP, with a connection for each.
#[derive(Clone, Debug)]
pub struct PlainFetch {
    user_agent: String,
}

impl PlainFetch {
    /// A client that calls itself by this name.
    #[must_use]
    pub fn new(user_agent: impl Into<String>) -> Self {
        Self { user_agent: user_agent.into() }
    }

    async fn get(&self, request: FetchRequest) -> Result<FetchAnswer, FetchError> {
        let url = &request.url;
        let authority = match (url.scheme_str(), url.authority()) {
            (Some("https"), _) => return Err(FetchError::Https(url.clone())),
            (Some("http"), Some(authority)) => authority.clone(),
            _ => return Err(FetchError::Url(url.clone())),
        };
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        let address = (host, authority.port_u16().unwrap_or(80));
        let stream =
            TcpStream::connect(address).await.map_err(|error| FetchError::Connect(authority.to_string(), error))?;
        let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = handshake.map_err(FetchError::Exchange)?;
        let path = url.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
        let get = Request::get(path)
            .header(HOST, authority.as_str())
            .header(USER_AGENT, &self.user_agent)
            .header(ACCEPT, "application/json")
            .header("X-Prometheus-Refresh-Interval-Seconds", request.refresh_interval.as_secs_f64().to_string())
            .body(Empty::<Bytes>::new())
            .map_err(|_invalid| FetchError::Url(url.clone()))?;
        let exchange = async {
            let response = sender.send_request(get).await.map_err(FetchError::Exchange)?;
            let status = response.status();
            let header = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
            let content_type = header.unwrap_or_default().to_owned();
            let body = Limited::new(response.into_body(), request.max_bytes).collect().await;
            Ok(FetchAnswer { status, content_type, body: body.map_err(FetchError::Body)?.to_bytes() })
        };
        let exchange = std::pin::pin!(exchange);
        let driven = futures_util::future::select(exchange, connection).await;
        match driven {
            futures_util::future::Either::Left((answer, _connection)) => answer,
            // The connection ended first: what it had read is still there.
            futures_util::future::Either::Right((_ended, exchange)) => exchange.await,
        }
    }
}

impl Fetch for PlainFetch {
    fn fetch(&self, request: FetchRequest) -> FetchFuture<'_> {
        Box::pin(self.get(request))
    }
}

/// Asks a server for target groups (`http_sd_configs`).
#[derive(Debug)]
pub struct HttpDiscoverer {
    url: Uri,
    refresh_interval: Duration,
    fetch: Arc<dyn Fetch>,
    metrics: DiscoveryMetrics,
    /// How many groups the last good answer had.
    groups: usize,
}

impl HttpDiscoverer {
    /// Asks at once and then every `refresh_interval`.
    #[must_use]
    pub fn new(url: Uri, refresh_interval: Duration, fetch: Arc<dyn Fetch>, metrics: DiscoveryMetrics) -> Self {
        // An interval of zero would never yield.
        Self { url, refresh_interval: refresh_interval.max(Duration::from_millis(1)), fetch, metrics, groups: 0 }
    }

    async fn watch(mut self, updates: Updates) {
        let mut ticks = interval(self.refresh_interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            match self.refresh().await {
                Ok(groups) => {
                    if updates.send(groups).await.is_err() {
                        return;
                    }
                }
                Err(error) => {
                    self.metrics.http_failures.inc();
                    let cause = std::error::Error::source(&error).map(ToString::to_string);
                    tracing::warn!(url = %self.url, %error, cause, "target discovery failed; the last groups stay");
                }
            }
        }
    }

    async fn refresh(&mut self) -> Result<Vec<TargetGroup>, FetchError> {
        let limit = self.refresh_interval.min(MAX_TIMEOUT);
        let request =
            FetchRequest { url: self.url.clone(), refresh_interval: self.refresh_interval, max_bytes: MAX_BODY_BYTES };
        let answer = timeout(limit, self.fetch.fetch(request)).await.map_err(|_late| FetchError::Timeout(limit))??;
        if answer.status != StatusCode::OK {
            return Err(FetchError::Status(answer.status));
        }
        let media_type = answer.content_type.split(';').next().unwrap_or_default().trim();
        if !media_type.eq_ignore_ascii_case("application/json") {
            return Err(FetchError::ContentType(answer.content_type));
        }
        let text = std::str::from_utf8(&answer.body).map_err(FetchError::Utf8)?;
        let url = self.url.to_string();
        let mut groups = parse_groups(&url, META_URL, text).map_err(FetchError::Document)?;
        let before = std::mem::replace(&mut self.groups, groups.len());
        groups.extend((groups.len()..before).map(|index| TargetGroup::gone(format!("{url}:{index}"))));
        Ok(groups)
    }
}

impl Discoverer for HttpDiscoverer {
    fn run(self: Box<Self>, updates: Updates, shutdown: CancellationToken) -> DiscovererFuture {
        Box::pin(async move {
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = self.watch(updates) => {}
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::Mutex;

    use datamodel::registry::Registry;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio::sync::mpsc;

    use super::*;

    /// Answers one after the other; the last one again and again.
    #[derive(Debug)]
    struct Scripted(Mutex<VecDeque<(u16, &'static str, &'static str)>>);

    impl Fetch for Scripted {
        fn fetch(&self, _request: FetchRequest) -> FetchFuture<'_> {
            let mut answers = self.0.lock().unwrap();
            let (status, content_type, body) =
                if answers.len() > 1 { answers.pop_front() } else { answers.front().copied() }.unwrap();
            let status = StatusCode::from_u16(status).unwrap();
            let answer = FetchAnswer {
                status,
                content_type: content_type.to_owned(),
                body: Bytes::from_static(body.as_bytes()),
            };
            Box::pin(async move { Ok(answer) })
        }
    }

    #[tokio::test(start_paused = true)]
    async fn last_good_answer_stays_while_the_server_fails() {
        let json = "application/json; charset=utf-8";
        let answers = [
            (200, json, r#"[{"targets": ["a:1"]}, {"targets": ["b:2"]}]"#),
            (500, json, "[]"),
            (200, "text/html", "[]"),
            (200, json, "[{"),
            (200, json, r#"[{"targets": ["c:3", "d:4"], "labels": {"x": "y"}}]"#),
        ];
        let fetch = Arc::new(Scripted(Mutex::new(answers.into())));
        let metrics = DiscoveryMetrics::new(&Registry::new()).unwrap();
        let url: Uri = "http://sd.example/targets".parse().unwrap();
        let discoverer = HttpDiscoverer::new(url, Duration::from_secs(60), fetch, metrics.clone());
        let (sender, mut updates) = mpsc::channel(1);
        let shutdown = CancellationToken::new();
        let run = Box::new(discoverer).run(Updates::new(0, sender), shutdown.clone());
        let test = async {
            let first = updates.recv().await.unwrap().groups;
            assert_eq!(first.iter().map(|group| group.targets.len()).collect::<Vec<_>>(), [1, 1]);
            assert_eq!(first[0].labels.get(META_URL), Some("http://sd.example/targets"));
            let second = updates.recv().await.unwrap().groups;
            assert_eq!(second.iter().map(|group| group.targets.len()).collect::<Vec<_>>(), [2, 0]);
            assert_eq!(&*second[1].source, "http://sd.example/targets:1");
            shutdown.cancel();
        };
        tokio::join!(run, test);
        assert!((metrics.http_failures.get() - 3.0).abs() < f64::EPSILON);
    }

    #[tokio::test]
    async fn plain_client_asks_as_prometheus_does_and_stops_at_the_bound() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url: Uri = format!("http://{}/sd?x=1", listener.local_addr().unwrap()).parse().unwrap();
        let server = async {
            let mut asked = String::new();
            for _ in 0..2 {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut head = [0; 1024];
                let read = stream.read(&mut head).await.unwrap();
                asked = String::from_utf8_lossy(&head[..read]).to_lowercase();
                let answer = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n[]";
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
            asked
        };
        let client = async {
            let fetch = PlainFetch::new("crescendo/test");
            let request =
                |max_bytes| FetchRequest { url: url.clone(), refresh_interval: Duration::from_secs(30), max_bytes };
            let small = fetch.fetch(request(1)).await;
            assert!(matches!(small, Err(FetchError::Body(_))), "{small:?}");
            fetch.fetch(request(2)).await.unwrap()
        };
        let (asked, answer) = tokio::join!(server, client);
        assert_eq!(
            (answer.status, &*answer.content_type, &*answer.body),
            (StatusCode::OK, "application/json", &b"[]"[..])
        );
        assert!(asked.starts_with("get /sd?x=1 http/1.1\r\n"), "{asked}");
        assert!(asked.contains("x-prometheus-refresh-interval-seconds: 30\r\n"), "{asked}");
        assert!(asked.contains("accept: application/json\r\n"), "{asked}");
    }

    #[tokio::test]
    async fn https_is_refused_by_name() {
        let request = FetchRequest {
            url: "https://sd.example/".parse().unwrap(),
            refresh_interval: Duration::from_secs(1),
            max_bytes: 1,
        };
        let error = PlainFetch::new("x").fetch(request).await.unwrap_err();
        assert_eq!(error.to_string(), "`https` is not supported here: `https://sd.example/`");
    }
}
