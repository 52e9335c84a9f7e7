//! `crescendo test`: run tests that are written as files.
//!
//! - `promql`: scripts of Prometheus' `promqltest` language. `rules`: unit tests of rules, as promtool's.
//! - [`features`]: the switches of the language.
//!
//! Rule: a test that did not run did not pass.

mod promql;
mod rules;

use ::promql::Features;
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
    /// Run unit tests of rules, in the files of `promtool test rules`.
    #[command(after_help = rules::HELP)]
    Rules(rules::RulesArgs),
}

/// Runs tests.
///
/// # Errors
///
/// A file cannot be read. A test that fails is no error but an outcome.
pub fn run(command: &TestCommand, printer: Printer) -> Result<Outcome> {
    match command {
        TestCommand::Promql(args) => promql::run(args, printer),
        TestCommand::Rules(args) => rules::run(args, printer),
    }
}

/// Prometheus' names of the features of its language.
///
/// # Errors
///
/// A name is unknown.
pub fn features(names: &[String]) -> Result<Features> {
    let mut features = Features::DEFAULT;
    for name in names {
        match name.as_str() {
            "promql-experimental-functions" => features.experimental_functions = true,
            "promql-duration-expr" => features.duration_expressions = true,
            "promql-extended-range-selectors" => features.extended_range_selectors = true,
            "promql-binop-fill-modifiers" => features.fill_modifiers = true,
            "promql-delayed-name-removal" => features.delayed_name_removal = true,
            other => anyhow::bail!("not a feature of PromQL: `{other}`"),
        }
    }
    Ok(features)
}
