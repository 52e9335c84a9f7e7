//! Who asks, and whether they may.
//!
//! - [`Authenticator`], [`Authorizer`]: the seams; against a cluster they are delegated to it.
//! - [`LoopbackOnly`]: everyone on this machine, nobody else.
//!
//! Rule: both are asked before a request is looked at any further; an error of theirs is a refusal.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use http::HeaderMap;
use http::header::HOST;

use crate::request::Attributes;
use crate::source::BoxFuture;

/// The certificates that the client gave in the TLS handshake, its own first, as DER. The listener puts
/// them into the request's extensions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerCertificates(pub Vec<Vec<u8>>);

/// What is known of a connection and its request.
#[derive(Clone, Copy, Debug)]
pub struct Credentials<'a> {
    /// All headers.
    pub headers: &'a HeaderMap,
    /// The address of the client, where the listener gives it.
    pub peer: Option<SocketAddr>,
    /// The client's certificates; empty without TLS.
    pub certificates: &'a [Vec<u8>],
}

/// Who asks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    /// The name.
    pub name: String,
    /// The unique identifier, or empty.
    pub uid: String,
    /// The groups.
    pub groups: Vec<String>,
    /// What the authenticator knows beyond that.
    pub extra: BTreeMap<String, Vec<String>>,
}

/// What an authorizer decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Go on.
    Allow,
    /// Refuse, with the reason for the client.
    Deny(String),
}

/// Why it cannot be said who asks, or whether they may.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuthError {
    /// There is no credential, or none that is accepted.
    #[error("no accepted credential: {0}")]
    Unauthenticated(String),
    /// Whoever decides does not answer. Nobody is let in meanwhile.
    #[error("cannot be decided: {0}")]
    Unavailable(String),
    /// The listener can be reached from other machines.
    #[error("{0} is no loopback address: without authentication only this machine may ask")]
    NotLoopback(SocketAddr),
}

/// Finds out who asks.
pub trait Authenticator: Send + Sync {
    /// The user behind a request.
    ///
    /// # Errors
    ///
    /// Nobody is known, or it cannot be decided. Both are answered with 401.
    fn authenticate<'a>(&'a self, credentials: Credentials<'a>) -> BoxFuture<'a, Result<User, AuthError>>;
}

/// Decides what a user may do.
pub trait Authorizer: Send + Sync {
    /// Whether the user may do this.
    ///
    /// # Errors
    ///
    /// It cannot be decided; answered with 403.
    fn authorize<'a>(
        &'a self,
        user: &'a User,
        attributes: &'a Attributes,
    ) -> BoxFuture<'a, Result<Decision, AuthError>>;
}

/// Lets everyone on this machine do everything. Exists only for a listener on a loopback address, and
/// refuses what comes from elsewhere or under another name (a page that rebinds its name to 127.0.0.1).
#[derive(Clone, Copy, Debug)]
pub struct LoopbackOnly(());

impl LoopbackOnly {
    /// For the listener at this address.
    ///
    /// # Errors
    ///
    /// [`AuthError::NotLoopback`]
    pub const fn for_listener(address: SocketAddr) -> Result<Self, AuthError> {
        if address.ip().is_loopback() { Ok(Self(())) } else { Err(AuthError::NotLoopback(address)) }
    }
}

impl Authenticator for LoopbackOnly {
    fn authenticate<'a>(&'a self, credentials: Credentials<'a>) -> BoxFuture<'a, Result<User, AuthError>> {
        let foreign_peer = credentials.peer.is_some_and(|peer| !peer.ip().is_loopback());
        let outcome = if foreign_peer {
            Err(AuthError::Unauthenticated("the client is on another machine".to_owned()))
        } else if !has_loopback_host(credentials.headers) {
            Err(AuthError::Unauthenticated("the host of the request is not this machine".to_owned()))
        } else {
            Ok(User { name: "local".to_owned(), ..User::default() })
        };
        Box::pin(std::future::ready(outcome))
    }
}

impl Authorizer for LoopbackOnly {
    fn authorize<'a>(
        &'a self,
        _user: &'a User,
        _attributes: &'a Attributes,
    ) -> BoxFuture<'a, Result<Decision, AuthError>> {
        Box::pin(std::future::ready(Ok(Decision::Allow)))
    }
}

/// Whether the request names this machine; HTTP/1.0 and tests may name none.
fn has_loopback_host(headers: &HeaderMap) -> bool {
    let mut hosts = headers.get_all(HOST).iter();
    let is_loopback = |host: &http::HeaderValue| host.to_str().is_ok_and(is_loopback_host);
    hosts.all(is_loopback)
}

/// Whether the value of a `Host` header names this machine: `localhost` or a loopback address. The one rule
/// for the metrics API and for the pages.
#[must_use]
pub fn is_loopback_host(host: &str) -> bool {
    let name = host_name(host);
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// The name or address of a `Host` header, without port and brackets.
#[must_use]
pub fn host_name(host: &str) -> &str {
    if let Some((address, _)) = host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return address;
    }
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_only_refuses_a_public_listener() {
        for (address, accepted) in
            [("127.0.0.1:9090", true), ("[::1]:1", true), ("0.0.0.0:9090", false), ("192.168.1.1:1", false)]
        {
            assert_eq!(LoopbackOnly::for_listener(address.parse().unwrap()).is_ok(), accepted, "{address}");
        }
    }

    #[test]
    fn loopback_only_knows_this_machine_by_its_names() {
        for (host, known) in [
            ("localhost:9090", true),
            ("LOCALHOST", true),
            ("127.0.0.1:9090", true),
            ("127.8.8.8", true),
            ("[::1]:9090", true),
            ("[::1]", true),
            ("evil.example:9090", false),
            ("localhost.evil.example", false),
            ("10.0.0.1", false),
            ("", false),
        ] {
            assert_eq!(is_loopback_host(host), known, "{host}");
        }
    }
}
