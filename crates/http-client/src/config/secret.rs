//! Texts that must not be shown, and where they come from.
//!
//! Rule: `Debug` says that there is a secret, never which.

use std::fmt;
use std::path::PathBuf;

/// A text that must not be shown.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides a text.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, for the one who sends it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}

/// Where a secret comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretSource {
    /// The configuration itself.
    Inline(Secret),
    /// A file, which is read again whenever the secret is needed, so that it can be rotated.
    File(PathBuf),
}

impl SecretSource {
    /// The file, if it comes from one.
    #[must_use]
    pub fn file(&self) -> Option<PathBuf> {
        match self {
            Self::Inline(_) => None,
            Self::File(path) => Some(path.clone()),
        }
    }
}
