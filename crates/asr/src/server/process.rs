//! What the kernel says about this process.
//!
//! - [`ProcessStats`]: CPU time, memory, start, open files.
//! - [`register_process_metrics`]: the same as metrics, under Prometheus' usual names.
//!
//! Rule: what cannot be read is absent, never zero; elsewhere than on Linux all of it is.

use std::fs;

use datamodel::MetricType;
use datamodel::registry::{Descriptor, RegisterError, Registry};

/// The kernel counts CPU time for user space in hundredths of a second on every architecture that
/// this project builds for (`USER_HZ`).
const TICKS_PER_SECOND: f64 = 100.0;

/// One look at `/proc/self`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct ProcessStats {
    /// User and system time, all threads.
    pub(crate) cpu_seconds: Option<f64>,
    /// Resident memory.
    pub(crate) resident_bytes: Option<f64>,
    /// Unix time of the start.
    pub(crate) start_seconds: Option<f64>,
    /// Open file descriptors.
    pub(crate) open_fds: Option<f64>,
}

impl ProcessStats {
    /// Reads the present values; some 50 µs of system calls.
    pub(crate) fn read() -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let (stat, status, system) = (read("/proc/self/stat"), read("/proc/self/status"), read("/proc/stat"));
        // The descriptor of the reading itself is one of them.
        let open_fds = fs::read_dir("/proc/self/fd").ok().map(|entries| entries.count().saturating_sub(1) as f64);
        Self { open_fds, ..Self::parse(&stat, &status, &system) }
    }

    fn parse(stat: &str, status: &str, system: &str) -> Self {
        // The command's name stands in parentheses and may hold anything, also parentheses.
        let after_name = stat.rsplit_once(')').map_or("", |(_, after)| after);
        let fields: Vec<&str> = after_name.split_whitespace().collect();
        // Numbered as in proc_pid_stat(5); the state, number 3, is the first after the name.
        let ticks = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
        let value = |text: &str, key: &str| {
            let rest = text.lines().find_map(|line| line.strip_prefix(key))?;
            rest.split_whitespace().next()?.parse::<f64>().ok()
        };
        let cpu_seconds = ticks(14).zip(ticks(15)).map(|(user, system)| (user + system) / TICKS_PER_SECOND);
        let boot_seconds = value(system, "btime ");
        Self {
            cpu_seconds,
            resident_bytes: value(status, "VmRSS:").map(|kib| kib * 1024.0),
            start_seconds: boot_seconds.zip(ticks(22)).map(|(boot, start)| boot + start / TICKS_PER_SECOND),
            open_fds: None,
        }
    }
}

const fn gauge(name: &'static str, help: &'static str) -> Descriptor {
    Descriptor { name, metric_type: MetricType::Gauge, help }
}

/// Declares the metrics of this process; they are read when they are scraped.
///
/// # Errors
///
/// A name is taken.
pub fn register_process_metrics(registry: &Registry) -> Result<(), RegisterError> {
    let cpu = Descriptor {
        name: "process_cpu_seconds_total",
        metric_type: MetricType::Counter,
        help: "Total user and system CPU time spent in seconds.",
    };
    let descriptors = [
        cpu,
        gauge("process_open_fds", "Number of open file descriptors."),
        gauge("process_resident_memory_bytes", "Resident memory size in bytes."),
        gauge("process_start_time_seconds", "Start time of the process since unix epoch in seconds."),
    ];
    registry.collector(&descriptors, |emit| {
        let stats = ProcessStats::read();
        let values = [stats.cpu_seconds, stats.open_fds, stats.resident_bytes, stats.start_seconds];
        for (index, value) in values.into_iter().enumerate() {
            if let Some(value) = value {
                emit.sample(index, &[], value);
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_text_is_parsed_whatever_the_process_is_called() {
        let stat = "17 (a) S ) R 1 17 17 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 1 0 1000 9999 300";
        let stats = ProcessStats::parse(stat, "VmPeak:\t 9 kB\nVmRSS:\t  2048 kB\n", "cpu 1 2\nbtime 1700000000\n");
        let expected = ProcessStats {
            cpu_seconds: Some(3.0),
            resident_bytes: Some(2_097_152.0),
            start_seconds: Some(1_700_000_010.0),
            open_fds: None,
        };
        assert_eq!(stats, expected);
        assert_eq!(ProcessStats::parse("", "", ""), ProcessStats::default());
        assert_eq!(ProcessStats::parse("1 (x) R", "VmRSS:", "btime "), ProcessStats::default());
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn own_process_has_all_values() {
        let stats = ProcessStats::read();
        assert!(stats.cpu_seconds.is_some() && stats.start_seconds.is_some_and(|start| start > 1.6e9));
        assert!(stats.resident_bytes.is_some_and(|bytes| bytes > 1e6));
        assert!(stats.open_fds.is_some_and(|open| open >= 3.0));
    }
}
