//! Who serves the metrics APIs: the `APIService` objects of the aggregator.
//!
//! - [`Registrations`]: what is registered. [`Registrations::version`]: which version of a group is asked.
//!
//! Rule: a group that nobody serves, that is not available, or that another server has, is a failed stage with the name
//! of the object.

use hpa::origin::FailureRecord;
use kubernetes::client::{Client, Format, Scope};
use kubernetes::operator;
use metrics_api::CUSTOM_GROUP;
use serde_json::Value;

use crate::commands::api_service::{ApiService, Problem};

/// The name of the stage.
pub(super) const STAGE: &str = "APIService";

/// What is registered at the aggregator.
pub(super) struct Registrations {
    /// None: they may not be read.
    services: Option<Vec<ApiService>>,
    expected: Option<String>,
}

impl Registrations {
    pub(super) async fn read(client: &Client, expected: Option<&str>, assumptions: &mut Vec<String>) -> Self {
        let services = client.list::<Value>(&ApiService::resource(), &Scope::default(), Format::Whole).await;
        let services = match services {
            // One that cannot be read serves another group: those of metrics have nothing that is not known here.
            Ok(services) => Some(services.into_iter().filter_map(|service| operator::read(service).ok()).collect()),
            Err(error) => {
                assumptions.push(format!("the metrics APIs are registered well: APIServices cannot be read: {error}"));
                None
            }
        };
        Self { services, expected: expected.map(str::to_owned) }
    }

    /// The version to ask for.
    ///
    /// # Errors
    ///
    /// The stage that fails.
    pub(super) fn version(&self, group: &str) -> Result<String, FailureRecord> {
        let usual = if group == CUSTOM_GROUP { "v1beta2" } else { "v1beta1" };
        let Some(services) = &self.services else { return Ok(usual.to_owned()) };
        let Some(service) = preferred(services, group) else {
            return Err(failure(
                format!("no APIService has the group {group}: nobody serves it"),
                format!(
                    "create the APIService v1beta1.{group} that names the Service of the metrics API (the chart has it)"
                ),
            ));
        };
        let (name, owner) = (&service.metadata.name, service.place());
        if let Some(expected) = self.expected.as_ref().filter(|expected| **expected != owner) {
            return Err(failure(
                format!("APIService {name} leads to {owner}, not to {expected}"),
                format!("let one server have {group}: remove the other one, or its APIService"),
            ));
        }
        if let Some(Problem { found, remedy }) = service.unavailable() {
            let bundle = service.bundle_problem().map(|problem| format!("; its {}", problem.found));
            return Err(failure(
                format!("APIService {name}, which leads to {owner}: {found}{}", bundle.unwrap_or_default()),
                remedy,
            ));
        }
        Ok(service.spec.version.clone())
    }

    /// Whose a group is, for messages: `kube-system/prometheus-adapter`.
    pub(super) fn owner(&self, group: &str) -> Option<String> {
        preferred(self.services.as_ref()?, group).map(ApiService::place)
    }
}

/// The version that clients choose: what works, then by priority, then the newer one.
fn preferred<'a>(services: &'a [ApiService], group: &str) -> Option<&'a ApiService> {
    let of_group = services.iter().filter(|service| service.spec.group == group);
    of_group.max_by_key(|service| {
        (service.unavailable().is_none(), service.spec.version_priority, service.spec.version.as_str())
    })
}

fn failure(cause: String, remedy: String) -> FailureRecord {
    FailureRecord { stage: STAGE.to_owned(), cause, remedy }
}
