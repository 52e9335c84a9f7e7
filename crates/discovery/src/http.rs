//! Groups that a server answers.
//!
//! - [`HttpDiscoverer`]: asks again and again, by the client that it is given; keeps the last good answer.
//!
//! Rule: anything but a complete, well-formed 200 answer in JSON leaves the groups as they are.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{Request, StatusCode, Uri};
use http_client::{ClientError, HttpClient};
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

/// Why a refresh failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// The server cannot be asked, or its answer broke off or is larger than it may be.
    #[error(transparent)]
    Client(#[from] ClientError),
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

/// Asks a server for target groups (`http_sd_configs`).
#[derive(Debug)]
pub struct HttpDiscoverer {
    url: Uri,
    refresh_interval: Duration,
    client: HttpClient,
    metrics: DiscoveryMetrics,
    /// How many groups the last good answer had.
    groups: usize,
}

impl HttpDiscoverer {
    /// Asks at once and then every `refresh_interval`.
    #[must_use]
    pub fn new(url: Uri, refresh_interval: Duration, client: HttpClient, metrics: DiscoveryMetrics) -> Self {
        // An interval of zero would never yield.
        Self { url, refresh_interval: refresh_interval.max(Duration::from_millis(1)), client, metrics, groups: 0 }
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
        let request = Request::get(self.url.clone())
            .header(ACCEPT, "application/json")
            .header("X-Prometheus-Refresh-Interval-Seconds", self.refresh_interval.as_secs_f64().to_string())
            .body(Bytes::new())
            .map_err(|_invalid| ClientError::Url(self.url.to_string()))?;
        let asked = timeout(limit, self.client.send(request, MAX_BODY_BYTES)).await;
        let answer = asked.map_err(|_late| FetchError::Timeout(limit))??;
        if answer.status() != StatusCode::OK {
            return Err(FetchError::Status(answer.status()));
        }
        let content_type = answer.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let media_type = content_type.split(';').next().unwrap_or_default().trim();
        if !media_type.eq_ignore_ascii_case("application/json") {
            return Err(FetchError::ContentType(content_type.to_owned()));
        }
        let text = std::str::from_utf8(answer.body()).map_err(FetchError::Utf8)?;
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
    use datamodel::registry::Registry;
    use http_client::{AuthConfig, Authorization, ClientOptions, HttpClientConfig, Secret, SecretSource};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio::sync::mpsc;

    use super::*;

    /// Answers the connections one after the other, and gives back what was asked last.
    async fn serve(listener: &TcpListener, answers: &[(u16, &str, &str)]) -> String {
        let mut asked = String::new();
        for (status, content_type, body) in answers {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = [0; 1024];
            let read = stream.read(&mut head).await.unwrap();
            asked = String::from_utf8_lossy(&head[..read]).to_lowercase();
            let length = body.len();
            let head = format!("HTTP/1.1 {status} X\r\ncontent-type: {content_type}\r\ncontent-length: {length}\r\n");
            stream.write_all(format!("{head}connection: close\r\n\r\n{body}").as_bytes()).await.unwrap();
        }
        asked
    }

    #[tokio::test]
    async fn last_good_answer_stays_while_the_server_fails() {
        let json = "application/json; charset=utf-8";
        let answers = [
            (200, json, r#"[{"targets": ["a:1"]}, {"targets": ["b:2"]}]"#),
            (500, json, "[]"),
            (200, "text/html", "[]"),
            (200, json, "[{"),
            (200, json, r#"[{"targets": ["c:3", "d:4"], "labels": {"x": "y"}}]"#),
        ];
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url: Uri = format!("http://{}/sd?x=1", listener.local_addr().unwrap()).parse().unwrap();
        let credentials = Some(SecretSource::Inline(Secret::new("t")));
        let auth = Some(AuthConfig::Authorization(Authorization { scheme: "Bearer".to_owned(), credentials }));
        let config = HttpClientConfig { auth, ..HttpClientConfig::default() };
        let client = HttpClient::new(config, ClientOptions::default());
        let metrics = DiscoveryMetrics::new(&Registry::new()).unwrap();
        let discoverer = HttpDiscoverer::new(url.clone(), Duration::from_millis(500), client, metrics.clone());
        let (sender, mut updates) = mpsc::channel(1);
        let shutdown = CancellationToken::new();
        let run = Box::new(discoverer).run(Updates::new(0, sender), shutdown.clone());
        let test = async {
            let first = updates.recv().await.unwrap().groups;
            assert_eq!(first.iter().map(|group| group.targets.len()).collect::<Vec<_>>(), [1, 1]);
            assert_eq!(first[0].labels.get(META_URL), Some(url.to_string().as_str()));
            let second = updates.recv().await.unwrap().groups;
            assert_eq!(second.iter().map(|group| group.targets.len()).collect::<Vec<_>>(), [2, 0]);
            assert_eq!(*second[1].source, format!("{url}:1"));
            shutdown.cancel();
        };
        let (asked, (), ()) = tokio::join!(serve(&listener, &answers), run, test);
        assert!((metrics.http_failures.get() - 3.0).abs() < f64::EPSILON);
        assert!(asked.starts_with("get /sd?x=1 http/1.1\r\n"), "{asked}");
        assert!(asked.contains("x-prometheus-refresh-interval-seconds: 0.5\r\n"), "{asked}");
        assert!(asked.contains("accept: application/json\r\n"), "{asked}");
        assert!(asked.contains("authorization: bearer t\r\n"), "{asked}");
    }
}
