//! An HTTP client with keep-alive, for one address.
//!
//! - [`Client::get`], [`Client::json`]: what a browser or a script does.
//! - [`Client::transcribe`]: the upload of a recording, as OpenAI's clients send it.
//! - [`Client::query`]: an instant query at a time.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Method, Request, StatusCode};
use hyper_util::client::legacy::Client as HyperClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

/// No answer may take longer.
const TIMEOUT: Duration = Duration::from_secs(120);

const BOUNDARY: &str = "crescendo-e2e-boundary";

/// An answer: status, head fields by name, body.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The head.
    pub headers: hyper::HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl Answer {
    /// The body as text; bytes that are no UTF-8 are replaced.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Errors
    ///
    /// The body is not JSON; it is quoted in the error.
    pub fn json(&self) -> Result<Value> {
        serde_json::from_slice(&self.body).with_context(|| format!("not JSON ({}): {}", self.status, self.text()))
    }
}

/// A client for one address.
#[derive(Clone, Debug)]
pub struct Client {
    base: String,
    client: HyperClient<HttpConnector, Full<Bytes>>,
}

impl Client {
    /// For an address such as `http://127.0.0.1:9090`.
    #[must_use]
    pub fn new(base: &str) -> Self {
        let client = HyperClient::builder(TokioExecutor::new()).build_http();
        Self { base: base.trim_end_matches('/').to_owned(), client }
    }

    /// The address.
    #[must_use]
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Sends a request and reads the whole answer.
    ///
    /// # Errors
    ///
    /// The connection fails, or the answer takes too long.
    pub async fn send(&self, request: Request<Full<Bytes>>) -> Result<Answer> {
        let exchange = async {
            let response = self.client.request(request).await?;
            let (head, body) = response.into_parts();
            let body = body.collect().await?.to_bytes();
            anyhow::Ok(Answer { status: head.status, headers: head.headers, body })
        };
        tokio::time::timeout(TIMEOUT, exchange).await.context("no answer in time")?
    }

    /// GET of a path.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    pub async fn get(&self, path: &str) -> Result<Answer> {
        let request = Request::builder().uri(format!("{}{path}", self.base)).body(Full::default())?;
        self.send(request).await
    }

    /// GET of a JSON document with status 200.
    ///
    /// # Errors
    ///
    /// Another status, or no JSON.
    pub async fn json(&self, path: &str) -> Result<Value> {
        let answer = self.get(path).await?;
        if answer.status != StatusCode::OK {
            bail!("{path}: {}: {}", answer.status, answer.text());
        }
        answer.json()
    }

    /// An instant query, at a time in Unix seconds or now; gives `data.result`.
    ///
    /// # Errors
    ///
    /// As [`json`](Self::json).
    pub async fn query(&self, expr: &str, time: Option<f64>) -> Result<Value> {
        let mut path = format!("/api/v1/query?query={}", encode(expr));
        if let Some(time) = time {
            path.push_str(&format!("&time={time:.3}"));
        }
        Ok(self.json(&path).await?["data"]["result"].clone())
    }

    /// Sends a compressed message of remote write 1.0.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    pub async fn write(&self, body: Vec<u8>) -> Result<Answer> {
        let request = Request::builder()
            .method(Method::POST)
            .uri(format!("{}/api/v1/write", self.base))
            .header("content-type", "application/x-protobuf")
            .header("content-encoding", "snappy")
            .header("x-prometheus-remote-write-version", "0.1.0");
        self.send(request.body(Full::new(Bytes::from(body)))?).await
    }

    /// Uploads a recording; `fields` are further form fields.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    pub async fn transcribe(&self, file_name: &str, audio: &[u8], fields: &[(&str, &str)]) -> Result<Answer> {
        let mut body = Vec::with_capacity(audio.len() + 1024);
        for (name, value) in fields {
            let part = format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
            body.extend_from_slice(part.as_bytes());
        }
        let head = format!(
            "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{file_name}\"\r\n\
             Content-Type: application/octet-stream\r\n\r\n"
        );
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(audio);
        body.extend_from_slice(format!("\r\n--{BOUNDARY}--\r\n").as_bytes());
        let request = Request::builder()
            .method(Method::POST)
            .uri(format!("{}/v1/audio/transcriptions", self.base))
            .header("content-type", format!("multipart/form-data; boundary={BOUNDARY}"))
            .body(Full::from(body))?;
        self.send(request).await
    }
}

/// Percent-encodes everything but letters and digits.
#[must_use]
pub fn encode(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric();
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}
