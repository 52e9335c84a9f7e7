//! The pages of `docs/reference/` that are generated from the code: commands with their flags, keys of the configuration.
//!
//! Rule: `UPDATE=1 cargo test -p cli --lib reference` writes them; without it they must be what would be written.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::{Arg, Command, CommandFactory};

use crate::Cli;
use crate::commands::server::other_flags;
use crate::config::known_keys;

fn page(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference").join(name)
}

/// Compares a page with what it should be, or writes it.
#[track_caller]
fn check(name: &str, expected: &str) {
    let path = page(name);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, expected).unwrap();
        return;
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    let first = found.lines().zip(expected.lines()).find(|(found, expected)| found != expected);
    assert!(found == expected, "docs/reference/{name} is not what the code says; UPDATE=1 writes it: {first:?}");
}

/// A cell of a table.
fn cell(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}

/// What holds for all commands is told once.
fn is_global(argument: &Arg) -> bool {
    matches!(argument.get_id().as_str(), "help" | "version" | "color" | "log_level" | "log_format")
}

fn argument(argument: &Arg) -> String {
    let mut names = Vec::new();
    names.extend(argument.get_short().map(|short| format!("-{short}")));
    names.extend(argument.get_long().map(|long| format!("--{long}")));
    let takes_value = argument.get_action().takes_values();
    let value = argument.get_value_names().map(|names| names.join(" ")).unwrap_or_default();
    let shown = if argument.is_positional() {
        format!("<{value}>")
    } else if takes_value {
        format!("{} <{value}>", names.join(", "))
    } else {
        names.join(", ")
    };
    let defaults: Vec<_> = argument.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
    let default = if takes_value && !defaults.is_empty() { format!("`{}`", defaults.join(",")) } else { String::new() };
    let help = argument.get_long_help().or(argument.get_help()).map(ToString::to_string).unwrap_or_default();
    let possible: Vec<_> =
        argument.get_possible_values().iter().map(|value| format!("`{}`", value.get_name())).collect();
    let possible =
        if takes_value && !possible.is_empty() { format!("; one of {}", possible.join(", ")) } else { String::new() };
    format!("| `{}` | {} | {}{possible} |\n", cell(&shown), cell(&default), cell(&help))
}

fn section(command: &Command, into: &mut String) {
    let name = command.get_bin_name().unwrap_or_else(|| command.get_name());
    if command.has_subcommands() {
        for child in command.get_subcommands().filter(|child| child.get_name() != "help") {
            section(child, into);
        }
        return;
    }
    let about = command.get_long_about().or(command.get_about()).map(ToString::to_string).unwrap_or_default();
    let usage = command.clone().render_usage().to_string();
    writeln!(into, "## `{name}`\n\n{}\n\n```text\n{usage}\n```\n", about.trim()).unwrap();
    let arguments: Vec<&Arg> =
        command.get_arguments().filter(|argument| !argument.is_hide_set() && !is_global(argument)).collect();
    if !arguments.is_empty() {
        into.push_str("| argument | default | meaning |\n|---|---|---|\n");
        arguments.iter().for_each(|found| into.push_str(&argument(found)));
        into.push('\n');
    }
    if let Some(help) = command.get_after_long_help().or(command.get_after_help()) {
        writeln!(into, "```text\n{}\n```\n", help.to_string().trim()).unwrap();
    }
}

#[test]
fn reference_of_commands_is_what_the_binary_says() {
    let mut root = Cli::command().term_width(0);
    root.build();
    let mut text = "# Commands\n\nEvery command with its flags, generated from the code.\n\
                    Exit codes: 0 fine, 1 the thing that was checked is not fine, 2 usage or runtime error, 3 findings.\n\n\
                    | of all commands | default | meaning |\n|---|---|---|\n"
        .to_owned();
    let global = root.get_arguments().filter(|argument| is_global(argument));
    global.for_each(|found| text.push_str(&argument(found)));
    text.push('\n');
    for command in root.get_subcommands().filter(|command| command.get_name() != "help") {
        section(command, &mut text);
    }
    text.push_str("## Flags of Prometheus that `crescendo server` takes without effect, or refuses\n\n| flag | here |\n|---|---|\n");
    let [flags, features] = other_flags::tables();
    for (name, fate) in flags {
        writeln!(text, "| `--{name}` | {} |", cell(&fate)).unwrap();
    }
    text.push_str(
        "\n## Features of `--enable-feature`, beside those of the query language\n\n| feature | here |\n|---|---|\n",
    );
    for (name, fate) in features {
        writeln!(text, "| `{name}` | {} |", cell(&fate)).unwrap();
    }
    check("commands.md", &text);
}

/// Every key that is served, with a value; the test holds it complete.
const EXAMPLE: &str = include_str!("../../../../../docs/reference/prometheus.example.yml");

/// The keys of a document, without the places in lists and without keys that are free.
fn keys_in(node: &yaml::Node, path: &str, into: &mut BTreeSet<String>) {
    for entry in node.as_mapping().into_iter().flatten() {
        let below = format!("{path}.{}", entry.key.text).trim_start_matches('.').to_owned();
        keys_in(&entry.value, &below, into);
        into.insert(below);
    }
    for item in node.as_sequence().into_iter().flatten() {
        keys_in(item, path, into);
    }
}

/// Without the places in lists.
fn general(path: &str) -> String {
    let mut text = String::new();
    let mut is_inside = false;
    for c in path.chars() {
        match c {
            '[' => is_inside = true,
            ']' => is_inside = false,
            c if !is_inside => text.push(c),
            _ => {}
        }
    }
    text
}

#[test]
fn reference_of_the_configuration_is_what_is_read() {
    let (keys, wrong) = known_keys(EXAMPLE);
    assert!(wrong.is_none(), "docs/reference/prometheus.example.yml: {wrong:?}");
    let document = yaml::parse("example", EXAMPLE).unwrap();
    let mut given = BTreeSet::new();
    keys_in(document.root(), "", &mut given);
    let (mut served, mut refused) = (BTreeSet::new(), BTreeSet::new());
    for yaml::KnownKey { path, key, refused: reason } in keys {
        let full = general(&format!("{path}.{key}")).trim_start_matches('.').to_owned();
        let _is_new = match reason {
            Some(reason) => refused.insert((full, reason)),
            None => served.insert(full),
        };
    }
    // Keys that several sections share are shown in one of them.
    let last = |path: &str| path.rsplit('.').next().unwrap_or_default().to_owned();
    let shown: BTreeSet<String> = given.iter().map(|path| last(path)).collect();
    let missing: Vec<&String> = served.iter().filter(|key| !shown.contains(&last(key))).collect();
    assert!(missing.is_empty(), "not in docs/reference/prometheus.example.yml: {missing:?}");

    let mut text = "# Configuration\n\nThe configuration file of `crescendo server`: Prometheus' format, generated from the code.\n\
                    [prometheus.example.yml](prometheus.example.yml) shows every key with a value, those of a shared section (requests, TLS, relabelling) once; a test holds it complete.\n\
                    An unknown key is an error with its line, and all errors are told at once; `crescendo check config` tells them without a server.\n\n\
                    ## Keys that are served\n\n"
        .to_owned();
    for key in &served {
        writeln!(text, "- `{key}`").unwrap();
    }
    text.push_str("\n## Keys that are refused by name\n\n| key | why |\n|---|---|\n");
    for (key, reason) in &refused {
        writeln!(text, "| `{key}` | {} |", cell(reason)).unwrap();
    }
    check("configuration.md", &text);
}
