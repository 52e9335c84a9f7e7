//! Which resources exist: plural, singular, kind, group, scope.
//!
//! - [`ResourceMapper`]: who knows a cluster's resources (its discovery, custom resources included).
//! - [`BuiltinResources`]: a static table of Kubernetes' own kinds.
//!
//! Rule: names are normalised here and nowhere else.

use crate::names::GroupResource;

/// What is known of one resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResourceInfo {
    /// Plural name and group.
    pub group_resource: GroupResource,
    /// `pod`
    pub singular: String,
    /// `Pod`
    pub kind: String,
    /// The version that the API prefers: `v1`.
    pub version: String,
    /// Whether its objects live in namespaces.
    pub namespaced: bool,
}

impl ResourceInfo {
    /// `group/version`, with the slash also where the group is empty, as prometheus-adapter writes it.
    #[must_use]
    pub fn api_version(&self) -> String {
        format!("{}/{}", self.group_resource.group, self.version)
    }
}

/// Knows the resources of a cluster.
pub trait ResourceMapper: Send + Sync {
    /// Finds a resource by its plural or singular name. An empty group means any group, the core first;
    /// otherwise the group itself or, if there is none, one that begins with it (`networking` is
    /// `networking.k8s.io`).
    fn resource(&self, group: &str, name: &str) -> Option<ResourceInfo>;
}

/// Kubernetes' own kinds: plural, singular, kind, group, version, whether in namespaces.
type Row = (&'static str, &'static str, &'static str, &'static str, &'static str, bool);

const BUILTIN: [Row; 36] = [
    ("configmaps", "configmap", "ConfigMap", "", "v1", true),
    ("endpoints", "endpoints", "Endpoints", "", "v1", true),
    ("events", "event", "Event", "", "v1", true),
    ("limitranges", "limitrange", "LimitRange", "", "v1", true),
    ("namespaces", "namespace", "Namespace", "", "v1", false),
    ("nodes", "node", "Node", "", "v1", false),
    ("persistentvolumeclaims", "persistentvolumeclaim", "PersistentVolumeClaim", "", "v1", true),
    ("persistentvolumes", "persistentvolume", "PersistentVolume", "", "v1", false),
    ("pods", "pod", "Pod", "", "v1", true),
    ("podtemplates", "podtemplate", "PodTemplate", "", "v1", true),
    ("replicationcontrollers", "replicationcontroller", "ReplicationController", "", "v1", true),
    ("resourcequotas", "resourcequota", "ResourceQuota", "", "v1", true),
    ("secrets", "secret", "Secret", "", "v1", true),
    ("serviceaccounts", "serviceaccount", "ServiceAccount", "", "v1", true),
    ("services", "service", "Service", "", "v1", true),
    ("controllerrevisions", "controllerrevision", "ControllerRevision", "apps", "v1", true),
    ("daemonsets", "daemonset", "DaemonSet", "apps", "v1", true),
    ("deployments", "deployment", "Deployment", "apps", "v1", true),
    ("replicasets", "replicaset", "ReplicaSet", "apps", "v1", true),
    ("statefulsets", "statefulset", "StatefulSet", "apps", "v1", true),
    ("horizontalpodautoscalers", "horizontalpodautoscaler", "HorizontalPodAutoscaler", "autoscaling", "v2", true),
    ("cronjobs", "cronjob", "CronJob", "batch", "v1", true),
    ("jobs", "job", "Job", "batch", "v1", true),
    ("leases", "lease", "Lease", "coordination.k8s.io", "v1", true),
    ("endpointslices", "endpointslice", "EndpointSlice", "discovery.k8s.io", "v1", true),
    ("ingressclasses", "ingressclass", "IngressClass", "networking.k8s.io", "v1", false),
    ("ingresses", "ingress", "Ingress", "networking.k8s.io", "v1", true),
    ("networkpolicies", "networkpolicy", "NetworkPolicy", "networking.k8s.io", "v1", true),
    ("runtimeclasses", "runtimeclass", "RuntimeClass", "node.k8s.io", "v1", false),
    ("poddisruptionbudgets", "poddisruptionbudget", "PodDisruptionBudget", "policy", "v1", true),
    ("clusterroles", "clusterrole", "ClusterRole", "rbac.authorization.k8s.io", "v1", false),
    ("roles", "role", "Role", "rbac.authorization.k8s.io", "v1", true),
    ("priorityclasses", "priorityclass", "PriorityClass", "scheduling.k8s.io", "v1", false),
    ("csidrivers", "csidriver", "CSIDriver", "storage.k8s.io", "v1", false),
    ("storageclasses", "storageclass", "StorageClass", "storage.k8s.io", "v1", false),
    ("volumeattachments", "volumeattachment", "VolumeAttachment", "storage.k8s.io", "v1", false),
];

/// The resources that every cluster has. Custom resources are not among them: give a mapper that asks the
/// cluster.
#[derive(Clone, Copy, Debug, Default)]
pub struct BuiltinResources;

impl ResourceMapper for BuiltinResources {
    fn resource(&self, group: &str, name: &str) -> Option<ResourceInfo> {
        find(&BUILTIN, |row| (row.3, row.0, row.1), group, name).map(|row| ResourceInfo {
            group_resource: GroupResource::new(row.3, row.0),
            singular: row.1.to_owned(),
            kind: row.2.to_owned(),
            version: row.4.to_owned(),
            namespaced: row.5,
        })
    }
}

/// A fixed list of resources, for those who know all that there are.
#[derive(Clone, Debug, Default)]
pub struct FixedResources(pub Vec<ResourceInfo>);

impl ResourceMapper for FixedResources {
    fn resource(&self, group: &str, name: &str) -> Option<ResourceInfo> {
        let key = |info: &'_ ResourceInfo| {
            (info.group_resource.group.clone(), info.group_resource.resource.clone(), info.singular.clone())
        };
        let keys: Vec<_> = self.0.iter().map(|info| (key(info), info)).collect();
        find(&keys, |(key, _)| (&key.0, &key.1, &key.2), group, name).map(|(_, info)| (*info).clone())
    }
}

/// Applies the rules of [`ResourceMapper::resource`] to a list with keys (group, plural, singular).
fn find<'a, T>(
    list: &'a [T],
    key: impl Fn(&'a T) -> (&'a str, &'a str, &'a str),
    group: &str,
    name: &str,
) -> Option<&'a T> {
    let named = |entry: &&'a T| {
        let (_, plural, singular) = key(entry);
        plural == name || singular == name
    };
    let in_group = |wanted: &'_ dyn Fn(&str) -> bool| list.iter().filter(named).find(|entry| wanted(key(entry).0));
    let exact = in_group(&|known| known == group);
    exact.or_else(|| in_group(&|known| group.is_empty() || known.starts_with(group)))
}

/// The singular of a plural that no mapper knows, by the rules of English as Kubernetes guesses them.
#[must_use]
pub(crate) fn guess_singular(plural: &str) -> String {
    for (ending, singular) in [("ies", "y"), ("sses", "ss"), ("xes", "x"), ("ches", "ch"), ("shes", "sh")] {
        if let Some(stem) = plural.strip_suffix(ending) {
            return format!("{stem}{singular}");
        }
    }
    plural.strip_suffix('s').unwrap_or(plural).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resources_are_found_by_plural_and_singular() {
        check("", "pod", Some("pods"));
        check("", "pods", Some("pods"));
        check("", "deployment", Some("deployments.apps"));
        check("apps", "deployment", Some("deployments.apps"));
        check("", "ingress", Some("ingresses.networking.k8s.io"));
        check("networking", "ingress", Some("ingresses.networking.k8s.io"));
        check("batch", "pod", None);
        check("", "instance", None);
    }

    #[test]
    fn singular_is_guessed_as_kubernetes_guesses_it() {
        for (plural, singular) in
            [("brands", "brand"), ("policies", "policy"), ("classes", "class"), ("boxes", "box"), ("sheep", "sheep")]
        {
            assert_eq!(guess_singular(plural), singular);
        }
    }

    #[track_caller]
    fn check(group: &str, name: &str, expected: Option<&str>) {
        let found = BuiltinResources.resource(group, name).map(|info| info.group_resource.to_string());
        assert_eq!(found.as_deref(), expected);
    }
}
