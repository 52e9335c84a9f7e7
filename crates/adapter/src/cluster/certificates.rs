//! The serving certificate in a Secret of the cluster, and the authority that the API server trusts for it.
//!
//! - [`CertificateKeeper`]: makes both, renews both, and says whom to trust in the `APIService`s of our Service.
//!
//! ```text
//! Secret (ca.crt, ca.key, tls.crt, tls.key) ─▶ caBundle of each APIService ─▶ what is served
//! ```
//!
//! Rule: replicas agree by the version of the Secret: who comes second reads what the first one wrote. An `APIService`
//! that leads to another Service is left alone.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use datamodel::Clock;
use http_client::base64;
use kubernetes::client::{ApiError, Client, Patch, Resource};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::serving::{ConfigError, Issued, Plan, ServingTls, TlsSettings, Unreadable, pair};
use crate::watched::Watched;

/// How often the Secret and the `APIService`s are looked at.
pub const KEEP_INTERVAL: Duration = Duration::from_secs(30);
/// Attempts to write a Secret that others write too.
const TRIES: usize = 5;
/// Longest time for one look, all requests together.
const LOOK_TIMEOUT: Duration = Duration::from_secs(20);
/// Who writes the field `caBundle`.
const FIELD_MANAGER: &str = "fieldManager=crescendo-certificates";
/// The names of the `APIService`s that may be ours.
const API_SERVICES: [&str; 3] =
    ["v1beta1.custom.metrics.k8s.io", "v1beta2.custom.metrics.k8s.io", "v1beta1.external.metrics.k8s.io"];

/// Why there is no certificate, or the API server does not trust it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeepError {
    /// The API server refuses. The account needs `get` and `update` for the Secret (and `create` where it is absent),
    /// `get` and `patch` for the `APIService`s.
    #[error("cannot {verb} {object}")]
    Api {
        /// What was tried.
        verb: &'static str,
        /// With what.
        object: String,
        /// Why it failed.
        source: ApiError,
    },
    /// Something else is in the Secret.
    #[error("cannot use Secret {secret}: {reason}")]
    Secret {
        /// Its name.
        secret: String,
        /// What is wrong.
        reason: String,
    },
    /// Nothing can be signed.
    #[error("cannot make a certificate")]
    Make(#[source] rcgen::Error),
    /// Others wrote the Secret again and again.
    #[error("Secret {0} is changed by others all the time")]
    Contended(String),
    /// There was no time for it.
    #[error("the API server was too slow: nothing is known after {} s", LOOK_TIMEOUT.as_secs())]
    Timeout,
}

/// What is kept.
#[derive(Clone, Debug)]
pub struct KeepOptions {
    /// Name of the Secret, in the namespace of the client.
    pub secret: String,
    /// Name of the Service before us, in the same namespace: for it the certificate is, and its `APIService`s are told.
    pub service: String,
    /// How long a certificate is valid; its authority is ten times as long.
    pub lifetime: Duration,
    /// How TLS is spoken.
    pub tls: TlsSettings,
}

/// Keeps the certificate.
pub struct CertificateKeeper {
    client: Arc<Client>,
    clock: Arc<dyn Clock>,
    options: KeepOptions,
    plan: Plan,
    /// What is served, and from which certificate it was made.
    served: ServingTls,
    certificate: String,
}

impl std::fmt::Debug for CertificateKeeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CertificateKeeper").field("options", &self.options).finish_non_exhaustive()
    }
}

impl CertificateKeeper {
    /// Reads or makes the certificate, and says whom to trust.
    ///
    /// # Errors
    ///
    /// See [`KeepError`].
    pub async fn open(client: Arc<Client>, clock: Arc<dyn Clock>, options: KeepOptions) -> Result<Self, KeepError> {
        let name = format!("{}.{}.svc", options.service, client.namespace());
        let names = vec![format!("{name}.cluster.local"), name];
        let plan = Plan { names, lifetime: options.lifetime };
        let secret = Secret { client: &client, name: &options.secret };
        let issued = look(&secret, &client, clock.as_ref(), &plan, &options.service).await?;
        let config = tls(&issued, &options)?;
        let served = Watched::constant(config);
        Ok(Self { client, clock, options, plan, served, certificate: issued.certificate })
    }

    /// What is served.
    #[must_use]
    pub fn served(&self) -> ServingTls {
        self.served.clone()
    }

    /// Looks again and again until shutdown.
    pub async fn watch(mut self, shutdown: CancellationToken) {
        let mut failing = false;
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(KEEP_INTERVAL) => {}
            }
            match self.keep().await {
                Ok(()) => failing = false,
                Err(error) if !std::mem::replace(&mut failing, true) => {
                    let cause = std::error::Error::source(&error).map(ToString::to_string);
                    tracing::error!(cause, "the last certificate stays in force: {error}");
                }
                Err(_told) => {}
            }
        }
    }

    /// Looks once, and serves what is kept then.
    ///
    /// # Errors
    ///
    /// See [`KeepError`].
    pub(crate) async fn keep(&mut self) -> Result<(), KeepError> {
        let secret = Secret { client: &self.client, name: &self.options.secret };
        let issued = look(&secret, &self.client, self.clock.as_ref(), &self.plan, &self.options.service).await?;
        if issued.certificate != self.certificate {
            self.served.set(tls(&issued, &self.options)?);
            self.certificate = issued.certificate;
            tracing::info!(secret = self.options.secret, "a new serving certificate is in force");
        }
        Ok(())
    }
}

fn tls(issued: &Issued, options: &KeepOptions) -> Result<rustls::ServerConfig, KeepError> {
    let config = pair(issued.certificate.as_bytes(), issued.key.as_bytes(), &options.tls);
    config.map_err(|error: ConfigError| KeepError::Secret { secret: options.secret.clone(), reason: error.to_string() })
}

/// Reads what is kept, tells whom to trust, and renews what is due; what is kept then.
async fn look(
    secret: &Secret<'_>,
    client: &Client,
    clock: &dyn Clock,
    plan: &Plan,
    service: &str,
) -> Result<Issued, KeepError> {
    let looked = async {
        for _ in 0..TRIES {
            let (object, held) = secret.read().await?;
            if let Some(held) = &held {
                tell(client, service, &held.authorities).await?;
            }
            let next = Issued::next(held.as_ref(), clock.now(), plan).map_err(KeepError::Make)?;
            let Some(next) = next else {
                // There is nothing to change only where something is held.
                if let Some(held) = held {
                    return Ok(held);
                }
                continue;
            };
            if secret.write(object, &next).await? {
                tell(client, service, &next.authorities).await?;
                return Ok(next);
            }
        }
        Err(KeepError::Contended(secret.name.to_owned()))
    };
    tokio::time::timeout(LOOK_TIMEOUT, looked).await.unwrap_or(Err(KeepError::Timeout))
}

/// The Secret.
struct Secret<'a> {
    client: &'a Client,
    name: &'a str,
}

impl Secret<'_> {
    fn failed(&self, verb: &'static str) -> impl FnOnce(ApiError) -> KeepError {
        let object = format!("Secret {}/{}", self.client.namespace(), self.name);
        move |source| KeepError::Api { verb, object, source }
    }

    /// The object, where there is one, and what is kept in it.
    async fn read(&self) -> Result<(Option<Value>, Option<Issued>), KeepError> {
        let path = Resource::core("secrets").object_path(Some(self.client.namespace()), self.name);
        let object: Value = match self.client.get(&path).await {
            Ok(object) => object,
            Err(error) if error.is_not_found() => return Ok((None, None)),
            Err(error) => return Err(self.failed("read")(error)),
        };
        let unreadable = |reason: String| KeepError::Secret { secret: self.name.to_owned(), reason };
        let data: Option<BTreeMap<String, String>> = serde_json::from_value(object["data"].clone())
            .map_err(|error| unreadable(format!("its data are no texts: {error}")))?;
        let held = Issued::from_data(&data.unwrap_or_default());
        let held = held.map_err(|error: Unreadable| unreadable(error.to_string()))?;
        Ok((Some(object), held))
    }

    /// Keeps something else; `false` where somebody was faster.
    async fn write(&self, object: Option<Value>, issued: &Issued) -> Result<bool, KeepError> {
        let resource = Resource::core("secrets");
        let namespace = Some(self.client.namespace());
        let written: Result<Value, ApiError> = match object {
            Some(mut object) => {
                object["data"] = json!(issued.to_data());
                self.client.replace(&resource.object_path(namespace, self.name), &object).await
            }
            None => {
                let metadata = json!({"name": self.name, "namespace": namespace});
                let object = json!({
                    "apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": "Opaque", "data": issued.to_data(),
                });
                self.client.create(&resource.path(namespace), &object).await
            }
        };
        match written {
            Ok(_written) => Ok(true),
            Err(error) if error.is_conflict() => Ok(false),
            Err(error) => Err(self.failed("write")(error)),
        }
    }
}

/// Says whom to trust in each `APIService` that leads to our Service.
async fn tell(client: &Client, service: &str, authorities: &str) -> Result<(), KeepError> {
    let bundle = base64::encode(authorities.as_bytes());
    for name in API_SERVICES {
        let path = Resource::new("apiregistration.k8s.io", "v1", "apiservices").object_path(None, name);
        let failed = |verb| move |source| KeepError::Api { verb, object: format!("APIService {name}"), source };
        let object: Value = match client.get(&path).await {
            Ok(object) => object,
            Err(error) if error.is_not_found() => continue,
            Err(error) => return Err(failed("read")(error)),
        };
        let (spec, ours) = (&object["spec"], &object["spec"]["service"]);
        let is_ours = ours["name"] == service && ours["namespace"] == client.namespace();
        if !is_ours || spec["caBundle"] == bundle.as_str() {
            continue;
        }
        // Without the version that was read it would replace what somebody else has just written.
        let version = &object["metadata"]["resourceVersion"];
        let change = json!({"metadata": {"resourceVersion": version}, "spec": {"caBundle": bundle}});
        match client.patch::<Value>(&path, FIELD_MANAGER, Patch::Merge, &change).await {
            Ok(_changed) => tracing::info!(api_service = name, "the API server is told whom to trust"),
            // The next look sees what it is now.
            Err(error) if error.is_conflict() => {}
            Err(error) => return Err(failed("change")(error)),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use datamodel::Timestamp;
    use datamodel::time::ManualClock;
    use kubernetes::testing::{FakeCluster, Fault};

    use super::*;

    const START: Timestamp = Timestamp::from_unix_ms(1_700_000_000_000);
    const API_SERVICE: &str = "/apis/apiregistration.k8s.io/v1/apiservices";
    const DAY: Duration = Duration::from_secs(86_400);

    struct Rig {
        cluster: FakeCluster,
        clock: Arc<ManualClock>,
    }

    impl Rig {
        /// Two `APIService`s, of which one leads to us.
        async fn start() -> Self {
            let cluster = FakeCluster::start().await.unwrap();
            for (name, service) in [(API_SERVICES[0], "metrics-api"), (API_SERVICES[2], "keda")] {
                let service = json!({"name": service, "namespace": "default"});
                cluster.put(API_SERVICE, json!({"metadata": {"name": name}, "spec": {"service": service}}));
            }
            Self { cluster, clock: Arc::new(ManualClock::new(START)) }
        }

        async fn open(&self) -> Result<CertificateKeeper, KeepError> {
            let options = KeepOptions {
                secret: "tls".to_owned(),
                service: "metrics-api".to_owned(),
                lifetime: 90 * DAY,
                tls: TlsSettings::default(),
            };
            let clock = Arc::clone(&self.clock) as Arc<dyn Clock>;
            CertificateKeeper::open(self.cluster.client(), clock, options).await
        }

        fn kept(&self, key: &str) -> String {
            let secret = self.cluster.get("/api/v1/secrets", "default", "tls").unwrap();
            secret["data"][key].as_str().unwrap().to_owned()
        }

        fn bundle(&self, name: &str) -> Value {
            self.cluster.get(API_SERVICE, "", name).unwrap()["spec"]["caBundle"].clone()
        }

        fn writes(&self) -> usize {
            self.cluster.requests().iter().filter(|request| !request.starts_with("GET")).count()
        }
    }

    #[tokio::test]
    async fn certificate_is_made_once_and_our_api_services_are_told() {
        let rig = Rig::start().await;
        let first = rig.open().await.unwrap();
        assert_eq!(rig.bundle(API_SERVICES[0]), rig.kept("ca.crt"));
        assert_eq!(rig.bundle(API_SERVICES[2]), Value::Null);
        assert_eq!(rig.writes(), 2);
        // The second replica takes what is there; nobody writes what is so already.
        let second = rig.open().await.unwrap();
        assert_eq!((first.certificate, rig.writes()), (second.certificate, 2));
    }

    #[tokio::test]
    async fn renewal_reaches_every_replica_and_whom_to_trust_is_told_before() {
        let rig = Rig::start().await;
        let (mut first, mut second) = (rig.open().await.unwrap(), rig.open().await.unwrap());
        let authority = rig.kept("ca.crt");
        for day in (10..=610).step_by(10) {
            rig.clock.advance(10 * DAY);
            let (served, told) = (first.certificate.clone(), rig.bundle(API_SERVICES[0]));
            first.keep().await.unwrap();
            second.keep().await.unwrap();
            assert_eq!(first.certificate, second.certificate, "day {day}");
            let is_changed = rig.bundle(API_SERVICES[0]) != told;
            assert!(!is_changed || served == first.certificate, "told and served on day {day}");
        }
        assert!(rig.kept("ca.crt").len() > authority.len());
        let served = first.certificate.clone();
        rig.clock.advance(Duration::from_secs(60));
        first.keep().await.unwrap();
        assert_ne!(first.certificate, served);
    }

    #[tokio::test]
    async fn replicas_that_start_together_serve_one_certificate() {
        let rig = Rig::start().await;
        let (first, second) = tokio::join!(rig.open(), rig.open());
        assert_eq!(first.unwrap().certificate, second.unwrap().certificate);
        assert_eq!(rig.bundle(API_SERVICES[0]), rig.kept("ca.crt"));
    }

    #[tokio::test]
    async fn start_that_fails_halfway_goes_on_from_what_it_wrote() {
        let rig = Rig::start().await;
        // As a chart leaves it: without data, and with labels that stay.
        let metadata = json!({"name": "tls", "namespace": "default", "labels": {"a": "b"}});
        rig.cluster.put("/api/v1/secrets", json!({"metadata": metadata}));
        rig.cluster.fail_next("apiservices", Fault::Status(409, "Conflict"));
        rig.open().await.unwrap_err();
        let object = rig.cluster.get("/api/v1/secrets", "default", "tls").unwrap();
        assert_eq!(object["metadata"]["labels"]["a"], "b");
        rig.open().await.unwrap();
        assert_eq!(rig.bundle(API_SERVICES[0]), rig.kept("ca.crt"));
    }

    #[tokio::test]
    async fn what_stands_in_the_way_is_named() {
        let rig = Rig::start().await;
        rig.cluster.fail_next("secrets", Fault::Status(403, "Forbidden"));
        let error = rig.open().await.unwrap_err();
        assert_eq!(error.to_string(), "cannot read Secret default/tls");
        let metadata = json!({"name": "tls", "namespace": "default"});
        rig.cluster.put("/api/v1/secrets", json!({"metadata": metadata, "data": {"password": "eA=="}}));
        let error = rig.open().await.unwrap_err().to_string();
        assert!(error.starts_with("cannot use Secret tls: its `terms.json` is missing"), "{error}");
        assert_eq!(rig.kept("password"), "eA==");
    }
}
