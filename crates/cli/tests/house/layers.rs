//! The layer table of ARCHITECTURE.md against what the manifests say.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;

use serde_json::Value;

use super::{check, root};

/// Libraries that may be named only by these crates of ours.
const FIREWALLS: [(&str, &[&str]); 10] = [
    ("candle-core", &["asr"]),
    ("candle-nn", &["asr"]),
    ("symphonia", &["asr"]),
    ("axum", &["adapter", "asr", "local", "metrics-api", "web"]),
    ("anyhow", &["bench", "cli", "e2e"]),
    ("clap", &["bench", "cli"]),
    ("kube", &["kubernetes", "e2e"]),
    ("k8s-openapi", &["kubernetes", "e2e"]),
    ("tsdb", &["cli", "e2e", "fuzz"]),
    ("memmap2", &["tsdb", "asr"]),
];

/// Crates of ours that never know an async runtime.
const SYNCHRONOUS: [&str; 7] = ["datamodel", "hpa", "plot", "promql", "storage", "tsdb", "yaml"];

#[test]
fn crates_use_only_what_the_layer_table_allows() {
    let table = table();
    let manifests = manifests();
    let mut complaints = Vec::new();
    for name in manifests.keys().filter(|name| !table.contains_key(*name)) {
        complaints.push(format!("crate `{name}` is missing in the layer table of ARCHITECTURE.md"));
    }
    for name in table.keys().filter(|name| !manifests.contains_key(*name)) {
        complaints.push(format!("the layer table of ARCHITECTURE.md names `{name}`, which does not exist"));
    }
    for (name, uses) in &manifests {
        let Some(allowed) = table.get(name) else { continue };
        for used in uses.iter().filter(|used| manifests.contains_key(*used)) {
            if !allowed.contains(used) && !allowed.contains("all") {
                complaints.push(format!("crate `{name}` uses `{used}`, which the layer table does not allow"));
            }
        }
        for allowed in allowed.iter().filter(|allowed| *allowed != "all" && !uses.contains(*allowed)) {
            complaints.push(format!("the layer table allows `{name}` to use `{allowed}`, which it does not"));
        }
    }
    check(&complaints);
}

#[test]
fn libraries_stay_behind_their_firewalls() {
    let mut complaints = Vec::new();
    for (name, uses) in manifests() {
        for (library, allowed) in FIREWALLS {
            if uses.contains(library) && !allowed.contains(&name.as_str()) {
                complaints.push(format!("crate `{name}` names `{library}`; only {allowed:?} may"));
            }
        }
        if SYNCHRONOUS.contains(&name.as_str()) && uses.contains("tokio") {
            complaints.push(format!("crate `{name}` names `tokio`, but is synchronous by rule"));
        }
    }
    check(&complaints);
}

/// Crate → crates it may use, from the rows of the section "Layers".
fn table() -> BTreeMap<String, BTreeSet<String>> {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let section = text.split("\n## ").find(|section| section.starts_with("Layers")).unwrap();
    let mut table = BTreeMap::new();
    for row in section.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<_> = row.trim_matches('|').split('|').map(str::trim).collect();
        let uses = cells[2].split(',').map(|name| name.trim().trim_matches('`').to_owned());
        let uses = uses.filter(|name| !name.is_empty() && name != "nothing of ours").collect();
        table.insert(cells[0].trim_matches('`').to_owned(), uses);
    }
    assert!(table.len() > 2, "the section `Layers` of ARCHITECTURE.md has no table");
    table
}

/// Crate → all its normal and build dependencies, by package name.
fn manifests() -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(root())
        .output()
        .unwrap();
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut manifests = BTreeMap::new();
    for package in metadata["packages"].as_array().unwrap() {
        let dependencies = package["dependencies"].as_array().unwrap().iter();
        let uses = dependencies
            .filter(|dependency| dependency["kind"] != "dev")
            .map(|dependency| dependency["name"].as_str().unwrap().to_owned())
            .collect();
        manifests.insert(package["name"].as_str().unwrap().to_owned(), uses);
    }
    manifests
}
