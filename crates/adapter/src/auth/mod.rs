//! Who asks, told by certificates.
//!
//! - [`ClientCertificates`]: a certificate of the client authority names its owner.
//! - [`FrontProxy`]: a certificate of the request-header authority may speak for others, in headers.
//! - [`AnyOf`]: the first that knows the asker. [`EveryoneKnown`]: whoever is known may do everything.
//! - [`Authority`]: whose certificates are accepted. [`subject`]: the names in one.
//!
//! ```text
//! TLS handshake: the key belongs to the certificate ─▶ chain of the request-header authority? ─▶ headers
//!                                                  └─▶ chain of the client authority? ─▶ CN, O
//! ```
//!
//! Rule: the two authorities are checked separately, and headers count only behind the first: a certificate of the
//! other, whatever its name, speaks for its owner alone.

mod authority;
mod front_proxy;
pub(crate) mod subject;

use std::sync::Arc;

use datamodel::Clock;
use metrics_api::{Attributes, AuthError, Authenticator, Authorizer, BoxFuture, Credentials, Decision, User};

pub use self::authority::{Authority, AuthorityError};
pub use self::front_proxy::{FrontProxy, HeaderNames};
use self::subject::Subject;
use crate::watched::Watched;

/// Takes the names in a certificate of the client authority as the asker's.
#[derive(Clone, Debug)]
pub struct ClientCertificates {
    authority: Watched<Authority>,
    clock: Arc<dyn Clock>,
}

impl ClientCertificates {
    /// Trusts an authority.
    #[must_use]
    pub fn new(authority: Watched<Authority>, clock: Arc<dyn Clock>) -> Self {
        Self { authority, clock }
    }

    fn user(&self, credentials: &Credentials<'_>) -> Result<User, AuthError> {
        let refused = |reason: String| AuthError::Unauthenticated(format!("client certificate: {reason}"));
        let authority = self.authority.get();
        authority.check(credentials.certificates, self.clock.now()).map_err(|error| refused(error.to_string()))?;
        let Subject { common_name, organizations } =
            Subject::of(credentials.certificates).ok_or_else(|| refused("its subject cannot be read".to_owned()))?;
        if common_name.is_empty() {
            return Err(refused("its subject has no common name".to_owned()));
        }
        let mut groups = organizations;
        groups.push("system:authenticated".to_owned());
        Ok(User { name: common_name, groups, ..User::default() })
    }
}

impl Authenticator for ClientCertificates {
    fn authenticate<'a>(&'a self, credentials: Credentials<'a>) -> BoxFuture<'a, Result<User, AuthError>> {
        Box::pin(std::future::ready(self.user(&credentials)))
    }
}

/// Asks one authenticator after the other; the first that knows the asker counts.
#[derive(Clone)]
pub struct AnyOf(Vec<Arc<dyn Authenticator>>);

impl std::fmt::Debug for AnyOf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("AnyOf").field(&self.0.len()).finish()
    }
}

impl AnyOf {
    /// Takes them in their order.
    #[must_use]
    pub const fn new(authenticators: Vec<Arc<dyn Authenticator>>) -> Self {
        Self(authenticators)
    }

    async fn first(&self, credentials: Credentials<'_>) -> Result<User, AuthError> {
        let mut reasons = Vec::new();
        for authenticator in &self.0 {
            match authenticator.authenticate(credentials).await {
                Ok(user) => return Ok(user),
                Err(AuthError::Unauthenticated(reason)) => reasons.push(reason),
                Err(error) => reasons.push(error.to_string()),
            }
        }
        Err(AuthError::Unauthenticated(reasons.join("; ")))
    }
}

impl Authenticator for AnyOf {
    fn authenticate<'a>(&'a self, credentials: Credentials<'a>) -> BoxFuture<'a, Result<User, AuthError>> {
        Box::pin(self.first(credentials))
    }
}

/// Lets everyone do everything whom an authenticator knows: for servers that have no Kubernetes API to ask.
#[derive(Clone, Copy, Debug, Default)]
pub struct EveryoneKnown;

impl Authorizer for EveryoneKnown {
    fn authorize<'a>(
        &'a self,
        _user: &'a User,
        _attributes: &'a Attributes,
    ) -> BoxFuture<'a, Result<Decision, AuthError>> {
        Box::pin(std::future::ready(Ok(Decision::Allow)))
    }
}

#[cfg(test)]
mod tests;
