//! What is valid and yet breaks scaling or alerting.
//!
//! - [`Check`]: what is looked for. [`Finding`]: what was found, where, and what helps.
//! - [`lint_rules`] with [`RuleLint`]: rule files as a whole.
//! - [`lint_targets`]: addresses that are written into a scrape configuration.
//! - [`Reader`]: who else reads recorded series: dashboards, mapping rules, manifests.
//! - [`Exposed`]: which series there are.
//! - `expression`: what a query says; `group`: what rules say to one another.
//!
//! Rule: a finding is a guess about intent, never an error; it names the place and the remedy.

mod exposed;
mod expression;
mod group;
mod reader;
mod target;

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

pub use exposed::Exposed;
pub use group::rule_lines;
pub use reader::Reader;
pub use target::{ConfiguredTarget, lint_targets};

use crate::rule::{Rule, RuleGroup};

/// What is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Check {
    /// Two rules record or alert under one name and labels.
    DuplicateRules,
    /// A rate over a window that may hold fewer than two samples when a scrape is missed.
    ShortRateWindow,
    /// A quantile over buckets that count since the start of the process.
    QuantileWithoutRate,
    /// A quantile over buckets whose bounds were aggregated away.
    QuantileWithoutLe,
    /// A recorded series that nothing reads.
    UnreadRecordingRule,
    /// A metric that no target exposes.
    UnexposedMetric,
    /// An alert on failures per second, which grow with the load.
    AbsoluteRateAlert,
    /// The size of a device or limit as a number.
    HardCodedSize,
    /// One static target for several load-balanced servers.
    ServiceTarget,
    /// An autoscaler that follows a number that only grows.
    RawCounter,
    /// An autoscaler that follows the number of its own replicas.
    OwnReplicas,
}

impl Check {
    /// All checks.
    pub const ALL: [Self; 11] = [
        Self::DuplicateRules,
        Self::ShortRateWindow,
        Self::QuantileWithoutRate,
        Self::QuantileWithoutLe,
        Self::UnreadRecordingRule,
        Self::UnexposedMetric,
        Self::AbsoluteRateAlert,
        Self::HardCodedSize,
        Self::ServiceTarget,
        Self::RawCounter,
        Self::OwnReplicas,
    ];

    /// The name on the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::DuplicateRules => "duplicate-rules",
            Self::ShortRateWindow => "short-rate-window",
            Self::QuantileWithoutRate => "quantile-without-rate",
            Self::QuantileWithoutLe => "quantile-without-le",
            Self::UnreadRecordingRule => "unread-recording-rule",
            Self::UnexposedMetric => "unexposed-metric",
            Self::AbsoluteRateAlert => "absolute-rate-alert",
            Self::HardCodedSize => "hard-coded-size",
            Self::ServiceTarget => "service-target",
            Self::RawCounter => "raw-counter",
            Self::OwnReplicas => "own-replicas",
        }
    }

    /// What helps.
    #[must_use]
    pub const fn remedy(self) -> &'static str {
        match self {
            Self::DuplicateRules => "give one of them another name or another label",
            Self::ShortRateWindow => "make the window at least four scrape intervals long",
            Self::QuantileWithoutRate => {
                "take the quantile of a rate: `histogram_quantile(0.95, sum by (le) (rate(x_bucket[5m])))`"
            }
            Self::QuantileWithoutLe => "keep the bounds: aggregate `by (le)`",
            Self::UnreadRecordingRule => "remove the rule, or name its readers with `--read-by`",
            Self::UnexposedMetric => "correct the name, or give the page that has it with `--exposed-by`",
            Self::AbsoluteRateAlert => "alert on the share: `sum(rate(failed[5m])) / sum(rate(total[5m])) > 0.05`",
            Self::HardCodedSize => "divide by a metric that tells the size, such as `asr_gpu_memory_total_bytes`",
            Self::ServiceTarget => {
                "discover the servers behind it: `kubernetes_sd_configs`, `dns_sd_configs` on a headless Service, or a ServiceMonitor"
            }
            Self::RawCounter => "scale on its rate, or on a gauge of the present load such as `asr_active_requests`",
            Self::OwnReplicas => "scale on a metric of the load, which more replicas make smaller",
        }
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Something that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What was looked for.
    pub check: Check,
    /// The file.
    pub file: Arc<str>,
    /// Its line, from 1, where it is known.
    pub line: Option<usize>,
    /// What it concerns: "group `a`, alert `b`".
    pub subject: String,
    /// What is wrong.
    pub message: String,
}

impl Finding {
    /// Whether it concerns a rule of a group.
    #[must_use]
    pub fn is_about(&self, group: &RuleGroup, rule: &Rule) -> bool {
        self.file == group.file && self.subject == subject(group, rule)
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        let Self { check, subject, message, .. } = self;
        write!(f, ": {subject}: {message} [{check}]\n    remedy: {}", check.remedy())
    }
}

/// What the rules are looked at with.
#[derive(Clone, Debug)]
pub struct RuleLint<'a> {
    /// Time between two samples of what the rules read.
    pub scrape_interval: Duration,
    /// Who else reads recorded series.
    pub readers: &'a [Reader],
    /// The series that there are, where they are known.
    pub exposed: Option<&'a Exposed>,
}

/// Looks at the rules of all files together. Findings come in the order of the rules.
#[must_use]
pub fn lint_rules(groups: &[RuleGroup], options: &RuleLint<'_>) -> Vec<Finding> {
    let mut findings = group::duplicates(groups);
    for group in groups {
        for rule in &group.rules {
            let mut found = |check, message| findings.push(finding(check, group, rule, message));
            expression::lint(&rule.query().expr, options.scrape_interval, &mut found);
            if let Rule::Alerting(rule) = rule {
                expression::lint_alert(&rule.query.expr, &mut found);
            }
        }
    }
    findings.extend(group::unread(groups, options.readers));
    findings.extend(options.exposed.into_iter().flat_map(|exposed| exposed::unexposed(groups, exposed)));
    findings
}

/// A finding about a rule.
fn finding(check: Check, group: &RuleGroup, rule: &Rule, message: String) -> Finding {
    Finding { check, file: Arc::clone(&group.file), line: None, subject: subject(group, rule), message }
}

fn subject(group: &RuleGroup, rule: &Rule) -> String {
    let kind = match rule {
        Rule::Recording(_) => "rule",
        Rule::Alerting(_) => "alert",
    };
    format!("group `{}`, {kind} `{}`", group.name, rule.name())
}
