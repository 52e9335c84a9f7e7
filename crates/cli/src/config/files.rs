//! Paths and patterns of files that belong to a configuration.
//!
//! Rule: relative paths lead from the folder of the file that names them.

use std::io;
use std::path::{Path, PathBuf};

use discovery::FilePattern;
use yaml::decoders::{list, string};
use yaml::{Fields, Node, Report};

/// The patterns of a configuration, as absolute as its own path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Patterns {
    /// `rule_files`.
    pub rule_files: Vec<String>,
    /// `scrape_config_files`.
    pub scrape_files: Vec<String>,
}

/// Reads a list of patterns.
pub(super) fn patterns(fields: &mut Fields<'_, '_>, key: &'static str, folder: &Path) -> Vec<String> {
    let pattern = |node: &Node, report: &mut Report| {
        let text = string(node, report)?;
        let joined = if folder == Path::new(".") { text } else { folder.join(text).to_string_lossy().into_owned() };
        match FilePattern::any(&joined) {
            Ok(_pattern) => Some(joined),
            Err(error) => {
                report.error(node, error.to_string());
                None
            }
        }
    };
    fields.optional(key, list(pattern)).unwrap_or_default()
}

/// Whether a path holds a star or a question mark.
pub(super) fn is_pattern(path: &str) -> bool {
    path.contains(['*', '?'])
}

/// The files that match now, in the order of their names.
pub(super) fn matching(pattern: &str) -> io::Result<Vec<PathBuf>> {
    FilePattern::any(pattern).map_err(io::Error::other)?.files()
}
