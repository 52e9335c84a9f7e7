//! `--against URL`: do two servers answer alike? The check before one takes over from the other.
//!
//! - [`Comparison`]: one question to both. [`differences`]: what is different, value by value.
//!
//! Rule: pure. Both are asked at the same instant, but were scraped at different ones, so numbers may differ within a
//! tolerance; what one has and the other has not is always a difference.

use std::collections::BTreeMap;

use super::finding::{Asked, Finding, Question, listed};

/// Values by series or object, or the reason why there are none.
pub(super) type Values = Result<BTreeMap<String, f64>, String>;

/// Differences of one question that are told one by one.
const MAX_TOLD: usize = 20;

/// One question to both.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Comparison {
    pub(super) asked: String,
    pub(super) here: Asked<Values>,
    pub(super) there: Asked<Values>,
}

/// Whether two numbers are the same, up to a part of the larger one.
fn is_close(here: f64, there: f64, tolerance: f64) -> bool {
    let equal = here.total_cmp(&there).is_eq() || (here.is_nan() && there.is_nan());
    let are_finite = here.is_finite() && there.is_finite();
    equal || (are_finite && (here - there).abs() <= tolerance * here.abs().max(there.abs()))
}

/// What is different in the answers; one finding where nothing is.
pub(super) fn differences(comparison: &Comparison, tolerance: f64) -> Vec<Finding> {
    let question = Question::new("same answer", &comparison.asked);
    let (here, there) = match (question.answer(&comparison.here), question.answer(&comparison.there)) {
        (Ok(here), Ok(there)) => (here, there),
        (Err(finding), _) | (_, Err(finding)) => return vec![finding],
    };
    let remedy = "the rule or job behind it: a selector, a label or an interval is different";
    let (here, there) = match (here, there) {
        (Ok(here), Ok(there)) => (here, there),
        (Err(_), Err(_)) => return vec![question.ok("neither has a value")],
        (Ok(here), Err(reason)) => {
            return vec![question.wrong(format!("{} here, none there: {reason}", count(here.len())), remedy)];
        }
        (Err(reason), Ok(there)) => {
            return vec![question.wrong(format!("{} there, none here: {reason}", count(there.len())), remedy)];
        }
    };
    let mut findings = Vec::new();
    for (place, has, lacks) in [("here", here, there), ("there", there, here)] {
        let only: Vec<&String> = has.keys().filter(|key| !lacks.contains_key(*key)).collect();
        if !only.is_empty() {
            findings.push(question.wrong(format!("only {place}: {}", listed(&only)), remedy));
        }
    }
    let both = here.iter().filter_map(|(key, here)| there.get(key).map(|there| (key, *here, *there)));
    let different: Vec<(&String, f64, f64)> =
        both.filter(|(_, here, there)| !is_close(*here, *there, tolerance)).collect();
    for (key, here, there) in different.iter().take(MAX_TOLD) {
        findings.push(question.wrong(
            format!("{key}: {here} here, {there} there"),
            "at rest both must say the same; a number that moves quickly needs a larger `--tolerance`",
        ));
    }
    if different.len() > MAX_TOLD {
        findings.push(question.wrong(format!("{} more values are different", different.len() - MAX_TOLD), remedy));
    }
    if findings.is_empty() {
        findings.push(question.ok(format!("{}, alike", count(here.len()))));
    }
    findings
}

fn count(number: usize) -> String {
    if number == 1 { "1 value".to_owned() } else { format!("{number} values") }
}

/// Whether both list the same names: what autoscalers read must be in both.
pub(super) fn same_names(asked: &str, here: &[String], there: &[String]) -> Vec<Finding> {
    let question = Question::new("same names", asked);
    let only = |has: &[String], lacks: &[String]| -> Vec<String> {
        has.iter().filter(|name| !lacks.contains(name)).cloned().collect()
    };
    let (only_here, only_there) = (only(here, there), only(there, here));
    let mut findings = Vec::new();
    for (place, names) in [("here", only_here), ("there", only_there)] {
        if !names.is_empty() {
            findings.push(question.wrong(
                format!("{} only {place}: {}", names.len(), listed(&names)),
                "the mapping rules are different, or one of them has just begun and has not listed its series yet",
            ));
        }
    }
    if findings.is_empty() {
        findings.push(question.ok(format!("{} names, the same", here.len())));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::super::finding::Verdict;
    use super::*;

    fn values(pairs: &[(&str, f64)]) -> Asked<Values> {
        Asked::Answer(Ok(pairs.iter().map(|(key, value)| ((*key).to_owned(), *value)).collect()))
    }

    #[track_caller]
    fn check(here: Asked<Values>, there: Asked<Values>, expected: &[(Verdict, &str)]) {
        let found = differences(&Comparison { asked: "x".to_owned(), here, there }, 0.05);
        let found: Vec<(Verdict, &str)> = found.iter().map(|one| (one.verdict, one.found.as_str())).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn each_difference_is_told_and_what_is_close_is_alike() {
        use Verdict::{NotChecked, Ok as Fine, Unknown, Wrong};
        check(values(&[("a", 100.0)]), values(&[("a", 104.0)]), &[(Fine, "1 value, alike")]);
        check(values(&[("a", 100.0)]), values(&[("a", 107.0)]), &[(Wrong, "a: 100 here, 107 there")]);
        check(values(&[("a", f64::NAN)]), values(&[("a", f64::NAN)]), &[(Fine, "1 value, alike")]);
        check(values(&[("a", f64::INFINITY)]), values(&[("a", f64::INFINITY)]), &[(Fine, "1 value, alike")]);
        check(values(&[("a", f64::INFINITY)]), values(&[("a", 1.0)]), &[(Wrong, "a: inf here, 1 there")]);
        check(values(&[("a", 0.0)]), values(&[("a", 0.0)]), &[(Fine, "1 value, alike")]);
        check(values(&[("a", 0.0)]), values(&[("a", 0.1)]), &[(Wrong, "a: 0 here, 0.1 there")]);
        check(
            values(&[("a", 1.0), ("b", 1.0)]),
            values(&[("b", 1.0), ("c", 1.0)]),
            &[(Wrong, "only here: a"), (Wrong, "only there: c")],
        );
        let none = || Asked::Answer(Err("no rule".to_owned()));
        check(none(), none(), &[(Fine, "neither has a value")]);
        check(values(&[("a", 1.0)]), none(), &[(Wrong, "1 value here, none there: no rule")]);
        check(none(), values(&[]), &[(Wrong, "0 values there, none here: no rule")]);
        check(Asked::failed("away", "x"), none(), &[(Unknown, "away")]);
        check(none(), Asked::not_here("404"), &[(NotChecked, "404")]);
        let many: Vec<String> = (0..25).map(|number| number.to_string()).collect();
        let of = |value: f64| Asked::Answer(Ok(many.iter().map(|key| (key.clone(), value)).collect()));
        let found = differences(&Comparison { asked: "x".to_owned(), here: of(1.0), there: of(2.0) }, 0.05);
        assert_eq!((found.len(), found[20].found.as_str()), (21, "5 more values are different"));
    }

    #[test]
    fn names_of_one_side_are_told() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let found = same_names("x", &names(&["a", "b"]), &names(&["b", "c"]));
        let found: Vec<&str> = found.iter().map(|finding| finding.found.as_str()).collect();
        assert_eq!(found, ["1 only here: a", "1 only there: c"]);
        assert_eq!(same_names("x", &names(&["a"]), &names(&["a"]))[0].verdict, Verdict::Ok);
    }
}
