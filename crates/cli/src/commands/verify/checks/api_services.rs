//! The `APIService` objects through which the API server finds the metrics API.

use super::super::facts::Facts;
use super::super::finding::{Finding, Question};
use crate::commands::api_service::ApiService;

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
    let mut findings: Vec<Finding> = [service.unavailable(), service.bundle_problem()]
        .into_iter()
        .flatten()
        .map(|problem| question.wrong(problem.found, problem.remedy))
        .collect();
    if service.spec.service.is_some() && service.spec.insecure {
        findings.push(question.warning(
            "`insecureSkipTLSVerify`: whoever answers at that address is believed",
            "a `caBundle` with the authority of the certificate (`apiService.insecureSkipTLSVerify: false`)",
        ));
    }
    if findings.is_empty() {
        findings.push(question.ok(format!("available, served by {}", service.place())));
    }
    findings
}
