//! A client of the HTTP API of Prometheus, and of whatever speaks it: Thanos, Mimir, `VictoriaMetrics`, Crescendo.
//!
//! - [`Client`]: query, range query, series, labels, label values, documents; each with a deadline.
//! - [`ClientOptions`]: where the API lies, and how it is reached ([`HttpClientConfig`]).
//! - [`Answer`]: values with the warnings of the server.
//!
//! ```text
//! question ─▶ GET, or POST when long ─▶ connection (kept, TLS, files re-read) ─▶ document ─▶ Answer │ ClientError
//!                  ▲                                                               │
//!                  └── once more after a moment, within the deadline ◀── transient ┘
//! ```
//!
//! Rule: a deadline holds for a question and all its tries, and the server is told of it; an answer is bounded, and
//! its warnings are passed on, for whoever needs whole answers to refuse it.

mod answer;
mod elements;
mod error;
mod url;

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) use tests::testing;

use std::time::Duration;

use bytes::Bytes;
use datamodel::time::TimeRange;
use datamodel::{Labels, Matcher, Timestamp};
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, StatusCode};
use http_client::{AuthConfig, BasicAuth, Exchange, HttpClient, HttpClientConfig, Secret, SecretSource};
use serde::de::DeserializeOwned;

pub use answer::{Answer, ElementValue, MatrixElement, QueryValue, VectorElement};
pub use elements::MAX_ELEMENT_BYTES;
pub use error::{ClientError, has_document};
pub use url::{BaseUrl, UrlError};

use elements::Elements;

/// Largest answer that is held as a whole: 11,000 points of 100 series have some 30 MB.
pub const MAX_ANSWER_BYTES: usize = 64 * 1024 * 1024;

/// Longest path with query of a GET; what is longer is sent by POST. Most servers take 8 KiB.
pub const MAX_GET_BYTES: usize = 4 * 1024;

/// Tries of a question.
pub const MAX_TRIES: u32 = 4;

/// Rest before the second try; it doubles with each further one.
pub const FIRST_RETRY: Duration = Duration::from_millis(50);

/// How questions are sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verb {
    /// By GET, and by POST where they are longer than [`MAX_GET_BYTES`].
    #[default]
    Get,
    /// By POST, where the API takes it.
    Post,
}

/// How to reach an API.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// Where it lies.
    pub url: BaseUrl,
    /// Who we are, whom we trust, what goes with each request. A name and password in the URL count if none are
    /// given here. Redirects are not followed.
    pub http: HttpClientConfig,
    /// How questions are sent.
    pub verb: Verb,
}

impl ClientOptions {
    /// The defaults for a URL.
    #[must_use]
    pub fn new(url: BaseUrl) -> Self {
        Self { url, http: HttpClientConfig::default(), verb: Verb::Get }
    }
}

/// Asks an API.
#[derive(Debug)]
pub struct Client {
    http: HttpClient,
    url: BaseUrl,
    verb: Verb,
}

/// A question to an endpoint: names and values of its parameters.
struct Question<'a> {
    /// Below `/api/v1/`, escaped.
    path: String,
    parameters: Vec<(&'a str, String)>,
    takes_post: bool,
}

impl Client {
    /// A client with no connection yet; `common` is what the clients of a process share.
    #[must_use]
    pub fn new(options: ClientOptions, common: http_client::ClientOptions) -> Self {
        let ClientOptions { url, mut http, verb } = options;
        if let (None, Some((username, password))) = (&http.auth, &url.user) {
            let given = |text: &String| Some(SecretSource::Inline(Secret::new(text)));
            http.auth = Some(AuthConfig::Basic(BasicAuth { username: given(username), password: given(password) }));
        }
        Self { http: HttpClient::new(http, common), url, verb }
    }

    /// Reads the files that questions need, so that a broken one is found before the first.
    ///
    /// # Errors
    ///
    /// A file cannot be read, or does not hold what it should.
    pub async fn check(&self) -> Result<(), ClientError> {
        Ok(self.http.check().await?)
    }

    /// Where the API lies.
    #[must_use]
    pub const fn url(&self) -> &BaseUrl {
        &self.url
    }

    /// Evaluates an expression at an instant.
    ///
    /// # Errors
    ///
    /// There is no answer in time, or it is an error.
    pub async fn query(
        &self,
        expression: &str,
        at: Timestamp,
        deadline: Duration,
    ) -> Result<Answer<QueryValue>, ClientError> {
        let parameters = vec![("query", expression.to_owned()), ("time", seconds(at))];
        let question =
            Question { path: "query".to_owned(), parameters: with_timeout(parameters, deadline), takes_post: true };
        answer::query(&self.whole(&question, deadline).await?)
    }

    /// Evaluates an expression at each step of a range.
    ///
    /// # Errors
    ///
    /// There is no answer in time, or it is an error.
    pub async fn query_range(
        &self,
        expression: &str,
        range: TimeRange,
        step: Duration,
        deadline: Duration,
    ) -> Result<Answer<QueryValue>, ClientError> {
        let mut parameters = vec![("query", expression.to_owned())];
        parameters.extend(bounds(Some(range)));
        parameters.push(("step", step.as_secs_f64().to_string()));
        let parameters = with_timeout(parameters, deadline);
        let question = Question { path: "query_range".to_owned(), parameters, takes_post: true };
        answer::query(&self.whole(&question, deadline).await?)
    }

    /// Gives the labels of each series that passes all matchers of one of the selectors to `take`, one after the
    /// other while they come. Returns the warnings.
    ///
    /// # Errors
    ///
    /// There is no whole answer in time, it is an error, or `take` refuses. What was given until then is of no use.
    pub async fn series(
        &self,
        selectors: &[&[Matcher]],
        range: Option<TimeRange>,
        deadline: Duration,
        mut take: impl FnMut(Labels) -> Result<(), ClientError> + Send,
    ) -> Result<Vec<String>, ClientError> {
        let mut parameters = matches(selectors);
        parameters.extend(bounds(range));
        let question = Question { path: "series".to_owned(), parameters, takes_post: true };
        let mut elements = Elements::default();
        let within = async {
            // Only what comes before the first element can be tried again.
            let mut exchange = self.tried(&question, deadline).await?;
            while let Some(bytes) = exchange.data().await? {
                elements.push(&bytes, |element| take(answer::series(element)?))?;
            }
            exchange.finish();
            Ok::<_, ClientError>(())
        };
        tokio::time::timeout(deadline, within).await.map_err(|_elapsed| ClientError::Timeout(deadline))??;
        let Answer { value: rest, warnings, .. } = answer::envelope::<Vec<Vec<String>>>(&elements.envelope())?;
        if rest.is_empty() { Ok(warnings) } else { Err(ClientError::Document("series that are none".to_owned())) }
    }

    /// The label names of the series that the selectors choose (all without any).
    ///
    /// # Errors
    ///
    /// There is no answer in time, or it is an error.
    pub async fn label_names(
        &self,
        selectors: &[&[Matcher]],
        range: Option<TimeRange>,
        deadline: Duration,
    ) -> Result<Answer<Vec<String>>, ClientError> {
        let mut parameters = matches(selectors);
        parameters.extend(bounds(range));
        let question = Question { path: "labels".to_owned(), parameters, takes_post: true };
        answer::envelope(&self.whole(&question, deadline).await?)
    }

    /// The values of a label on the series that the selectors choose (all without any).
    ///
    /// # Errors
    ///
    /// There is no answer in time, or it is an error.
    pub async fn label_values(
        &self,
        name: &str,
        selectors: &[&[Matcher]],
        range: Option<TimeRange>,
        deadline: Duration,
    ) -> Result<Answer<Vec<String>>, ClientError> {
        let mut parameters = matches(selectors);
        parameters.extend(bounds(range));
        let question = Question { path: format!("label/{}/values", path_name(name)), parameters, takes_post: false };
        answer::envelope(&self.whole(&question, deadline).await?)
    }

    /// The data of an endpoint without parameters: `targets`, `rules`, `status/runtimeinfo`. `path` is what stands
    /// behind `/api/v1/`.
    ///
    /// # Errors
    ///
    /// There is no answer in time, it is an error, or its data are no `T`.
    pub async fn document<T: DeserializeOwned + Default>(
        &self,
        path: &'static str,
        deadline: Duration,
    ) -> Result<Answer<T>, ClientError> {
        let question = Question { path: path.to_owned(), parameters: Vec::new(), takes_post: false };
        answer::envelope(&self.whole(&question, deadline).await?)
    }

    /// The document, within the deadline.
    async fn whole(&self, question: &Question<'_>, deadline: Duration) -> Result<Vec<u8>, ClientError> {
        let mut document = Vec::new();
        let within = async {
            let mut exchange = self.tried(question, deadline).await?;
            while let Some(bytes) = exchange.data().await? {
                document.extend_from_slice(&bytes);
                if document.len() > MAX_ANSWER_BYTES {
                    return Err(ClientError::TooLarge(MAX_ANSWER_BYTES));
                }
            }
            exchange.finish();
            Ok(())
        };
        tokio::time::timeout(deadline, within).await.map_err(|_elapsed| ClientError::Timeout(deadline))??;
        Ok(document)
    }

    /// Sends until the head of a document comes, at most [`MAX_TRIES`] times. The caller holds the deadline.
    async fn tried(&self, question: &Question<'_>, deadline: Duration) -> Result<Exchange<'_>, ClientError> {
        let mut rest = FIRST_RETRY;
        for _ in 1..MAX_TRIES {
            match self.once(question).await {
                Err(error) if error.is_transient() && rest < deadline => {
                    tokio::time::sleep(rest).await;
                    rest *= 2;
                }
                other => return other,
            }
        }
        self.once(question).await
    }

    /// Sends once, and a second time in the other way where a server does not take the first. A 503 comes with a
    /// document or, from whoever stands before the server, without: only the media type tells.
    async fn once(&self, question: &Question<'_>) -> Result<Exchange<'_>, ClientError> {
        let by_post = self.by_post(question);
        let mut exchange = self.http.exchange(self.request(question, by_post)?).await?;
        let other = match exchange.status() {
            StatusCode::METHOD_NOT_ALLOWED if by_post => Some(false),
            StatusCode::URI_TOO_LONG if !by_post && question.takes_post => Some(true),
            _ => None,
        };
        if let Some(by_post) = other {
            exchange = self.http.exchange(self.request(question, by_post)?).await?;
        }
        let status = exchange.status();
        let media_type = exchange.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let is_json = media_type.is_some_and(|media_type| media_type.starts_with("application/json"));
        if has_document(status) && (status.is_success() || is_json) {
            Ok(exchange)
        } else {
            Err(ClientError::Status(status))
        }
    }

    fn by_post(&self, question: &Question<'_>) -> bool {
        let length = question.encoded().len() + question.path.len() + self.url.path.len();
        question.takes_post && (self.verb == Verb::Post || length > MAX_GET_BYTES)
    }

    fn request(&self, question: &Question<'_>, by_post: bool) -> Result<Request<Bytes>, ClientError> {
        let url = format!("{}/api/v1/{}", self.url, question.path);
        let encoded = question.encoded();
        let builder = if by_post {
            let form = HeaderValue::from_static("application/x-www-form-urlencoded");
            Request::builder().method(Method::POST).uri(url).header(CONTENT_TYPE, form)
        } else if encoded.is_empty() {
            Request::builder().uri(url)
        } else {
            Request::builder().uri(format!("{url}?{encoded}"))
        };
        let body = if by_post { Bytes::from(encoded) } else { Bytes::new() };
        let request = builder.header(ACCEPT, "application/json").body(body);
        request.map_err(|error| ClientError::Document(format!("invalid request: {error}")))
    }
}

impl Question<'_> {
    fn encoded(&self) -> String {
        let mut text = String::new();
        for (at, (name, value)) in self.parameters.iter().enumerate() {
            if at > 0 {
                text.push('&');
            }
            url::escape(&mut text, name);
            text.push('=');
            url::escape(&mut text, value);
        }
        text
    }
}

/// A label name in a path: as Prometheus escapes what is no word of the old kind (`U__` and the code points).
fn path_name(name: &str) -> String {
    if datamodel::labels::is_legacy_label_name(name) && !name.starts_with("U__") {
        return name.to_owned();
    }
    let mut escaped = "U__".to_owned();
    for c in name.chars() {
        match c {
            '_' => escaped.push_str("__"),
            c if c.is_ascii_alphanumeric() || c == ':' => escaped.push(c),
            c => escaped.push_str(&format!("_{:x}_", u32::from(c))),
        }
    }
    escaped
}

fn seconds(at: Timestamp) -> String {
    let ms = at.unix_ms();
    let (whole, part) = (ms.div_euclid(1000), ms.rem_euclid(1000));
    if part == 0 { whole.to_string() } else { format!("{:.3}", at.unix_seconds()) }
}

fn bounds(range: Option<TimeRange>) -> Vec<(&'static str, String)> {
    range.map_or_else(Vec::new, |range| vec![("start", seconds(range.start)), ("end", seconds(range.end))])
}

/// The server gives up when we do.
fn with_timeout(mut parameters: Vec<(&'static str, String)>, deadline: Duration) -> Vec<(&'static str, String)> {
    parameters.push(("timeout", format!("{}ms", deadline.as_millis())));
    parameters
}

fn matches(selectors: &[&[Matcher]]) -> Vec<(&'static str, String)> {
    let text = |matchers: &&[Matcher]| {
        let matchers: Vec<String> = matchers.iter().map(ToString::to_string).collect();
        format!("{{{}}}", matchers.join(","))
    };
    selectors.iter().map(|matchers| ("match[]", text(matchers))).collect()
}
