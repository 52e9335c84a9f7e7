//! What the server tells of itself: configuration, flags, process.
//!
//! - [`ConfigState`]: the configuration in force, and whether the last attempt to load one succeeded.
//! - [`ServerView`]: the same for the HTTP API.
//!
//! Rule: nothing here reads the configuration file; what is shown is what is in force.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use datamodel::time::format_duration;
use datamodel::{Labels, Timestamp};
use web::{RuntimeInfo, ServerStatus};

use crate::config::ServerConfig;

/// The configuration in force.
#[derive(Debug, Default)]
pub(super) struct ConfigState {
    in_force: RwLock<Arc<InForce>>,
    last_succeeded: AtomicBool,
}

/// What is remembered of the configuration in force.
#[derive(Debug, Default)]
pub(super) struct InForce {
    /// As YAML, without secrets.
    pub(super) shown: String,
    /// Labels of this server.
    pub(super) external_labels: Labels,
    /// When it was put in force.
    pub(super) since: Timestamp,
}

impl ConfigState {
    pub(super) fn succeeded(&self, config: &ServerConfig, at: Timestamp) {
        let in_force = Arc::new(InForce {
            shown: config.shown.clone(),
            external_labels: config.global.external_labels.clone(),
            since: at,
        });
        *self.in_force.write().unwrap_or_else(PoisonError::into_inner) = in_force;
        self.last_succeeded.store(true, Ordering::Release);
    }

    pub(super) fn failed(&self) {
        self.last_succeeded.store(false, Ordering::Release);
    }

    pub(super) fn in_force(&self) -> Arc<InForce> {
        Arc::clone(&self.in_force.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn last_succeeded(&self) -> bool {
        self.last_succeeded.load(Ordering::Acquire)
    }
}

/// Tells the HTTP API of the server.
#[derive(Debug)]
pub(super) struct ServerView {
    pub(super) state: Arc<ConfigState>,
    pub(super) flags: Vec<(String, String)>,
    pub(super) start_time: Timestamp,
    pub(super) damages: u64,
    pub(super) memory_limit_bytes: u64,
    pub(super) retention: Retention,
}

impl ServerStatus for ServerView {
    fn config_yaml(&self) -> String {
        self.state.in_force().shown.clone()
    }

    fn external_labels(&self) -> Labels {
        self.state.in_force().external_labels.clone()
    }

    fn flags(&self) -> Vec<(String, String)> {
        self.flags.clone()
    }

    fn runtime(&self) -> RuntimeInfo {
        let read = |path| std::fs::read_to_string(path).unwrap_or_default();
        let status = read("/proc/self/status");
        let threads = status.lines().find_map(|line| line.strip_prefix("Threads:")?.trim().parse().ok());
        RuntimeInfo {
            start_time: self.start_time,
            working_directory: std::env::current_dir().unwrap_or_default().display().to_string(),
            hostname: read("/proc/sys/kernel/hostname").trim().to_owned(),
            reload_config_success: self.state.last_succeeded(),
            last_config_time: self.state.in_force().since,
            corruption_count: self.damages,
            threads: threads.unwrap_or_default(),
            memory_limit_bytes: self.memory_limit_bytes,
            storage_retention: self.retention.to_string(),
        }
    }
}

/// How long and how much is stored.
#[derive(Clone, Copy, Debug)]
pub(super) struct Retention {
    pub(super) time: Option<Duration>,
    pub(super) size: Option<u64>,
}

impl std::fmt::Display for Retention {
    /// As upstream: `15d`, `512MiB`, `15d or 512MiB`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let time = self.time.map(format_duration);
        let size = self.size.map(bytes);
        match (time, size) {
            (Some(time), Some(size)) => write!(f, "{time} or {size}"),
            (Some(one), None) | (None, Some(one)) => f.write_str(&one),
            (None, None) => f.write_str("unlimited"),
        }
    }
}

/// Bytes in the largest unit that divides them.
fn bytes(count: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let (mut count, mut unit) = (count, 0);
    while count > 0 && count % 1024 == 0 && unit + 1 < units.len() {
        (count, unit) = (count / 1024, unit + 1);
    }
    format!("{count}{}", units.get(unit).copied().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retention_is_told_as_upstream_tells_it() {
        let told = |days: Option<u64>, size| {
            Retention { time: days.map(|days| Duration::from_secs(days * 86_400)), size }.to_string()
        };
        assert_eq!(told(Some(15), None), "15d");
        assert_eq!(told(None, Some(512 << 20)), "512MiB");
        assert_eq!(told(Some(1), Some(1_000)), "1d or 1000B");
        assert_eq!(told(None, None), "unlimited");
    }
}
