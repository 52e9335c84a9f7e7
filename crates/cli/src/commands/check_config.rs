//! `crescendo check config`: is a prometheus.yml right, and does it do what was meant.
//!
//! Rule: what is read is what `server` reads; findings go to stderr and fail only where the user asks for it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use clap::Args;
use rules::lint::{ConfiguredTarget, Finding, lint_targets};
use yaml::Node;

use super::check_rules::Surroundings;
use super::lint::{LintArgs, Selection, report};
use super::{Outcome, check_rules, test};
use crate::config::{ConfigSource, ServerConfig};
use crate::printer::Printer;

/// What stands under the help.
pub const HELP: &str = "\
Examples:
  crescendo check config prometheus.yml
  crescendo check config --lint all --lint-fatal prometheus.yml";

/// Arguments of `check config`.
#[derive(Debug, Args)]
pub struct ConfigArgs {
    /// The configuration files.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    lint: LintArgs,
    #[command(flatten)]
    surroundings: check_rules::SurroundingsArgs,
    /// Features of the language, as Prometheus' flag of this name.
    #[arg(long, value_name = "FEATURE", value_delimiter = ',')]
    enable_feature: Vec<String>,
}

/// Checks configurations with the files that they name.
///
/// # Errors
///
/// An argument is wrong, or something cannot be read. A file that is wrong is no error but an outcome.
pub async fn run(args: &ConfigArgs, printer: Printer) -> Result<Outcome> {
    let features = test::features(&args.enable_feature)?;
    let selection = args.lint.selection("duplicate-rules")?;
    let surroundings = args.surroundings.read().await?;
    let mut all_good = true;
    let mut findings = Vec::new();
    for path in &args.files {
        std::fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?;
        let source = ConfigSource { features, ..ConfigSource::new(path.clone()) };
        let config = match source.load() {
            Ok(config) => config,
            Err(errors) => {
                all_good = false;
                printer.data(&errors.to_string())?;
                continue;
            }
        };
        for note in &config.notes {
            printer.data(&note.to_string())?;
        }
        let problems = targets(&config, printer)?;
        if problems > 0 || config.notes.iter().any(|note| note.fails_check) {
            all_good = false;
            continue;
        }
        let rules: usize = config.rule_groups.iter().map(|group| group.rules.len()).sum();
        let jobs = config.jobs.len();
        printer.data(&format!("{}: fine ({jobs} scrape jobs, {rules} rules)", path.display()))?;
        findings.extend(lint(path, &config, &source, (&selection, &surroundings))?);
    }
    let lint = report(&findings, args.lint.is_fatal(), printer);
    Ok(if all_good { lint } else { Outcome::NotFine })
}

/// Checks the targets that can be told without asking anybody; gives the number of problems.
fn targets(config: &ServerConfig, printer: Printer) -> Result<usize> {
    let mut count = 0;
    for job in &config.jobs {
        let name = &job.config.job_name;
        let checked = job.config.clone().check()?;
        for known in job.discovery.iter().map(|discovery| discovery.known()) {
            for path in &known.missing {
                printer.data(&format!("{path}: job `{name}`: file does not exist; it may come later"))?;
            }
            for problem in known.problems.into_iter().chain(scrape::target_problems(&checked, &known.groups)) {
                count += 1;
                printer.data(&format!("job `{name}`: {problem}"))?;
            }
        }
    }
    Ok(count)
}

fn lint(
    path: &Path,
    config: &ServerConfig,
    source: &ConfigSource,
    (selection, surroundings): (&Selection, &Surroundings),
) -> Result<Vec<Finding>> {
    let asked = surroundings.lint(config.global.scrape.scrape_interval);
    let mut findings = check_rules::lint_paths(&config.rule_paths, &source.features, selection, &asked)?;
    let mut targets = Vec::new();
    for path in std::iter::once(path).chain(config.scrape_paths.iter().map(PathBuf::as_path)) {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {name}"))?;
        targets.extend(static_targets(&name, yaml::parse(&name, &text)?.root()));
    }
    findings.extend(lint_targets(&targets).into_iter().filter(|finding| selection.contains(finding.check)));
    Ok(findings)
}

/// The targets that stand in the jobs of a file, with their lines.
fn static_targets(file: &str, root: &Node) -> Vec<ConfiguredTarget> {
    let file: Arc<str> = Arc::from(file);
    let items = |node: Option<&Node>| node.and_then(Node::as_sequence).unwrap_or_default().to_vec();
    let text = |node: &Node| node.as_scalar().map(|scalar| scalar.text.to_string());
    let mut found = Vec::new();
    for job in items(root.get("scrape_configs")) {
        let name = job.get("job_name").and_then(text).unwrap_or_default();
        let groups = items(job.get("static_configs"));
        for target in groups.iter().flat_map(|group| items(group.get("targets"))) {
            let Some(address) = text(&target) else { continue };
            let line = Some(target.position.line);
            found.push(ConfiguredTarget { file: Arc::clone(&file), line, job: name.clone(), address });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_found_with_their_lines() {
        let text = "scrape_configs:\n- job_name: a\n  static_configs:\n  - targets:\n    - lightning-asr:2269\n    \
                    - 127.0.0.1:1\n- {job_name: b}\n";
        let found = static_targets("p.yml", yaml::parse("p.yml", text).unwrap().root());
        let seen: Vec<_> = found.iter().map(|t| (t.line, t.job.as_str(), t.address.as_str())).collect();
        assert_eq!(seen, [(Some(5), "a", "lightning-asr:2269"), (Some(6), "a", "127.0.0.1:1")]);
        let findings = lint_targets(&found);
        assert_eq!(findings.len(), 1, "{findings:?}");
    }
}
