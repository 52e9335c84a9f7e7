//! Unit tests of rules, in the files of `promtool test rules`.
//!
//! - [`parse_unit_tests`]: a file, strict, into [`UnitTests`].
//! - [`UnitTests::run`]: one [`UnitTest`] with the groups of its rule files to what is wrong with it.
//! - [`Failure`]: prints as promtool does, or as a difference.
//! - `text`: how alerts, samples and histograms are printed.
//!
//! ```text
//! input_series ─▶ storage ─┬▶ groups, every evaluation_interval ─▶ alerts ─▶ exp_alerts
//!                          └▶ promql_expr_test ─────────────────▶ samples ─▶ exp_samples
//! ```
//!
//! Rule: no clock and no files: the same tests and rules give the same failures.

mod file;
mod run;
mod text;

#[cfg(test)]
mod tests;

use std::fmt;
use std::time::Duration;

use datamodel::time::format_duration;
use datamodel::{Labels, Timestamp};

pub use file::parse_unit_tests;
pub use text::ExpectedSample;

/// Evaluations of the groups of one test: a week of them every second.
pub const MAX_EVALUATIONS: u64 = 604_800;

/// Samples of one test, gaps counted.
pub const MAX_INPUT_SAMPLES: usize = 5_000_000;

/// A file of unit tests.
#[derive(Clone, Debug, PartialEq)]
pub struct UnitTests {
    /// Files and patterns, as they were given; relative ones to the folder of the file.
    pub rule_files: Vec<String>,
    /// Time between two evaluations of all groups.
    pub evaluation_interval: Duration,
    /// Names of groups that are evaluated in this order, behind those that are not named.
    pub group_eval_order: Vec<String>,
    /// Whether neighbouring floats are equal.
    pub fuzzy_compare: bool,
    /// The tests.
    pub tests: Vec<UnitTest>,
}

/// Input and what must come of it.
#[derive(Clone, Debug, PartialEq)]
pub struct UnitTest {
    /// Its name; may be empty.
    pub name: String,
    /// Time between two samples of the input.
    pub interval: Duration,
    /// When the input begins.
    pub start: Timestamp,
    /// Series and values, in the notation of the documentation.
    pub input_series: Vec<(String, String)>,
    /// What must fire.
    pub alert_tests: Vec<AlertTest>,
    /// What expressions must give.
    pub expression_tests: Vec<ExpressionTest>,
    /// `$externalLabels`.
    pub external_labels: Labels,
    /// `$externalURL`.
    pub external_url: String,
}

/// What of an alert must fire at a time.
#[derive(Clone, Debug, PartialEq)]
pub struct AlertTest {
    /// Since the start.
    pub eval_time: Duration,
    /// The name of the alert.
    pub alertname: String,
    /// All that fires.
    pub expected: Vec<FiringAlert>,
}

/// Labels and annotations of an alert that fires.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FiringAlert {
    /// Its labels, `alertname` among them.
    pub labels: Labels,
    /// Its annotations.
    pub annotations: Labels,
}

/// What an expression must give at a time.
#[derive(Clone, Debug, PartialEq)]
pub struct ExpressionTest {
    /// The expression.
    pub expr: String,
    /// Since the start.
    pub eval_time: Duration,
    /// All samples: labels, value, histogram (empty if it is none).
    pub expected: Vec<RawSample>,
}

/// An expected sample as it was written.
#[derive(Clone, Debug, PartialEq)]
pub struct RawSample {
    /// `metric{label="value"}`.
    pub labels: String,
    /// The value; without meaning where there is a histogram.
    pub value: f64,
    /// `{{…}}`, or empty.
    pub histogram: String,
}

/// What is wrong with a test, or with what it tests.
#[derive(Clone, Debug, PartialEq)]
pub enum Failure {
    /// The test cannot be run.
    Input(String),
    /// A rule failed; the test ends there.
    Rule {
        /// Its name.
        rule: String,
        /// Since 1970, as upstream says it.
        time: Duration,
        /// Why.
        error: String,
    },
    /// Other alerts fire than expected.
    Alerts {
        /// The name of the test; may be empty.
        test: String,
        /// The name of the alert.
        alertname: String,
        /// When.
        time: Duration,
        /// What should fire.
        expected: Vec<FiringAlert>,
        /// What fires.
        found: Vec<FiringAlert>,
    },
    /// An expression cannot be evaluated, or its expectation not be read.
    Expression {
        /// The expression.
        expr: String,
        /// When.
        time: Duration,
        /// Why.
        error: String,
    },
    /// An expression gives other samples than expected.
    Samples {
        /// The expression.
        expr: String,
        /// When.
        time: Duration,
        /// What it should give.
        expected: Vec<ExpectedSample>,
        /// What it gives.
        found: Vec<ExpectedSample>,
    },
}

impl Failure {
    /// The kind as a word, for machines.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Input(_) => "input",
            Self::Rule { .. } => "rule",
            Self::Alerts { .. } => "alerts",
            Self::Expression { .. } => "expression",
            Self::Samples { .. } => "samples",
        }
    }

    /// The failure with only what differs: `-` is missing, `+` was not expected.
    #[must_use]
    pub fn difference(&self) -> String {
        match self {
            Self::Alerts { test, alertname, time, expected, found } => {
                let head = format!("{}    alertname: {alertname}, time: {}, ", test_line(test), format_duration(*time));
                let lines = |alerts: &[FiringAlert]| alerts.iter().map(ToString::to_string).collect::<Vec<_>>();
                text::difference(&head, &lines(expected), &lines(found))
            }
            Self::Samples { expr, time, expected, found } => {
                let head = format!("    expr: {}, time: {},", text::quoted(expr), format_duration(*time));
                let lines = |samples: &[ExpectedSample]| samples.iter().map(ToString::to_string).collect::<Vec<_>>();
                text::difference(&head, &lines(expected), &lines(found))
            }
            other => other.to_string(),
        }
    }
}

fn test_line(name: &str) -> String {
    if name.is_empty() { String::new() } else { format!("    name: {name},\n") }
}

impl fmt::Display for FiringAlert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Labels:{} Annotations:{}", text::braces(&self.labels), text::braces(&self.annotations))
    }
}

impl fmt::Display for Failure {
    /// As promtool prints it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Input(message) => f.write_str(message),
            Self::Rule { rule, time, error } => {
                write!(f, "    rule: {rule}, time: {}, err: {error}", text::go_duration(*time))
            }
            Self::Alerts { test, alertname, time, expected, found } => {
                let (test, time) = (test_line(test), format_duration(*time));
                let (expected, found) = (text::alerts(expected), text::alerts(found));
                write!(
                    f,
                    "{test}    alertname: {alertname}, time: {time}, \n        exp:{expected}, \n        got:{found}"
                )
            }
            Self::Expression { expr, time, error } => {
                write!(f, "    expr: {}, time: {}, err: {error}", text::quoted(expr), format_duration(*time))
            }
            Self::Samples { expr, time, expected, found } => {
                let (expr, time) = (text::quoted(expr), format_duration(*time));
                let (expected, found) = (text::samples(expected), text::samples(found));
                write!(f, "    expr: {expr}, time: {time},\n        exp: {expected}\n        got: {found}")
            }
        }
    }
}
