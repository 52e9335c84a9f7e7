//! What a client says about itself with each request.
//!
//! Rule: a secret in a file is read again for each request (tokens of service accounts change every hour),
//! and is never shown.

use std::fmt;
use std::io::Read as _;
use std::path::PathBuf;

use http::HeaderValue;

use crate::base64;

/// Largest file with a secret. Tokens of service accounts have some 1 to 2 KiB.
pub const MAX_SECRET_BYTES: u64 = 64 * 1024;

/// A secret: given, or in a file that may change.
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    /// Given.
    Text(String),
    /// Read for each request; white space at its ends does not count.
    File(PathBuf),
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(_) => f.write_str("<secret>"),
            Self::File(path) => write!(f, "{}", path.display()),
        }
    }
}

/// The `Authorization` header.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Credentials {
    /// None.
    #[default]
    None,
    /// A bearer token.
    Bearer(Secret),
    /// Name and password.
    Basic {
        /// The name.
        username: String,
        /// The password.
        password: Secret,
    },
}

/// Why there are no credentials.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// The file cannot be read.
    #[error("cannot read the secret in {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The secret cannot stand in a header.
    #[error("the secret{0} has a character that cannot stand in a header")]
    Header(String),
}

impl Secret {
    fn read(&self) -> Result<String, CredentialsError> {
        match self {
            Self::Text(text) => Ok(text.clone()),
            Self::File(path) => {
                let mut text = String::new();
                std::fs::File::open(path)
                    .and_then(|file| file.take(MAX_SECRET_BYTES).read_to_string(&mut text))
                    .map_err(|source| CredentialsError::Read { path: path.clone(), source })?;
                Ok(text.trim().to_owned())
            }
        }
    }

    fn place(&self) -> String {
        match self {
            Self::Text(_) => String::new(),
            Self::File(path) => format!(" in {}", path.display()),
        }
    }
}

impl Credentials {
    /// The header's value, if there is one.
    pub(crate) fn header(&self) -> Result<Option<HeaderValue>, CredentialsError> {
        let (text, secret) = match self {
            Self::None => return Ok(None),
            Self::Bearer(secret) => (format!("Bearer {}", secret.read()?), secret),
            Self::Basic { username, password } => {
                let pair = format!("{username}:{}", password.read()?);
                (format!("Basic {}", base64::encode(pair.as_bytes())), password)
            }
        };
        let mut value = HeaderValue::from_str(&text).map_err(|_invalid| CredentialsError::Header(secret.place()))?;
        value.set_sensitive(true);
        Ok(Some(value))
    }
}
