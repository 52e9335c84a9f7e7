//! The listener: TLS, the client's certificates, and the router behind them.
//!
//! - [`ServingCertificate`], [`TlsSettings`]: what is shown to clients, from files that reload.
//! - `issued`: a certificate of our own, with its authority.
//! - [`serve`]: accepts connections until shutdown. [`ServeOptions`]: its bounds.
//! - [`operations()`]: health, metrics and version of the process.
//!
//! Rule: a handshake only proves that the key belongs to the certificate; whose certificate counts is decided for
//! each request, by what is trusted then.

mod connections;
mod issued;
mod operations;
mod tls;

pub use self::connections::{MAX_CONNECTIONS, ServeOptions, serve};
pub(crate) use self::issued::{Issued, Plan, Unreadable};
pub use self::operations::{AlwaysAllowed, Ready, operations};
pub(crate) use self::tls::{ConfigError, pair};
pub use self::tls::{MinVersion, ServingCertificate, ServingError, ServingTls, TlsSettings, cipher_suites};

#[cfg(test)]
mod tests;
