//! Fuzz targets: everything that reads hostile input, each with what must hold for any bytes.
//!
//! - [`TARGETS`]: the targets by name; each is a function of bytes that panics where its property does not hold.
//! - [`formats`]: exposition formats, PromQL, selectors, rule files, templates. [`messages`]: remote write and read.
//!   [`metrics`]: paths and query templates of the metrics API. [`log`]: the write-ahead log of the storage, frame by frame.
//!
//! ```text
//! make test: seeds ─▶ random changes ─┐
//! make soak: libFuzzer, coverage ─────┴─▶ target(bytes)
//! ```
//!
//! Rule: a target does what a caller does, through the public API, and compares; "no panic" alone is the least.
#![expect(clippy::panic, reason = "panicking is how a target tells that its property does not hold")]

pub mod formats;
pub mod log;
pub mod messages;
pub mod metrics;

/// A target: its name, what it does with bytes, and inputs to begin with.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, as `FUZZ_TARGET` says it.
    pub name: &'static str,
    /// Panics where a property does not hold.
    pub run: fn(&[u8]),
    /// Inputs that reach deep.
    pub seeds: &'static [&'static [u8]],
}

/// All targets.
pub const TARGETS: [Target; 12] = [
    Target { name: "text", run: formats::text, seeds: formats::TEXT_SEEDS },
    Target { name: "openmetrics", run: formats::openmetrics, seeds: formats::OPENMETRICS_SEEDS },
    Target { name: "protobuf", run: formats::protobuf, seeds: formats::PROTOBUF_SEEDS },
    Target { name: "promql", run: formats::promql, seeds: formats::PROMQL_SEEDS },
    Target { name: "selector", run: formats::selector, seeds: formats::SELECTOR_SEEDS },
    Target { name: "rule-file", run: formats::rule_file, seeds: formats::RULE_FILE_SEEDS },
    Target { name: "adapter-config", run: formats::adapter_config, seeds: formats::ADAPTER_SEEDS },
    Target { name: "query-template", run: metrics::query_template, seeds: metrics::TEMPLATE_SEEDS },
    Target { name: "metrics-path", run: metrics::path, seeds: metrics::PATH_SEEDS },
    Target { name: "template", run: formats::template, seeds: formats::TEMPLATE_SEEDS },
    Target { name: "remote", run: messages::remote, seeds: messages::SEEDS },
    Target { name: "wal", run: log::wal, seeds: log::SEEDS },
];

/// The target of a name.
#[must_use]
pub fn target(name: &str) -> Option<Target> {
    TARGETS.into_iter().find(|target| target.name == name)
}

#[cfg(test)]
mod tests;
