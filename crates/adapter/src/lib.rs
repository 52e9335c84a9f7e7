//! The metrics API as a server of its own: `crescendo adapter`.
//!
//! - [`RemoteSource`]: metrics of a Prometheus-compatible engine over HTTP.
//! - [`serve`]: the listener with TLS. [`operations`]: health and metrics of the process.
//! - [`FrontProxy`], [`ClientCertificates`]: who asks, told by certificates. [`Watched`]: files that reload.
//! - [`CertificateKeeper`]: our own certificate in a Secret, which the API server is told to trust.
//! - [`LookedUp`], [`TokenReviews`], [`AccessReviews`]: who asks and whether they may, told by a Kubernetes API.
//! - [`SeriesObjects`]: the objects that an engine scrapes, where no Kubernetes API can be asked.
//!
//! ```text
//! HPA ─▶ kube-apiserver ─▶ TLS ─▶ who, may they ─▶ metrics-api ─▶ RemoteSource ─▶ Prometheus, Thanos, …
//! ```
//!
//! It is a crate of its own so that `metrics-api` knows neither TLS nor the network.
//!
//! Rule: it decides nothing about metrics: rules, states and answers are those of `metrics-api`.
#![forbid(unsafe_code)]

mod auth;
mod cluster;
mod metrics;
mod objects;
mod serving;
mod source;
#[cfg(test)]
mod testing;
mod watched;

pub use auth::{AnyOf, Authority, AuthorityError, ClientCertificates, EveryoneKnown, FrontProxy, HeaderNames};
pub use cluster::{
    AccessReviews, CacheTimes, CertificateKeeper, ClusterResources, KEEP_INTERVAL, KeepError, KeepOptions,
    LOOKUP_INTERVAL, LookedUp, LookupError, LookupOptions, TokenReviews,
};
pub use metrics::SourceMetrics;
pub use objects::SeriesObjects;
pub use serving::{
    AlwaysAllowed, MAX_CONNECTIONS, MinVersion, Ready, ServeOptions, ServingCertificate, ServingError, ServingTls,
    TlsSettings, cipher_suites, operations, serve,
};
pub use source::RemoteSource;
pub use watched::{FileError, LOOK_INTERVAL, MAX_FILE_BYTES, Watched};
