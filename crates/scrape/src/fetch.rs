//! Getting a page: one connection for each target, kept between scrapes.
//!
//! - [`PageRequest`]: what is asked of a target.
//! - [`Fetcher`]: asks, follows redirects, decompresses, and stops at the bound.
//!
//! ```text
//! head ─▶ body up to 64 KiB ─▶ page                      on the thread of all loops
//!                └─▶ the rest, buffer and all ─▶ page    where large pages are read
//! ```
//!
//! Rule: dropping the future of a request closes its connection; what is large is read, grown and freed elsewhere, so
//! that no target holds up the loops of the others.

use std::borrow::Cow;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName};
use http::{HeaderValue, Request, Response, StatusCode, Uri};
use http_client::{ClientError, Connection, Endpoint, HttpClient, MAX_REDIRECTS, redirect_location, resolve};
use storage::MemoryPool;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::body::{ACCEPTED_ENCODINGS, Body, BodyReader};
use crate::error::ScrapeError;
use crate::url::TargetUrl;

/// Bytes of a page, as they came or decompressed, that are taken without a pause.
const UNDIVIDED_BYTES: usize = 16 * 1024;

/// Pages up to so many bytes are read and written on the thread of all loops: that takes less than a millisecond, and
/// handing them to another thread costs as much as reading the usual page.
pub(crate) const SMALL_PAGE_BYTES: usize = 64 * 1024;

/// All large pages together are read at this pace for each processor, 60 to 120 MB a second: more could not be parsed,
/// and whoever sends without end must not have the processors for himself.
const PACED_BYTES: usize = 128 * 1024;
const PACE: Duration = Duration::from_millis(1);

const SCRAPE_TIMEOUT_HEADER: &str = "x-prometheus-scrape-timeout-seconds";

/// What is asked of a target.
#[derive(Clone, Debug)]
pub(crate) struct PageRequest {
    pub(crate) url: TargetUrl,
    /// The URL as it is asked and its server; none if it cannot be asked.
    pub(crate) resolved: Option<(Uri, Endpoint)>,
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

impl PageRequest {
    /// The URL as it is asked and its server, if it can be asked.
    pub(crate) fn resolve(url: &TargetUrl) -> Option<(Uri, Endpoint)> {
        let uri = url.uri().ok()?;
        let endpoint = Endpoint::of(&uri).ok()?;
        Some((uri, endpoint))
    }
}

/// Where large pages are read, and how fast.
#[derive(Clone, Debug)]
pub(crate) struct LargePages {
    pub(crate) runtime: Handle,
    /// Each place lets [`PACED_BYTES`] pass in [`PACE`].
    pub(crate) pace: Arc<Semaphore>,
}

/// Fetches the pages of one target.
#[derive(Debug)]
pub(crate) struct Fetcher {
    client: Arc<HttpClient>,
    /// Where memory for large pages is reserved.
    pages: MemoryPool,
    large_pages: LargePages,
    connection: Option<Connection>,
    /// Bytes of the last page, so that the next one is read into a buffer of the right size.
    last_body_len: usize,
}

impl Fetcher {
    pub(crate) const fn new(client: Arc<HttpClient>, pages: MemoryPool, large_pages: LargePages) -> Self {
        Self { client, pages, large_pages, connection: None, last_body_len: 0 }
    }

    /// Gets the page within `timeout`. After any failure the connection is closed.
    pub(crate) async fn fetch(&mut self, request: &PageRequest, timeout: Duration) -> Result<Page, ScrapeError> {
        match tokio::time::timeout(timeout, self.follow(request, timeout)).await {
            Ok(result) => result,
            Err(_elapsed) => Err(ScrapeError::Timeout(timeout)),
        }
    }

    async fn follow(&mut self, request: &PageRequest, timeout: Duration) -> Result<Page, ScrapeError> {
        let Some((url, first)) = &request.resolved else {
            return Err(ScrapeError::Address(request.url.authority().to_owned()));
        };
        let (mut url, mut endpoint) = (url.clone(), Cow::Borrowed(first));
        for _ in 0..=MAX_REDIRECTS {
            let mut headers = headers(request, timeout)?;
            self.client.decorate(&url, &mut headers, *endpoint == *first || first.trusts(&endpoint)).await?;
            let (connection, response) = self.ask(&url, &endpoint, headers).await?;
            if let Some(location) = redirect_location(&response) {
                if !self.client.follows_redirects() {
                    let reason = "`follow_redirects` is false";
                    return Err(ClientError::Redirect { location, reason }.into());
                }
                url = resolve(&url, &location)?;
                endpoint = Cow::Owned(Endpoint::of(&url)?);
                continue;
            }
            if response.status() != StatusCode::OK {
                return Err(ScrapeError::Status(response.status()));
            }
            let content_type = header_text(response.headers(), &CONTENT_TYPE);
            let encoding = header_text(response.headers(), &CONTENT_ENCODING);
            let reader = BodyReader::new(&encoding, request.body_bound, self.last_body_len, &self.pages)?;
            let (connection, body) = BodyInTransit { connection, reader }.arrive(&self.large_pages).await?;
            self.last_body_len = body.bytes.len();
            self.connection = Some(connection).filter(Connection::is_free);
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
        headers: HeaderMap,
    ) -> Result<(Connection, Response<()>), ScrapeError> {
        let mut request = Request::new(Bytes::new());
        request.uri_mut().clone_from(url);
        *request.headers_mut() = headers;
        if let Some(mut kept) = self.connection.take().filter(|kept| kept.leads_to(endpoint))
            && let Ok(response) = kept.send(&request).await
        {
            return Ok((kept, response));
        }
        let mut connection = self.client.connect(endpoint).await?;
        let response = connection.send(&request).await?;
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

/// A body that is being read.
struct BodyInTransit {
    connection: Connection,
    reader: BodyReader,
}

impl BodyInTransit {
    /// Reads it to its end; one that is not small on another runtime.
    async fn arrive(mut self, large_pages: &LargePages) -> Result<(Connection, Body), ScrapeError> {
        if self.read(SMALL_PAGE_BYTES).await? {
            return self.end();
        }
        let pace = Arc::clone(&large_pages.pace);
        // Dropped with this future, it ends the reading, and what was read is freed there.
        let mut reading = JoinSet::new();
        reading.spawn_on(
            async move {
                while !self.read(self.reader.len().saturating_add(PACED_BYTES)).await? {
                    // The semaphore is never closed.
                    let _turn = pace.acquire().await;
                    sleep(PACE).await;
                }
                self.end()
            },
            &large_pages.runtime,
        );
        match reading.join_next().await {
            Some(Ok(outcome)) => outcome,
            Some(Err(error)) if error.is_panic() => resume_unwind(error.into_panic()),
            // Only when the runtime is shut down; then nothing is polled again.
            _ => std::future::pending().await,
        }
    }

    /// Reads on, until the end or until there are more bytes than so many. Whether the end came.
    async fn read(&mut self, most: usize) -> Result<bool, ScrapeError> {
        let mut paused_at = self.reader.len();
        while self.reader.len() <= most {
            // A usual page is there at once; whoever sends more lets others run in between.
            if self.reader.len() - paused_at >= UNDIVIDED_BYTES {
                tokio::task::yield_now().await;
                paused_at = self.reader.len();
            }
            let Some(data) = self.connection.data(self.reader.step()).await? else { return Ok(true) };
            self.reader.push(data)?;
        }
        Ok(false)
    }

    fn end(self) -> Result<(Connection, Body), ScrapeError> {
        Ok((self.connection, self.reader.finish()?))
    }
}

/// A header's text, or empty where it is absent or not printable.
fn header_text(headers: &HeaderMap, name: &HeaderName) -> String {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
}
