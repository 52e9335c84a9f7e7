//! The sections of the configuration file, and files that hold scrape jobs alone.
//!
//! Rule: a section that is wrong does not keep the others from being read.

use std::collections::BTreeSet;
use std::path::Path;

use discovery::{DecodeContext, OtherKind};
use kubernetes::targets::kubernetes_sd;
use remote::sender::remote_write_configs;
use rules::notifier::alerting_config;
use scrape::{JobConfig, ScrapeDefaults, scrape_config};
use yaml::decoders::list;
use yaml::{Errors, Fields, Node, Report};

use super::files::patterns;
use super::global::global;
use super::storage::storage;
use super::{Note, ServerConfig};

/// Reads the configuration file itself into `config`, as far as it is right. `names` are those of all jobs.
pub(super) fn read(
    name: &str,
    text: &str,
    folder: &Path,
    names: &mut BTreeSet<String>,
    config: &mut ServerConfig,
) -> Result<(), Errors> {
    yaml::decode(name, text, |node, report| root(node, report, (name, folder), names, config))
}

/// The keys of the configuration file that are read on the way through a text, and what is wrong with it.
#[cfg(test)]
pub(crate) fn known_keys(text: &str) -> (Vec<yaml::KnownKey>, Option<Errors>) {
    let (mut names, mut config) = (BTreeSet::new(), ServerConfig::default());
    let place = ("prometheus.yml", Path::new(""));
    yaml::known_keys(place.0, text, |node, report| root(node, report, place, &mut names, &mut config))
}

fn root(
    node: &Node,
    report: &mut Report,
    (name, folder): (&str, &Path),
    names: &mut BTreeSet<String>,
    config: &mut ServerConfig,
) -> Option<()> {
    yaml::mapping(node, report, |fields| {
        let variable = |name: &str| std::env::var(name).ok();
        let found = fields.optional("global", |node, report| global(node, report, &variable));
        let extra = config.global.scrape.extra_scrape_metrics;
        config.global = found.unwrap_or_default();
        let is_said = |node: &Node| node.get("extra_scrape_metrics").is_some();
        if extra && !fields.node().get("global").is_some_and(is_said) {
            config.global.scrape.extra_scrape_metrics = true;
        }
        config.patterns.rule_files = patterns(fields, "rule_files", folder);
        config.patterns.scrape_files = patterns(fields, "scrape_config_files", folder);
        config.jobs = jobs(fields, &config.global.scrape, folder, names);
        config.storage = fields.or("storage", storage, config.storage);
        let kubernetes = |node: &Node, report: &mut Report| kubernetes_sd(node, report, folder);
        let others = [OtherKind { key: kubernetes::targets::KEY, decode: &kubernetes }];
        let context = DecodeContext { directory: folder, others: &others };
        let alerting = fields.optional("alerting", |node, report| alerting_config(node, report, &context));
        config.alerting = alerting.unwrap_or_default();
        config.remote_write = remote_write_configs(fields, folder);
        other_sections(fields, name, &mut config.notes);
        Some(())
    })
}

/// Reads a file of `scrape_config_files`.
pub(super) fn read_scrape_file(
    name: &str,
    text: &str,
    folder: &Path,
    names: &mut BTreeSet<String>,
    config: &mut ServerConfig,
) -> Result<(), Errors> {
    let ServerConfig { jobs: all, global, .. } = config;
    yaml::decode(name, text, |node, report| {
        yaml::mapping(node, report, |fields| {
            all.extend(jobs(fields, &global.scrape, folder, names));
            Some(())
        })
    })
}

fn jobs(
    fields: &mut Fields<'_, '_>,
    defaults: &ScrapeDefaults,
    folder: &Path,
    names: &mut BTreeSet<String>,
) -> Vec<JobConfig> {
    let kubernetes = |node: &Node, report: &mut Report| kubernetes_sd(node, report, folder);
    let others = [OtherKind { key: kubernetes::targets::KEY, decode: &kubernetes }];
    let context = DecodeContext { directory: folder, others: &others };
    let job = |node: &Node, report: &mut Report| {
        let job = scrape_config(node, report, defaults, &context)?;
        if !job.config.job_name.is_empty() && !names.insert(job.config.job_name.clone()) {
            let place = node.get("job_name").unwrap_or(node);
            let message = format!("another job has the same name: `{}`", job.config.job_name);
            report.within_key("job_name", |report| report.error(place, message));
        }
        Some(job)
    };
    fields.optional("scrape_configs", list(job)).unwrap_or_default()
}

/// Sections that are not served, and those without effect.
fn other_sections(fields: &mut Fields<'_, '_>, file: &str, notes: &mut Vec<Note>) {
    fields.unsupported("remote_read", "other storages are not asked; query them where they are");
    fields.unsupported("tracing", "traces are not sent");
    fields.unsupported("otlp", "the OTLP receiver is not served; use remote write");
    if let Some(runtime) = fields.raw("runtime").filter(|runtime| !runtime.is_null()) {
        let (subject, text) = (format!("{file}:{}: runtime", runtime.position), "there is no Go runtime here");
        notes.push(Note { subject, text: text.to_owned(), fails_check: false });
    }
}
