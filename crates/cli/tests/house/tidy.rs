//! How files look: a head, a bounded size, a place in the module tree, no traces of a machine.

use std::collections::BTreeSet;

use super::{check, files};

/// Lines of a source file without its tests (style: p90 at 600, never above this).
const MAX_LINES: usize = 800;

/// Path beginnings that only one machine knows. Split, so that this file does not contain them.
const TRACES: [&str; 5] = [
    concat!("/wo", "rk/"),
    concat!("/ro", "ot/"),
    concat!("/fa", "rm/"),
    concat!("/tm", "p/wt"),
    concat!("bash_", "jobs"),
];

fn sources() -> Vec<(String, String)> {
    files("rs").into_iter().filter(|(path, _)| !path.starts_with("fuzz/target")).collect()
}

fn is_test_module(path: &str) -> bool {
    path.ends_with("tests.rs") || path.contains("/tests/")
}

#[test]
fn every_module_opens_with_what_it_is() {
    let heads = sources().into_iter().filter(|(path, text)| !is_test_module(path) && !text.starts_with("//! "));
    check(&heads.map(|(path, _)| format!("{path}: line 1 must say in `//!` what the file is for")).collect::<Vec<_>>());
}

#[test]
fn no_source_file_is_longer_than_the_limit() {
    let mut complaints = Vec::new();
    for (path, text) in sources().iter().filter(|(path, _)| !is_test_module(path)) {
        let lines = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default().lines().count();
        if lines > MAX_LINES {
            complaints.push(format!("{path}: {lines} lines without tests, at most {MAX_LINES}"));
        }
    }
    check(&complaints);
}

#[test]
fn every_source_file_is_in_a_module_tree() {
    let sources = sources();
    let declared: BTreeSet<String> = sources
        .iter()
        .flat_map(|(path, text)| {
            let words = text.lines().map(str::trim).filter(|line| line.ends_with(';'));
            let modules = words.filter_map(|line| line.trim_end_matches(';').split_once("mod ").map(|(_, name)| name));
            modules.map(|name| format!("{}/{name}", module_folder(path))).collect::<Vec<_>>()
        })
        .collect();
    let roots = ["lib.rs", "main.rs", "build.rs"];
    let is_root = |path: &str| {
        roots.iter().any(|root| path.ends_with(&format!("/{root}")))
            || ["/benches/", "/bin/", "/examples/", "/fuzz_targets/"].iter().any(|folder| path.contains(folder))
            || path.split_once("/tests/").is_some_and(|(_, rest)| !rest.contains('/') && !path.contains("/src/"))
    };
    let orphans = sources.iter().filter(|(path, _)| {
        let module = path.trim_end_matches(".rs").trim_end_matches("/mod").to_owned();
        !is_root(path) && !declared.contains(&module)
    });
    check(&orphans.map(|(path, _)| format!("{path}: no `mod` line leads here")).collect::<Vec<_>>());
}

/// Where the modules lie that a file declares, without the ending.
fn module_folder(path: &str) -> String {
    let (folder, file) = path.rsplit_once('/').unwrap_or(("", path));
    match file {
        "lib.rs" | "main.rs" | "mod.rs" => folder.to_owned(),
        file => format!("{folder}/{}", file.trim_end_matches(".rs")),
    }
}

#[test]
fn no_file_carries_traces_of_a_machine() {
    let mut complaints = Vec::new();
    for extension in ["rs", "md", "toml", "sh", "yaml", "yml"] {
        for (path, text) in files(extension) {
            for (number, line) in text.lines().enumerate() {
                if TRACES.iter().any(|trace| line.contains(trace)) {
                    complaints.push(format!("{path}:{}: names a path of one machine", number + 1));
                }
            }
        }
    }
    check(&complaints);
}

#[test]
fn tests_do_not_sleep_on_the_real_clock() {
    let mut complaints = Vec::new();
    for (path, text) in sources().iter().filter(|(path, _)| is_test_module(path) && !path.starts_with("e2e/")) {
        for (number, line) in text.lines().enumerate() {
            if line.contains(concat!("thread::", "sleep")) {
                complaints.push(format!("{path}:{}: sleeps; wait for an event or move a clock", number + 1));
            }
        }
    }
    check(&complaints);
}
