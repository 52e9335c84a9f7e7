//! Paths with `*` and `?` in their last part.
//!
//! Rule: the directory is fixed; a pattern that cannot be served is refused when it is configured.

use std::io;
use std::path::{Path, PathBuf};

/// The most entries of a directory that are looked at.
const MAX_ENTRIES: usize = 10_000;

/// Why a pattern is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// The name ends with none of the known suffixes.
    #[error("path name must end with `.json`, `.yml` or `.yaml`: `{0}`")]
    Suffix(String),
    /// A star or a question mark in a directory.
    #[error("`*` and `?` are only allowed in the last part of a path: `{0}`")]
    Directory(String),
    /// Character ranges are not supported.
    #[error("`[` is not supported in a path: `{0}`")]
    Range(String),
}

/// A path, or a pattern in the last part of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilePattern {
    directory: PathBuf,
    name: String,
}

impl FilePattern {
    /// A pattern of files with target groups, in YAML or JSON.
    pub(crate) fn new(pattern: &str) -> Result<Self, PatternError> {
        let known = [".json", ".yml", ".yaml", ".JSON", ".YML", ".YAML"];
        if !known.iter().any(|suffix| pattern.ends_with(suffix)) {
            return Err(PatternError::Suffix(pattern.to_owned()));
        }
        Self::any(pattern)
    }

    /// A pattern of files of any kind.
    ///
    /// # Errors
    ///
    /// It has a star or a question mark in a directory, or a character range.
    pub fn any(pattern: &str) -> Result<Self, PatternError> {
        if pattern.contains('[') {
            return Err(PatternError::Range(pattern.to_owned()));
        }
        let (directory, name) = match pattern.rsplit_once('/') {
            Some(("", name)) => ("/", name),
            Some((directory, name)) => (directory, name),
            None => (".", pattern),
        };
        if directory.contains(['*', '?']) {
            return Err(PatternError::Directory(pattern.to_owned()));
        }
        Ok(Self { directory: PathBuf::from(directory), name: name.to_owned() })
    }

    /// The files that match now, in order of their names. A directory that does not exist has none.
    ///
    /// # Errors
    ///
    /// The directory cannot be read.
    pub fn files(&self) -> io::Result<Vec<PathBuf>> {
        if !self.name.contains(['*', '?']) {
            let path = self.path(&self.name);
            return Ok(if path.is_file() { vec![path] } else { Vec::new() });
        }
        let entries = match std::fs::read_dir(&self.directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut files = Vec::new();
        for entry in entries.take(MAX_ENTRIES) {
            let name = entry?.file_name();
            if let Some(name) = name.to_str().filter(|name| matches(&self.name, name)) {
                let path = self.path(name);
                if path.is_file() {
                    files.push(path);
                }
            }
        }
        files.sort();
        Ok(files)
    }

    /// A path as the user would write it: without the `./` of the present directory.
    fn path(&self, name: &str) -> PathBuf {
        if self.directory == Path::new(".") { PathBuf::from(name) } else { self.directory.join(name) }
    }
}

/// Whether a name matches; time is linear in pattern and name for each star.
fn matches(pattern: &str, name: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let name: Vec<char> = name.chars().collect();
    // Where to go on when the last star takes one character more.
    let mut retry: Option<(usize, usize)> = None;
    let (mut p, mut n) = (0, 0);
    loop {
        match (pattern.get(p), name.get(n)) {
            (Some('*'), _) => {
                retry = Some((p + 1, n + 1));
                p += 1;
            }
            (None, None) => return true,
            (Some(wanted), Some(found)) if *wanted == '?' || wanted == found => {
                p += 1;
                n += 1;
            }
            _ => match retry {
                Some((star, next)) if next <= name.len() => {
                    (p, n) = (star, next);
                    retry = Some((star, next + 1));
                }
                _ => return false,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_and_question_marks_match() {
        for (pattern, name, expected) in [
            ("*.yml", "a.yml", true),
            ("*.yml", ".yml", true),
            ("*.yml", "a.yml.bak", false),
            ("a*b*.yml", "axxbyy.yml", true),
            ("a*b*.yml", "axx.yml", false),
            ("?.yml", "é.yml", true),
            ("?.yml", ".yml", false),
            ("a.yml", "a.yml", true),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn other_paths_are_refused() {
        let refuse = |pattern: &str| FilePattern::new(pattern).unwrap_err().to_string();
        assert_eq!(refuse("a.txt"), "path name must end with `.json`, `.yml` or `.yaml`: `a.txt`");
        assert_eq!(refuse("*/a.yml"), "`*` and `?` are only allowed in the last part of a path: `*/a.yml`");
        assert_eq!(refuse("[ab].yml"), "`[` is not supported in a path: `[ab].yml`");
    }
}
