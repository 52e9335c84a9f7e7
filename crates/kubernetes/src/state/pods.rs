//! `kube_pod_…`: pods and their containers, without init containers, volumes and tolerations.
//!
//! Rule: names, labels and meaning are kube-state-metrics'.

use serde::Deserialize;

use super::amounts::Amounts;
use super::conditions::{Condition, boolean, owners, without_marks};
use super::page::{Family, Samples, Told, counter, gauge};
use crate::client::{Keyed, ObjectMeta, or_default};

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(super) struct Pod {
    #[serde(deserialize_with = "without_marks")]
    metadata: ObjectMeta,
    spec: Spec,
    status: Status,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    node_name: String,
    priority_class_name: String,
    host_network: bool,
    restart_policy: String,
    #[serde(deserialize_with = "or_default")]
    containers: Vec<Container>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
struct Container {
    name: String,
    image: String,
    resources: Resources,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
struct Resources {
    requests: Amounts,
    limits: Amounts,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    phase: String,
    reason: String,
    #[serde(rename = "podIP")]
    pod_ip: String,
    #[serde(rename = "hostIP")]
    host_ip: String,
    qos_class: String,
    start_time: Option<String>,
    #[serde(deserialize_with = "or_default")]
    conditions: Vec<Condition>,
    #[serde(deserialize_with = "or_default")]
    container_statuses: Vec<ContainerStatus>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ContainerStatus {
    name: String,
    image: String,
    #[serde(rename = "imageID")]
    image_id: String,
    #[serde(rename = "containerID")]
    container_id: String,
    ready: bool,
    restart_count: i32,
    state: State,
    last_state: State,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
struct State {
    waiting: Option<Waiting>,
    running: Option<Running>,
    terminated: Option<Terminated>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
struct Waiting {
    reason: String,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Running {
    started_at: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Terminated {
    reason: String,
    exit_code: i32,
    started_at: Option<String>,
    finished_at: Option<String>,
}

impl Keyed for Pod {
    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }
}

const PHASES: [&str; 5] = ["Pending", "Succeeded", "Failed", "Unknown", "Running"];
const QOS_CLASSES: [&str; 3] = ["BestEffort", "Burstable", "Guaranteed"];

/// Reasons of pods that ended before their time.
const REASONS: [&str; 5] = ["Evicted", "NodeAffinity", "NodeLost", "Shutdown", "UnexpectedAdmissionError"];

impl Pod {
    fn conditions(&self, kind: &str) -> impl Iterator<Item = &Condition> {
        self.status.conditions.iter().filter(move |condition| condition.kind == kind)
    }

    /// A condition under its statuses.
    fn condition(&self, kind: &str, into: &mut Samples<'_>) {
        for condition in self.conditions(kind) {
            condition.tell(&[], "condition", into);
        }
    }

    /// Since when a condition is true.
    fn true_since(&self, kind: &str, into: &mut Samples<'_>) {
        for condition in self.conditions(kind).filter(|condition| condition.is_true()) {
            into.instant(&[], condition.last_transition_time.as_deref());
        }
    }

    /// A sample for each container whose status says this; none where it does not.
    fn each(&self, of: fn(&ContainerStatus) -> Option<f64>, into: &mut Samples<'_>) {
        for status in &self.status.container_statuses {
            if let Some(value) = of(status) {
                into.add(&[("container", &status.name)], value);
            }
        }
    }

    /// A sample for each container for which there is a reason.
    fn reasons(&self, of: fn(&ContainerStatus) -> Option<&str>, into: &mut Samples<'_>) {
        for status in &self.status.container_statuses {
            if let Some(reason) = of(status) {
                into.add(&[("container", &status.name), ("reason", reason)], 1.0);
            }
        }
    }

    /// A sample for each resource of each container.
    fn resources(&self, of: fn(&Resources) -> &Amounts, into: &mut Samples<'_>) {
        for Container { name, resources, .. } in &self.spec.containers {
            for (resource, unit, value) in of(resources).told(true) {
                let labels =
                    [("container", &**name), ("node", &self.spec.node_name), ("resource", &resource), ("unit", unit)];
                into.add(&labels, value);
            }
        }
    }

    /// Whether the pod, a condition or a container says that this is why it is as it is.
    fn has_reason(&self, reason: &str) -> bool {
        let ends = self.status.container_statuses.iter().filter_map(|status| status.state.terminated.as_ref());
        let conditions = self.status.conditions.iter().map(|condition| condition.reason.as_str());
        let mut all = conditions.chain(ends.map(|end| end.reason.as_str())).chain([self.status.reason.as_str()]);
        all.any(|found| found == reason)
    }
}

fn info(object: &Pod, into: &mut Samples<'_>) {
    let owner = object.metadata.owner_references.iter().find(|owner| owner.controller == Some(true));
    let (kind, name) = owner.map_or(("", ""), |owner| (owner.kind.as_str(), owner.name.as_str()));
    let labels = [
        ("host_ip", &*object.status.host_ip),
        ("pod_ip", &object.status.pod_ip),
        ("node", &object.spec.node_name),
        ("created_by_kind", kind),
        ("created_by_name", name),
        ("priority_class", &object.spec.priority_class_name),
        ("host_network", boolean(object.spec.host_network)),
    ];
    into.add(&labels, 1.0);
}

fn container_info(object: &Pod, into: &mut Samples<'_>) {
    for status in &object.status.container_statuses {
        let spec = object.spec.containers.iter().find(|container| container.name == status.name);
        let labels = [
            ("container", &*status.name),
            ("image_spec", spec.map_or("", |container| container.image.as_str())),
            ("image", &status.image),
            ("image_id", &status.image_id),
            ("container_id", &status.container_id),
        ];
        into.add(&labels, 1.0);
    }
}

fn state_started(object: &Pod, into: &mut Samples<'_>) {
    for status in &object.status.container_statuses {
        let running = status.state.running.as_ref().map(|state| &state.started_at);
        let started = running.or(status.state.terminated.as_ref().map(|state| &state.started_at));
        into.instant(&[("container", &status.name)], started.and_then(Option::as_deref));
    }
}

fn completion(object: &Pod, into: &mut Samples<'_>) {
    let ends = object.status.container_statuses.iter().filter_map(|status| status.state.terminated.as_ref());
    // In RFC 3339 of one zone, as the API writes it, the order of texts is that of instants.
    into.instant(&[], ends.filter_map(|end| end.finished_at.as_deref()).max());
}

/// One sample for each of these, of which that in force has 1; none where nothing is in force.
fn one_of(label: &str, all: &[&str], in_force: &str, into: &mut Samples<'_>) {
    for value in all.iter().filter(|_| !in_force.is_empty()) {
        into.add(&[(label, value)], f64::from(*value == in_force));
    }
}

impl Told for Pod {
    fn identity(&self) -> Vec<(&'static str, &str)> {
        vec![("namespace", &self.metadata.namespace), ("pod", &self.metadata.name), ("uid", &self.metadata.uid)]
    }

    const FAMILIES: &'static [Family<Self>] = &[
        gauge("kube_pod_completion_time", "When the last container ended, in Unix seconds.", completion),
        gauge("kube_pod_container_info", "What the containers run.", container_info),
        gauge("kube_pod_container_resource_limits", "Most that containers may take.", |pod, into| {
            pod.resources(|resources| &resources.limits, into);
        }),
        gauge("kube_pod_container_resource_requests", "What is kept free for containers.", |pod, into| {
            pod.resources(|resources| &resources.requests, into);
        }),
        gauge("kube_pod_container_state_started", "When containers started, in Unix seconds.", state_started),
        gauge("kube_pod_container_status_last_terminated_exitcode", "How containers ended before.", |pod, into| {
            pod.each(|status| status.last_state.terminated.as_ref().map(|end| f64::from(end.exit_code)), into);
        }),
        gauge("kube_pod_container_status_last_terminated_reason", "Why containers ended before.", |pod, into| {
            pod.reasons(|status| status.last_state.terminated.as_ref().map(|end| &*end.reason), into);
        }),
        gauge("kube_pod_container_status_ready", "Whether containers are ready.", |pod, into| {
            pod.each(|status| Some(f64::from(status.ready)), into);
        }),
        counter("kube_pod_container_status_restarts_total", "Restarts of containers.", |pod, into| {
            pod.each(|status| Some(f64::from(status.restart_count)), into);
        }),
        gauge("kube_pod_container_status_running", "Whether containers run.", |pod, into| {
            pod.each(|status| Some(f64::from(status.state.running.is_some())), into);
        }),
        gauge("kube_pod_container_status_terminated", "Whether containers have ended.", |pod, into| {
            pod.each(|status| Some(f64::from(status.state.terminated.is_some())), into);
        }),
        gauge("kube_pod_container_status_terminated_reason", "Why containers have ended.", |pod, into| {
            pod.reasons(|status| status.state.terminated.as_ref().map(|end| &*end.reason), into);
        }),
        gauge("kube_pod_container_status_waiting", "Whether containers wait for their start.", |pod, into| {
            pod.each(|status| Some(f64::from(status.state.waiting.is_some())), into);
        }),
        gauge("kube_pod_container_status_waiting_reason", "Why containers wait for their start.", |pod, into| {
            pod.reasons(|status| status.state.waiting.as_ref().map(|wait| &*wait.reason), into);
        }),
        gauge("kube_pod_created", "When the pod was made, in Unix seconds.", |pod, into| {
            into.instant(&[], pod.metadata.creation_timestamp.as_deref());
        }),
        gauge("kube_pod_deletion_timestamp", "When the pod is to be gone, in Unix seconds.", |pod, into| {
            into.instant(&[], pod.metadata.deletion_timestamp.as_deref());
        }),
        gauge("kube_pod_info", "Where the pod is, and who made it.", info),
        gauge("kube_pod_owner", "Whose the pod is.", |pod, into| owners(&pod.metadata, into)),
        gauge("kube_pod_restart_policy", "When containers of the pod are started again.", |pod, into| {
            into.add(&[("type", &pod.spec.restart_policy)], 1.0);
        }),
        gauge("kube_pod_start_time", "When the kubelet took the pod, in Unix seconds.", |pod, into| {
            into.instant(&[], pod.status.start_time.as_deref());
        }),
        gauge("kube_pod_status_phase", "The phase of the pod.", |pod, into| {
            one_of("phase", &PHASES, &pod.status.phase, into);
        }),
        gauge("kube_pod_status_qos_class", "The quality of service of the pod.", |pod, into| {
            one_of("qos_class", &QOS_CLASSES, &pod.status.qos_class, into);
        }),
        gauge("kube_pod_status_ready", "Whether the pod is ready, by status.", |pod, into| {
            pod.condition("Ready", into);
        }),
        gauge("kube_pod_status_ready_time", "Since when the pod is ready, in Unix seconds.", |pod, into| {
            pod.true_since("Ready", into);
        }),
        gauge("kube_pod_status_reason", "Why the pod ended before its time.", |pod, into| {
            for reason in REASONS {
                into.add(&[("reason", reason)], f64::from(pod.has_reason(reason)));
            }
        }),
        gauge("kube_pod_status_scheduled", "Whether the pod has a node, by status.", |pod, into| {
            pod.condition("PodScheduled", into);
        }),
        gauge("kube_pod_status_scheduled_time", "Since when the pod has a node, in Unix seconds.", |pod, into| {
            pod.true_since("PodScheduled", into);
        }),
        gauge("kube_pod_status_unschedulable", "That no node is found for the pod.", |pod, into| {
            if pod.conditions("PodScheduled").any(|condition| condition.status == "False") {
                into.one(1.0);
            }
        }),
    ];
}
