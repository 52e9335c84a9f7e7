//! Files that the configuration names: certificates, keys, passwords, tokens.
//!
//! Rule: they are small, and read whenever they are needed.

use std::path::Path;

use http::HeaderValue;
use tokio::io::AsyncReadExt;

use crate::config::{Secret, SecretSource};
use crate::error::ClientError;

/// The most of a file that is read: the system's bundle of authorities has some 200 KB.
const MAX_FILE_BYTES: u64 = 4 * 1024 * 1024;

/// The bytes of a file.
pub(crate) async fn read_file(path: &Path) -> Result<Vec<u8>, ClientError> {
    let read = async {
        let mut bytes = Vec::new();
        tokio::fs::File::open(path).await?.take(MAX_FILE_BYTES).read_to_end(&mut bytes).await?;
        Ok(bytes)
    };
    read.await.map_err(|source| ClientError::File { path: path.to_owned(), source })
}

impl SecretSource {
    /// The secret as it is now; white space around that of a file is not part of it.
    ///
    /// # Errors
    ///
    /// The file cannot be read.
    pub async fn read(&self) -> Result<Secret, ClientError> {
        match self {
            Self::Inline(secret) => Ok(secret.clone()),
            Self::File(path) => Ok(Secret::new(String::from_utf8_lossy(&read_file(path).await?).trim())),
        }
    }
}

/// A secret as the value of a header that is not shown either.
pub(crate) fn sensitive(text: &str, header: &'static str) -> Result<HeaderValue, ClientError> {
    let mut value = HeaderValue::from_str(text).map_err(|_invalid| ClientError::Header(header))?;
    value.set_sensitive(true);
    Ok(value)
}
