//! The section `global`.
//!
//! Rule: what is about scraping is read by `scrape`; its keys stand in the same mapping.

use std::time::Duration;

use datamodel::{Labels, METRIC_NAME};
use scrape::{ScrapeDefaults, scrape_defaults};
use yaml::decoders::{duration, map, string};
use yaml::{Fields, Node, Report};

/// Upstream's default.
const EVALUATION_INTERVAL: Duration = Duration::from_secs(60);

/// What holds for all jobs and rules.
#[derive(Clone, Debug, PartialEq)]
pub struct Global {
    /// What holds for all jobs.
    pub scrape: ScrapeDefaults,
    /// Time between evaluations of groups that set none.
    pub evaluation_interval: Duration,
    /// How far in the past groups that set none are evaluated.
    pub rule_query_offset: Duration,
    /// Labels of this server, for those who hear of it.
    pub external_labels: Labels,
}

impl Default for Global {
    fn default() -> Self {
        Self {
            scrape: ScrapeDefaults::default(),
            evaluation_interval: EVALUATION_INTERVAL,
            rule_query_offset: Duration::ZERO,
            external_labels: Labels::empty(),
        }
    }
}

/// Reads the section. `variable` gives the variables of the environment that stand in external labels.
pub(super) fn global(node: &Node, report: &mut Report, variable: &dyn Fn(&str) -> Option<String>) -> Option<Global> {
    yaml::mapping(node, report, |fields| {
        let scrape = scrape_defaults(fields);
        let evaluation_interval = fields.optional("evaluation_interval", duration).filter(|time| !time.is_zero());
        let rule_query_offset = fields.or("rule_query_offset", duration, Duration::ZERO);
        let external_labels = external_labels(fields, variable);
        fields.unsupported("query_log_file", "queries are not logged; `/metrics` counts and times them");
        Some(Global {
            scrape,
            evaluation_interval: evaluation_interval.unwrap_or(EVALUATION_INTERVAL),
            rule_query_offset,
            external_labels,
        })
    })
}

fn external_labels(fields: &mut Fields<'_, '_>, variable: &dyn Fn(&str) -> Option<String>) -> Labels {
    let labels = fields.optional("external_labels", map(string)).unwrap_or_default();
    for (name, _) in &labels {
        if name.is_empty() || name == METRIC_NAME {
            fields.error("external_labels", format!("not a valid label name: `{name}`"));
        }
    }
    Labels::from_pairs(labels.into_iter().map(|(name, value)| (name, expanded(&value, variable))))
}

/// The text with `$NAME` and `${NAME}` replaced by variables of the environment, `$$` by `$`; a variable that
/// is not set counts as empty, as upstream.
fn expanded(text: &str, variable: &dyn Fn(&str) -> Option<String>) -> String {
    let mut into = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        into.push_str(before);
        let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if let Some(after) = after.strip_prefix('$') {
            into.push('$');
            rest = after;
        } else if let Some((name, after)) = after.strip_prefix('{').and_then(|inner| inner.split_once('}')) {
            into.push_str(&variable(name).unwrap_or_default());
            rest = after;
        } else {
            let end = after.find(|c| !is_plain(c)).unwrap_or(after.len());
            let (name, after) = after.split_at(end);
            // A dollar before nothing that could be a name is a dollar.
            into.push_str(&if name.is_empty() { "$".to_owned() } else { variable(name).unwrap_or_default() });
            rest = after;
        }
    }
    into.push_str(rest);
    into
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_of_the_environment_stand_in_external_labels() {
        let variable = |name: &str| (name == "ZONE").then(|| "eu-1".to_owned());
        let check = |text: &str, expected: &str| assert_eq!(expanded(text, &variable), expected, "{text}");
        check("${ZONE}", "eu-1");
        check("a-$ZONE-b", "a-eu-1-b");
        check("$OTHER!", "!");
        check("$$ZONE", "$ZONE");
        check("5$", "5$");
        check("a ${ZONE", "a $ZONE".replace("$ZONE", "${ZONE").as_str());
    }
}
