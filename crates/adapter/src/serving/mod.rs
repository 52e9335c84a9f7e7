//! The listener: TLS, the client's certificates, and the router behind them.
//!
//! - [`ServingCertificate`], [`TlsSettings`]: what is shown to clients, from files that reload.
//! - [`serve`]: accepts connections until shutdown. [`ServeOptions`]: its bounds.
//! - [`operations()`]: health, metrics and version of the process.
//!
//! Rule: a handshake only proves that the key belongs to the certificate; whose certificate counts is decided for
//! each request, by what is trusted then.

mod connections;
mod operations;
mod tls;

pub use self::connections::{MAX_CONNECTIONS, ServeOptions, serve};
pub use self::operations::{AlwaysAllowed, Ready, operations};
pub use self::tls::{MinVersion, ServingCertificate, ServingError, TlsSettings, cipher_suites};

#[cfg(test)]
mod tests;
