//! Questions to the API server that have one answer.
//!
//! Rule: an answer takes at most [`REQUEST_TIMEOUT`] and [`MAX_ANSWER_BYTES`].

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{Method, Request, Uri};
use http_client::kubeconfig::Cluster;
use http_client::{ClientError, ClientOptions, Exchange, HttpClient};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::error::ApiError;

/// Time of one answer: the API server's own for anything but a watch.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// Bytes of one answer: a page of 500 pods has some 10 MB, the largest possible object 1.5 MB.
const MAX_ANSWER_BYTES: usize = 64 * 1024 * 1024;

/// In which form objects are asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Whole.
    #[default]
    Whole,
    /// Name, labels and the like only.
    Metadata,
}

impl Format {
    pub(super) const fn accept(self, list: bool) -> &'static str {
        match (self, list) {
            (Self::Whole, _) => "application/json",
            (Self::Metadata, true) => {
                "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json"
            }
            (Self::Metadata, false) => "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json",
        }
    }
}

/// How an object is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patch {
    /// Fields replace those of the same name (RFC 7386).
    Merge,
    /// Fields are ours from now on, and those of ours that are missing go.
    Apply,
}

impl Patch {
    const fn content_type(self) -> &'static str {
        match self {
            Self::Merge => "application/merge-patch+json",
            Self::Apply => "application/apply-patch+yaml",
        }
    }
}

/// A client of one API server. Connections are kept, and shared by all who ask.
pub struct Client {
    base: String,
    http: HttpClient,
    namespace: String,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("base", &self.base).finish_non_exhaustive()
    }
}

impl Client {
    /// A client of this cluster. Nothing is asked yet.
    #[must_use]
    pub fn new(cluster: Cluster, options: ClientOptions) -> Self {
        let base = cluster.server.to_string().trim_end_matches('/').to_owned();
        let namespace = cluster.namespace.unwrap_or_else(|| "default".to_owned());
        Self { base, http: HttpClient::new(cluster.http, options), namespace }
    }

    /// The namespace that we are in: that of our pod, or of the kubeconfig's context, else `default`.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Where the API server is.
    #[must_use]
    pub fn server(&self) -> &str {
        &self.base
    }

    /// Reads what is at a path.
    ///
    /// # Errors
    ///
    /// See [`ApiError`].
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ApiError> {
        self.ask(self.request(Method::GET, path, Format::Whole.accept(false), None, Bytes::new())?).await
    }

    /// Reads what is at a path, with parameters.
    ///
    /// # Errors
    ///
    /// See [`ApiError`].
    pub async fn get_with<T: DeserializeOwned>(&self, path: &str, parameters: &[(&str, &str)]) -> Result<T, ApiError> {
        let mut query = form_urlencoded::Serializer::new(String::new());
        let query = query.extend_pairs(parameters).finish();
        self.get(&if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") }).await
    }

    /// Makes an object, in the collection at a path.
    ///
    /// # Errors
    ///
    /// See [`ApiError`].
    pub async fn create<T: DeserializeOwned>(&self, path: &str, object: &impl Serialize) -> Result<T, ApiError> {
        self.ask(self.with_body(Method::POST, path, "application/json", object)?).await
    }

    /// Replaces the object at a path.
    ///
    /// # Errors
    ///
    /// See [`ApiError`].
    pub async fn replace<T: DeserializeOwned>(&self, path: &str, object: &impl Serialize) -> Result<T, ApiError> {
        self.ask(self.with_body(Method::PUT, path, "application/json", object)?).await
    }

    /// Changes the object at a path. `query` has what goes with it, such as `fieldManager=…&force=true`.
    ///
    /// # Errors
    ///
    /// See [`ApiError`].
    pub async fn patch<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &str,
        patch: Patch,
        change: &impl Serialize,
    ) -> Result<T, ApiError> {
        let path = if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") };
        self.ask(self.with_body(Method::PATCH, &path, patch.content_type(), change)?).await
    }

    fn with_body(
        &self,
        method: Method,
        path: &str,
        content_type: &'static str,
        body: &impl Serialize,
    ) -> Result<Request<Bytes>, ApiError> {
        let body = serde_json::to_vec(body).map_err(|error| ApiError::Form(error.to_string()))?;
        self.request(method, path, Format::Whole.accept(false), Some(content_type), Bytes::from(body))
    }

    pub(super) fn request(
        &self,
        method: Method,
        path: &str,
        accept: &'static str,
        content_type: Option<&'static str>,
        body: Bytes,
    ) -> Result<Request<Bytes>, ApiError> {
        let url = format!("{}{path}", self.base);
        let uri: Uri = url.parse().map_err(|_invalid| ClientError::Url(url.clone()))?;
        let mut request = Request::builder().method(method).uri(uri).header(ACCEPT, accept);
        if let Some(content_type) = content_type {
            request = request.header(CONTENT_TYPE, content_type);
        }
        request.body(body).map_err(|_invalid| ClientError::Url(url).into())
    }

    pub(super) async fn ask<T: DeserializeOwned>(&self, request: Request<Bytes>) -> Result<T, ApiError> {
        let asked = timeout(REQUEST_TIMEOUT, self.http.send(request, MAX_ANSWER_BYTES)).await;
        let answer = asked.map_err(|_late| ApiError::Timeout(REQUEST_TIMEOUT))??;
        if !answer.status().is_success() {
            return Err(ApiError::of_answer(answer.status().as_u16(), answer.body()));
        }
        serde_json::from_slice(answer.body()).map_err(|error| ApiError::Form(error.to_string()))
    }

    /// Begins an answer that comes bit by bit.
    pub(super) async fn begin(&self, request: Request<Bytes>) -> Result<Exchange<'_>, ApiError> {
        let asked = timeout(REQUEST_TIMEOUT, self.http.exchange(request)).await;
        Ok(asked.map_err(|_late| ApiError::Timeout(REQUEST_TIMEOUT))??)
    }
}
