//! Documents that link to each other and to the sources.

use super::{check, files, root};

#[test]
fn links_between_documents_lead_somewhere() {
    let mut complaints = Vec::new();
    for (path, text) in files("md") {
        let folder = root().join(&path).parent().unwrap().to_owned();
        for (number, line) in text.lines().enumerate() {
            for target in links(line) {
                let file = target.split('#').next().unwrap_or_default();
                if !file.is_empty() && !file.contains("://") && !folder.join(file).exists() {
                    complaints.push(format!("{path}:{}: `{target}` leads nowhere", number + 1));
                }
            }
        }
    }
    check(&complaints);
}

/// The targets of `](…)` in a line.
fn links(line: &str) -> Vec<&str> {
    line.split("](").skip(1).filter_map(|rest| rest.split(')').next()).collect()
}

#[test]
fn readme_names_every_command_of_the_makefile() {
    let makefile = std::fs::read_to_string(root().join("Makefile")).unwrap();
    let contributing = std::fs::read_to_string(root().join("CONTRIBUTING.md")).unwrap();
    let tiers = ["check", "test", "soak", "bench", "fresh"];
    let complaints = tiers
        .iter()
        .filter(|tier| !makefile.contains(&format!("\n{tier}:")) || !contributing.contains(&format!("make {tier}")));
    check(
        &complaints
            .map(|tier| format!("`make {tier}` is missing in the Makefile or in CONTRIBUTING.md"))
            .collect::<Vec<_>>(),
    );
}
