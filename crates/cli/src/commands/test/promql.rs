//! `crescendo test promql`: scripts of Prometheus' `promqltest` language against our engine.
//!
//! - [`PromqlArgs`], [`run`]: from files and folders to an outcome.
//! - [`FileReport`]: what came of one file; [`json`] is the documented shape.
//!
//! Rule: a line that is not understood fails its file; no case is skipped.

use std::path::{Path, PathBuf};

use ::promql::testing::{CaseFailure, ScriptError, ScriptReport, run_script};
use anyhow::{Context, Result, ensure};
use clap::Args;
use serde_json::{Value, json};

use super::super::Outcome;
use crate::printer::{OutputFormat, Printer};

/// What stands below the options in the help.
pub(super) const HELP: &str = "Example:
  crescendo test promql scripts/ histograms.test

Each instant case also runs as a range and pinned by `@`.
The shape of `--output json`:
  {\"files\": [{\"file\", \"passed\", \"failed\", \"error\", \"first_difference\"}], \"totals\": {\"files\", \"passed\", \"failed\"}}
`first_difference` is null or {\"line\", \"expr\", \"message\"}; `error` is null or {\"line\", \"message\"}: the line that
was not understood, after which nothing of the file counts as passed.";

/// Arguments of `test promql`.
#[derive(Debug, Args)]
pub struct PromqlArgs {
    /// Scripts, or folders whose `.test` files are run.
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    /// How the result is written.
    #[arg(short, long, value_enum, default_value_t)]
    output: OutputFormat,
}

/// What came of a file.
#[derive(Debug)]
struct FileReport {
    file: PathBuf,
    result: Result<ScriptReport, ScriptError>,
}

impl FileReport {
    fn passed(&self) -> usize {
        self.result.as_ref().map_or(0, ScriptReport::passed)
    }

    /// A script that ended with an error counts as one failure.
    fn failed(&self) -> usize {
        self.result.as_ref().map_or(1, |report| report.failures.len())
    }

    fn first_difference(&self) -> Option<&CaseFailure> {
        self.result.as_ref().ok().and_then(|report| report.failures.first())
    }

    fn json(&self) -> Value {
        let difference = self
            .first_difference()
            .map(|first| json!({ "line": first.line, "expr": first.expr, "message": first.message }));
        let error = self.result.as_ref().err().map(|error| json!({ "line": error.line, "message": error.message }));
        json!({
            "file": self.file.display().to_string(),
            "passed": self.passed(),
            "failed": self.failed(),
            "error": error,
            "first_difference": difference,
        })
    }

    fn table(&self, width: usize) -> String {
        let file = self.file.display().to_string();
        let mut text = format!("{file:<width$}  {:>6} passed  {:>6} failed", self.passed(), self.failed());
        match &self.result {
            Err(error) => text.push_str(&format!("\n  {file}:{}: {}", error.line, error.message)),
            Ok(report) => {
                if let Some(first) = report.failures.first() {
                    text.push_str(&format!("\n  {file}:{}: {}\n    {}", first.line, first.expr, first.message));
                }
            }
        }
        text
    }
}

/// Runs the scripts.
///
/// # Errors
///
/// A file or a folder cannot be read, or a folder has no script.
pub(super) fn run(args: &PromqlArgs, printer: Printer) -> Result<Outcome> {
    let mut scripts = Vec::new();
    for path in &args.paths {
        scripts.extend(files(path)?);
    }
    // All are read before the first one runs: a missing file is known at once.
    let texts: Vec<(PathBuf, String)> = scripts
        .into_iter()
        .map(|file| {
            let text = std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
            Ok((file, text))
        })
        .collect::<Result<_>>()?;
    let width = texts.iter().map(|(file, _)| file.display().to_string().chars().count()).max().unwrap_or_default();
    let mut reports = Vec::with_capacity(texts.len());
    for (file, text) in texts {
        let report = FileReport { file, result: run_script(&text) };
        if args.output == OutputFormat::Table {
            printer.data(&report.table(width))?;
        }
        reports.push(report);
    }
    let (passed, failed) =
        (reports.iter().map(FileReport::passed).sum::<usize>(), reports.iter().map(FileReport::failed).sum::<usize>());
    match args.output {
        OutputFormat::Table => printer.data(&format!("{:<width$}  {passed:>6} passed  {failed:>6} failed", "all"))?,
        OutputFormat::Json => {
            let totals = json!({ "files": reports.len(), "passed": passed, "failed": failed });
            let files: Vec<Value> = reports.iter().map(FileReport::json).collect();
            printer.data(&format!("{:#}", json!({ "files": files, "totals": totals })))?;
        }
    }
    Ok(if failed == 0 { Outcome::Fine } else { Outcome::NotFine })
}

/// The file itself, or the scripts of the folder in the order of their names.
fn files(path: &Path) -> Result<Vec<PathBuf>> {
    let unreadable = || format!("cannot read {}", path.display());
    if !std::fs::metadata(path).with_context(unreadable)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut found = Vec::new();
    for entry in std::fs::read_dir(path).with_context(unreadable)? {
        let entry = entry.with_context(unreadable)?.path();
        if entry.extension().is_some_and(|extension| extension == "test") {
            found.push(entry);
        }
    }
    ensure!(!found.is_empty(), "no `.test` file in the folder {}", path.display());
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(text: &str) -> FileReport {
        FileReport { file: "a.test".into(), result: run_script(text) }
    }

    const PASSES: &str = "load 1m\n  a 1 2\n\neval instant at 1m a\n  a 2\n";

    #[test]
    fn first_difference_is_told_with_its_line() {
        let text = format!("{PASSES}\neval instant at 0 a\n  a 7\n\neval instant at 0 a\n  a 8\n");
        let report = report(&text);
        assert_eq!(
            report.table(8),
            "a.test         1 passed       2 failed\n  a.test:7: a\n    expected 7 for a, got 1"
        );
        let expected = json!({
            "file": "a.test", "passed": 1, "failed": 2, "error": null,
            "first_difference": { "line": 7, "expr": "a", "message": "expected 7 for a, got 1" },
        });
        assert_eq!(report.json(), expected);
    }

    #[test]
    fn line_that_is_not_understood_fails_the_file() {
        let report = report(&format!("{PASSES}\nlod 5m\n"));
        assert_eq!((report.passed(), report.failed()), (0, 1));
        assert_eq!(report.json()["error"], json!({ "line": 7, "message": "invalid command: lod 5m" }));
    }

    #[test]
    fn missing_file_and_folder_without_scripts_are_errors() {
        let error = files(Path::new("/does/not/exist.test")).unwrap_err();
        assert_eq!(error.to_string(), "cannot read /does/not/exist.test");
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let error = files(&folder).unwrap_err();
        assert_eq!(error.to_string(), format!("no `.test` file in the folder {}", folder.display()));
    }
}
