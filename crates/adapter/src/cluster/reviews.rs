//! `TokenReview` and `SubjectAccessReview`.
//!
//! Rule: a review that fails is a refusal, and is not kept.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use datamodel::Clock;
use http::header::AUTHORIZATION;
use kubernetes::client::{ApiError, Client};
use metrics_api::{Attributes, AuthError, Authenticator, Authorizer, BoxFuture, Credentials, Decision, User};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::cache::Cache;

/// Longest time for a review; whoever asks waits some seconds.
const REVIEW_TIMEOUT: Duration = Duration::from_secs(10);
/// Tokens whose owners are kept.
const MAX_TOKENS: usize = 1_024;
/// Decisions that are kept: 500 autoscalers with some metrics.
const MAX_DECISIONS: usize = 4_096;
/// Longest token; those of service accounts have 1.5 KiB.
const MAX_TOKEN_BYTES: usize = 32 << 10;
/// Members may do everything, as with every API server.
const MASTERS: &str = "system:masters";

/// How long answers are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheTimes {
    /// `--authentication-token-webhook-cache-ttl`
    pub tokens: Duration,
    /// `--authorization-webhook-cache-authorized-ttl`
    pub allowed: Duration,
    /// `--authorization-webhook-cache-unauthorized-ttl`
    pub denied: Duration,
}

impl Default for CacheTimes {
    /// As upstream's flags.
    fn default() -> Self {
        let seconds = Duration::from_secs(10);
        Self { tokens: seconds, allowed: seconds, denied: seconds }
    }
}

async fn review<T: serde::de::DeserializeOwned>(client: &Client, path: &str, body: &Value) -> Result<T, AuthError> {
    let failed = |error: String| AuthError::Unavailable(error);
    let answer = tokio::time::timeout(REVIEW_TIMEOUT, client.create::<T>(path, body)).await;
    let answer: Result<T, ApiError> =
        answer.map_err(|_elapsed| failed(format!("no answer within {} s", REVIEW_TIMEOUT.as_secs())))?;
    answer.map_err(|error| failed(error.to_string()))
}

/// Asks the cluster whose token it is.
#[derive(Debug)]
pub struct TokenReviews {
    client: Arc<Client>,
    clock: Arc<dyn Clock>,
    /// By hash: tokens themselves are not kept.
    known: Cache<[u8; 32], Option<User>>,
    lifetime: Duration,
}

#[derive(Debug, Deserialize)]
struct TokenReview {
    #[serde(default)]
    status: TokenStatus,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct TokenStatus {
    authenticated: bool,
    user: UserInfo,
    error: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct UserInfo {
    username: String,
    uid: String,
    groups: Option<Vec<String>>,
    extra: Option<BTreeMap<String, Vec<String>>>,
}

impl TokenReviews {
    /// Asks through this client.
    #[must_use]
    pub fn new(client: Arc<Client>, clock: Arc<dyn Clock>, lifetime: Duration) -> Self {
        Self { client, clock, known: Cache::new(MAX_TOKENS), lifetime }
    }

    async fn user(&self, credentials: Credentials<'_>) -> Result<User, AuthError> {
        let refused = |reason: &str| AuthError::Unauthenticated(format!("token: {reason}"));
        let token = bearer(&credentials).ok_or_else(|| refused("none was given"))?;
        if token.len() > MAX_TOKEN_BYTES {
            return Err(refused("it is too long"));
        }
        let (key, now) = (Sha256::digest(token).into(), self.clock.now());
        if let Some(known) = self.known.get(&key, now) {
            return known.ok_or_else(|| refused("the cluster does not know it"));
        }
        let body = json!({
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": {"token": token},
        });
        let answer: TokenReview = review(&self.client, "/apis/authentication.k8s.io/v1/tokenreviews", &body).await?;
        let TokenStatus { authenticated, user, error } = answer.status;
        if !authenticated || user.username.is_empty() {
            self.known.put(key, None, now, self.lifetime);
            let reason = if error.is_empty() { "the cluster does not know it".to_owned() } else { error };
            return Err(refused(&reason));
        }
        let user = User {
            name: user.username,
            uid: user.uid,
            groups: user.groups.unwrap_or_default(),
            extra: user.extra.unwrap_or_default(),
        };
        self.known.put(key, Some(user.clone()), now, self.lifetime);
        Ok(user)
    }
}

impl Authenticator for TokenReviews {
    fn authenticate<'a>(&'a self, credentials: Credentials<'a>) -> BoxFuture<'a, Result<User, AuthError>> {
        Box::pin(self.user(credentials))
    }
}

/// The one bearer token of a request.
fn bearer<'a>(credentials: &Credentials<'a>) -> Option<&'a str> {
    let mut given = credentials.headers.get_all(AUTHORIZATION).iter();
    let (one, None) = (given.next()?, given.next()) else { return None };
    let (scheme, token) = one.to_str().ok()?.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

/// Asks the cluster whether a user may do something.
#[derive(Debug)]
pub struct AccessReviews {
    client: Arc<Client>,
    clock: Arc<dyn Clock>,
    known: Cache<String, Decision>,
    times: CacheTimes,
}

#[derive(Debug, Deserialize)]
struct AccessReview {
    #[serde(default)]
    status: AccessStatus,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct AccessStatus {
    allowed: bool,
    denied: bool,
    reason: String,
    evaluation_error: String,
}

impl AccessStatus {
    /// Why not, in the cluster's words where it has some: its RBAC gives none for what no role allows.
    fn refusal(self, user: &User, attributes: &Attributes) -> String {
        let given = [self.reason, self.evaluation_error].into_iter().find(|reason| !reason.trim().is_empty());
        given.unwrap_or_else(|| no_role(user, attributes))
    }
}

/// What a refusal without reason means, and what to do about it.
fn no_role(user: &User, attributes: &Attributes) -> String {
    let name = &user.name;
    match attributes {
        Attributes::Resource { verb, group, namespace, resource, subresource, .. } => {
            let resource = if subresource.is_empty() { resource.clone() } else { format!("{resource}/{subresource}") };
            let place = if namespace.is_empty() { String::new() } else { format!(" in namespace `{namespace}`") };
            format!(
                "no role lets user `{name}` do it{place}: bind one with verb `{verb}`, API group `{group}`, \
                 resource `{resource}`"
            )
        }
        Attributes::NonResource { path } => {
            format!("no role lets user `{name}` do it: bind a ClusterRole with verb `get`, non-resource URL `{path}`")
        }
    }
}

/// What is asked, in the form of the API.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AccessSpec<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    resource_attributes: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    non_resource_attributes: Option<Value>,
    user: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    uid: &'a str,
    groups: &'a [String],
    extra: &'a BTreeMap<String, Vec<String>>,
}

impl AccessReviews {
    /// Asks through this client.
    #[must_use]
    pub fn new(client: Arc<Client>, clock: Arc<dyn Clock>, times: CacheTimes) -> Self {
        Self { client, clock, known: Cache::new(MAX_DECISIONS), times }
    }

    async fn decide(&self, user: &User, attributes: &Attributes) -> Result<Decision, AuthError> {
        if user.groups.iter().any(|group| group == MASTERS) {
            return Ok(Decision::Allow);
        }
        let spec = spec(user, attributes);
        // The question as a text is its own key.
        let key = serde_json::to_string(&spec).map_err(|error| AuthError::Unavailable(error.to_string()))?;
        let now = self.clock.now();
        if let Some(known) = self.known.get(&key, now) {
            return Ok(known);
        }
        let body = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec});
        let path = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
        let AccessReview { status } = review(&self.client, path, &body).await?;
        let (decision, lifetime) = if status.allowed && !status.denied {
            (Decision::Allow, self.times.allowed)
        } else {
            (Decision::Deny(status.refusal(user, attributes)), self.times.denied)
        };
        self.known.put(key, decision.clone(), now, lifetime);
        Ok(decision)
    }
}

impl Authorizer for AccessReviews {
    fn authorize<'a>(
        &'a self,
        user: &'a User,
        attributes: &'a Attributes,
    ) -> BoxFuture<'a, Result<Decision, AuthError>> {
        Box::pin(self.decide(user, attributes))
    }
}

fn spec<'a>(user: &'a User, attributes: &Attributes) -> AccessSpec<'a> {
    let (resource_attributes, non_resource_attributes) = match attributes {
        Attributes::Resource { verb, group, version, namespace, resource, name, subresource } => {
            let all = [
                ("namespace", namespace.as_str()),
                ("verb", verb),
                ("group", group),
                ("version", version),
                ("resource", resource),
                ("subresource", subresource),
                ("name", name),
            ];
            let given = all.into_iter().filter(|(_, value)| !value.is_empty());
            (Some(given.map(|(key, value)| (key.to_owned(), json!(value))).collect()), None)
        }
        Attributes::NonResource { path } => (None, Some(json!({"path": path, "verb": "get"}))),
    };
    AccessSpec {
        resource_attributes,
        non_resource_attributes,
        user: &user.name,
        uid: &user.uid,
        groups: &user.groups,
        extra: &user.extra,
    }
}
