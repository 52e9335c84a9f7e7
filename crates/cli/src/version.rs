//! Which build this is.
//!
//! Rule: the commit is written into the binary when it is built (`build.rs`); nothing asks git later.

/// The version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The commit, or `unknown` where the sources had no git.
pub const COMMIT: &str = env!("CRESCENDO_COMMIT");

/// What `--version` says behind the name.
pub const LONG: &str = concat!(env!("CARGO_PKG_VERSION"), " (commit ", env!("CRESCENDO_COMMIT"), ")");
