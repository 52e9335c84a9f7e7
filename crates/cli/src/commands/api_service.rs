//! `APIService` objects: who serves a version of a group of the API, and what keeps the API server from it.
//!
//! - [`ApiService`]: one as the API server gives it. [`Problem`]: what is wrong with it, and what to do about it.
//! - [`Condition`]: a condition of any object.
//!
//! Rule: what an API server says about an `APIService` is read here, and nowhere else.

use http_client::base64;
use kubernetes::client::{ObjectMeta, Resource};
use serde::Deserialize;

use crate::printer::clean;

/// A condition of any object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct Condition {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) status: String,
    pub(super) reason: String,
    pub(super) message: String,
}

/// Who serves a version of a group of the API.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct ApiService {
    pub(super) metadata: ObjectMeta,
    pub(super) spec: ApiServiceSpec,
    pub(super) status: ApiServiceStatus,
}

/// What it serves, where it is, and whom to trust.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ApiServiceSpec {
    pub(super) group: String,
    pub(super) version: String,
    /// Among the versions of the group.
    pub(super) version_priority: i32,
    pub(super) service: Option<ServiceReference>,
    pub(super) ca_bundle: Option<String>,
    #[serde(rename = "insecureSkipTLSVerify")]
    pub(super) insecure: bool,
}

/// Names a Service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct ServiceReference {
    pub(super) name: String,
    pub(super) namespace: String,
}

/// How it stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct ApiServiceStatus {
    pub(super) conditions: Vec<Condition>,
}

/// What is wrong, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) found: String,
    pub(super) remedy: String,
}

impl ApiService {
    /// Where these objects are.
    pub(super) fn resource() -> Resource {
        Resource::new("apiregistration.k8s.io", "v1", "apiservices")
    }

    /// Who is behind it: `NAMESPACE/NAME` of the Service.
    pub(super) fn place(&self) -> String {
        self.spec.service.as_ref().map_or_else(
            || "the API server itself".to_owned(),
            |service| format!("{}/{}", service.namespace, service.name),
        )
    }

    /// Why the API server does not pass requests on; none where it does.
    pub(super) fn unavailable(&self) -> Option<Problem> {
        let conditions = &self.status.conditions;
        match conditions.iter().find(|condition| condition.kind == "Available") {
            Some(condition) if condition.status == "True" => None,
            Some(condition) => Some(Problem {
                found: format!("not available: {}: {}", clean(&condition.reason), clean(&condition.message)),
                remedy: remedy(condition, &self.place()),
            }),
            None => Some(Problem {
                found: "the API server has said nothing of it yet".to_owned(),
                remedy: "ask again in a moment".to_owned(),
            }),
        }
    }

    /// What is wrong with whom the API server is told to trust, where it proves who answers.
    pub(super) fn bundle_problem(&self) -> Option<Problem> {
        if self.spec.service.is_none() || self.spec.insecure {
            return None;
        }
        let found = match self.spec.ca_bundle.as_deref().filter(|bundle| !bundle.is_empty()) {
            None => "is empty: no certificate of the adapter is accepted, unless a public authority signed it",
            Some(bundle) => {
                let text = base64::decode(bundle).ok().and_then(|bytes| String::from_utf8(bytes).ok());
                if text.is_some_and(|text| text.contains("-----BEGIN CERTIFICATE-----")) {
                    return None;
                }
                "holds no certificate in PEM"
            }
        };
        let remedy = "the authority that signed the certificate of the adapter, in PEM; cert-manager's `inject-ca-from` or \
                      the adapter itself writes it";
        Some(Problem { found: format!("`caBundle` {found}"), remedy: remedy.to_owned() })
    }
}

/// What helps where the API server gives such a reason.
fn remedy(condition: &Condition, place: &str) -> String {
    let says = |words: &[&str]| words.iter().any(|word| condition.message.contains(word));
    match condition.reason.as_str() {
        "ServiceNotFound" => format!("there is no Service {place}: is the adapter installed in that namespace?"),
        "MissingEndpoints" | "EndpointsNotFound" => {
            format!(
                "no pod behind {place} is ready: `kubectl get pods` and `kubectl logs` of the adapter; one that may not read \
                 the ConfigMap kube-system/extension-apiserver-authentication needs the role \
                 extension-apiserver-authentication-reader there"
            )
        }
        "ServicePortError" | "ServiceAccessError" => format!("`port` of the APIService must be one of {place}"),
        "FailedDiscoveryCheck" if says(&["expired", "not yet valid"]) => format!(
            "the certificate of {place} is out of its time: renew it, and see whether the clocks of both machines agree"
        ),
        "FailedDiscoveryCheck" if says(&["x509", "certificate"]) => {
            format!("the certificate of {place} is not signed by `caBundle`, or not for `NAME.NAMESPACE.svc`")
        }
        "FailedDiscoveryCheck" => format!(
            "the API server does not reach {place}: a NetworkPolicy or firewall between them, the port, or the adapter refuses \
             it (its log)"
        ),
        _ => format!("`kubectl describe apiservice`, and the log of {place}"),
    }
}
