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

/// The files that match now, in the order of their names; none if it is a path and no file is there.
pub(super) fn matching(pattern: &str) -> io::Result<Option<Vec<PathBuf>>> {
    let pattern = FilePattern::any(pattern).map_err(io::Error::other)?;
    let files = pattern.files()?;
    Ok(if pattern.is_path() && files.is_empty() { None } else { Some(files) })
}
