//! The section `storage`.
//!
//! Rule: what is set here wins over the flag of the same meaning, as upstream.

use std::time::Duration;

use yaml::decoders::{duration, integer, size};
use yaml::{Fields, Node, Report};

/// How long and how much is stored; `None` where the flags decide.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StorageConfig {
    /// Samples behind newer ones are taken if they are at most so much older than the newest of all.
    pub out_of_order_time_window: Duration,
    /// How long samples are kept.
    pub retention_time: Option<Duration>,
    /// How many bytes are kept.
    pub retention_size: Option<u64>,
    /// Exemplars that are kept.
    pub max_exemplars: Option<usize>,
}

pub(super) fn storage(node: &Node, report: &mut Report) -> Option<StorageConfig> {
    yaml::mapping(node, report, |fields| {
        let mut config = StorageConfig::default();
        fields.optional("tsdb", |node, report| yaml::mapping(node, report, |fields| tsdb(fields, &mut config)));
        let exemplars = |node: &Node, report: &mut Report| {
            yaml::mapping(node, report, |fields| Some(fields.optional("max_exemplars", integer::<u32>)))
        };
        config.max_exemplars = fields.optional("exemplars", exemplars).flatten().map(|count| count as usize);
        Some(config)
    })
}

fn tsdb(fields: &mut Fields<'_, '_>, config: &mut StorageConfig) -> Option<()> {
    config.out_of_order_time_window = fields.or("out_of_order_time_window", duration, Duration::ZERO);
    let reason = "the head is sealed every 15 minutes, and series that ended leave it then";
    fields.unsupported("stale_series_compaction_threshold", reason);
    fields.optional("retention", |node, report| {
        yaml::mapping(node, report, |fields| {
            config.retention_time = fields.optional("time", duration).filter(|time| !time.is_zero());
            config.retention_size = fields.optional("size", size).filter(|size| *size > 0);
            fields.unsupported("percentage", "give the bytes themselves in `size`");
            Some(())
        })
    });
    Some(())
}
