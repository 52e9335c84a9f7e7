//! The seam between the crates that write samples, the one that keeps them, and those that read.
//!
//! - [`append`]: [`Appendable`] opens an [`Appender`], one batch of samples, all or nothing.
//! - [`query`]: [`Queryable`] opens a [`Querier`]; its [`SeriesSet`] hands out one [`Series`] at a time.
//! - [`exemplar`]: [`ExemplarQueryable`] reads the observations behind the values.
//! - [`pool`]: [`MemoryPool`], from which all of them reserve memory before they hold it.
//! - [`memory`]: a small storage that keeps everything in memory, for tests and one-off evaluations.
//!
//! ```text
//! scrape ─┐                         ┌─ promql
//!         ├─▶ Appender │ Querier  ◀─┤
//! rules  ─┘       (tsdb)            └─ web
//! ```
//!
//! Rule: nothing here knows `PromQL`, HTTP or files, and every call is synchronous.
#![forbid(unsafe_code)]

pub mod append;
pub mod exemplar;
pub mod memory;
pub mod pool;
pub mod query;

pub use append::{AppendError, Appendable, Appender, GroupRef, SeriesRef};
pub use exemplar::{Exemplar, ExemplarQueryable, SeriesExemplars};
pub use memory::MemoryStorage;
pub use pool::{MemoryExhausted, MemoryPool, Reservation};
pub use query::{Querier, QueryError, Queryable, Samples, SelectHints, Series, SeriesSet};

#[cfg(test)]
mod tests;
