//! The authorities of a cluster: whose certificates kube-apiserver and its clients have.
//!
//! kube-apiserver keeps them in the `ConfigMap` `extension-apiserver-authentication` of `kube-system`, for servers like
//! this one. They change when authorities are rotated, and are looked up again and again.
//!
//! Rule: files that were given go before what is looked up; a lookup that fails leaves the last good authorities.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use datamodel::Clock;
use kubernetes::client::{ApiError, Client};
use metrics_api::{AuthError, Authenticator, BoxFuture, Credentials, User};
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use crate::auth::{AnyOf, Authority, AuthorityError, ClientCertificates, FrontProxy, HeaderNames};
use crate::watched::Watched;

/// How often authorities are looked up.
pub const LOOKUP_INTERVAL: Duration = Duration::from_secs(30);
/// Longest time for a lookup.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(10);
const PATH: &str = "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication";

/// Why authorities cannot be looked up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LookupError {
    /// The `ConfigMap` cannot be read. The role `extension-apiserver-authentication-reader` of `kube-system` allows it.
    #[error("cannot read the ConfigMap kube-system/extension-apiserver-authentication")]
    Read(#[source] ApiError),
    /// It does not come in time.
    #[error("the ConfigMap kube-system/extension-apiserver-authentication did not come within {} s", LOOKUP_TIMEOUT.as_secs())]
    Timeout,
    /// One of its values is of no use.
    #[error("`{key}` of the ConfigMap kube-system/extension-apiserver-authentication is of no use: {reason}")]
    Value {
        /// The key.
        key: &'static str,
        /// Why.
        reason: String,
    },
}

/// What is known before a lookup.
#[derive(Clone, Debug, Default)]
pub struct LookupOptions {
    /// `--client-ca-file`: clients are not looked up then.
    pub clients: Option<Watched<Authority>>,
    /// `--requestheader-client-ca-file` with its names and headers: front proxies are not looked up then.
    pub front_proxy: Option<FrontProxy>,
}

/// Knows askers by certificates of the cluster's authorities.
pub struct LookedUp {
    client: Arc<Client>,
    clock: Arc<dyn Clock>,
    options: LookupOptions,
    present: RwLock<(BTreeMap<String, String>, Arc<AnyOf>)>,
}

impl std::fmt::Debug for LookedUp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LookedUp").field("options", &self.options).finish_non_exhaustive()
    }
}

#[derive(Debug, Default, Deserialize)]
struct ConfigMap {
    #[serde(default)]
    data: Option<BTreeMap<String, String>>,
}

impl LookedUp {
    /// Knows those of the options until the first [`look`](Self::look).
    ///
    /// # Errors
    ///
    /// None with options alone.
    pub fn new(client: Arc<Client>, clock: Arc<dyn Clock>, options: LookupOptions) -> Result<Self, LookupError> {
        let known = authenticators(&BTreeMap::new(), &options, &clock)?;
        Ok(Self { client, clock, options, present: RwLock::new((BTreeMap::new(), Arc::new(known))) })
    }

    /// Looks once. Whether something has changed.
    ///
    /// # Errors
    ///
    /// See [`LookupError`].
    pub async fn look(&self) -> Result<bool, LookupError> {
        let asked = tokio::time::timeout(LOOKUP_TIMEOUT, self.client.get::<ConfigMap>(PATH)).await;
        let map = asked.map_err(|_elapsed| LookupError::Timeout)?.map_err(LookupError::Read)?;
        let data = map.data.unwrap_or_default();
        if self.present.read().unwrap_or_else(PoisonError::into_inner).0 == data {
            return Ok(false);
        }
        let known = authenticators(&data, &self.options, &self.clock)?;
        *self.present.write().unwrap_or_else(PoisonError::into_inner) = (data, Arc::new(known));
        Ok(true)
    }

    /// Looks again and again until shutdown.
    pub async fn watch(self: Arc<Self>, shutdown: CancellationToken) {
        let mut failing = false;
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(LOOKUP_INTERVAL) => {}
            }
            match self.look().await {
                Ok(changed) => {
                    if changed {
                        tracing::info!("the authorities of the cluster have changed");
                    }
                    failing = false;
                }
                Err(error) if !std::mem::replace(&mut failing, true) => {
                    let cause = std::error::Error::source(&error).map(ToString::to_string);
                    tracing::error!(cause, "the last authorities stay in force: {error}");
                }
                Err(_told) => {}
            }
        }
    }
}

impl Authenticator for LookedUp {
    fn authenticate<'a>(&'a self, credentials: Credentials<'a>) -> BoxFuture<'a, Result<User, AuthError>> {
        let known = Arc::clone(&self.present.read().unwrap_or_else(PoisonError::into_inner).1);
        Box::pin(async move { known.authenticate(credentials).await })
    }
}

/// Front proxy first, then clients, each from the options or else from the `ConfigMap`.
fn authenticators(
    data: &BTreeMap<String, String>,
    options: &LookupOptions,
    clock: &Arc<dyn Clock>,
) -> Result<AnyOf, LookupError> {
    let mut known: Vec<Arc<dyn Authenticator>> = Vec::new();
    let proxy = match &options.front_proxy {
        Some(given) => Some(given.clone()),
        None => authority(data, "requestheader-client-ca-file")?.map_or(Ok(None), |authority| {
            let names = list(data, "requestheader-allowed-names")?;
            let headers = HeaderNames {
                user: list(data, "requestheader-username-headers")?,
                uid: list(data, "requestheader-uid-headers")?,
                group: list(data, "requestheader-group-headers")?,
                extra_prefix: list(data, "requestheader-extra-headers-prefix")?,
            };
            Ok(Some(FrontProxy::new(authority, names, headers, Arc::clone(clock))))
        })?,
    };
    let clients = match &options.clients {
        Some(given) => Some(given.clone()),
        None => authority(data, "client-ca-file")?,
    };
    known.extend(proxy.map(|proxy| Arc::new(proxy) as Arc<dyn Authenticator>));
    known.extend(
        clients.map(|clients| Arc::new(ClientCertificates::new(clients, Arc::clone(clock))) as Arc<dyn Authenticator>),
    );
    Ok(AnyOf::new(known))
}

fn authority(data: &BTreeMap<String, String>, key: &'static str) -> Result<Option<Watched<Authority>>, LookupError> {
    let Some(pem) = data.get(key).filter(|pem| !pem.trim().is_empty()) else { return Ok(None) };
    let failed = |error: AuthorityError| LookupError::Value { key, reason: error.to_string() };
    Authority::from_pem(pem.as_bytes()).map(|authority| Some(Watched::constant(authority))).map_err(failed)
}

/// A list in JSON; none where the key is absent.
fn list(data: &BTreeMap<String, String>, key: &'static str) -> Result<Vec<String>, LookupError> {
    let Some(text) = data.get(key).filter(|text| !text.trim().is_empty()) else { return Ok(Vec::new()) };
    serde_json::from_str(text).map_err(|error| LookupError::Value { key, reason: error.to_string() })
}
