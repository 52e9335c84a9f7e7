//! What belongs to one connection and is not passed on.
//!
//! Rule: framing is decided anew on each connection, from the body itself; only a known length is kept.

use std::net::SocketAddr;

use http::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, HeaderMap, HeaderName, HeaderValue, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION,
    TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// Longest list of addresses that is passed on; a longer one is replaced.
const MAX_FORWARDED_BYTES: usize = 1_024;

/// Removes what belongs to the connection that the message came over, the headers named by `Connection`
/// among it.
pub(super) fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named {
        // A client must not have the length or the target of its own request removed.
        if name != CONTENT_LENGTH && name != http::header::HOST {
            headers.remove(name);
        }
    }
    for name in [
        CONNECTION,
        KEEP_ALIVE,
        PROXY_CONNECTION,
        PROXY_AUTHENTICATE,
        PROXY_AUTHORIZATION,
        TE,
        TRAILER,
        TRANSFER_ENCODING,
        UPGRADE,
    ] {
        headers.remove(name);
    }
}

/// Makes the headers of a request ready for a worker.
pub(super) fn prepare_request(headers: &mut HeaderMap, peer: SocketAddr) {
    let is_chunked = headers.contains_key(TRANSFER_ENCODING);
    remove_hop_by_hop(headers);
    if is_chunked {
        // Both together are how requests are smuggled; the server has read the chunks.
        headers.remove(CONTENT_LENGTH);
    }
    // The server has answered it.
    headers.remove(EXPECT);
    let address = peer.ip().to_string();
    let before = headers.get(FORWARDED_FOR).and_then(|value| value.to_str().ok());
    let list = match before {
        Some(list) if list.len() < MAX_FORWARDED_BYTES => format!("{list}, {address}"),
        _ => address,
    };
    if let Ok(value) = HeaderValue::try_from(list) {
        headers.insert(FORWARDED_FOR, value);
    }
}
