//! Watches: what changes from a version on.
//!
//! Rule: a line is one event, has at most [`MAX_EVENT_BYTES`], and comes within [`SILENCE`] of the last.

use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use http::{Method, StatusCode};
use http_client::Exchange;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::timeout;

use super::error::{ApiError, Status};
use super::meta::MetadataOnly;
use super::request::{Client, Format};
use super::resource::{Resource, Scope};

/// Bytes of one event: the store of a cluster takes objects of 1.5 MB.
const MAX_EVENT_BYTES: usize = 8 * 1024 * 1024;

/// Seconds after which the server ends a watch.
const WATCH_SECONDS: u64 = 290;

/// How long a watch may say nothing: as long as it lasts, and some more.
const SILENCE: Duration = Duration::from_secs(WATCH_SECONDS + 20);

/// Bytes of a refusal that are read.
const MAX_REFUSAL_BYTES: usize = 64 * 1024;

#[derive(Debug, Deserialize)]
struct Line {
    #[serde(rename = "type")]
    kind: String,
    object: Value,
}

/// What happened.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Event<T> {
    /// There is a new object, or it changed.
    Applied(T),
    /// An object is gone.
    Deleted(T),
    /// Nothing; the watch has come to this version.
    Bookmark(String),
}

/// A watch that is under way.
#[derive(Debug)]
pub(super) struct Watch<'a> {
    exchange: Exchange<'a>,
    buffer: BytesMut,
    /// Bytes of the buffer that hold no end of a line.
    scanned: usize,
}

impl Client {
    /// Watches from a version on.
    pub(super) async fn watch(
        &self,
        resource: &Resource,
        scope: &Scope,
        format: Format,
        version: &str,
    ) -> Result<Watch<'_>, ApiError> {
        let seconds = WATCH_SECONDS.to_string();
        let query = scope.query(&[
            ("watch", "true"),
            ("allowWatchBookmarks", "true"),
            ("resourceVersion", version),
            ("timeoutSeconds", &seconds),
        ]);
        let path = format!("{}?{query}", resource.path(scope.namespace.as_deref()));
        let request = self.request(Method::GET, &path, format.accept(false), None, Bytes::new())?;
        let exchange = self.begin(request).await?;
        let mut watch = Watch { exchange, buffer: BytesMut::new(), scanned: 0 };
        match watch.exchange.status() {
            StatusCode::OK => Ok(watch),
            status => Err(watch.refusal(status).await),
        }
    }
}

impl Watch<'_> {
    async fn refusal(&mut self, status: StatusCode) -> ApiError {
        while self.buffer.len() < MAX_REFUSAL_BYTES {
            match timeout(SILENCE, self.exchange.data()).await {
                Ok(Ok(Some(data))) => self.buffer.extend_from_slice(&data),
                _ => break,
            }
        }
        ApiError::of_answer(status.as_u16(), &self.buffer)
    }

    /// The next event; none at the end of the watch.
    pub(super) async fn next<T: DeserializeOwned>(&mut self) -> Result<Option<Event<T>>, ApiError> {
        while let Some(line) = self.line().await? {
            if !line.trim_ascii().is_empty() {
                return event(&line).map(Some);
            }
        }
        Ok(None)
    }

    async fn line(&mut self) -> Result<Option<BytesMut>, ApiError> {
        loop {
            let fresh = self.buffer.get(self.scanned..).unwrap_or_default();
            if let Some(end) = fresh.iter().position(|byte| *byte == b'\n') {
                let line = self.buffer.split_to(self.scanned + end);
                self.buffer.advance(1);
                self.scanned = 0;
                return Ok(Some(line));
            }
            self.scanned = self.buffer.len();
            if self.buffer.len() > MAX_EVENT_BYTES {
                return Err(ApiError::Form(format!("an event is larger than {MAX_EVENT_BYTES} bytes")));
            }
            let data = timeout(SILENCE, self.exchange.data()).await.map_err(|_late| ApiError::Timeout(SILENCE))??;
            match data {
                Some(data) => self.buffer.extend_from_slice(&data),
                // What has no end was cut off.
                None => return Ok(None),
            }
        }
    }
}

fn event<T: DeserializeOwned>(line: &[u8]) -> Result<Event<T>, ApiError> {
    let form = |error: serde_json::Error| ApiError::Form(error.to_string());
    let line: Line = serde_json::from_slice(line).map_err(form)?;
    match line.kind.as_str() {
        "ADDED" | "MODIFIED" => serde_json::from_value(line.object).map(Event::Applied).map_err(form),
        "DELETED" => serde_json::from_value(line.object).map(Event::Deleted).map_err(form),
        "BOOKMARK" => {
            let object: MetadataOnly = serde_json::from_value(line.object).map_err(form)?;
            Ok(Event::Bookmark(object.metadata.resource_version))
        }
        "ERROR" => {
            let status: Status = serde_json::from_value(line.object).unwrap_or_default();
            Err(ApiError::of_status(status))
        }
        other => {
            let kind: String = other.chars().take(40).collect();
            Err(ApiError::Form(format!("unknown kind of event: `{kind}`")))
        }
    }
}
