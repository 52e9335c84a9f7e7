//! Request ids: one name for a request in the client's log and in ours.
//!
//! - [`RequestIds`]: takes the client's id where it is sane, else gives one.
//!
//! Rule: an id is at most 128 characters of `[A-Za-z0-9._:-]`, so it breaks no log and no header.

use std::sync::atomic::{AtomicU64, Ordering};

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use datamodel::Timestamp;

/// The header, in both directions.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

const MAX_LEN: usize = 128;

/// Gives ids that no other request of this or another worker has.
#[derive(Debug)]
pub(crate) struct RequestIds {
    prefix: String,
    next: AtomicU64,
}

impl RequestIds {
    /// The start's time and the process tell workers apart.
    pub(crate) fn new(started: Timestamp, process_id: u32) -> Self {
        Self { prefix: format!("req_{:x}{process_id:x}", started.unix_ms()), next: AtomicU64::new(1) }
    }

    /// The client's id, or a new one.
    pub(crate) fn of(&self, headers: &HeaderMap) -> HeaderValue {
        if let Some(given) = headers.get(REQUEST_ID).filter(|given| is_sane(given.as_bytes())) {
            return given.clone();
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        // Hexadecimal digits and an underscore are a valid header, always.
        HeaderValue::try_from(format!("{}_{number:x}", self.prefix)).unwrap_or_else(|_| HeaderValue::from(number))
    }
}

fn is_sane(id: &[u8]) -> bool {
    let sane = |byte: &u8| byte.is_ascii_alphanumeric() || b"._:-".contains(byte);
    (1..=MAX_LEN).contains(&id.len()) && id.iter().all(sane)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sane_ids_are_kept_and_others_replaced() {
        let ids = RequestIds::new(Timestamp::from_unix_ms(0x1234), 0xab);
        let long = "x".repeat(129);
        for (given, expected) in [
            ("my-id_7", "my-id_7"),
            ("a.b:c-7", "a.b:c-7"),
            ("", "req_1234ab_1"),
            ("two words", "req_1234ab_2"),
            (long.as_str(), "req_1234ab_3"),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(REQUEST_ID, HeaderValue::from_str(given).unwrap());
            assert_eq!(ids.of(&headers), expected, "{given}");
        }
        assert_eq!(ids.of(&HeaderMap::new()), "req_1234ab_4");
    }
}
