//! The `APIService` objects through which the API server finds the metrics API.

use http_client::base64;

use super::super::facts::{ApiService, Condition, Facts};
use super::super::finding::{Finding, Question, clean};

/// "Custom Metrics Not Available", as the API server sees it.
pub(super) fn available(facts: &Facts) -> Vec<Finding> {
    let services = &facts.cluster.api_services;
    services
        .iter()
        .flat_map(|(name, asked)| {
            let question = Question::new("APIService", format!("kubectl get apiservice {name}"));
            match question.answer(asked) {
                Ok(Some(service)) => of_service(&question, service),
                Ok(None) => vec![missing(&question, name)],
                Err(finding) => vec![finding],
            }
        })
        .collect()
}

fn missing(question: &Question, name: &str) -> Finding {
    let found = "it is not registered";
    if name.contains("v1beta1.custom") {
        return question.wrong(
            found,
            "nothing serves custom metrics: is the adapter installed (`prometheus-adapter.enabled`), with `apiService.create`?",
        );
    }
    if name.contains("external") {
        return question.warning(found, "external metrics need `rules.external` in the values of prometheus-adapter");
    }
    // Autoscalers ask for v1beta1 where v1beta2 is not there.
    question.not_checked(found)
}

fn of_service(question: &Question, service: &ApiService) -> Vec<Finding> {
    let mut findings = Vec::new();
    let available = service.status.conditions.iter().find(|condition| condition.kind == "Available");
    let place = service.spec.service.as_ref().map_or_else(
        || "the API server itself".to_owned(),
        |reference| format!("{}/{}", reference.namespace, reference.name),
    );
    match available {
        Some(condition) if condition.status == "True" => {}
        Some(condition) => findings.push(question.wrong(
            format!("not available: {}: {}", condition.reason, clean(&condition.message)),
            remedy(condition, &place),
        )),
        None => findings.push(question.wrong("the API server has said nothing of it yet", "ask again in a moment")),
    }
    if service.spec.service.is_some() {
        if service.spec.insecure {
            findings.push(question.warning(
                "`insecureSkipTLSVerify`: whoever answers at that address is believed",
                "a `caBundle` with the authority of the certificate (`apiService.insecureSkipTLSVerify: false`)",
            ));
        } else if let Some(problem) = bundle_problem(service.spec.ca_bundle.as_deref()) {
            findings.push(question.wrong(
                format!("`caBundle` {problem}"),
                "the authority that signed the certificate of the adapter, in PEM; cert-manager's `inject-ca-from` or the \
                 adapter itself writes it",
            ));
        }
    }
    if findings.is_empty() {
        findings.push(question.ok(format!("available, served by {place}")));
    }
    findings
}

/// What is wrong with whom the API server is told to trust.
fn bundle_problem(bundle: Option<&str>) -> Option<&'static str> {
    let Some(bundle) = bundle.filter(|bundle| !bundle.is_empty()) else {
        return Some("is empty: no certificate of the adapter is accepted, unless a public authority signed it");
    };
    let text = base64::decode(bundle).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let is_pem = text.is_some_and(|text| text.contains("-----BEGIN CERTIFICATE-----"));
    (!is_pem).then_some("holds no certificate in PEM")
}

fn remedy(condition: &Condition, place: &str) -> String {
    match condition.reason.as_str() {
        "ServiceNotFound" => format!("there is no Service {place}: is the adapter installed in that namespace?"),
        "MissingEndpoints" | "EndpointsNotFound" => {
            format!("no pod behind {place} is ready: `kubectl get pods` and `kubectl logs` of the adapter")
        }
        "ServicePortError" | "ServiceAccessError" => format!("`port` of the APIService must be one of {place}"),
        "FailedDiscoveryCheck" if condition.message.contains("x509") || condition.message.contains("certificate") => {
            format!("the certificate of {place} is not signed by `caBundle`, or not for `NAME.NAMESPACE.svc`")
        }
        "FailedDiscoveryCheck" => format!(
            "the API server does not reach {place}: a NetworkPolicy or firewall between them, the port, or the adapter refuses \
             it (its log)"
        ),
        _ => format!("`kubectl describe apiservice`, and the log of {place}"),
    }
}
