//! What objects say of themselves as series, as kube-state-metrics tells it.
//!
//! - [`StateResource`]: a resource that can be told of. [`StateSeries`]: the page; [`StateWatches`] keeps it true.
//! - `deployments`, `autoscalers`, `replica_sets`, `stateful_sets`, `pods`, `nodes`: of an object the part that is
//!   told, and the families: pure functions from an object to samples.
//! - `amounts`: resources with their units. `conditions`, `page`: what the families have in common.
//! - `watches`, `metrics`: what is watched, and how the watches stand.
//!
//! ```text
//! API server ─▶ stores ─┬▶ family 1: object, object, … ─┐
//!                       └▶ family 2: object, object, … ─┴▶ page, written anew for each question
//! ```
//!
//! Source: the documentation of kube-state-metrics 2 for names, types and labels; texts of help are ours.
//!
//! Rule: nothing is said before everything that is told of was listed or refused; a resource that is refused costs
//! itself only; of an object nothing is kept that no family tells.

mod amounts;
mod autoscalers;
mod conditions;
mod deployments;
mod metrics;
mod nodes;
mod page;
mod pods;
mod replica_sets;
mod resource;
mod stateful_sets;
#[cfg(test)]
mod tests;
mod watches;

pub use page::{MAX_PAGE_BYTES, StateError};
pub use resource::{StateResource, UnknownResource};
pub use watches::{MAX_NAMESPACES, StateScope, StateSeries, StateWatches, WatchState};
