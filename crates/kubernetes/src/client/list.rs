//! Lists: all objects of a scope, page by page.
//!
//! Rule: a list is of one instant. Where the instant is forgotten between two pages, all pages are asked for anew.

use bytes::Bytes;
use http::Method;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::error::ApiError;
use super::meta::or_default;
use super::request::{Client, Format};
use super::resource::{Resource, Scope};

/// Objects of one list. A cluster of 5,000 nodes has 150,000 pods; who watches more needs selectors.
pub const MAX_OBJECTS: usize = 200_000;

/// One page of a list.
#[derive(Debug, Deserialize)]
#[serde(bound(deserialize = "T: DeserializeOwned"))]
struct Page<T> {
    #[serde(default)]
    metadata: PageMeta,
    #[serde(default = "Vec::new", deserialize_with = "or_default")]
    items: Vec<T>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PageMeta {
    resource_version: String,
    #[serde(rename = "continue")]
    next: String,
}

/// Objects, and the version from which a watch goes on.
#[derive(Debug)]
pub(super) struct Listed<T> {
    pub(super) objects: Vec<T>,
    pub(super) version: String,
}

impl Client {
    /// All objects of a scope.
    ///
    /// # Errors
    ///
    /// See [`ApiError`]; also if there are more than [`MAX_OBJECTS`].
    pub async fn list<T: DeserializeOwned>(
        &self,
        resource: &Resource,
        scope: &Scope,
        format: Format,
    ) -> Result<Vec<T>, ApiError> {
        Ok(self.list_pages(resource, scope, format, PAGE_SIZE).await?.objects)
    }

    pub(super) async fn list_pages<T: DeserializeOwned>(
        &self,
        resource: &Resource,
        scope: &Scope,
        format: Format,
        page_size: usize,
    ) -> Result<Listed<T>, ApiError> {
        match self.pages(resource, scope, format, page_size).await {
            Err(error) if error.is_expired() => self.pages(resource, scope, format, page_size).await,
            outcome => outcome,
        }
    }

    async fn pages<T: DeserializeOwned>(
        &self,
        resource: &Resource,
        scope: &Scope,
        format: Format,
        page_size: usize,
    ) -> Result<Listed<T>, ApiError> {
        let path = resource.path(scope.namespace.as_deref());
        let limit = page_size.to_string();
        let mut listed = Listed { objects: Vec::new(), version: String::new() };
        let mut next = String::new();
        loop {
            let mut more = vec![("limit", limit.as_str())];
            if !next.is_empty() {
                more.push(("continue", next.as_str()));
            }
            let path = format!("{path}?{}", scope.query(&more));
            let request = self.request(Method::GET, &path, format.accept(true), None, Bytes::new())?;
            let page: Page<T> = self.ask(request).await?;
            if listed.objects.len().saturating_add(page.items.len()) > MAX_OBJECTS {
                return Err(ApiError::TooMany(MAX_OBJECTS));
            }
            let is_stuck = page.items.is_empty() && !page.metadata.next.is_empty() && page.metadata.next == next;
            listed.objects.extend(page.items);
            listed.version = page.metadata.resource_version;
            if is_stuck {
                return Err(ApiError::Form("the list goes on for ever".to_owned()));
            }
            if page.metadata.next.is_empty() {
                return Ok(listed);
            }
            next = page.metadata.next;
        }
    }
}

/// Objects of one page, as Kubernetes' own clients ask.
pub(super) const PAGE_SIZE: usize = 500;
