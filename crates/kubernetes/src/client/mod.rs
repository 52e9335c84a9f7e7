//! A client of the Kubernetes API: what is asked, what is watched, and what goes wrong.
//!
//! - [`Client`]: one API server, asked over TLS with credentials that are read again (see `http-client`).
//! - [`Resource`], [`Scope`]: what is asked for. [`ObjectMeta`]: what every object has.
//! - [`Reflector`]: keeps a [`Store`] equal to the objects of the server: a list, then a watch, again and again.
//! - `list`, `watch`: the two kinds of questions that it asks. `backoff`: how long it waits after a failure.
//!
//! ```text
//! API server ─▶ list (pages) ─▶ replace ┐
//!           └─▶ watch (events) ─▶ apply ─┴▶ Store ─▶ readers; `changed` wakes them
//! ```
//!
//! Rule: every answer has a bound in bytes, every store one in objects; what is not needed of an object is not kept.

mod backoff;
mod error;
mod list;
mod meta;
mod reflector;
mod request;
mod resource;
mod store;
#[cfg(test)]
mod tests;
mod watch;

pub use backoff::Backoff;
pub use error::{ApiError, StatusCause};
pub use list::MAX_OBJECTS;
pub(crate) use meta::or_default;
pub use meta::{Keyed, MetadataOnly, ObjectKey, ObjectMeta};
pub use reflector::{Observer, Reflector, ReflectorEvent, ReflectorOptions};
pub use request::{Client, Format, Patch};
pub use resource::{Resource, Scope};
pub use store::{Progress, Store};
