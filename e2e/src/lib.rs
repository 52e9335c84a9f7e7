//! What the tests of the whole binary share: processes that end with the test, and clients.
//!
//! - [`process`]: [`Crescendo`](process::Crescendo), a running command whose addresses were read from its output.
//! - [`client`]: an HTTP client with keep-alive, and the upload of a recording.
//! - [`server`]: a running `crescendo server`. [`target`]: what it scrapes. [`peer`]: programs of others beside it.
//! - [`browser`]: a page in a real browser.
//! - [`up`]: a running `crescendo up`, and speakers at it.
//! - [`cluster`]: a real control plane with a node of ours, in namespaces of the kernel.
//! - [`wait`]: waiting for a state with a deadline, by asking again; never a fixed sleep.
//!
//! Rule: nothing here knows the inside of the binary; all that is seen is what a user sees.
#![forbid(unsafe_code)]
#![expect(clippy::disallowed_methods, reason = "real processes run on the real clock")]

pub mod browser;
pub mod client;
pub mod cluster;
pub mod peer;
pub mod process;
pub mod server;
pub mod target;
pub mod up;
pub mod wait;
