//! Other engines that speak Prometheus: what is sent to them and what comes from them.
//!
//! - [`client`]: asks their HTTP API. [`AdapterFlags`]: how prometheus-adapter says where it lies.
//! - [`sender`]: sends what is stored to other storages, by remote write.
//! - [`wire`]: the messages of remote write 1.0 and 2.0 and of remote read, snappy around them.
//!
//! Rule: what comes over the network is hostile: every size has a bound that is checked before memory is taken.
#![forbid(unsafe_code)]

mod adapter_flags;
pub mod client;
#[cfg(test)]
mod conformance;
pub mod sender;
pub mod wire;

pub use adapter_flags::{AdapterFlags, FlagsError, parse_headers};
pub use client::{Client, ClientError, ClientOptions};
