//! The runner of `.test` scripts: load samples, evaluate, compare.
//!
//! ```text
//! load 5m
//!   metric{pod="a"} 0+10x10
//! eval instant at 50m sum(metric)
//!   {} 100
//! ```
//!
//! - [`run_script`]: a whole script to a [`ScriptReport`].
//! - `script`: lines to commands; `sequence`: series descriptions; `execute`: commands on an engine;
//!   `storage`: what was loaded; `compare`: answers against expectations; `at_modifier`: the same expression pinned with `@`.
//!
//! Source: the language of Prometheus' `promqltest`.
//!
//! Rule: a line that is not understood ends the script with an error; a case that is not supported fails
//! and says what is missing. Nothing is skipped.

mod at_modifier;
mod compare;
mod execute;
mod script;
mod sequence;
mod storage;
#[cfg(test)]
mod tests;

use crate::engine::{Engine, EngineOptions};
use crate::features::Features;

pub use sequence::{SequenceValue, parse_series};
pub use storage::stored_histogram;

/// What a script's run found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScriptReport {
    /// Cases (`eval` commands).
    pub total: usize,
    /// Those that failed, in order.
    pub failures: Vec<CaseFailure>,
}

impl ScriptReport {
    /// Number of cases that passed.
    #[must_use]
    pub const fn passed(&self) -> usize {
        self.total - self.failures.len()
    }
}

/// A case that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaseFailure {
    /// Line of the `eval`, from 1.
    pub line: usize,
    /// The expression.
    pub expr: String,
    /// What was different.
    pub message: String,
}

/// A script that cannot be run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct ScriptError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub message: String,
}

/// The engine that scripts expect: every feature of the language, the name removed at the end.
#[must_use]
pub fn script_engine() -> Engine {
    let features = Features {
        experimental_functions: true,
        duration_expressions: true,
        extended_range_selectors: true,
        fill_modifiers: true,
        delayed_name_removal: true,
        type_and_unit_labels: false,
        start_timestamps: true,
    };
    Engine::new(EngineOptions { features, ..EngineOptions::default() })
}

/// Runs a script on the engine of [`script_engine`].
///
/// # Errors
///
/// A line is not understood, or samples cannot be loaded.
pub fn run_script(text: &str) -> Result<ScriptReport, ScriptError> {
    let commands = script::parse(text)?;
    execute::run(&script_engine(), &commands)
}
