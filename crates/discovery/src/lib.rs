//! Finding what is to be scraped: groups of targets, and the trait of those who find them.
//!
//! - [`discovery_configs`]: `*_sd_configs` of a configuration file, each a [`DiscoveryConfig`].
//! - [`TargetGroup`]: targets that come and go together, under one source.
//! - [`Discoverer`]: watches a source and reports its groups through [`Updates`].
//! - [`StaticDiscoverer`]: groups written in a configuration file.
//! - [`FileDiscoverer`]: groups in files that others write.
//! - [`DnsDiscoverer`]: groups that the domain name system answers.
//! - [`HttpDiscoverer`]: groups that a server answers.
//! - [`WatchedDiscoverer`]: groups that another part of this process decides.
//!
//! ```text
//! Discoverer ─┐  Update { discoverer, groups }
//! Discoverer ─┼─▶ Updates ─▶ scrape pool: replaces groups by (discoverer, source)
//! Discoverer ─┘
//! ```
//!
//! Rule: a discoverer reports what is there; what of it is scraped, and how, is decided by relabelling.
#![forbid(unsafe_code)]

mod config;
mod dns;
mod document;
mod file;
mod fixed;
mod glob;
mod group;
mod http;
mod metrics;
mod updates;
mod watched;

pub use config::{
    DecodeContext, DecodeDiscovery, DiscoveryConfig, DiscoveryContext, DiscoveryError, KnownGroups, OtherKind,
    discovery_configs,
};
pub use dns::{DnsDiscoverer, DnsError, META_DNS_NAME, MessageError, RecordType, Resolver, ResolverConfig};
pub use document::{MAX_TARGETS, parse_groups};
pub use file::{FileDiscoverer, MAX_POLL_INTERVAL, META_FILEPATH};
pub use fixed::StaticDiscoverer;
pub use glob::{FilePattern, PatternError};
pub use group::{ADDRESS, TargetGroup};
pub use http::{FetchError, HttpDiscoverer, META_URL};
pub use metrics::DiscoveryMetrics;
pub use updates::{Discoverer, DiscovererFuture, Update, Updates, UpdatesClosed};
pub use watched::WatchedDiscoverer;

#[cfg(test)]
mod tests;
