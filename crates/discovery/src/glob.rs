//! Paths with `*`, `?` and `[…]`, as Go's `filepath.Glob` takes them.
//!
//! - [`FilePattern`]: a path or a pattern, and the files that match it now. `Glob`: one part of it.
//!
//! Rule: a pattern that cannot be served is refused when it is configured; what matches is sorted, so that nothing
//! depends on the order of the file system.

use std::io;
use std::path::{Component, Path, PathBuf};
use std::str::Chars;

/// The most files, or folders on the way to them, that one pattern may name.
const MAX_MATCHES: usize = 10_000;

/// Why a pattern is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// The name ends with none of the known suffixes.
    #[error("path name must end with `.json`, `.yml` or `.yaml`: `{0}`")]
    Suffix(String),
    /// A star in a directory.
    #[error("`*` is only allowed in the last part of a path: `{0}`")]
    Directory(String),
    /// A bracket or an escape without its end.
    #[error("syntax error in pattern: `{0}`")]
    Syntax(String),
}

/// A path, or a pattern of paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilePattern(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Fixed(PathBuf),
    Glob(Glob),
}

impl FilePattern {
    /// A pattern of files with target groups, in YAML or JSON: as upstream, without a star in a directory.
    pub(crate) fn new(pattern: &str) -> Result<Self, PatternError> {
        let known = [".json", ".yml", ".yaml", ".JSON", ".YML", ".YAML"];
        if !known.iter().any(|suffix| pattern.ends_with(suffix)) {
            return Err(PatternError::Suffix(pattern.to_owned()));
        }
        if pattern.rsplit_once('/').is_some_and(|(directory, _)| directory.contains('*')) {
            return Err(PatternError::Directory(pattern.to_owned()));
        }
        Self::any(pattern)
    }

    /// A pattern of files of any kind.
    ///
    /// # Errors
    ///
    /// A bracket is not closed, or an escape is the end.
    pub fn any(pattern: &str) -> Result<Self, PatternError> {
        let part = |part: Component<'_>| match part.as_os_str().to_str() {
            Some(name) if name.contains(['*', '?', '[', '\\']) => {
                Glob::new(name).map(Part::Glob).ok_or_else(|| PatternError::Syntax(pattern.to_owned()))
            }
            _ => Ok(Part::Fixed(part.as_os_str().into())),
        };
        Path::new(pattern).components().map(part).collect::<Result<_, _>>().map(Self)
    }

    /// Whether it is the path of one file.
    #[must_use]
    pub fn is_path(&self) -> bool {
        self.0.iter().all(|part| matches!(part, Part::Fixed(_)))
    }

    /// The files that match now, in order of their paths. A directory that does not exist has none.
    ///
    /// # Errors
    ///
    /// A directory cannot be read, or more than 10,000 paths match.
    pub fn files(&self) -> io::Result<Vec<PathBuf>> {
        let mut found = vec![PathBuf::new()];
        for part in &self.0 {
            match part {
                Part::Fixed(name) => found.iter_mut().for_each(|path| path.push(name)),
                Part::Glob(glob) => found = glob.within(&found)?,
            }
        }
        found.retain(|path| path.is_file());
        found.sort();
        Ok(found)
    }
}

/// One part of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Glob(Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Any,
    One,
    Literal(char),
    /// Ranges, both ends included, and whether they are what must not be there.
    Class(Vec<(char, char)>, bool),
}

impl Glob {
    fn new(text: &str) -> Option<Self> {
        let mut pieces = Vec::new();
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            pieces.push(match c {
                '*' => Piece::Any,
                '?' => Piece::One,
                '\\' => Piece::Literal(chars.next()?),
                '[' => class(&mut chars)?,
                c => Piece::Literal(c),
            });
        }
        Some(Self(pieces))
    }

    /// What matches in these folders.
    fn within(&self, folders: &[PathBuf]) -> io::Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        for folder in folders {
            let entries = match std::fs::read_dir(if folder.as_os_str().is_empty() { Path::new(".") } else { folder }) {
                Ok(entries) => entries,
                Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                    continue;
                }
                Err(error) => return Err(error),
            };
            for entry in entries {
                let name = entry?.file_name();
                if name.to_str().is_some_and(|name| self.matches(name)) {
                    found.push(folder.join(name));
                }
                if found.len() > MAX_MATCHES {
                    let text = format!("more than {MAX_MATCHES} paths match, the last in `{}`", folder.display());
                    return Err(io::Error::other(text));
                }
            }
        }
        Ok(found)
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
fn class(chars: &mut Chars<'_>) -> Option<Piece> {
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
    fn parts_match_as_in_go() {
        for (pattern, name, expected) in [
            ("*.yml", "a.yml", true),
            ("*.yml", ".yml", true),
            ("*.yml", "a.yml.bak", false),
            ("a*b*.yml", "axxbyy.yml", true),
            ("a*b*.yml", "axx.yml", false),
            ("?.yml", "é.yml", true),
            ("?.yml", ".yml", false),
            ("a.yml", "a.yml", true),
            ("a*b?c", "a..bxc", true),
            ("a*b?c", "a..bc", false),
            ("[a-c]x", "bx", true),
            ("[^a-c]x", "bx", false),
            ("[^a-c]x", "dx", true),
            ("[\\]]", "]", true),
            ("\\*", "*", true),
            ("\\*", "a", false),
        ] {
            assert_eq!(Glob::new(pattern).unwrap().matches(name), expected, "{pattern} {name}");
        }
        for pattern in ["[", "[]", "[]a]", "[a", "[a-", "\\", "[-x]"] {
            assert_eq!(FilePattern::any(pattern), Err(PatternError::Syntax(pattern.to_owned())));
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
        let files = |pattern: &str| -> Vec<String> {
            let pattern = FilePattern::any(folder.path().join(pattern).to_str().unwrap()).unwrap();
            let found = pattern.files().unwrap();
            found.iter().map(|path| path.strip_prefix(folder.path()).unwrap().display().to_string()).collect()
        };
        assert_eq!(files("*/*.yml"), ["a/1.yml", "b/1.yml", "b/2.yml"]);
        assert_eq!(files("[bc]/1.yml"), ["b/1.yml"]);
        assert_eq!(files("a/1.yml"), ["a/1.yml"]);
        assert_eq!(files("?"), ["c"], "folders are no files");
        assert!(files("a/2.yml").is_empty());
        assert!(files("none*/x").is_empty());
        assert!(files("none/*").is_empty());
        assert!(FilePattern::any("a/b.yml").unwrap().is_path() && !FilePattern::any("a/*.yml").unwrap().is_path());
    }

    #[test]
    fn paths_of_targets_are_those_of_upstream() {
        let refuse = |pattern: &str| FilePattern::new(pattern).unwrap_err().to_string();
        assert_eq!(refuse("a.txt"), "path name must end with `.json`, `.yml` or `.yaml`: `a.txt`");
        assert_eq!(refuse("*/a.yml"), "`*` is only allowed in the last part of a path: `*/a.yml`");
        assert!(FilePattern::new("a/[ab]*.yml").is_ok());
    }
}
