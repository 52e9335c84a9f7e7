//! What `check config` accepts and refuses, next to Debian's promtool.
//!
//! Rule: both read the same file in the same folder, and only the verdict counts: the words are ours.

use std::path::Path;
use std::process::{Command, Output};

use e2e::peer;

const CASES: &str = include_str!("configs.txt");
const RULES: &str = "groups: [{name: g, rules: [{record: 'a:b', expr: sum(a)}]}]\n";
const TARGETS: &str = "- targets: ['h:1']\n  labels: {zone: a}\n";
const BAD_TARGETS: &str = "- targets: 'h:1'\n  label: {zone: a}\n";
const BAD_RULES: &str = "groups: [{name: g, rules: [{record: 'a:b', expr: sum(a}]}]\n";

#[test]
fn what_promtool_takes_is_taken_and_what_it_refuses_is_refused() {
    let Some(promtool) = peer::find("promtool").unwrap() else {
        println!("not run: no promtool in PATH; `make tools` gets it");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let files = [
        ("rules.yml", RULES),
        ("bad-rules.yml", BAD_RULES),
        ("targets.yml", TARGETS),
        ("bad-targets.yml", BAD_TARGETS),
    ];
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    let check = |program: &Path| -> Output {
        let words = ["check", "config", "prometheus.yml"];
        Command::new(program).args(words).current_dir(folder.path()).output().unwrap()
    };
    let binary = e2e::process::binary().unwrap();
    let (mut good, mut bad, mut different) = (0, 0, Vec::new());
    for section in CASES.split("\n=== ").skip(1) {
        let (title, text) = section.split_once('\n').unwrap_or((section, ""));
        std::fs::write(folder.path().join("prometheus.yml"), format!("{text}\n")).unwrap();
        let expected = if title.starts_with("good: ") { 0 } else { 1 };
        *(if expected == 0 { &mut good } else { &mut bad }) += 1;
        for program in [&promtool, &binary] {
            let output = check(program);
            if output.status.code() != Some(expected) {
                let said =
                    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
                different.push(format!("{title}: {} ended with {:?}: {said}", program.display(), output.status.code()));
            }
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
    assert!(good >= 40 && bad >= 40, "{good} good, {bad} bad");
    println!("{good} good and {bad} bad configurations: promtool agrees");
}
