//! Names and passwords of requests.
//!
//! Rule: a name that does not exist takes as long as a wrong password; passwords are checked one at a time, so that
//! guessing keeps one core busy at most, and good ones are remembered by a hash that says nothing about them.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;

use super::config::WebConfig;

/// Good answers that are remembered.
const MAX_REMEMBERED: usize = 100;

/// The longest that bcrypt looks at is 72 bytes.
const MAX_GIVEN_BYTES: usize = 4096;

/// Compared with where the name does not exist: a hash of cost 10 that no password is known for.
const NOBODY: &str = "$2b$10$CwTycUXWue0Thq9StjUM0uJ9aGm5yPq1m1Z0Z0Z0Z0Z6O8x1lQ5r.";

type Fingerprint = [u8; 32];

/// Checks names and passwords.
pub(super) struct Users {
    remembered: Mutex<VecDeque<Fingerprint>>,
    checks: Arc<Semaphore>,
}

impl Default for Users {
    fn default() -> Self {
        Self { remembered: Mutex::default(), checks: Arc::new(Semaphore::new(1)) }
    }
}

/// The name and password of an `Authorization` header.
pub(super) fn credentials(header: &str) -> Option<(String, String)> {
    let (scheme, encoded) = header.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") || encoded.len() > MAX_GIVEN_BYTES {
        return None;
    }
    let text = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (name, password) = text.split_once(':')?;
    Some((name.to_owned(), password.to_owned()))
}

fn fingerprint(name: &str, password: &str, hash: &str) -> Fingerprint {
    let mut hasher = Sha256::new();
    for part in [name, password, hash] {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    hasher.finalize().into()
}

impl Users {
    /// Whether the header proves one of the users.
    pub(super) async fn knows(&self, config: &WebConfig, header: Option<String>) -> bool {
        let Some((name, password)) = header.as_deref().and_then(credentials) else { return false };
        let found = config.users.iter().find(|(user, _)| *user == name);
        let (hash, exists) = found.map_or((NOBODY, false), |(_, hash)| (hash.as_str(), true));
        let fingerprint = fingerprint(&name, &password, hash);
        if exists && self.remembered().contains(&fingerprint) {
            return true;
        }
        let Ok(_turn) = self.checks.acquire().await else { return false };
        let hash = hash.to_owned();
        let check = move || bcrypt::verify(password, &hash).unwrap_or(false);
        let is_good = tokio::task::spawn_blocking(check).await.unwrap_or(false) && exists;
        if is_good {
            let mut remembered = self.remembered();
            if remembered.len() >= MAX_REMEMBERED {
                remembered.pop_front();
            }
            remembered.push_back(fingerprint);
        }
        is_good
    }

    fn remembered(&self) -> std::sync::MutexGuard<'_, VecDeque<Fingerprint>> {
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
