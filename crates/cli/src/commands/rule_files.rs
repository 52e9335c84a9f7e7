//! Rule files on disk: a file to its groups, or to all that is wrong with it.
//!
//! Rule: a file that is too large for the parser is not read.

use std::io;
use std::path::Path;

use anyhow::{Context, Result};
use promql::Features;
use rules::{RuleGroup, parse_rule_file};

/// The largest rule file; the parser refuses longer texts anyway.
const MAX_BYTES: u64 = 16 << 20;

/// A file that was read.
#[derive(Debug)]
pub struct RuleFile {
    /// Its path as it was given.
    pub path: String,
    /// Its text.
    pub text: String,
    /// Its groups.
    pub groups: Vec<RuleGroup>,
}

/// Reads one file.
///
/// # Errors
///
/// It cannot be read, or something in it is wrong.
pub fn load(path: &Path, features: &Features) -> Result<RuleFile> {
    let name = path.display().to_string();
    let text = read(path).with_context(|| format!("open {name}"))?;
    let groups = parse_rule_file(&name, &text, features)?;
    Ok(RuleFile { path: name, text, groups })
}

fn read(path: &Path) -> io::Result<String> {
    let length = std::fs::metadata(path)?.len();
    if length > MAX_BYTES {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("{length} bytes; at most {MAX_BYTES} are read"),
        ));
    }
    std::fs::read_to_string(path)
}
