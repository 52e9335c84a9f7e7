//! From the labels of discovery to the URL of an Alertmanager.
//!
//! Rule: pure; one URL is found once, however many groups name it.

use std::collections::BTreeSet;

use datamodel::relabel::{self, Verdict};
use datamodel::{Labels, LabelsBuilder};
use discovery::{ADDRESS, TargetGroup};
use http::Uri;

use super::config::AlertmanagerConfig;

const SCHEME: &str = "__scheme__";
const ALERTS_PATH: &str = "__alerts_path__";

/// An Alertmanager that is there.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// Where alerts are posted.
    pub(super) url: Uri,
    /// The same as text.
    pub(super) text: String,
}

/// The Alertmanagers that groups name.
#[derive(Debug, Default)]
pub(super) struct Discovered {
    pub(super) active: Vec<Found>,
    /// URLs, before relabelling, of those that relabelling drops.
    pub(super) dropped: Vec<String>,
}

/// Relabels and deduplicates.
pub(super) fn discover<'a>(
    config: &AlertmanagerConfig,
    groups: impl IntoIterator<Item = &'a TargetGroup>,
) -> Discovered {
    let mut discovered = Discovered::default();
    let mut seen = BTreeSet::new();
    for group in groups {
        for target in &group.targets {
            let mut labels = initial_labels(config, group, target);
            let before = labels.build();
            if relabel::apply(&mut labels, &config.relabel) == Verdict::Drop {
                discovered.dropped.push(url_text(&before));
                continue;
            }
            let labels = labels.build();
            let text = url_text(&labels);
            let address = labels.get(ADDRESS).unwrap_or_default();
            match text.parse::<Uri>() {
                // An address with a path would end up in another place than it reads.
                Ok(url) if !address.is_empty() && !address.contains(['/', '?', '#']) => {
                    if seen.insert(text.clone()) {
                        discovered.active.push(Found { url, text });
                    }
                }
                _ => tracing::warn!(address, url = text, "not an address of an Alertmanager"),
            }
        }
    }
    discovered
}

fn initial_labels(config: &AlertmanagerConfig, group: &TargetGroup, target: &Labels) -> LabelsBuilder {
    let mut labels = LabelsBuilder::new(target);
    labels.set(SCHEME, config.scheme.as_str());
    labels.set(ALERTS_PATH, &alerts_path(&config.path_prefix));
    for (name, value) in &group.labels {
        if target.get(name).is_none() {
            labels.set(name, value);
        }
    }
    labels
}

/// `/prefix/api/v2/alerts`, without empty segments.
fn alerts_path(prefix: &str) -> String {
    let segments = prefix.split('/').filter(|segment| !segment.is_empty());
    let mut path: String = segments.map(|segment| format!("/{segment}")).collect();
    path.push_str("/api/v2/alerts");
    path
}

fn url_text(labels: &Labels) -> String {
    let label = |name| labels.get(name).unwrap_or_default();
    format!("{}://{}{}", label(SCHEME), label(ADDRESS), label(ALERTS_PATH))
}
