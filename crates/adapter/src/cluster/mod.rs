//! Who asks and whether they may, told by a Kubernetes API; and our certificate, kept in it.
//!
//! - [`TokenReviews`]: whose token it is. [`AccessReviews`]: whether a user may do something.
//! - [`ClusterResources`]: the resources that there are.
//! - [`CertificateKeeper`]: the serving certificate in a Secret, renewed.
//! - [`LookedUp`]: the authorities that the cluster names in `extension-apiserver-authentication`.
//!
//! ```text
//! request ─▶ certificate of a looked-up authority, or token ─▶ user ─▶ SubjectAccessReview ─▶ answer
//!                     └ ConfigMap, every 30 s    └ TokenReview           └ kept for 10 s
//! ```
//!
//! Rule: what the cluster does not say is a refusal; only its own answers are kept, and briefly.

mod authorities;
mod cache;
mod certificates;
mod resources;
mod reviews;

pub use self::authorities::{LOOKUP_INTERVAL, LookedUp, LookupError, LookupOptions};
pub use self::certificates::{CertificateKeeper, KEEP_INTERVAL, KeepError, KeepOptions};
pub use self::resources::ClusterResources;
pub use self::reviews::{AccessReviews, CacheTimes, TokenReviews};

#[cfg(test)]
mod tests;
