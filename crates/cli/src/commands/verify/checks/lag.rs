//! How late an autoscaler knows, from the intervals in force.
//!
//! ```text
//! a request waits ─▶ scrape ─▶ rules that write the metric ─▶ sync period ─▶ decision
//!                    0 where targets are scraped when the autoscaler asks ┘
//! ```
//!
//! Rule: a part that nobody tells is not guessed: it is said that it is not known.

use std::collections::BTreeSet;
use std::time::Duration;

use datamodel::time::{format_duration, parse_duration};

use super::super::facts::{Autoscaler, Facts, Rule, RuleGroup};
use super::super::finding::{Finding, Lag, Question};
use super::rules::{all, seconds};
use super::targets::interval;

/// Rules behind a metric that are looked at; people write chains of two or three.
const MAX_RULES: usize = 32;

/// The budget of each metric of each autoscaler that comes from the engine.
pub(in super::super) fn lags(facts: &Facts) -> Vec<Lag> {
    let autoscalers = facts.autoscalers.known().map(Vec::as_slice).unwrap_or_default();
    autoscalers.iter().flat_map(|autoscaler| of_autoscaler(facts, autoscaler)).collect()
}

fn of_autoscaler(facts: &Facts, autoscaler: &Autoscaler) -> Vec<Lag> {
    let Some(workers) = interval(facts) else { return Vec::new() };
    let read = autoscaler.metrics.iter().filter(|(kind, _)| matches!(kind.as_str(), "Pods" | "Object" | "External"));
    let of_metric = |(kind, name): &(String, String)| {
        // What is no metric of pods may come from any job.
        let scrape = if kind == "External" { slowest(facts).unwrap_or(workers) } else { workers };
        let is_pulled = facts.is_pulled && kind == "Pods";
        Lag {
            autoscaler: autoscaler.key(),
            metric: format!("{kind} {name}"),
            scrape: if is_pulled { Duration::ZERO } else { scrape },
            rules: if is_pulled { Duration::ZERO } else { rule_delay(facts, name, &mut BTreeSet::new()) },
            sync: facts.sync_period,
            hold: metrics_api::Ages::for_interval(scrape).hold(),
            is_pulled,
        }
    };
    read.map(of_metric).collect()
}

fn slowest(facts: &Facts) -> Option<Duration> {
    let targets = facts.prometheus.targets.known()?;
    targets.active_targets.iter().filter_map(|target| parse_duration(&target.scrape_interval).ok()).max()
}

/// What the rules behind a name add at worst: the interval of its group, and of the groups that it reads from.
/// `seen` ends circles, which a server evaluates one interval late each.
fn rule_delay(facts: &Facts, name: &str, seen: &mut BTreeSet<String>) -> Duration {
    let mut delay = Duration::ZERO;
    if seen.len() < MAX_RULES && seen.insert(name.to_owned()) {
        for (group, rule) in all(facts).filter(|(_, rule)| rule.kind == "recording" && rule.name == name) {
            delay = delay.max(seconds(group.interval).saturating_add(behind(facts, group, rule, seen)));
        }
    }
    delay
}

/// What the series that a rule reads add. Within a group, a rule reads what those before it just wrote.
fn behind(facts: &Facts, group: &RuleGroup, rule: &Rule, seen: &mut BTreeSet<String>) -> Duration {
    let Ok(query) = promql::parse(&rule.query) else { return Duration::ZERO };
    let mut delay = Duration::ZERO;
    for selector in query.selectors() {
        let own = group.rules.iter().find(|other| *other.name == *selector.name && other.kind == "recording");
        delay = delay.max(match own {
            Some(own) if seen.len() < MAX_RULES && seen.insert(own.name.clone()) => behind(facts, group, own, seen),
            Some(_) => Duration::ZERO,
            None => rule_delay(facts, &selector.name, seen),
        });
    }
    delay
}

/// The budget, as findings.
pub(super) fn budget(facts: &Facts) -> Vec<Finding> {
    let Some(autoscalers) = facts.autoscalers.known().filter(|autoscalers| !autoscalers.is_empty()) else {
        return Vec::new();
    };
    let asked = "scrape interval + rule interval + sync period: from a waiting request to a decision";
    if interval(facts).is_none() {
        let question = Question::new("lag budget", asked);
        return vec![question.not_checked("the scrape interval is not known: see targets")];
    }
    let mut findings: Vec<Finding> = lags(facts).iter().map(|lag| finding(lag, asked)).collect();
    for autoscaler in autoscalers {
        let others = autoscaler.metrics.iter().filter(|(kind, _)| kind.ends_with("Resource"));
        findings.extend(others.map(|(kind, name)| {
            Question::new("lag budget", asked)
                .not_checked(format!("{} {kind} {name}: metrics-server does not tell its interval", autoscaler.key()))
        }));
    }
    findings
}

fn finding(lag: &Lag, asked: &str) -> Finding {
    let question = Question::new("lag budget", asked);
    let shown = |duration: Duration| format_duration(duration);
    let scrape = if lag.is_pulled { "0s (scraped when asked)".to_owned() } else { shown(lag.scrape) };
    let worst = lag.worst();
    let found = format!(
        "{}, {}: {scrape} + {} + {} = {} at worst, {} on average; a worker that does not answer is held for {}",
        lag.autoscaler,
        lag.metric,
        shown(lag.rules),
        shown(lag.sync),
        shown(worst),
        shown(worst / 2),
        shown(lag.hold),
    );
    // The slowest tier of the setup document with its rules and a decision.
    if worst > Duration::from_mins(2) {
        return question.warning(
            found,
            "a shorter `scrapeInterval` of the workers, a shorter `interval` of the rule group, or the raw metric in the HPA",
        );
    }
    question.ok(found)
}
