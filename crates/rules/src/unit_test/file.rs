//! Files of unit tests, as promtool reads them.
//!
//! Rule: a file is good as a whole or reported as a whole, every error with line and key.

use std::collections::BTreeSet;
use std::time::Duration;

use datamodel::rfc3339::parse_rfc3339;
use datamodel::{Labels, Timestamp};
use yaml::decoders::{boolean, duration, float, list, map, string};
use yaml::{Node, Report};

use super::{AlertTest, ExpressionTest, FiringAlert, RawSample, UnitTest, UnitTests};
use crate::alert::ALERT_NAME;

/// Time between evaluations where a file sets none.
const DEFAULT_INTERVAL: Duration = Duration::from_secs(60);

/// Reads a file of unit tests.
///
/// # Errors
///
/// Everything that is wrong with the file: syntax, unknown keys, values of another type.
pub fn parse_unit_tests(file: &str, text: &str) -> Result<UnitTests, yaml::Errors> {
    yaml::decode(file, text, |node, report| {
        yaml::mapping(node, report, |fields| {
            let rule_files = fields.optional("rule_files", list(string));
            let interval = fields.optional("evaluation_interval", duration).filter(|interval| !interval.is_zero());
            let evaluation_interval = interval.unwrap_or(DEFAULT_INTERVAL);
            let order = fields.optional("group_eval_order", list(string)).unwrap_or_default();
            let mut seen = BTreeSet::new();
            for name in &order {
                if !seen.insert(name) {
                    fields.error("group_eval_order", format!("group name repeated in evaluation order: {name}"));
                }
            }
            let fuzzy_compare = fields.or("fuzzy_compare", boolean, false);
            let test = |node: &Node, report: &mut Report| test(node, report, evaluation_interval);
            let tests = fields.optional("tests", list(test));
            Some(UnitTests {
                rule_files: rule_files.unwrap_or_default(),
                evaluation_interval,
                group_eval_order: order,
                fuzzy_compare,
                tests: tests.unwrap_or_default(),
            })
        })
    })
}

fn test(node: &Node, report: &mut Report, evaluation_interval: Duration) -> Option<UnitTest> {
    yaml::mapping(node, report, |fields| {
        let name = fields.optional("name", string);
        let interval = fields.optional("interval", duration).filter(|interval| !interval.is_zero());
        let start = fields.optional("start_timestamp", timestamp);
        let input_series = fields.optional("input_series", list(series));
        let alert_tests = fields.optional("alert_rule_test", list(alert_test));
        let expression_tests = fields.optional("promql_expr_test", list(expression_test));
        let external_labels = fields.optional("external_labels", map(string));
        let external_url = fields.optional("external_url", string);
        Some(UnitTest {
            name: name.unwrap_or_default(),
            interval: interval.unwrap_or(evaluation_interval),
            start: start.unwrap_or(Timestamp::from_unix_ms(0)),
            input_series: input_series.unwrap_or_default(),
            alert_tests: alert_tests.unwrap_or_default(),
            expression_tests: expression_tests.unwrap_or_default(),
            external_labels: Labels::from_pairs(external_labels.unwrap_or_default()),
            external_url: external_url.unwrap_or_default(),
        })
    })
}

/// RFC 3339, or Unix seconds.
fn timestamp(node: &Node, report: &mut Report) -> Option<Timestamp> {
    let text = string(node, report)?;
    // Exact to the millisecond, and within the years that both notations can say.
    let seconds = text.parse::<f64>().ok().filter(|seconds| seconds.abs() < 253_402_300_800.0);
    let found = seconds
        .map(|seconds| Timestamp::from_unix_ms((seconds * 1000.0).round() as i64))
        .or_else(|| parse_rfc3339(&text));
    if found.is_none() {
        report.error(node, format!("neither RFC 3339 nor Unix seconds: `{text}`"));
    }
    found
}

fn series(node: &Node, report: &mut Report) -> Option<(String, String)> {
    yaml::mapping(node, report, |fields| {
        let series = fields.required("series", string);
        let values = fields.optional("values", string);
        Some((series?, values.unwrap_or_default()))
    })
}

fn alert_test(node: &Node, report: &mut Report) -> Option<AlertTest> {
    yaml::mapping(node, report, |fields| {
        let eval_time = fields.optional("eval_time", duration);
        let alertname = fields.required("alertname", string);
        if alertname.as_deref() == Some("") {
            fields.error("alertname", "must not be empty");
        }
        let name = alertname.clone().unwrap_or_default();
        let expected =
            fields.optional("exp_alerts", list(|node: &Node, report: &mut Report| firing(node, report, &name)));
        let eval_time = eval_time.unwrap_or_default();
        Some(AlertTest { eval_time, alertname: alertname?, expected: expected.unwrap_or_default() })
    })
}

fn firing(node: &Node, report: &mut Report, alertname: &str) -> Option<FiringAlert> {
    yaml::mapping(node, report, |fields| {
        let mut labels = fields.optional("exp_labels", map(string)).unwrap_or_default();
        let annotations = fields.optional("exp_annotations", map(string)).unwrap_or_default();
        labels.retain(|(name, _)| name != ALERT_NAME);
        labels.push((ALERT_NAME.to_owned(), alertname.to_owned()));
        Some(FiringAlert { labels: Labels::from_pairs(labels), annotations: Labels::from_pairs(annotations) })
    })
}

fn expression_test(node: &Node, report: &mut Report) -> Option<ExpressionTest> {
    yaml::mapping(node, report, |fields| {
        let expr = fields.required("expr", string);
        let eval_time = fields.optional("eval_time", duration);
        let expected = fields.optional("exp_samples", list(sample));
        Some(ExpressionTest {
            expr: expr?,
            eval_time: eval_time.unwrap_or_default(),
            expected: expected.unwrap_or_default(),
        })
    })
}

fn sample(node: &Node, report: &mut Report) -> Option<RawSample> {
    yaml::mapping(node, report, |fields| {
        let labels = fields.optional("labels", string);
        let value = fields.or("value", float, 0.0);
        let histogram = fields.optional("histogram", string);
        Some(RawSample { labels: labels.unwrap_or_default(), value, histogram: histogram.unwrap_or_default() })
    })
}
