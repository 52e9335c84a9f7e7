//! How much memory the process may take, and how much it takes.
//!
//! - [`MemoryLimit`]: the limit with its reason, and the pool that everybody reserves from.
//! - [`MemoryLimit::observe`]: tells the pool what the process really holds.
//!
//! Rule: the limit is on anonymous resident memory; pages of mapped files are the kernel's to take back.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use storage::MemoryPool;
use tokio_util::sync::CancellationToken;

/// How often the process is looked at; a look costs some 20 µs.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The part of the limit that the head may take; the rest is for pages, queries, sealing and what nobody reserves.
const HEAD_PERCENT: u64 = 50;

/// The limit of this process.
#[derive(Clone, Debug)]
pub struct MemoryLimit {
    /// The bytes.
    pub bytes: u64,
    /// Where they come from, for the log.
    pub reason: &'static str,
    /// Where bytes are reserved.
    pub pool: MemoryPool,
}

impl MemoryLimit {
    /// The limit as given, else nine tenths of the control group's, else three quarters of the machine's memory.
    #[must_use]
    pub fn find(given: Option<u64>) -> Self {
        let read = |path: &str| fs::read_to_string(path).ok();
        let (bytes, reason) = choose(given.filter(|bytes| *bytes > 0), group_limit(&read), machine(&read));
        Self { bytes, reason, pool: MemoryPool::new(usize::try_from(bytes).unwrap_or(usize::MAX)) }
    }

    /// What the storage's head may take of it.
    #[must_use]
    pub fn head(&self) -> MemoryPool {
        let bytes = usize::try_from(self.bytes / 100 * HEAD_PERCENT).unwrap_or(usize::MAX);
        self.pool.child("series in memory", bytes)
    }

    /// Tells the pool what the process holds, until shutdown.
    ///
    /// # Errors
    ///
    /// Never.
    pub async fn observe(self, shutdown: CancellationToken) -> Result<()> {
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                _instant = ticks.tick() => {}
            }
            let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
            if let Some(bytes) = kib(&status, "RssAnon:") {
                self.pool.observe_resident(usize::try_from(bytes).unwrap_or(usize::MAX));
            }
        }
    }
}

fn choose(given: Option<u64>, group: Option<u64>, machine: Option<u64>) -> (u64, &'static str) {
    match (given, group, machine) {
        (Some(bytes), _, _) => (bytes, "--memory-limit"),
        (None, Some(group), machine) if machine.is_none_or(|machine| group < machine) => {
            (group / 10 * 9, "90 % of the control group's limit")
        }
        (None, _, Some(machine)) => (machine / 4 * 3, "75 % of the machine's memory"),
        (None, _, None) => (u64::MAX, "none is known; `--memory-limit` sets one"),
    }
}

/// Reads a file whose absence is no error.
type Read<'a> = dyn Fn(&str) -> Option<String> + 'a;

/// The limit of the control group that we are in, version 2 or 1; the lowest of it and those above.
fn group_limit(read: &Read<'_>) -> Option<u64> {
    let groups = read("/proc/self/cgroup")?;
    let number = |path: String| read(&path)?.trim().parse::<u64>().ok();
    let mut limits = Vec::new();
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next()) else { continue };
        let (root, file) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            "memory" => ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
            _ => continue,
        };
        // In a container the path is often that of the host, and the mount begins at our own group.
        let ancestors = Path::new(path).ancestors().filter_map(Path::to_str);
        limits.extend(ancestors.filter_map(|path| number(format!("{root}{}/{file}", path.trim_end_matches('/')))));
    }
    limits.into_iter().min()
}

fn machine(read: &Read<'_>) -> Option<u64> {
    kib(&read("/proc/meminfo")?, "MemTotal:")
}

/// The bytes of a line such as `MemTotal:  1024 kB`.
fn kib(text: &str, key: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(key))?;
    rest.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(known: &'static [(&'static str, &'static str)]) -> impl Fn(&str) -> Option<String> {
        move |path| known.iter().find(|(known, _)| *known == path).map(|(_, text)| (*text).to_owned())
    }

    #[test]
    fn limit_of_the_control_group_is_the_lowest_on_the_way_up() {
        let version_2 = files(&[
            ("/proc/self/cgroup", "0::/pod/container\n"),
            ("/sys/fs/cgroup/pod/container/memory.max", "max\n"),
            ("/sys/fs/cgroup/pod/memory.max", "1000\n"),
            ("/sys/fs/cgroup/memory.max", "5000\n"),
        ]);
        assert_eq!(group_limit(&version_2), Some(1000));
        let version_1 = files(&[
            ("/proc/self/cgroup", "5:cpu:/x\n4:memory:/x\n"),
            ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "2000\n"),
        ]);
        assert_eq!(group_limit(&version_1), Some(2000));
        assert_eq!(group_limit(&files(&[])), None);
    }

    #[test]
    fn what_is_given_wins_then_the_group_then_the_machine() {
        assert_eq!(choose(Some(7), Some(100), Some(1000)).0, 7);
        assert_eq!(choose(None, Some(100), Some(1000)), (90, "90 % of the control group's limit"));
        // Version 1 says a number beyond all memory where there is no limit.
        assert_eq!(choose(None, Some(u64::MAX), Some(1000)), (750, "75 % of the machine's memory"));
        assert_eq!(choose(None, None, None).0, u64::MAX);
        assert_eq!(machine(&files(&[("/proc/meminfo", "MemTotal:  2 kB\nMemFree: 1 kB\n")])), Some(2048));
    }

    #[tokio::test]
    async fn pool_learns_what_the_process_holds() {
        let limit = MemoryLimit { bytes: u64::MAX, reason: "", pool: MemoryPool::unlimited() };
        let (pool, shutdown) = (limit.pool.clone(), CancellationToken::new());
        let seen = async {
            while cfg!(target_os = "linux") && pool.unreserved() == 0 {
                tokio::task::yield_now().await;
            }
            shutdown.cancel();
        };
        let (observed, ()) = tokio::join!(limit.observe(shutdown.clone()), seen);
        observed.unwrap();
    }
}
