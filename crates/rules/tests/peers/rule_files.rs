//! What promtool accepts and refuses as a rule file, and we with it.

use promql::Features;
use rules::parse_rule_file;

use super::{peer, run, sections};

const FILES: &str = include_str!("../../testdata/rule_files.txt");

#[test]
fn promtool_and_we_agree_on_every_file() {
    let promtool = peer("promtool");
    let folder = tempfile::tempdir().unwrap();
    let (mut good, mut bad, mut differing) = (0, 0, 0);
    let mut complaints = Vec::new();
    for (title, text) in sections(FILES) {
        let (kind, title) = title.split_once(": ").unwrap();
        let is_good = match kind {
            "good" | "good since" => true,
            "bad" | "bad since" => false,
            other => panic!("neither good nor bad: {other}"),
        };
        *(if is_good { &mut good } else { &mut bad }) += 1;
        let ours = parse_rule_file("rules.yml", text, &Features::DEFAULT);
        if ours.is_ok() != is_good {
            complaints.push(format!("{title}: we say {:?}", ours.map(|groups| groups.len())));
        }
        if let Some(promtool) = &promtool {
            std::fs::write(folder.path().join("rules.yml"), text).unwrap();
            let output = run(promtool, folder.path(), &["check", "rules", "--lint=none", "rules.yml"]);
            let theirs = output.status.success();
            // `since`: Prometheus changed its mind after Debian's 2.42; the title says when and how.
            let expected = is_good != kind.ends_with("since");
            differing += usize::from(kind.ends_with("since"));
            if theirs != expected {
                complaints.push(format!("{title}: promtool says {}", String::from_utf8_lossy(&output.stderr)));
            }
        }
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
    println!("{good} good and {bad} bad rule files; {differing} of them judged otherwise by Debian's promtool");
    assert!(good >= 40 && bad >= 40 && differing * 10 <= good + bad, "{good} good, {bad} bad, {differing} differing");
}
