//! custom.metrics.k8s.io and external.metrics.k8s.io, driven by prometheus-adapter's configuration.
//!
//! - [`Config`]: the mapping rules, read strictly; the seed's rules by default.
//! - [`MetricsApi`]: questions of types in, values with their true time and state out; no HTTP needed.
//! - [`router`]: the same over HTTP, as kube-apiserver's aggregator asks it.
//! - [`Trace`]: how an answer came about, for those who explain it.
//! - Seams: [`MetricsSource`] (where samples come from; [`EmbeddedSource`] is the engine of this process),
//!   [`ObjectLister`], [`ResourceMapper`], [`Freshen`], [`Discovered`], [`Recorded`], [`Authenticator`], [`Authorizer`].
//!
//! ```text
//!          config ─▶ naming ◀─ template                 HPA
//!                      │                                 │
//!  source ─▶ listing ─▶ registry ─▶ api ◀─ server ◀─ request
//!     ▲                              │ └─▶ values, hold ─▶ document
//!     └──────────────────────────────┘
//! ```
//!
//! Rule: absence is never an answer. A value is true and has its age, or there is an error that names the
//! stage; what is held never lowers an answer.
#![forbid(unsafe_code)]

mod api;
mod auth;
mod config;
mod document;
mod embedded;
mod error;
mod external;
mod hold;
mod listing;
mod mapper;
mod metrics;
mod names;
mod naming;
mod objects;
mod openapi;
mod recorded;
mod registry;
mod reload;
mod request;
mod resource_metrics;
mod server;
mod source;
mod template;
mod trace;
mod values;
mod window;

pub use api::{Backends, FRESHEN_BUDGET, MetricSelector, MetricsApi, ObjectQuestion, Objects, Settings};
pub use auth::{
    AuthError, Authenticator, Authorizer, Credentials, Decision, LoopbackOnly, PeerCertificates, User, host_name,
    is_loopback_host,
};
pub use config::{Config, ConfigError, Listing, MAX_RULES, SEED_RULES};
pub use document::{external_metric_value_list, metric_value_list, rfc3339, status as status_document};
pub use embedded::{Discovered, EmbeddedSource};
pub use error::{ApiError, Stage, Wanted};
pub use hold::{Ages, FLOOR_WINDOW, MAX_QUESTIONS, SampleState};
pub use listing::MIN_RELIST_GAP;
pub use mapper::{BuiltinResources, FixedResources, ResourceInfo, ResourceMapper};
pub use metrics::ApiMetrics;
pub use names::{CustomMetricInfo, GroupResource, MAX_NAME_BYTES, ObjectName, is_object_name};
pub use naming::name::NameError;
pub use naming::query::BuildError;
pub use naming::resources::ResourceError;
pub use objects::{FixedObjects, ListError, MAX_OBJECTS, ObjectLister};
pub use recorded::{MAX_RECORDED_DEPTH, Recorded, RecordedRule};
pub use registry::{MAX_METRICS, MAX_PROBLEMS, Problem, RuleId};
pub use reload::{ConfigFile, POLL_INTERVAL, ReloadError};
pub use request::{
    Attributes, CUSTOM_GROUP, CustomRequest, CustomVersion, EXTERNAL_GROUP, ExternalRequest, MAX_URI_BYTES,
    attributes_of,
};
pub use resource_metrics::{ObjectUsage, ResourceRules, Usage, UsageSample, usage_of};
pub use server::{
    MAX_CONCURRENT_REQUESTS, MetricsProvider, REQUEST_DEADLINE, ServerState, nothing_there, protect, router,
};
pub use source::{
    BoxFuture, Freshen, InstantAnswer, InstantValue, MAX_SHAPES, MetricsSource, SeriesShape, SourceError, SourceSample,
};
pub use template::TemplateError;
pub use trace::{Trace, TracedRule, TracedSeries, TracedState};
pub use values::{ExternalMetricValue, MetricValue, ObjectReference};

#[cfg(test)]
mod conformance;
#[cfg(test)]
mod testing;
