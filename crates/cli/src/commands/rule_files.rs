//! Rule files on disk: patterns to paths, paths to groups.
//!
//! - [`expand`]: `*`, `?` and `[…]` in any part of a path, as Go's `filepath.Glob`.
//! - [`load()`]: a file to its groups, or to all that is wrong with it.
//!
//! Rule: what matches is sorted, so that the order of groups does not depend on the file system.

use std::io;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result};
use promql::Features;
use rules::{RuleGroup, parse_rule_file};

/// The most files that one pattern may name.
const MAX_FILES: usize = 10_000;

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

/// The paths that a pattern names. One without `*`, `?` and `[` is itself if it exists.
///
/// # Errors
///
/// A bracket is not closed, a directory cannot be read, or more than 10,000 files match.
pub fn expand(pattern: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = vec![PathBuf::new()];
    for part in pattern.components() {
        let Component::Normal(name) = part else {
            found.iter_mut().for_each(|path| path.push(part));
            continue;
        };
        let Some(name) = name.to_str().filter(|name| name.contains(['*', '?', '[', '\\'])) else {
            found.iter_mut().for_each(|path| path.push(name));
            found.retain(|path| path.exists());
            continue;
        };
        let glob = Glob::new(name)?;
        let mut next = Vec::new();
        for path in &found {
            let folder = if path.as_os_str().is_empty() { Path::new(".") } else { path.as_path() };
            // As in Go, what is no readable directory holds nothing.
            let Ok(entries) = std::fs::read_dir(folder) else { continue };
            for entry in entries {
                let entry = entry?.file_name();
                if entry.to_str().is_some_and(|name| glob.matches(name)) {
                    next.push(path.join(entry));
                }
                if next.len() > MAX_FILES {
                    return Err(io::Error::other(format!("more than {MAX_FILES} files match `{}`", pattern.display())));
                }
            }
        }
        found = next;
    }
    found.sort();
    Ok(found)
}

/// One part of a pattern.
#[derive(Debug)]
struct Glob(Vec<Piece>);

#[derive(Debug)]
enum Piece {
    Any,
    One,
    Literal(char),
    /// Ranges, both ends included, and whether they are what must not be there.
    Class(Vec<(char, char)>, bool),
}

impl Glob {
    fn new(text: &str) -> io::Result<Self> {
        let wrong = || io::Error::new(io::ErrorKind::InvalidInput, format!("syntax error in pattern: `{text}`"));
        let mut pieces = Vec::new();
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            pieces.push(match c {
                '*' => Piece::Any,
                '?' => Piece::One,
                '\\' => Piece::Literal(chars.next().ok_or_else(wrong)?),
                '[' => class(&mut chars).ok_or_else(wrong)?,
                c => Piece::Literal(c),
            });
        }
        Ok(Self(pieces))
    }

    /// Time is linear in pattern and name for each star.
    fn matches(&self, name: &str) -> bool {
        let name: Vec<char> = name.chars().collect();
        // Where to go on when the last star takes one character more.
        let mut retry: Option<(usize, usize)> = None;
        let (mut p, mut n) = (0, 0);
        loop {
            let fits = match (self.0.get(p), name.get(n)) {
                (Some(Piece::Any), _) => {
                    retry = Some((p + 1, n + 1));
                    p += 1;
                    continue;
                }
                (None, None) => return true,
                (Some(piece), Some(c)) => piece.fits(*c),
                _ => false,
            };
            if fits {
                (p, n) = (p + 1, n + 1);
                continue;
            }
            match retry {
                Some((star, next)) if next <= name.len() => {
                    (p, n) = (star, next);
                    retry = Some((star, next + 1));
                }
                _ => return false,
            }
        }
    }
}

impl Piece {
    fn fits(&self, c: char) -> bool {
        match self {
            Self::Any | Self::One => true,
            Self::Literal(literal) => *literal == c,
            Self::Class(ranges, is_negated) => {
                ranges.iter().any(|(low, high)| (*low..=*high).contains(&c)) != *is_negated
            }
        }
    }
}

/// What stands in brackets, after the first.
fn class(chars: &mut std::str::Chars<'_>) -> Option<Piece> {
    let is_negated = chars.as_str().starts_with('^');
    if is_negated {
        chars.next();
    }
    let mut ranges = Vec::new();
    loop {
        let low = match chars.next()? {
            ']' if !ranges.is_empty() => return Some(Piece::Class(ranges, is_negated)),
            ']' | '-' => return None,
            '\\' => chars.next()?,
            c => c,
        };
        let mut high = low;
        if chars.as_str().starts_with('-') {
            chars.next();
            high = match chars.next()? {
                ']' | '-' => return None,
                '\\' => chars.next()?,
                c => c,
            };
        }
        ranges.push((low, high));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_in_go() {
        for (pattern, name, expected) in [
            ("*.yml", "a.yml", true),
            ("*.yml", "a.yaml", false),
            ("a*b?c", "a..bxc", true),
            ("a*b?c", "a..bc", false),
            ("[a-c]x", "bx", true),
            ("[^a-c]x", "bx", false),
            ("[^a-c]x", "dx", true),
            ("[\\]]", "]", true),
            ("\\*", "*", true),
            ("\\*", "a", false),
            ("*", ".hidden", true),
        ] {
            assert_eq!(Glob::new(pattern).unwrap().matches(name), expected, "{pattern} {name}");
        }
        for pattern in ["[", "[]", "[]a]", "[a", "[a-", "\\", "[-x]"] {
            assert!(Glob::new(pattern).is_err(), "{pattern}");
        }
    }

    #[test]
    fn patterns_may_stand_in_any_part_and_give_a_sorted_list() {
        let folder = tempfile::tempdir().unwrap();
        for path in ["b/2.yml", "b/1.yml", "a/1.yml", "a/1.txt", "c"] {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        let expanded = |pattern: &str| -> Vec<String> {
            let found = expand(&folder.path().join(pattern)).unwrap();
            found.iter().map(|path| path.strip_prefix(folder.path()).unwrap().display().to_string()).collect()
        };
        assert_eq!(expanded("*/*.yml"), ["a/1.yml", "b/1.yml", "b/2.yml"]);
        assert_eq!(expanded("[bc]/1.yml"), ["b/1.yml"]);
        assert_eq!(expanded("a/1.yml"), ["a/1.yml"]);
        assert!(expanded("a/2.yml").is_empty());
        assert!(expanded("none*/x").is_empty());
    }
}
