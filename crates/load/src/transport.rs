//! How a recording gets to the server and a transcript back.
//!
//! - [`Transport`]: what the run needs of it. [`HttpTransport`]: OpenAI's API over HTTP/1.1.
//! - [`Answer`]: a transcript. [`Failure`]: the closed set of ways not to get one.
//!
//! Rule: an answer is read to its end and is bounded; nothing is sent twice.

use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, StatusCode, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioTimer;
use serde::Deserialize;
use tokio_util::task::TaskTracker;

use crate::clips::Clip;
use crate::config::LoadConfig;

/// The longest answer: hours of text.
const MAX_ANSWER_BYTES: usize = 4 * 1024 * 1024;

/// A transcript.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Answer {
    pub(crate) text: String,
    /// The recording's duration as the server says, in whole seconds begun.
    pub(crate) audio_seconds: Option<f64>,
}

/// Why there is no transcript.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Failure {
    /// No connection.
    Connect,
    /// The connection ended before the answer did.
    Closed,
    /// No answer in time.
    Timeout,
    /// 429: the server's queue is full.
    Overloaded,
    /// Another status from 400 to 499.
    ClientError,
    /// A status of 500 or above.
    ServerError,
    /// An answer that is no transcript.
    BadAnswer,
}

impl Failure {
    /// The name in reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Closed => "closed",
            Self::Timeout => "timeout",
            Self::Overloaded => "overloaded",
            Self::ClientError => "client_error",
            Self::ServerError => "server_error",
            Self::BadAnswer => "bad_answer",
        }
    }
}

/// Sends one recording. Clones share what they can.
pub(crate) trait Transport: Clone + Send + 'static {
    /// Sends the recording at this position of the run's list and waits for the transcript. Dropping
    /// the future hangs up.
    fn send(&self, clip: usize) -> impl Future<Output = Result<Answer, Failure>> + Send;

    /// One that shares no connection with this one.
    fn separate(&self) -> Self;
}

/// OpenAI's transcription API over HTTP/1.1, with kept-alive connections.
#[derive(Clone, Debug)]
pub(crate) struct HttpTransport {
    client: Client<HttpConnector, Full<Bytes>>,
    requests: Arc<Requests>,
    connections: TaskTracker,
}

/// Runs the client's connections where the run can wait for them.
#[derive(Clone, Debug)]
struct Connections(TaskTracker);

impl<F: Future<Output = ()> + Send + 'static> hyper::rt::Executor<F> for Connections {
    fn execute(&self, connection: F) {
        self.0.spawn(connection);
    }
}

/// What is sent, made once.
#[derive(Debug)]
struct Requests {
    uri: Uri,
    authorization: Option<HeaderValue>,
    bodies: Vec<Bytes>,
}

/// Random enough that no recording holds it by chance, and the same in each run.
const BOUNDARY: &str = "crescendo-load-1f0b7c52a9e84d36";

impl HttpTransport {
    pub(crate) fn new(
        config: &LoadConfig,
        uri: Uri,
        authorization: Option<HeaderValue>,
        connections: TaskTracker,
    ) -> Self {
        let bodies = config.clips.all().iter().map(|clip| form(config, clip)).collect();
        let requests = Arc::new(Requests { uri, authorization, bodies });
        Self { client: client(&connections), requests, connections }
    }
}

/// A client whose connections run in the tracker.
pub(crate) fn client(connections: &TaskTracker) -> Client<HttpConnector, Full<Bytes>> {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    Client::builder(Connections(connections.clone())).pool_timer(TokioTimer::new()).build(connector)
}

fn form(config: &LoadConfig, clip: &Clip) -> Bytes {
    let mut body = Vec::with_capacity(clip.bytes.len() + 1024);
    let fields = [("model", Some(&config.model)), ("language", config.language.as_ref())];
    for (name, value) in fields {
        if let Some(value) = value {
            let head = format!("--{BOUNDARY}\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n");
            body.extend_from_slice(head.as_bytes());
            body.extend_from_slice(value.as_bytes());
            body.extend_from_slice(b"\r\n");
        }
    }
    // Quotes and line breaks would end the header.
    let name = clip.name.replace(['"', '\r', '\n', '\\'], "_");
    let head = format!("--{BOUNDARY}\r\ncontent-disposition: form-data; name=\"file\"; filename=\"{name}\"\r\n");
    body.extend_from_slice(head.as_bytes());
    body.extend_from_slice(b"content-type: application/octet-stream\r\n\r\n");
    body.extend_from_slice(&clip.bytes);
    body.extend_from_slice(format!("\r\n--{BOUNDARY}--\r\n").as_bytes());
    body.into()
}

#[derive(Deserialize)]
struct Json {
    text: String,
    usage: Option<Usage>,
}

#[derive(Deserialize)]
struct Usage {
    seconds: Option<f64>,
}

impl Transport for HttpTransport {
    async fn send(&self, clip: usize) -> Result<Answer, Failure> {
        let Requests { uri, authorization, bodies } = &*self.requests;
        let body = bodies.get(clip).cloned().unwrap_or_default();
        let content_type = format!("multipart/form-data; boundary={BOUNDARY}");
        let mut request = Request::builder().method(Method::POST).uri(uri.clone()).header(CONTENT_TYPE, content_type);
        if let Some(authorization) = authorization {
            request = request.header(AUTHORIZATION, authorization.clone());
        }
        // All parts were checked before; a request of them can be built.
        let request = request.body(Full::new(body)).map_err(|_never| Failure::BadAnswer)?;
        let response = self.client.request(request).await.map_err(|error| {
            tracing::debug!(error = &error as &dyn std::error::Error, "request failed");
            if error.is_connect() { Failure::Connect } else { Failure::Closed }
        })?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES).collect().await;
        let body =
            body.map_err(|error| if error.is::<LengthLimitError>() { Failure::BadAnswer } else { Failure::Closed })?;
        answer(status, &body.to_bytes())
    }

    fn separate(&self) -> Self {
        Self {
            client: client(&self.connections),
            requests: Arc::clone(&self.requests),
            connections: self.connections.clone(),
        }
    }
}

fn answer(status: StatusCode, body: &[u8]) -> Result<Answer, Failure> {
    if status == StatusCode::TOO_MANY_REQUESTS {
        return Err(Failure::Overloaded);
    }
    if !status.is_success() {
        let failure = if status.is_server_error() { Failure::ServerError } else { Failure::ClientError };
        tracing::debug!(status = status.as_u16(), body = %String::from_utf8_lossy(body), "request refused");
        return Err(failure);
    }
    let Json { text, usage } = serde_json::from_slice(body).map_err(|_not_a_transcript| Failure::BadAnswer)?;
    Ok(Answer { text, audio_seconds: usage.and_then(|usage| usage.seconds).filter(|seconds| seconds.is_finite()) })
}
