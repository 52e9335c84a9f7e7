//! Our rules next to Debian's Prometheus, promtool and Alertmanager.
//!
//! - `alertmanager`: notifications of ours and of Prometheus, to one real Alertmanager.
//! - `rule_files`: what promtool accepts and refuses.
//! - `rule_tests`: unit tests of rules, and the words in which they fail.
//! - `templates`: what templates expand to.
//!
//! Rule: without the programs (`make tools`) nothing is compared, which is said in one line and fails in CI.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test may fail by panic, and says what it compared"
)]

mod alertmanager;
mod rule_files;
mod rule_tests;
mod templates;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A program of Debian's, if it is there.
fn peer(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file());
    if found.is_none() {
        assert!(std::env::var_os("CI").is_none(), "no {name} in PATH; `make tools` gets it");
        println!("no {name} in PATH (`make tools` gets it): not compared with it");
    }
    found
}

fn run(program: &Path, folder: &Path, args: &[&str]) -> Output {
    Command::new(program).args(args).current_dir(folder).output().unwrap()
}

/// The sections of a file: `=== title`, and what follows until the next one.
fn sections(text: &str) -> Vec<(&str, &str)> {
    text.split("\n=== ").skip(1).map(|section| section.split_once('\n').unwrap()).collect()
}
