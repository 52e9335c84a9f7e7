//! The house rules, as tests: who may use whom, how files look, that documents tell the truth.
//!
//! - `layers`: `cargo metadata` against the table in ARCHITECTURE.md, and the firewalls below it.
//! - `tidy`: every file has its head, its size and its place in a module tree; no traces, no sleeps.
//! - `chart`: flags that the chart renders, metrics that dashboards show.
//! - `documents`: links between the documents lead somewhere.
//!
//! Rule: a rule that no test holds is an opinion; write it here or delete it.
#![expect(clippy::unwrap_used, reason = "a test may fail by panic")]

mod chart;
mod documents;
mod layers;
mod tidy;

use std::fs;
use std::path::{Path, PathBuf};

/// The repository's root folder.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// All files below the folders of sources and documents, with paths from the root.
fn files(extension: &str) -> Vec<(String, String)> {
    let root = root();
    let mut found = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() {
                if !name.starts_with('.') && name != "target" && name != "node_modules" {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|found| found == extension) {
                let relative = path.strip_prefix(&root).unwrap().to_string_lossy().into_owned();
                found.push((relative, fs::read_to_string(&path).unwrap()));
            }
        }
    }
    found.sort();
    assert!(extension != "rs" || !found.is_empty(), "no sources below the root");
    found
}

/// Fails with all complaints at once.
#[track_caller]
fn check(complaints: &[String]) {
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}
