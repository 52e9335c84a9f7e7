//! Flags of Prometheus that have no effect here, or that are refused, each with its reason.
//!
//! - [`PrometheusFlags`]: the table of flags; [`FEATURES`]: that of `--enable-feature`.
//!
//! Rule: a flag whose absence would change what the user sees is refused; one that only tunes a part that we
//! do not have is taken with a note in the log.

use anyhow::{Result, bail};

use crate::commands::other_flags::Fate::{self, Noted, Refused};
use crate::commands::other_flags::{FlagRow, FlagTable, OtherFlags};

const BLOCKS: &str = "our storage has no blocks of two hours; it seals and merges by itself";
const GO: &str = "there is no Go runtime here";
const AGENT: &str = "there is no agent mode";
const CONSOLES: &str = "console templates are not served";
const OTLP: &str = "the OTLP receiver is not served; use remote write";

/// Prometheus' flags that are not served.
pub(super) struct PrometheusFlags;

/// Those that were given.
pub(super) type OtherPrometheusFlags = OtherFlags<PrometheusFlags>;

impl FlagTable for PrometheusFlags {
    const FLAGS: &'static [FlagRow] = &FLAGS;
}

#[rustfmt::skip]
const FLAGS: [FlagRow; 37] = [
    ("agent", false, Refused(AGENT)),
    ("auto-gomaxprocs", false, Noted(GO)),
    ("no-auto-gomaxprocs", false, Noted(GO)),
    ("auto-gomemlimit", false, Noted("`--memory-limit` sets the limit; it follows the cgroup by default")),
    ("no-auto-gomemlimit", false, Noted("`--memory-limit` sets the limit; it follows the cgroup by default")),
    ("auto-gomemlimit.ratio", true, Noted("`--memory-limit` sets the limit; it follows the cgroup by default")),
    ("rules.max-concurrent-evals", true, Noted("groups are evaluated side by side, their rules in order")),
    ("scrape.adjust-timestamps", false, Noted("timestamps are always aligned to the schedule")),
    ("no-scrape.adjust-timestamps", false, Refused("timestamps are always aligned to the schedule")),
    ("scrape.timestamp-tolerance", true, Noted("timestamps are always aligned to the schedule")),
    ("scrape.discovery-reload-interval", true, Noted("changes of targets are applied as they come")),
    ("storage.agent.path", true, Refused(AGENT)),
    ("storage.agent.wal-compression", false, Refused(AGENT)),
    ("storage.agent.retention.min-time", true, Refused(AGENT)),
    ("storage.agent.retention.max-time", true, Refused(AGENT)),
    ("storage.agent.no-lockfile", false, Refused(AGENT)),
    ("storage.remote.flush-deadline", true, Noted("what waits for other storages is sent within 2 s at the end")),
    ("storage.remote.read-concurrent-limit", true, Noted("remote reads count among the queries of `--query.max-concurrency`")),
    ("storage.remote.read-max-bytes-in-frame", true, Noted("remote reads are answered as samples, without frames")),
    ("storage.tsdb.allow-overlapping-blocks", false, Noted("overlapping data are always taken")),
    ("storage.tsdb.block-reload-interval", true, Noted(BLOCKS)),
    ("storage.tsdb.delay-compact-file.path", true, Noted(BLOCKS)),
    ("storage.tsdb.delayed-compaction.max-percent", true, Noted(BLOCKS)),
    ("storage.tsdb.head-chunks-write-queue-size", true, Noted(BLOCKS)),
    ("storage.tsdb.max-block-chunk-segment-size", true, Noted(BLOCKS)),
    ("storage.tsdb.max-block-duration", true, Noted(BLOCKS)),
    ("storage.tsdb.min-block-duration", true, Noted(BLOCKS)),
    ("storage.tsdb.no-lockfile", false, Refused("two processes in one folder would destroy each other's data")),
    ("storage.tsdb.samples-per-chunk", true, Noted(BLOCKS)),
    ("storage.tsdb.wal-compression", false, Noted("the write-ahead log is packed by codecs of its own")),
    ("no-storage.tsdb.wal-compression", false, Noted("the write-ahead log is packed by codecs of its own")),
    ("storage.tsdb.wal-compression-type", true, Noted("the write-ahead log is packed by codecs of its own")),
    ("storage.tsdb.wal-segment-size", true, Noted("the write-ahead log is cut when the head is sealed")),
    ("web.console.libraries", true, Noted(CONSOLES)),
    ("web.console.templates", true, Noted(CONSOLES)),
    ("web.enable-otlp-receiver", false, Refused(OTLP)),
    ("web.user-assets", true, Refused("pages are rendered here; they take no assets")),
];

/// Features that are not those of the query language.
#[rustfmt::skip]
const FEATURES: [(&str, Fate); 24] = [
    ("auto-gomaxprocs", Noted(GO)),
    ("auto-gomemlimit", Noted(GO)),
    ("auto-reload-config", Noted("files are always watched; see `--config.auto-reload-interval`")),
    ("concurrent-rule-eval", Noted("groups are evaluated side by side, their rules in order")),
    ("created-timestamp-zero-ingestion", Refused("zero samples at the start of counters are not written")),
    ("delayed-compaction", Noted(BLOCKS)),
    ("expand-external-labels", Noted("it is the default since 3.0, and here")),
    ("exemplar-storage", Noted("exemplars are kept as `storage.exemplars` says")),
    ("extra-scrape-metrics", Noted("it is the default of `extra_scrape_metrics` in the section `global`")),
    ("memory-snapshot-on-shutdown", Noted("a restart takes less than a second without one")),
    ("metadata-wal-records", Refused("metadata are kept in memory only")),
    ("native-histograms", Noted("targets are asked for native histograms where `scrape_native_histograms` says so")),
    ("new-service-discovery-manager", Noted("it is the default since 3.0, and here")),
    ("no-default-scrape-port", Noted("it is the default since 3.0, and here")),
    ("old-ui", Refused("there is one set of pages")),
    ("otlp-deltatocumulative", Refused(OTLP)),
    ("otlp-native-delta-ingestion", Refused(OTLP)),
    ("promql-at-modifier", Noted("it is a part of the language")),
    ("promql-negative-offset", Noted("it is a part of the language")),
    ("promql-per-step-stats", Refused("statistics of single steps are not kept")),
    ("remote-write-receiver", Refused("use `--web.enable-remote-write-receiver`")),
    ("st-storage", Refused("start timestamps are not stored")),
    ("use-uncached-io", Noted(BLOCKS)),
    ("xor2-encoding", Noted("our storage has codecs of its own")),
];

/// The flags and the features with what becomes of them, for the reference.
#[cfg(test)]
pub(in crate::commands) fn tables() -> [Vec<(&'static str, String)>; 2] {
    let told = |fate: Fate| match fate {
        Noted(why) => format!("taken: {why}"),
        Refused(why) => format!("refused: {why}"),
    };
    [
        FLAGS.iter().map(|(name, _, fate)| (*name, told(*fate))).collect(),
        FEATURES.iter().map(|(name, fate)| (*name, told(*fate))).collect(),
    ]
}

/// Says what becomes of a feature that is not one of the query language.
///
/// # Errors
///
/// It is refused, or nobody knows it.
pub(super) fn check_feature(name: &str) -> Result<()> {
    match FEATURES.iter().find(|(known, _)| *known == name) {
        Some((_, Noted(reason))) => tracing::warn!(feature = name, reason, "feature has no effect"),
        Some((_, Refused(reason))) => bail!("feature `{name}` is not supported: {reason}"),
        None => match yaml::nearest(name, FEATURES.iter().map(|(known, _)| *known).chain(promql::Features::FLAGS)) {
            Some(known) => bail!("unknown feature in `--enable-feature`: `{name}` (did you mean `{known}`?)"),
            None => bail!("unknown feature in `--enable-feature`: `{name}`"),
        },
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::{Args, Command, FromArgMatches};

    use super::*;

    fn given(words: &[&str]) -> OtherPrometheusFlags {
        let command = OtherPrometheusFlags::augment_args(Command::new("server"));
        let words = ["server"].iter().chain(words);
        OtherPrometheusFlags::from_arg_matches(&command.get_matches_from(words)).unwrap()
    }

    #[test]
    fn known_flags_are_taken_or_refused_by_name() {
        given(&["--storage.tsdb.min-block-duration=2h", "--auto-gomaxprocs"]).check().unwrap();
        let error = given(&["--agent"]).check().unwrap_err().to_string();
        assert_eq!(error, "flag `--agent` is not supported: there is no agent mode");
    }

    #[test]
    fn features_are_taken_or_refused_by_name() {
        check_feature("native-histograms").unwrap();
        let error = |name| check_feature(name).unwrap_err().to_string();
        assert_eq!(error("old-ui"), "feature `old-ui` is not supported: there is one set of pages");
        assert_eq!(
            error("exemplar-storag"),
            "unknown feature in `--enable-feature`: `exemplar-storag` (did you mean `exemplar-storage`?)"
        );
    }
}
