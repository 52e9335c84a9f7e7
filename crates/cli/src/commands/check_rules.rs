//! `crescendo check rules`: are rule files right, and do they do what was meant.
//!
//! - [`run`]: the command. [`lint_paths`]: what is found in the rule files that a configuration names.
//! - [`SurroundingsArgs`]: what else there is that reads the rules' series, or that they read.
//!
//! Rule: promtool's words and exit codes; a finding fails only where the user asks for it.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use http_client::{ClientOptions, HttpClient, HttpClientConfig};
use promql::Features;
use rules::lint::{Exposed, Finding, Reader, RuleLint, lint_rules, rule_lines};
use rules::{RuleGroup, parse_rule_file};

use super::lint::{LintArgs, Selection, report};
use super::rule_files::{self, RuleFile};
use super::{Outcome, test};
use crate::printer::Printer;

/// What stands under the help.
pub const HELP: &str = "\
Without files, or with `-`, standard input is checked.

Examples:
  crescendo check rules rules/corrected.yaml
  crescendo check rules --lint all --scrape-interval 30s --read-by rules/adapter-seed.yaml rules/seed.yaml
  crescendo check rules --lint all --exposed-by http://127.0.0.1:2269/metrics rules/seed.yaml
  crescendo check rules --lint duplicate-rules,short-rate-window --lint-fatal rules/*.yaml";

/// The most of standard input that is read.
const MAX_INPUT_BYTES: u64 = 16 << 20;

/// The largest answer of a target or a server: the bound of a scrape.
const MAX_PAGE_BYTES: usize = scrape::DEFAULT_BODY_SIZE_LIMIT;

/// How long to wait for it.
const FETCH_TIMEOUT: Duration = Duration::from_secs(30);

/// Arguments of `check rules`.
#[derive(Debug, Args)]
pub struct CheckRulesArgs {
    /// Rule files.
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    lint: LintArgs,
    /// Time between two scrapes of what the rules read.
    #[arg(long, value_name = "DURATION", default_value = "1m", value_parser = duration)]
    scrape_interval: Duration,
    #[command(flatten)]
    surroundings: SurroundingsArgs,
    /// Features of the language, as Prometheus' flag of this name.
    #[arg(long, value_name = "FEATURE", value_delimiter = ',')]
    enable_feature: Vec<String>,
}

/// What the rules stand among.
#[derive(Debug, Args)]
pub struct SurroundingsArgs {
    /// Other readers of recorded series: mapping rules, dashboards, manifests (YAML or JSON).
    #[arg(long, value_name = "FILE")]
    read_by: Vec<PathBuf>,
    /// Pages of the targets, or a server's answer to `/api/v1/label/__name__/values`: metrics that rules read and none
    /// of them has are found (`unexposed-metric`).
    #[arg(long, value_name = "FILE|URL")]
    exposed_by: Vec<String>,
}

/// The same, read.
#[derive(Debug)]
pub(super) struct Surroundings {
    readers: Vec<Reader>,
    exposed: Option<Exposed>,
}

impl SurroundingsArgs {
    /// Reads the files and asks the servers.
    ///
    /// # Errors
    ///
    /// One cannot be read, or does not hold what it should.
    pub(super) async fn read(&self) -> Result<Surroundings> {
        Ok(Surroundings { readers: readers(&self.read_by)?, exposed: exposed(&self.exposed_by).await? })
    }
}

impl Surroundings {
    /// How rules are looked at among them.
    pub(super) fn lint(&self, scrape_interval: Duration) -> RuleLint<'_> {
        RuleLint { scrape_interval, readers: &self.readers, exposed: self.exposed.as_ref() }
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    datamodel::time::parse_duration(text).map_err(|error| error.to_string())
}

/// Checks rule files.
///
/// # Errors
///
/// An argument is wrong, or something that the rules stand among cannot be read. A file that is wrong is no error but an outcome.
pub async fn run(args: &CheckRulesArgs, printer: Printer) -> Result<Outcome> {
    let features = test::features(&args.enable_feature)?;
    let selection = args.lint.selection("duplicate-rules")?;
    let surroundings = args.surroundings.read().await?;
    let mut all_good = true;
    let mut files = Vec::new();
    if args.files.is_empty() || args.files == [Path::new("-")] {
        printer.data("Checking standard input")?;
        all_good &= tell(standard_input(&features), &mut files, printer)?;
    } else {
        for path in &args.files {
            printer.data(&format!("Checking {}", path.display()))?;
            all_good &= tell(rule_files::load(path, &features), &mut files, printer)?;
        }
    }
    let findings = lint_files(&files, &selection, &surroundings.lint(args.scrape_interval));
    let lint = report(&findings, args.lint.is_fatal(), printer);
    Ok(if all_good { lint } else { Outcome::NotFine })
}

/// What is found in rule files, all together; for `check config`, which has said already what is wrong with them.
///
/// # Errors
///
/// A file is not what it was when it was checked.
pub fn lint_paths(
    paths: &[PathBuf],
    features: &Features,
    selection: &Selection,
    asked: &RuleLint<'_>,
) -> Result<Vec<Finding>> {
    let files = paths.iter().map(|path| rule_files::load(path, features)).collect::<Result<Vec<_>>>()?;
    Ok(lint_files(&files, selection, asked))
}

/// Prints what came of a file; `false` if it is wrong.
fn tell(file: Result<RuleFile>, files: &mut Vec<RuleFile>, printer: Printer) -> Result<bool> {
    match file {
        Ok(file) => {
            let count: usize = file.groups.iter().map(|group| group.rules.len()).sum();
            printer.data(&format!("  SUCCESS: {count} rules found\n"))?;
            files.push(file);
            Ok(true)
        }
        Err(error) => {
            printer.say(&format!("  FAILED:\n{error:#}"));
            printer.data("")?;
            Ok(false)
        }
    }
}

fn standard_input(features: &Features) -> Result<RuleFile> {
    const NAME: &str = "standard input";
    let mut text = String::new();
    std::io::stdin().lock().take(MAX_INPUT_BYTES).read_to_string(&mut text).context(NAME)?;
    let groups = parse_rule_file(NAME, &text, features)?;
    Ok(RuleFile { path: NAME.to_owned(), text, groups })
}

/// The files that read recorded series.
///
/// # Errors
///
/// One cannot be read.
fn readers(paths: &[PathBuf]) -> Result<Vec<Reader>> {
    let read = |path: &PathBuf| {
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        Reader::parse(&path.display().to_string(), &text).with_context(|| format!("cannot read {}", path.display()))
    };
    paths.iter().map(read).collect()
}

/// The series that pages and servers have; `None` where none is given.
async fn exposed(sources: &[String]) -> Result<Option<Exposed>> {
    let mut exposed = Exposed::default();
    for source in sources {
        let text = if source.starts_with("http://") || source.starts_with("https://") {
            fetch(source).await?
        } else {
            std::fs::read_to_string(source).with_context(|| format!("cannot read {source}"))?
        };
        exposed.read(&text).with_context(|| {
            format!("`--exposed-by {source}`: neither a page of metrics nor an answer to /api/v1/label/__name__/values")
        })?;
    }
    Ok((!sources.is_empty()).then_some(exposed))
}

async fn fetch(url: &str) -> Result<String> {
    let request = http::Request::builder().uri(url).body(bytes::Bytes::new());
    let request = request.with_context(|| format!("not a URL: `{url}`"))?;
    let client = HttpClient::new(HttpClientConfig::default(), ClientOptions::default());
    let answer = tokio::time::timeout(FETCH_TIMEOUT, client.send(request, MAX_PAGE_BYTES)).await;
    let answer = answer.with_context(|| format!("{url}: no answer within {FETCH_TIMEOUT:?}"))?;
    let answer = answer.with_context(|| format!("cannot ask {url}"))?;
    ensure!(answer.status().is_success(), "{url} answers {}", answer.status());
    Ok(String::from_utf8_lossy(answer.body()).into_owned())
}

/// What is found in the files together, with the lines of the rules.
fn lint_files(files: &[RuleFile], selection: &Selection, asked: &RuleLint<'_>) -> Vec<Finding> {
    let groups: Vec<RuleGroup> = files.iter().flat_map(|file| file.groups.iter().cloned()).collect();
    let mut findings = lint_rules(&groups, asked);
    findings.retain(|finding| selection.contains(finding.check));
    for finding in &mut findings {
        let Some(file) = files.iter().find(|file| *file.path == *finding.file) else { continue };
        let lines = rule_lines(&file.path, &file.text);
        let place = file.groups.iter().enumerate().find_map(|(at, group)| {
            let rule = group.rules.iter().position(|rule| finding.is_about(group, rule))?;
            Some((at, rule))
        });
        finding.line = place.and_then(|(group, rule)| lines.get(group)?.get(rule).copied());
    }
    findings
}
