//! Why a request failed.
//!
//! Rule: a variant names what went wrong and with whom; no secret is in it.

use std::io;
use std::path::PathBuf;

use tokio_rustls::rustls;

/// What broke an exchange of request and answer. Its connection is of no use any more.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExchangeError {
    /// The connection broke.
    #[error("connection broke")]
    Io(#[source] io::Error),
    /// The other side closed the connection.
    #[error("connection closed before the answer was complete")]
    Closed,
    /// What came does not begin as an answer does.
    #[error("not an HTTP answer")]
    Head(#[source] httparse::Error),
    /// A part of the answer is larger than it may be.
    #[error("{0} of the answer is too large")]
    TooLarge(&'static str),
    /// Where the answer ends cannot be told.
    #[error("{0}")]
    Framing(&'static str),
}

/// Why a request failed.
///
/// After [`Connect`](Self::Connect), [`Exchange`](Self::Exchange), [`Tls`](Self::Tls) and
/// [`Proxy`](Self::Proxy) another attempt may succeed; the others need another configuration or server.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// No connection.
    #[error("cannot connect to `{address}`")]
    Connect {
        /// Host and port.
        address: String,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// No TLS connection.
    #[error("TLS handshake with `{server}` failed")]
    Tls {
        /// The name that the server should prove.
        server: String,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The name of the server cannot be proved by a certificate.
    #[error("not a valid server name: `{0}`")]
    ServerName(String),
    /// What `tls_config` names cannot be used.
    #[error("`tls_config` cannot be used: {what}")]
    TlsConfig {
        /// Which part of it.
        what: &'static str,
        /// The cause.
        #[source]
        source: rustls::Error,
    },
    /// A part of `tls_config` holds no PEM of its kind.
    #[error("`tls_config` cannot be used: no {what} in {place}")]
    Pem {
        /// What was expected.
        what: &'static str,
        /// The file, or where else it should stand.
        place: String,
    },
    /// A file that the configuration names cannot be read.
    #[error("cannot read `{path}`")]
    File {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The proxy does not let us through.
    #[error("proxy `{proxy}` refused a tunnel to `{address}`: {reason}")]
    Proxy {
        /// Host and port of the proxy.
        proxy: String,
        /// Whom it should lead to.
        address: String,
        /// What it answered.
        reason: String,
    },
    /// A credential or a configured header is no text of a header.
    #[error("value cannot be sent in the header `{0}`")]
    Header(&'static str),
    /// The server of tokens gives none.
    #[error("no OAuth 2.0 token from `{url}`: {reason}")]
    Token {
        /// Where it was asked for.
        url: String,
        /// What came instead.
        reason: String,
    },
    /// The server of tokens cannot be asked.
    #[error("no OAuth 2.0 token from `{url}`")]
    TokenRequest {
        /// Where it was asked for.
        url: String,
        /// The cause.
        #[source]
        source: Box<Self>,
    },
    /// The URL cannot be asked for.
    #[error("not a valid URL: `{0}`")]
    Url(String),
    /// A redirect that is not followed.
    #[error("redirect is not followed: {reason}: `{location}`")]
    Redirect {
        /// Where to.
        location: String,
        /// Why not.
        reason: &'static str,
    },
    /// The connection broke, or what came was no HTTP.
    #[error("broken HTTP answer")]
    Exchange(#[source] ExchangeError),
    /// The answer is larger than it may be, or broke off.
    #[error("cannot read the answer")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
}
