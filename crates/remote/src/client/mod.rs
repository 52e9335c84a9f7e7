//! A client of the HTTP API of Prometheus, and of whatever speaks it: Thanos, Mimir, `VictoriaMetrics`, Crescendo.
//!
//! - [`Client`]: query, range query, series, labels, label values; each with a deadline.
//! - [`ClientOptions`]: where the API lies, who we are, whom we trust, what goes with each request.
//! - [`BaseUrl`], [`Credentials`], [`TlsOptions`]: its parts. [`Answer`]: values with the warnings of the server.
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
mod connection;
mod credentials;
mod elements;
mod error;
mod tls;
mod url;

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) use tests::testing;

use std::time::Duration;

use bytes::Bytes;
use datamodel::time::TimeRange;
use datamodel::{Labels, Matcher, Timestamp};
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, USER_AGENT};
use http::{HeaderName, HeaderValue, Method, Request, StatusCode};
use http_body_util::Full;

pub use answer::{Answer, ElementValue, MatrixElement, QueryValue, VectorElement};
pub use connection::{MAX_HEAD_BYTES, MAX_IDLE_CONNECTIONS};
pub use credentials::{Credentials, CredentialsError, MAX_SECRET_BYTES, Secret};
pub use elements::MAX_ELEMENT_BYTES;
pub use error::{ClientError, has_document};
pub use tls::{MAX_PEM_BYTES, Pem, TlsError, TlsOptions};
pub use url::{BaseUrl, UrlError};

use connection::Connections;
use elements::Elements;
use tls::TlsConfigs;

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
    /// Who we are; a name and password in the URL count if nothing is given here.
    pub credentials: Credentials,
    /// Whom we trust.
    pub tls: TlsOptions,
    /// What goes with each request, beside our own headers.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// How questions are sent.
    pub verb: Verb,
}

impl ClientOptions {
    /// The defaults for a URL.
    #[must_use]
    pub const fn new(url: BaseUrl) -> Self {
        let tls = TlsOptions { authorities: None, identity: None, server_name: None };
        Self { url, credentials: Credentials::None, tls, headers: Vec::new(), verb: Verb::Get }
    }
}

/// Asks an API.
#[derive(Debug)]
pub struct Client {
    connections: Connections,
    options: ClientOptions,
}

/// A question to an endpoint: names and values of its parameters.
struct Question<'a> {
    /// Below `/api/v1/`, escaped.
    path: String,
    parameters: Vec<(&'a str, String)>,
    takes_post: bool,
}

impl Client {
    /// A client with no connection yet. The files of TLS are read once, so that a broken one is found at once.
    ///
    /// # Errors
    ///
    /// A file of TLS is broken.
    pub fn new(mut options: ClientOptions) -> Result<Self, ClientError> {
        let tls = TlsConfigs::new(options.tls.clone());
        let is_given = options.tls.authorities.is_some() || options.tls.identity.is_some();
        if options.url.is_https || is_given {
            tls.current()?;
        }
        if let (Credentials::None, Some((username, password))) = (&options.credentials, options.url.user.clone()) {
            options.credentials = Credentials::Basic { username, password: Secret::Text(password) };
        }
        options.credentials.header()?;
        Ok(Self { connections: Connections::new(options.url.clone(), tls), options })
    }

    /// Where the API lies.
    #[must_use]
    pub const fn url(&self) -> &BaseUrl {
        &self.options.url
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
            let exchange = self.tried(&question, deadline).await?;
            exchange.body(|bytes| elements.push(bytes, |element| take(answer::series(element)?))).await
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

    /// The document, within the deadline.
    async fn whole(&self, question: &Question<'_>, deadline: Duration) -> Result<Vec<u8>, ClientError> {
        let mut document = Vec::new();
        let within = async {
            let exchange = self.tried(question, deadline).await?;
            exchange
                .body(|bytes| {
                    document.extend_from_slice(bytes);
                    if document.len() > MAX_ANSWER_BYTES {
                        Err(ClientError::TooLarge(MAX_ANSWER_BYTES))
                    } else {
                        Ok(())
                    }
                })
                .await
        };
        tokio::time::timeout(deadline, within).await.map_err(|_elapsed| ClientError::Timeout(deadline))??;
        Ok(document)
    }

    /// Sends until the head of a document comes, at most [`MAX_TRIES`] times. The caller holds the deadline.
    async fn tried(
        &self,
        question: &Question<'_>,
        deadline: Duration,
    ) -> Result<connection::Exchange<'_>, ClientError> {
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
    async fn once(&self, question: &Question<'_>) -> Result<connection::Exchange<'_>, ClientError> {
        let by_post = self.by_post(question);
        let mut exchange = self.connections.send(&self.request(question, by_post)?).await?;
        let other = match exchange.response().status() {
            StatusCode::METHOD_NOT_ALLOWED if by_post => Some(false),
            StatusCode::URI_TOO_LONG if !by_post && question.takes_post => Some(true),
            _ => None,
        };
        if let Some(by_post) = other {
            exchange = self.connections.send(&self.request(question, by_post)?).await?;
        }
        let status = exchange.response().status();
        let media_type = exchange.response().headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let is_json = media_type.is_some_and(|media_type| media_type.starts_with("application/json"));
        if has_document(status) && (status.is_success() || is_json) {
            Ok(exchange)
        } else {
            Err(ClientError::Status(status))
        }
    }

    fn by_post(&self, question: &Question<'_>) -> bool {
        let length = question.encoded().len() + question.path.len() + self.options.url.path.len();
        question.takes_post && (self.options.verb == Verb::Post || length > MAX_GET_BYTES)
    }

    fn request(&self, question: &Question<'_>, by_post: bool) -> Result<Request<Full<Bytes>>, ClientError> {
        let path = format!("{}/api/v1/{}", self.options.url.path, question.path);
        let encoded = question.encoded();
        let mut builder = if by_post {
            let form = HeaderValue::from_static("application/x-www-form-urlencoded");
            Request::builder().method(Method::POST).uri(path).header(CONTENT_TYPE, form)
        } else if encoded.is_empty() {
            Request::builder().uri(path)
        } else {
            Request::builder().uri(format!("{path}?{encoded}"))
        };
        builder = builder
            .header(HOST, &self.options.url.authority)
            .header(USER_AGENT, concat!("crescendo/", env!("CARGO_PKG_VERSION")))
            .header(ACCEPT, "application/json");
        for (name, value) in &self.options.headers {
            builder = builder.header(name, value);
        }
        if let Some(value) = self.options.credentials.header()? {
            builder = builder.header(AUTHORIZATION, value);
        }
        let body = if by_post { Bytes::from(encoded) } else { Bytes::new() };
        builder.body(Full::new(body)).map_err(|error| ClientError::Document(format!("invalid request: {error}")))
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
