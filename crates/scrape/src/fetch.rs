//! Getting a page: one connection for each target, kept between scrapes.
//!
//! - [`PageRequest`]: what is asked of a target.
//! - [`Fetcher`]: asks, follows redirects, decompresses, and stops at the bound.
//!
//! Rule: nothing is spawned; dropping the future of a request closes its connection.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName};
use http::{HeaderValue, Request, Response, StatusCode, Uri};
use http_body_util::Full;
use http_client::{ClientError, Connection, Endpoint, HttpClient, MAX_REDIRECTS, redirect_location, resolve};
use hyper::body::Incoming;
use storage::MemoryPool;

use crate::body::{ACCEPTED_ENCODINGS, Body, BodyReader};
use crate::error::ScrapeError;
use crate::url::TargetUrl;

const SCRAPE_TIMEOUT_HEADER: &str = "x-prometheus-scrape-timeout-seconds";

/// What is asked of a target.
#[derive(Clone, Debug)]
pub(crate) struct PageRequest {
    pub(crate) url: TargetUrl,
    pub(crate) accept: HeaderValue,
    pub(crate) enable_compression: bool,
    pub(crate) body_bound: usize,
}

/// A page as it came.
#[derive(Debug)]
pub(crate) struct Page {
    /// The `Content-Type` header, or empty.
    pub(crate) content_type: String,
    /// The decompressed text.
    pub(crate) body: Body,
}

/// Fetches the pages of one target.
#[derive(Debug)]
pub(crate) struct Fetcher {
    client: Arc<HttpClient>,
    /// Where memory for large pages is reserved.
    pages: MemoryPool,
    connection: Option<Connection>,
    /// Bytes of the last page, so that the next one is read into a buffer of the right size.
    last_body_len: usize,
}

impl Fetcher {
    pub(crate) const fn new(client: Arc<HttpClient>, pages: MemoryPool) -> Self {
        Self { client, pages, connection: None, last_body_len: 0 }
    }

    /// Gets the page within `timeout`. After any failure the connection is closed.
    pub(crate) async fn fetch(&mut self, request: &PageRequest, timeout: Duration) -> Result<Page, ScrapeError> {
        match tokio::time::timeout(timeout, self.follow(request, timeout)).await {
            Ok(result) => result,
            Err(_elapsed) => Err(ScrapeError::Timeout(timeout)),
        }
    }

    async fn follow(&mut self, request: &PageRequest, timeout: Duration) -> Result<Page, ScrapeError> {
        let mut url = request.url.uri()?;
        let first = Endpoint::of(&url)?;
        for _ in 0..=MAX_REDIRECTS {
            let endpoint = Endpoint::of(&url)?;
            let mut headers = headers(request, timeout)?;
            self.client.decorate(&url, &mut headers, endpoint == first || first.trusts(&endpoint)).await?;
            let (mut connection, response) = self.ask(&url, &endpoint, &headers).await?;
            if let Some(location) = redirect_location(&response) {
                if !self.client.follows_redirects() {
                    let reason = "`follow_redirects` is false";
                    return Err(ClientError::Redirect { location, reason }.into());
                }
                url = resolve(&url, &location)?;
                continue;
            }
            if response.status() != StatusCode::OK {
                return Err(ScrapeError::Status(response.status()));
            }
            let content_type = header_text(response.headers(), &CONTENT_TYPE);
            let encoding = header_text(response.headers(), &CONTENT_ENCODING);
            let reader = BodyReader::new(&encoding, request.body_bound, self.last_body_len, &self.pages)?;
            let body = read_body(&mut connection, response, reader).await?;
            self.last_body_len = body.bytes.len();
            self.connection = Some(connection);
            return Ok(Page { content_type, body });
        }
        Err(ClientError::Redirect { location: url.to_string(), reason: "too many redirects" }.into())
    }

    /// Sends the request and waits for the head of the answer. A connection that the server closed while
    /// it rested is replaced once.
    async fn ask(
        &mut self,
        url: &Uri,
        endpoint: &Endpoint,
        headers: &HeaderMap,
    ) -> Result<(Connection, Response<Incoming>), ScrapeError> {
        let request = || {
            let mut request = Request::new(Full::<Bytes>::default());
            request.uri_mut().clone_from(url);
            request.headers_mut().clone_from(headers);
            request
        };
        if let Some(mut kept) = self.connection.take().filter(|kept| kept.leads_to(endpoint))
            && let Ok(response) = kept.send(request()).await
        {
            return Ok((kept, response));
        }
        let mut connection = self.client.connect(endpoint).await?;
        let response = connection.send(request()).await?;
        Ok((connection, response))
    }
}

/// The headers that every scrape has.
fn headers(request: &PageRequest, timeout: Duration) -> Result<HeaderMap, ClientError> {
    let encodings = if request.enable_compression { ACCEPTED_ENCODINGS } else { "identity" };
    let seconds = HeaderValue::from_str(&timeout.as_secs_f64().to_string());
    let seconds = seconds.map_err(|_invalid| ClientError::Header(SCRAPE_TIMEOUT_HEADER))?;
    let mut headers = HeaderMap::with_capacity(8);
    headers.insert(ACCEPT, request.accept.clone());
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(encodings));
    headers.insert(HeaderName::from_static(SCRAPE_TIMEOUT_HEADER), seconds);
    Ok(headers)
}

async fn read_body(
    connection: &mut Connection,
    response: Response<Incoming>,
    mut reader: BodyReader,
) -> Result<Body, ScrapeError> {
    let mut body = response.into_body();
    while let Some(data) = connection.data(&mut body).await? {
        for part in data.chunks(reader.step()) {
            reader.push(part)?;
            tokio::task::yield_now().await;
        }
    }
    reader.finish()
}

/// A header's text, or empty where it is absent or not printable.
fn header_text(headers: &HeaderMap, name: &HeaderName) -> String {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
}
