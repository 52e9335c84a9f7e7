//! API keys: who may transcribe.
//!
//! - [`ApiKeys`]: the keys of one file; [`ApiKeys::allow`] checks an `Authorization` header.
//!
//! ```text
//! # one key a line
//! sk-team-a-5f0c…
//! sk-team-b-91ae…
//! ```
//!
//! Rule: keys are kept and compared as hashes, all of them each time, so that neither memory nor time
//! tells how much of a guess was right.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use axum::http::HeaderValue;
use sha2::{Digest, Sha256};

/// Every request looks at every key: 10,000 cost it about 0.1 ms.
const MAX_KEYS: usize = 10_000;

/// 10,000 keys of a hundred characters.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// Why a file gives no keys.
#[derive(Debug, thiserror::Error)]
pub enum ApiKeysError {
    /// It cannot be read.
    #[error("cannot read the API keys file: {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It is larger than any sane one.
    #[error("the API keys file is larger than {MAX_FILE_BYTES} bytes or holds more than {MAX_KEYS} keys: {path}")]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// It has no key, so nobody could come in.
    #[error("the API keys file holds no key: {path}")]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// A line cannot be a key.
    #[error("a key must be visible ASCII without spaces: {path}, line {line}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
    },
}

type Hash = [u8; 32];

/// The keys of one file.
pub(crate) struct ApiKeys(Vec<Hash>);

impl fmt::Debug for ApiKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ApiKeys({})", self.0.len())
    }
}

impl ApiKeys {
    /// Reads a file.
    ///
    /// # Errors
    /// See [`ApiKeysError`].
    pub(crate) fn read(path: &Path) -> Result<Self, ApiKeysError> {
        let mut text = String::new();
        let file = File::open(path);
        file.and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_string(&mut text))
            .map_err(|source| ApiKeysError::Read { path: path.to_owned(), source })?;
        if text.len() as u64 > MAX_FILE_BYTES {
            return Err(ApiKeysError::TooLarge { path: path.to_owned() });
        }
        let mut hashes = BTreeSet::new();
        for (index, line) in text.lines().enumerate() {
            let key = line.trim();
            if key.is_empty() || key.starts_with('#') {
                continue;
            }
            if !key.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(ApiKeysError::Malformed { path: path.to_owned(), line: index + 1 });
            }
            hashes.insert(hash(key.as_bytes()));
        }
        match hashes.len() {
            0 => Err(ApiKeysError::Empty { path: path.to_owned() }),
            1..=MAX_KEYS => Ok(Self(hashes.into_iter().collect())),
            _ => Err(ApiKeysError::TooLarge { path: path.to_owned() }),
        }
    }

    /// Whether the header names one of the keys.
    pub(crate) fn allow(&self, authorization: &HeaderValue) -> bool {
        let Some((scheme, key)) = authorization.as_bytes().split_first_chunk::<7>() else {
            return false;
        };
        if !scheme.eq_ignore_ascii_case(b"Bearer ") {
            return false;
        }
        let given = hash(key.trim_ascii());
        self.0.iter().fold(false, |found, known| found | equal(known, &given))
    }
}

fn hash(key: &[u8]) -> Hash {
    Sha256::digest(key).into()
}

/// Looks at all bytes, whatever the first ones say.
fn equal(a: &Hash, b: &Hash) -> bool {
    let differing = a.iter().zip(b).fold(0_u8, |bits, (a, b)| bits | (a ^ b));
    std::hint::black_box(differing) == 0
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn keys_are_lines_and_the_scheme_has_no_case() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "# ours\nsk-one\n\n  sk-two \n").unwrap();
        let keys = ApiKeys::read(file.path()).unwrap();
        for (header, allowed) in [
            ("Bearer sk-one", true),
            ("bearer sk-two", true),
            ("Bearer  sk-two ", true),
            ("Bearer sk-on", false),
            ("Bearer sk-onee", false),
            ("Bearer ", false),
            ("Bearer # ours", false),
            ("Basic sk-one", false),
            ("sk-one", false),
            ("", false),
        ] {
            assert_eq!(keys.allow(&HeaderValue::from_static(header)), allowed, "{header}");
        }
    }

    #[test]
    fn bad_files_are_named_with_the_line() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path();
        for (text, expected) in [
            ("", "the API keys file holds no key"),
            ("# nothing\n", "the API keys file holds no key"),
            ("good\ntwo words\n", "a key must be visible ASCII without spaces"),
        ] {
            fs::write(path, text).unwrap();
            let error = ApiKeys::read(path).unwrap_err().to_string();
            assert!(error.starts_with(expected) && error.contains(&path.display().to_string()), "{error}");
        }
        assert!(ApiKeys::read(path).unwrap_err().to_string().ends_with("line 2"));
        fs::write(path, "k".repeat(2 << 20)).unwrap();
        assert!(matches!(ApiKeys::read(path), Err(ApiKeysError::TooLarge { .. })));
        assert!(matches!(ApiKeys::read(Path::new("/nowhere/keys")), Err(ApiKeysError::Read { .. })));
    }
}
