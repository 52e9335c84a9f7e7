//! Listening on an address, with an error that says what to do.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use tokio::net::TcpListener;

/// Binds `address`; port 0 takes a free one. `flag` is named in the error.
///
/// # Errors
///
/// The address is in use, not ours, or not permitted.
pub async fn bind(address: SocketAddr, flag: &str) -> Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address}; choose another with `{flag}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn taken_address_is_named_with_its_flag() {
        let taken = bind(([127, 0, 0, 1], 0).into(), "--x").await.unwrap();
        let address = taken.local_addr().unwrap();
        let error = bind(address, "--web.listen-address").await.unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("cannot listen on {address}; choose another with `--web.listen-address`")
        );
    }
}
