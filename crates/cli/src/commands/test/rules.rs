//! `crescendo test rules`: unit tests of rules, as `promtool test rules` runs them.
//!
//! Rule: promtool's words and exit codes; a file that cannot be tested has failed.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use datamodel::regex::Regex;
use datamodel::time::format_duration;
use discovery::FilePattern;
use promql::Features;
use rules::RuleGroup;
use rules::unit_test::{ExpectedSample, Failure, FiringAlert, UnitTests, parse_unit_tests};
use serde_json::{Value, json};

use super::super::{Outcome, rule_files};
use super::features;
use crate::printer::{OutputFormat, Printer};

/// What stands under the help.
pub(super) const HELP: &str = "\
Examples:
  crescendo test rules rules/*.test.yaml
  crescendo test rules --run 'quiet|busy' --diff rules/corrected.test.yaml
  crescendo test rules --output json rules/seed.test.yaml | jq '.files[].tests[] | select(.failures != [])'";

/// Arguments of `test rules`.
#[derive(Debug, Args)]
pub struct RulesArgs {
    /// Files of unit tests.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Run only the tests whose names match; may be given several times.
    #[arg(long, value_name = "REGEX")]
    run: Vec<String>,
    /// Show of a failure only what differs.
    #[arg(long)]
    diff: bool,
    /// Features of the language, as Prometheus' flag of this name.
    #[arg(long, value_name = "FEATURE", value_delimiter = ',')]
    enable_feature: Vec<String>,
    /// How the results are written.
    #[arg(long, short, value_enum, default_value_t)]
    output: OutputFormat,
}

/// What came of one file.
struct FileResult {
    path: String,
    /// Why it could not be tested.
    errors: Vec<String>,
    warnings: Vec<String>,
    /// Names and failures.
    tests: Vec<(String, Vec<Failure>)>,
}

impl FileResult {
    fn is_success(&self) -> bool {
        self.errors.is_empty() && self.tests.iter().all(|(_, failures)| failures.is_empty())
    }
}

/// Runs the tests.
///
/// # Errors
///
/// An argument is wrong. A file that is wrong and a test that fails are no errors but an outcome.
pub(super) fn run(args: &RulesArgs, printer: Printer) -> Result<Outcome> {
    let features = features(&args.enable_feature)?;
    let wanted: Vec<Regex> = args
        .run
        .iter()
        .map(|text| Regex::unanchored(text).with_context(|| format!("`--run` is no regular expression: {text}")))
        .collect::<Result<_>>()?;
    let mut results = Vec::with_capacity(args.files.len());
    for path in &args.files {
        let result = test_file(path, &wanted, features);
        if args.output == OutputFormat::Table {
            print(&result, args.diff, printer)?;
        }
        results.push(result);
    }
    if args.output == OutputFormat::Json {
        let files: Vec<Value> = results.iter().map(file_json).collect();
        printer.data(&serde_json::to_string_pretty(&json!({ "files": files }))?)?;
    }
    Ok(if results.iter().all(FileResult::is_success) { Outcome::Fine } else { Outcome::NotFine })
}

fn test_file(path: &Path, wanted: &[Regex], features: Features) -> FileResult {
    let name = path.display().to_string();
    let mut result = FileResult { path: name.clone(), errors: Vec::new(), warnings: Vec::new(), tests: Vec::new() };
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => {
            result.errors.push(format!("open {name}: {error}"));
            return result;
        }
    };
    match parse_unit_tests(&name, &text) {
        Err(errors) => result.errors.push(errors.to_string()),
        Ok(tests) => run_tests(&tests, path, wanted, features, &mut result),
    }
    result
}

fn run_tests(tests: &UnitTests, path: &Path, wanted: &[Regex], features: Features, result: &mut FileResult) {
    let Some(groups) = load_groups(tests, path, features, result) else { return };
    for (index, test) in tests.tests.iter().enumerate() {
        if !wanted.is_empty() && !wanted.iter().any(|regex| regex.is_match(&test.name)) {
            continue;
        }
        let name = if test.name.is_empty() { format!("unnamed#{index}") } else { test.name.clone() };
        result.tests.push((name, tests.run(test, &groups, features)));
    }
}

/// The groups of all rule files that the tests name; relative paths are those beside the tests.
fn load_groups(tests: &UnitTests, path: &Path, features: Features, result: &mut FileResult) -> Option<Vec<RuleGroup>> {
    let folder = path.parent().unwrap_or_else(|| Path::new(""));
    let mut groups = Vec::new();
    for pattern in &tests.rule_files {
        let pattern = folder.join(pattern);
        let found = FilePattern::any(&pattern.to_string_lossy()).map_err(std::io::Error::other);
        match found.and_then(|pattern| pattern.files()) {
            Err(error) => result.errors.push(format!("{}: {error}", pattern.display())),
            Ok(paths) => {
                if paths.is_empty() {
                    result.warnings.push(format!("no file match pattern {}", pattern.display()));
                }
                for path in paths {
                    match rule_files::load(&path, &features) {
                        Ok(file) => groups.extend(file.groups),
                        Err(error) => result.errors.push(format!("{error:#}")),
                    }
                }
            }
        }
    }
    result.errors.is_empty().then_some(groups)
}

fn print(result: &FileResult, diff: bool, printer: Printer) -> Result<()> {
    printer.data(&format!("Unit Testing:  {}", result.path))?;
    for warning in &result.warnings {
        printer.say(&format!("  WARNING: {warning}"));
    }
    if result.is_success() {
        printer.data("  SUCCESS\n")?;
        return Ok(());
    }
    printer.say("  FAILED:");
    for error in &result.errors {
        printer.say(error);
    }
    for failure in result.tests.iter().flat_map(|(_, failures)| failures) {
        printer.say(&if diff { failure.difference() } else { failure.to_string() });
    }
    printer.data("")?;
    Ok(())
}

fn file_json(result: &FileResult) -> Value {
    let tests: Vec<Value> = result
        .tests
        .iter()
        .map(|(name, failures)| {
            let failures: Vec<Value> = failures.iter().map(failure_json).collect();
            json!({ "name": name, "success": failures.is_empty(), "failures": failures })
        })
        .collect();
    json!({
        "file": result.path,
        "success": result.is_success(),
        "errors": result.errors,
        "warnings": result.warnings,
        "tests": tests,
    })
}

fn failure_json(failure: &Failure) -> Value {
    let mut object = json!({ "kind": failure.kind(), "message": failure.to_string() });
    match failure {
        Failure::Alerts { alertname, time, expected, found, .. } => {
            object["alertname"] = json!(alertname);
            object["eval_time"] = json!(format_duration(*time));
            object["expected"] = expected.iter().map(alert_json).collect();
            object["got"] = found.iter().map(alert_json).collect();
        }
        Failure::Samples { expr, time, expected, found } => {
            object["expr"] = json!(expr);
            object["eval_time"] = json!(format_duration(*time));
            object["expected"] = expected.iter().map(sample_json).collect();
            object["got"] = found.iter().map(sample_json).collect();
        }
        Failure::Expression { expr, time, .. } => {
            object["expr"] = json!(expr);
            object["eval_time"] = json!(format_duration(*time));
        }
        Failure::Rule { rule, .. } => object["rule"] = json!(rule),
        Failure::Input(_) => {}
    }
    object
}

fn labels_json(labels: &datamodel::Labels) -> Value {
    labels.iter().map(|(name, value)| (name.to_owned(), json!(value))).collect::<serde_json::Map<_, _>>().into()
}

fn alert_json(alert: &FiringAlert) -> Value {
    json!({ "labels": labels_json(&alert.labels), "annotations": labels_json(&alert.annotations) })
}

/// The value is a text, as in the HTTP API: JSON has no NaN and no infinity.
fn sample_json(sample: &ExpectedSample) -> Value {
    if sample.histogram.is_empty() {
        json!({ "labels": labels_json(&sample.labels), "value": datamodel::float::format_f(sample.value) })
    } else {
        json!({ "labels": labels_json(&sample.labels), "histogram": sample.histogram })
    }
}
