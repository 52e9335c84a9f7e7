//! Keeps a store equal to what the server has.
//!
//! ```text
//! list ─▶ watch ─▶ watch ─▶ …      the server ends each after some minutes: go on from the last version
//!   ▲       └── 410, garbage, too many: list anew
//!   └── failure: wait, twice as long each time
//! ```
//!
//! Rule: what is known stays in force while the server cannot be asked.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::backoff::Backoff;
use super::error::ApiError;
use super::list::PAGE_SIZE;
use super::meta::{Keyed, ObjectMeta};
use super::request::{Client, Format};
use super::resource::{Resource, Scope};
use super::store::Store;
use super::watch::{Event, Watch};

/// How long a watch lasts at least that is not held against the server.
const USEFUL: Duration = Duration::from_secs(10);

/// What a reflector did, for those who count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReflectorEvent {
    /// An object came.
    Added,
    /// An object changed.
    Updated,
    /// An object went.
    Deleted,
    /// The server could not be asked.
    Failed,
}

/// Is told what a reflector does.
pub trait Observer: Send + Sync + fmt::Debug {
    /// This happened so many times.
    fn observe(&self, event: ReflectorEvent, times: usize);
}

/// How a reflector behaves.
#[derive(Clone, Debug)]
pub struct ReflectorOptions {
    /// What is kept of an object.
    pub format: Format,
    /// The wait after a first failure.
    pub first_backoff: Duration,
    /// The longest wait.
    pub max_backoff: Duration,
    /// Objects of a page.
    pub page_size: usize,
    /// Where the chance in waits comes from; should be random.
    pub seed: u64,
    /// Who counts.
    pub observer: Option<Arc<dyn Observer>>,
}

impl Default for ReflectorOptions {
    fn default() -> Self {
        Self {
            format: Format::Whole,
            first_backoff: Duration::from_millis(800),
            max_backoff: Duration::from_secs(30),
            page_size: PAGE_SIZE,
            seed: 1,
            observer: None,
        }
    }
}

/// Keeps a [`Store`] equal to the objects of a scope.
#[derive(Debug)]
pub struct Reflector<T> {
    client: Arc<Client>,
    resource: Resource,
    scope: Scope,
    options: ReflectorOptions,
    store: Arc<Store<T>>,
}

/// Why a watch is over.
enum End {
    /// Go on from the version.
    Ended,
    /// List again.
    Lost(ApiError),
}

impl<T: Keyed + DeserializeOwned + Send + Sync> Reflector<T> {
    /// For the objects of a scope.
    #[must_use]
    pub fn new(client: Arc<Client>, resource: Resource, scope: Scope, options: ReflectorOptions) -> Self {
        Self { client, resource, scope, options, store: Arc::default() }
    }

    /// What it keeps.
    #[must_use]
    pub fn store(&self) -> Arc<Store<T>> {
        Arc::clone(&self.store)
    }

    /// Keeps the store until shutdown.
    pub async fn run(self, shutdown: CancellationToken) {
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = self.keep() => {}
        }
    }

    async fn keep(&self) {
        let mut backoff = Backoff::new(self.options.first_backoff, self.options.max_backoff, self.options.seed);
        loop {
            let error = match self.list().await {
                Ok(version) => self.follow(version, &mut backoff).await,
                Err(error) => error,
            };
            // A version that is forgotten is no failure.
            if !error.is_expired() {
                self.failed(error);
            }
            tokio::time::sleep(backoff.wait()).await;
        }
    }

    /// Lists, and gives the version to watch from.
    async fn list(&self) -> Result<String, ApiError> {
        let Self { client, resource, scope, options, store } = self;
        let listed = client.list_pages::<T>(resource, scope, options.format, options.page_size).await?;
        let (before, after) = (store.len(), listed.objects.len());
        store.replace(listed.objects);
        self.observe(ReflectorEvent::Added, after.saturating_sub(before));
        self.observe(ReflectorEvent::Deleted, before.saturating_sub(after));
        Ok(listed.version)
    }

    /// Watches until it has to be listed again, and says why.
    async fn follow(&self, mut version: String, backoff: &mut Backoff) -> ApiError {
        loop {
            let (before, began) = (version.clone(), Instant::now());
            let watch = self.client.watch(&self.resource, &self.scope, self.options.format, &version).await;
            let end = match watch {
                Ok(watch) => self.take(watch, &mut version).await,
                Err(error) => End::Lost(error),
            };
            let was_of_use = before != version || began.elapsed() > USEFUL;
            if was_of_use {
                backoff.reset();
            }
            match end {
                End::Ended if was_of_use => {}
                End::Ended => tokio::time::sleep(backoff.wait()).await,
                // The server may be back with all that it knew.
                End::Lost(error) if matches!(error, ApiError::Client(_) | ApiError::Timeout(_)) => {
                    self.failed(error);
                    tokio::time::sleep(backoff.wait()).await;
                }
                End::Lost(error) => return error,
            }
        }
    }

    async fn take(&self, mut watch: Watch<'_>, version: &mut String) -> End {
        loop {
            let event = match watch.next::<T>().await {
                Ok(Some(event)) => event,
                Ok(None) => return End::Ended,
                Err(error) => return End::Lost(error),
            };
            if self.store.failure().is_some() {
                self.store.set_failure(None);
            }
            match event {
                Event::Applied(object) => {
                    advance(version, object.meta());
                    let is_known = self.store.get(&object.key()).is_some();
                    if let Err(error) = self.store.apply(object) {
                        return End::Lost(error);
                    }
                    self.observe(if is_known { ReflectorEvent::Updated } else { ReflectorEvent::Added }, 1);
                }
                Event::Deleted(object) => {
                    advance(version, object.meta());
                    self.store.remove(&object.key());
                    self.observe(ReflectorEvent::Deleted, 1);
                }
                Event::Bookmark(reached) => {
                    if !reached.is_empty() {
                        *version = reached;
                    }
                }
            }
        }
    }

    fn failed(&self, error: ApiError) {
        self.observe(ReflectorEvent::Failed, 1);
        let (resource, namespace) = (&self.resource.plural, self.scope.namespace.as_deref().unwrap_or("all"));
        let server = self.client.server();
        // A kind that is not served, or not yet, and a right that is not given are said once.
        let is_said = self.store.failure().is_some_and(|last| {
            (error.is_not_found() && last.is_not_found()) || (error.is_forbidden() && last.is_forbidden())
        });
        if !is_said {
            tracing::warn!(server, resource, namespace, %error, "watching failed; what is known stays in force");
        }
        self.store.set_failure(Some(Arc::new(error)));
    }

    fn observe(&self, event: ReflectorEvent, times: usize) {
        if let Some(observer) = self.options.observer.as_ref().filter(|_| times > 0) {
            observer.observe(event, times);
        }
    }
}

fn advance(version: &mut String, meta: &ObjectMeta) {
    if !meta.resource_version.is_empty() {
        version.clone_from(&meta.resource_version);
    }
}
