//! Scraping: which targets, how often, within which limits, and what becomes of their pages.
//!
//! - [`ScrapeManager`]: all jobs; its [`ScrapeHandle`] tells what every target is doing, and pulls.
//! - [`scrape_config`]: a job of a configuration file, with the discoveries that find its targets.
//! - `pool`: a job: targets from discovery, relabelled and deduplicated.
//! - `scrape_loop`: a target: when it is scraped, and what is written when it fails or goes.
//! - `fetch`, `body`, `zstd`: a page over HTTP; `page`: a page read into a row; `ingest`, `cache`: a row into storage.
//! - [`PulledRow`], [`FreshOverlay`]: rows that were scraped because somebody asked, beside the storage.
//!
//! ```text
//! discovery ─▶ ScrapeManager ─▶ pool (job) ─▶ loop (target) ─▶ fetch ─▶ page ─▶ row ─▶ Appender
//!                                                  ▲                             └───▶ PulledRow
//!                                  ScrapeHandle::pull                                      │
//!                                                              Queryable ─▶ FreshOverlay ◀─┘
//! ```
//!
//! Rule: a scrape is all or nothing: one row, one append, one commit, and it never outlives its interval.
#![forbid(unsafe_code)]

mod body;
mod cache;
mod config;
mod decode;
mod error;
mod fetch;
mod ingest;
mod manager;
mod metrics;
mod native;
mod overlay;
mod page;
mod pool;
mod protocol;
mod pull;
mod scrape_loop;
mod target;
mod url;
mod zstd;

pub use config::{
    CheckedConfig, ConfigError, ConfigErrors, ConfigProblem, DEFAULT_BODY_SIZE_LIMIT, DEFAULT_SAMPLE_LIMIT,
    DEFAULT_TARGET_LIMIT, ScrapeConfig, ScrapeLimits,
};
pub use decode::{JobConfig, NativeDefaults, ScrapeDefaults, scrape_config, scrape_defaults};
pub use error::{ScrapeError, describe};
pub use manager::{Job, MAX_PAGES_BYTES, ManagerError, ScrapeHandle, ScrapeManager, ScrapeOptions, ScrapeRuntimes};
pub use native::NativeHistograms;
pub use overlay::FreshOverlay;
pub use protocol::{NameEscaping, NameValidation, ScrapeProtocol};
pub use pull::{PULL_BUDGET, PULL_SPACING, PullOutcome, PullSkip, PulledRow, PulledSample, PulledTarget};
pub use target::{DroppedTarget, PoolStatus, TargetError, TargetHealth, TargetStatus, target_problems};
pub use url::TargetUrl;
pub use zstd::ZstdError;

#[cfg(test)]
mod tests;
