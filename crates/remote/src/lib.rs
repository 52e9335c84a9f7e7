//! Other engines that speak Prometheus: what is sent to them and what comes from them.
//!
//! - [`wire`]: the messages of remote write 1.0 and 2.0 and of remote read, snappy around them.
//!
//! Rule: what comes over the network is hostile: every size has a bound that is checked before memory is taken.
#![forbid(unsafe_code)]

pub mod wire;
