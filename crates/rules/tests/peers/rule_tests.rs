//! Unit tests of rules: what promtool passes and fails, and its words.

use std::path::Path;

use promql::Features;
use rules::parse_rule_file;
use rules::unit_test::parse_unit_tests;

use super::{peer, run, sections};

const TESTS: &str = include_str!("../../testdata/rule_tests.txt");

/// What we print of a test, or of why it cannot be run.
fn ours(rules: &str, tests: &str) -> Result<String, String> {
    let groups = parse_rule_file("rules.yml", rules, &Features::DEFAULT).map_err(|errors| errors.to_string())?;
    let tests = parse_unit_tests("tests.yml", tests).map_err(|errors| errors.to_string())?;
    let failures = tests.tests.iter().flat_map(|test| tests.run(test, &groups, Features::DEFAULT));
    Ok(failures.map(|failure| format!("{failure}\n")).collect())
}

#[test]
fn promtool_and_we_agree_on_every_test() {
    let promtool = peer("promtool");
    let folder = tempfile::tempdir().unwrap();
    let mut counts = [0; 3];
    let mut complaints = Vec::new();
    for (title, text) in sections(TESTS) {
        let (kind, title) = title.split_once(": ").unwrap();
        let (rules, tests) = text.split_once("\n---\n").unwrap();
        let tests = format!("rule_files: [rules.yml]\n{tests}");
        let ours = ours(rules, &tests);
        let place = match (kind, &ours) {
            ("pass", Ok(text)) if text.is_empty() => 0,
            // `fails`: with other words, which hold the engine's own.
            ("fail" | "fails", Ok(text)) if !text.is_empty() => 1,
            ("error", Err(_)) => 2,
            _ => {
                complaints.push(format!("{title}: not {kind}: {ours:?}"));
                continue;
            }
        };
        counts[place] += 1;
        if let Some(promtool) = &promtool {
            let theirs = theirs(promtool, folder.path(), rules, &in_order(rules, &tests));
            let ours = ours.unwrap_or_default();
            match (kind, theirs) {
                ("pass", None) => {}
                ("fail", Some(text)) if text == ours => {}
                ("error" | "fails", Some(_)) => {}
                (_, theirs) => {
                    complaints.push(format!("{title}: promtool:\n{}\nwe:\n{ours}", theirs.unwrap_or_default()));
                }
            }
        }
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
    let [pass, fail, error] = counts;
    println!("{pass} unit tests pass, {fail} fail, {error} cannot be run");
    assert!(pass >= 40 && fail + error >= 40, "{counts:?}");
}

/// The tests with the order of the groups said. Where it is not, promtool takes them in the order of a Go map, another
/// one in each run (prometheus/prometheus#5241), and an alert may come before the series that it reads; we take the
/// order of the file.
fn in_order(rules: &str, tests: &str) -> String {
    let names: Vec<&str> = rules.lines().filter_map(|line| line.strip_prefix("- name: ")).collect();
    if names.len() < 2 || tests.contains("group_eval_order") {
        return tests.to_owned();
    }
    format!("group_eval_order: [{}]\n{tests}", names.join(", "))
}

/// What promtool prints of failures; nothing if it passes.
fn theirs(promtool: &Path, folder: &Path, rules: &str, tests: &str) -> Option<String> {
    std::fs::write(folder.join("rules.yml"), rules).unwrap();
    std::fs::write(folder.join("tests.yml"), tests).unwrap();
    let output = run(promtool, folder, &["test", "rules", "tests.yml"]);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    (!output.status.success()).then(|| text.strip_prefix("  FAILED:\n").unwrap_or(&text).to_owned())
}
