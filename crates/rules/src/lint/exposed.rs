//! Which series there are, by the pages of targets or by a server that keeps their samples.
//!
//! - [`Exposed`]: their names.
//!
//! Rule: what the server makes itself is always there: `up`, `scrape_*`, `ALERTS`, and what the rules record.

use std::collections::BTreeSet;

use datamodel::exposition::{Entry, Format, ParseError, Parser};
use datamodel::{METRIC_NAME, MatchOp, MetricType};
use promql::VectorSelector;

use super::group::selects;
use super::{Check, Finding, finding};
use crate::rule::{Rule, RuleGroup};

/// Series that a server writes beside those of the pages.
const OWN_SERIES: [&str; 10] = [
    "ALERTS",
    "ALERTS_FOR_STATE",
    "scrape_body_size_bytes",
    "scrape_duration_seconds",
    "scrape_sample_limit",
    "scrape_samples_post_metric_relabeling",
    "scrape_samples_scraped",
    "scrape_series_added",
    "scrape_timeout_seconds",
    "up",
];

/// The names of the series that there are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exposed(BTreeSet<String>);

impl Exposed {
    /// Takes the names of a page in one of the text formats, or of an answer to
    /// `/api/v1/label/__name__/values`.
    ///
    /// # Errors
    ///
    /// The text is no page.
    pub fn read(&mut self, text: &str) -> Result<(), ParseError> {
        if let Some(names) = label_values(text) {
            self.0.extend(names);
            return Ok(());
        }
        let mut parser = Parser::new(text.as_bytes(), Format::of_page(text.as_bytes()));
        while let Some(entry) = parser.next()? {
            match entry {
                // A target may give it as a native histogram to those who can read one.
                Entry::Type { name, metric_type: MetricType::Histogram | MetricType::GaugeHistogram } => {
                    self.0.insert(name.into_owned());
                }
                Entry::Sample(line) => {
                    self.0.insert(line.name().into_owned());
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// The names in an answer of the API; `None` if the text is none.
fn label_values(text: &str) -> Option<Vec<String>> {
    let answer: serde_json::Value = serde_json::from_str(text).ok()?;
    let names = answer.get("data")?.as_array()?;
    names.iter().map(|name| name.as_str().map(str::to_owned)).collect()
}

/// Selectors of rules that no series fits.
pub(super) fn unexposed(groups: &[RuleGroup], exposed: &Exposed) -> Vec<Finding> {
    let recorded = groups.iter().flat_map(|group| &group.rules).filter_map(|rule| match rule {
        Rule::Recording(rule) => Some(rule.record.as_str()),
        Rule::Alerting(_) => None,
    });
    let known: BTreeSet<&str> = exposed.0.iter().map(String::as_str).chain(recorded).chain(OWN_SERIES).collect();
    let mut findings = Vec::new();
    for group in groups {
        for rule in &group.rules {
            let missing: BTreeSet<String> =
                rule.query().expr.selectors().filter_map(|selector| missing(selector, &known)).collect();
            findings.extend(missing.into_iter().map(|message| finding(Check::UnexposedMetric, group, rule, message)));
        }
    }
    findings
}

/// What to say of a selector whose name no series has; nothing of one that asks for no name.
fn missing(selector: &VectorSelector, known: &BTreeSet<&str>) -> Option<String> {
    let mut tests = selector.matchers.iter().filter(|matcher| matcher.name() == METRIC_NAME);
    let test = tests.next()?;
    if known.iter().any(|name| selects(selector, name)) {
        return None;
    }
    if test.op() != MatchOp::Equal {
        return Some(format!("no target exposes a metric with `{test}`"));
    }
    let name = test.value();
    let hint = yaml::nearest(name, known.iter().copied()).map(|near| format!(" (did you mean `{near}`?)"));
    Some(format!("no target exposes `{name}`{}", hint.unwrap_or_default()))
}
