//! `crescendo test`: run tests that are written as files.
//!
//! - `promql`: scripts of Prometheus' `promqltest` language.
//!
//! Rule: a test that did not run did not pass.

mod promql;

use anyhow::Result;
use clap::Subcommand;

use super::Outcome;
use crate::printer::Printer;

/// Run tests that are written as files. Exit code 1: a test failed.
#[derive(Debug, Subcommand)]
pub enum TestCommand {
    /// Run scripts of PromQL (`load`, `eval`, `expect`): what passed, and the first difference of each file.
    #[command(after_help = promql::HELP)]
    Promql(promql::PromqlArgs),
}

/// Runs tests.
///
/// # Errors
///
/// A file cannot be read. A test that fails is no error but an outcome.
pub fn run(command: &TestCommand, printer: Printer) -> Result<Outcome> {
    match command {
        TestCommand::Promql(args) => promql::run(args, printer),
    }
}
