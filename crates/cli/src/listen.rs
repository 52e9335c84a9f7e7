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

/// Binds all addresses; each is `HOST:PORT`, or `:PORT` for all of this machine's.
///
/// # Errors
///
/// An address is malformed, or [`bind`] fails for it.
pub async fn bind_all(addresses: &[String], flag: &str) -> Result<Vec<TcpListener>> {
    let mut listeners = Vec::with_capacity(addresses.len());
    for text in addresses {
        let host = if text.starts_with(':') { format!("0.0.0.0{text}") } else { text.clone() };
        let found = tokio::net::lookup_host(&host).await;
        let address = found.with_context(|| format!("`{flag}` is no address: `{text}`"))?.next();
        let address = address.with_context(|| format!("`{flag}` names no address: `{text}`"))?;
        listeners.push(bind(address, flag).await?);
    }
    Ok(listeners)
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

    #[tokio::test]
    async fn port_alone_and_names_are_addresses() {
        let bound = bind_all(&[":0".to_owned(), "localhost:0".to_owned()], "--x").await.unwrap();
        assert!(bound[0].local_addr().unwrap().ip().is_unspecified());
        assert!(bound[1].local_addr().unwrap().ip().is_loopback());
        let error = bind_all(&["nonsense".to_owned()], "--x").await.unwrap_err();
        assert_eq!(error.to_string(), "`--x` is no address: `nonsense`");
    }
}
