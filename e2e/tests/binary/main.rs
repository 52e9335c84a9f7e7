//! Tests of the whole binary.
//!
//! - `scaling`: load up, load down, no request lost, every decision recomputed.
//! - `failures`: workers and supervisor killed.
//! - `runbook`: what the seed's page shows: metrics, queries, custom metrics.
//! - `server`: configuration, reload, queries. `server_end`: its ends, orderly and by force.
//! - `server_peers`: the server among Debian's Prometheus and Alertmanager.
//! - `differential`: the same data and questions to Debian's Prometheus and to us.
//! - `adapter`: the metrics API as a server of its own, before Debian's Prometheus, and inside `crescendo server`.
//! - `client_library`: an unmodified client, in Python.
//! - `kube_state`: the server with the state series of a cluster.
//! - `monitors`: the server with the monitors and rules of a cluster.
//! - `commands`: those that ask a running server, and a protected one. `verify`: the one that looks at everything.
//! - `config_peers`: which configurations are good, next to promtool.
//! - `browser`: the pages in Chromium.
//! - `limits`: memory under a hostile query and a burst of series.
//! - `bad_input`: clear errors, nothing lost.
//!
//! Rule: each test starts its own processes on free ports, and leaves none behind.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "tests fail by panic, and say what they measured")]

mod adapter;
mod bad_input;
mod browser;
mod client_library;
mod commands;
mod config_peers;
mod differential;
mod failures;
mod kube_state;
mod limits;
mod monitors;
mod runbook;
mod scaling;
mod server;
mod server_end;
mod server_peers;
mod verify;
