//! Objects as the API gives them, and the samples that kube-state-metrics would make of them.
//!
//! Rule: expectations are written by hand, from its documentation.

use std::sync::Arc;

use datamodel::exposition::{Entry, Format, Parser};
use serde_json::{Value, json};

use super::autoscalers::Autoscaler;
use super::deployments::Deployment;
use super::nodes::Node;
use super::page::{Page, Told};
use super::pods::Pod;
use super::replica_sets::ReplicaSet;
use super::stateful_sets::StatefulSet;
use super::*;

mod reference;
mod watching;

fn page<T: Told>(object: Value, format: Format) -> String {
    let object: T = serde_json::from_value(object).unwrap();
    let mut page = Page::new(format);
    page.tell(&[Arc::new(object)]);
    page.finish().unwrap()
}

/// The samples of an object in all its families, in the order of the page.
#[track_caller]
fn check<T: Told>(object: Value, expected: &[&str]) {
    let page = page::<T>(object, Format::PrometheusText004);
    let samples: Vec<&str> = page.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(samples, expected, "{page}");
}

#[test]
fn deployment_is_told() {
    check::<Deployment>(
        json!({
            "metadata": {
                "name": "lightning-asr", "namespace": "smallest", "generation": 7,
                "creationTimestamp": "2026-11-24T10:00:00Z", "labels": {"app": "asr"},
            },
            "spec": {"replicas": 5, "strategy": {"rollingUpdate": {"maxSurge": "30%", "maxUnavailable": "30%"}}},
            "status": {
                "replicas": 4, "readyReplicas": 3, "availableReplicas": 2, "unavailableReplicas": 1,
                "updatedReplicas": 4, "observedGeneration": 6,
                "conditions": [
                    {"type": "Available", "status": "True", "reason": "MinimumReplicasAvailable"},
                    {"type": "Odd", "status": "Unknown", "reason": "pod-7f9c is odd"},
                ],
            },
        }),
        &[
            r#"kube_deployment_created{namespace="smallest",deployment="lightning-asr"} 1.7955144e+09"#,
            r#"kube_deployment_metadata_generation{namespace="smallest",deployment="lightning-asr"} 7"#,
            r#"kube_deployment_spec_paused{namespace="smallest",deployment="lightning-asr"} 0"#,
            r#"kube_deployment_spec_replicas{namespace="smallest",deployment="lightning-asr"} 5"#,
            r#"kube_deployment_spec_strategy_rollingupdate_max_surge{namespace="smallest",deployment="lightning-asr"} 2"#,
            r#"kube_deployment_spec_strategy_rollingupdate_max_unavailable{namespace="smallest",deployment="lightning-asr"} 1"#,
            r#"kube_deployment_status_condition{namespace="smallest",deployment="lightning-asr",reason="MinimumReplicasAvailable",condition="Available",status="true"} 1"#,
            r#"kube_deployment_status_condition{namespace="smallest",deployment="lightning-asr",reason="MinimumReplicasAvailable",condition="Available",status="false"} 0"#,
            r#"kube_deployment_status_condition{namespace="smallest",deployment="lightning-asr",reason="MinimumReplicasAvailable",condition="Available",status="unknown"} 0"#,
            r#"kube_deployment_status_condition{namespace="smallest",deployment="lightning-asr",reason="unknown",condition="Odd",status="true"} 0"#,
            r#"kube_deployment_status_condition{namespace="smallest",deployment="lightning-asr",reason="unknown",condition="Odd",status="false"} 0"#,
            r#"kube_deployment_status_condition{namespace="smallest",deployment="lightning-asr",reason="unknown",condition="Odd",status="unknown"} 1"#,
            r#"kube_deployment_status_observed_generation{namespace="smallest",deployment="lightning-asr"} 6"#,
            r#"kube_deployment_status_replicas{namespace="smallest",deployment="lightning-asr"} 4"#,
            r#"kube_deployment_status_replicas_available{namespace="smallest",deployment="lightning-asr"} 2"#,
            r#"kube_deployment_status_replicas_ready{namespace="smallest",deployment="lightning-asr"} 3"#,
            r#"kube_deployment_status_replicas_unavailable{namespace="smallest",deployment="lightning-asr"} 1"#,
            r#"kube_deployment_status_replicas_updated{namespace="smallest",deployment="lightning-asr"} 4"#,
        ],
    );
}

#[test]
fn deployment_without_status_has_zeros_and_no_instants() {
    let page = page::<Deployment>(
        json!({"metadata": {"name": "d", "namespace": "n"}, "spec": {"strategy": {"type": "Recreate"}}}),
        Format::PrometheusText004,
    );
    let has = |line: &str| page.lines().any(|found| found == line);
    assert!(has(r#"kube_deployment_spec_replicas{namespace="n",deployment="d"} 1"#), "{page}");
    assert!(has(r#"kube_deployment_status_replicas{namespace="n",deployment="d"} 0"#), "{page}");
    for absent in ["kube_deployment_created{", "max_surge{", "max_unavailable{", "_condition{"] {
        assert!(!page.contains(absent), "{absent} in {page}");
    }
}

#[test]
fn autoscaler_is_told() {
    let identity = r#"namespace="smallest",horizontalpodautoscaler="asr""#;
    let expected = [
        "created{I} 1.7955144e+09",
        r#"info{I,scaletargetref_api_version="apps/v1",scaletargetref_kind="Deployment",scaletargetref_name="lightning-asr"} 1"#,
        "metadata_generation{I} 3",
        "spec_max_replicas{I} 10",
        "spec_min_replicas{I} 2",
        r#"spec_target_metric{I,metric_name="asr_active_requests",metric_target_type="average"} 4"#,
        r#"spec_target_metric{I,metric_name="cpu",metric_target_type="utilization"} 80"#,
        r#"spec_target_metric{I,metric_name="hits",metric_target_type="value"} 10"#,
        r#"spec_target_metric{I,metric_name="memory",metric_target_type="utilization"} 60"#,
        r#"spec_target_metric{I,metric_name="queue",metric_target_type="value"} 0.5"#,
        r#"spec_target_metric{I,metric_name="queue",metric_target_type="average"} 1500"#,
        r#"status_condition{I,condition="ScalingActive",status="true"} 0"#,
        r#"status_condition{I,condition="ScalingActive",status="false"} 1"#,
        r#"status_condition{I,condition="ScalingActive",status="unknown"} 0"#,
        "status_current_replicas{I} 3",
        "status_desired_replicas{I} 4",
        r#"status_target_metric{I,metric_name="asr_active_requests",metric_target_type="average"} 5.333"#,
        r#"status_target_metric{I,metric_name="cpu",metric_target_type="utilization"} 71"#,
        r#"status_target_metric{I,metric_name="cpu",metric_target_type="average"} 0.007"#,
    ];
    let expected: Vec<String> = expected
        .iter()
        .map(|line| format!("kube_horizontalpodautoscaler_{}", line.replacen("{I", &format!("{{{identity}"), 1)))
        .collect();
    check::<Autoscaler>(
        json!({
            "metadata": {"name": "asr", "namespace": "smallest", "generation": 3, "creationTimestamp": "2026-11-24T10:00:00Z"},
            "spec": {
                "minReplicas": 2, "maxReplicas": 10,
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "lightning-asr"},
                "metrics": [
                    {"type": "Pods", "pods": {"metric": {"name": "asr_active_requests"}, "target": {"type": "AverageValue", "averageValue": "4"}}},
                    {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}},
                    {"type": "Object", "object": {"metric": {"name": "hits"}, "describedObject": {"kind": "Service", "name": "s"}, "target": {"type": "Value", "value": "10"}}},
                    {"type": "ContainerResource", "containerResource": {"name": "memory", "container": "a", "target": {"averageUtilization": 60}}},
                    {"type": "ContainerResource", "containerResource": {"name": "memory", "container": "b", "target": {"averageUtilization": 70}}},
                    {"type": "External", "external": {"metric": {"name": "queue"}, "target": {"value": "500m", "averageValue": "1.5k"}}},
                    {"type": "Strange", "strange": {}},
                ],
            },
            "status": {
                "currentReplicas": 3, "desiredReplicas": 4,
                "currentMetrics": [
                    {"type": "Pods", "pods": {"metric": {"name": "asr_active_requests"}, "current": {"averageValue": "5333m"}}},
                    {"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": 71, "averageValue": "7m"}}},
                    {"type": ""},
                ],
                "conditions": [{"type": "ScalingActive", "status": "False", "reason": "FailedGetPodsMetric"}],
            },
        }),
        &expected.iter().map(String::as_str).collect::<Vec<_>>(),
    );
}

#[test]
fn replica_set_is_told() {
    let owner = json!({"kind": "Deployment", "name": "asr", "controller": true});
    check::<ReplicaSet>(
        json!({
            "metadata": {"name": "r", "namespace": "n", "generation": 1, "ownerReferences": [owner]},
            "spec": {"replicas": 2},
            "status": {"replicas": 2, "fullyLabeledReplicas": 2, "readyReplicas": 1, "observedGeneration": 1},
        }),
        &[
            r#"kube_replicaset_metadata_generation{namespace="n",replicaset="r"} 1"#,
            r#"kube_replicaset_owner{namespace="n",replicaset="r",owner_kind="Deployment",owner_name="asr",owner_is_controller="true"} 1"#,
            r#"kube_replicaset_spec_replicas{namespace="n",replicaset="r"} 2"#,
            r#"kube_replicaset_status_fully_labeled_replicas{namespace="n",replicaset="r"} 2"#,
            r#"kube_replicaset_status_observed_generation{namespace="n",replicaset="r"} 1"#,
            r#"kube_replicaset_status_ready_replicas{namespace="n",replicaset="r"} 1"#,
            r#"kube_replicaset_status_replicas{namespace="n",replicaset="r"} 2"#,
        ],
    );
}

#[test]
fn stateful_set_is_told() {
    check::<StatefulSet>(
        json!({
            "metadata": {"name": "s", "namespace": "n", "generation": 2},
            "spec": {"replicas": 3},
            "status": {
                "replicas": 3, "availableReplicas": 1, "currentReplicas": 2, "readyReplicas": 2, "updatedReplicas": 1,
                "observedGeneration": 2, "currentRevision": "s-1", "updateRevision": "s-2",
            },
        }),
        &[
            r#"kube_statefulset_metadata_generation{namespace="n",statefulset="s"} 2"#,
            r#"kube_statefulset_replicas{namespace="n",statefulset="s"} 3"#,
            r#"kube_statefulset_status_current_revision{namespace="n",statefulset="s",revision="s-1"} 1"#,
            r#"kube_statefulset_status_observed_generation{namespace="n",statefulset="s"} 2"#,
            r#"kube_statefulset_status_replicas{namespace="n",statefulset="s"} 3"#,
            r#"kube_statefulset_status_replicas_available{namespace="n",statefulset="s"} 1"#,
            r#"kube_statefulset_status_replicas_current{namespace="n",statefulset="s"} 2"#,
            r#"kube_statefulset_status_replicas_ready{namespace="n",statefulset="s"} 2"#,
            r#"kube_statefulset_status_replicas_updated{namespace="n",statefulset="s"} 1"#,
            r#"kube_statefulset_status_update_revision{namespace="n",statefulset="s",revision="s-2"} 1"#,
        ],
    );
}

#[test]
fn node_is_told_with_its_gpus() {
    let expected = [
        "created{node=\"gpu-1\"} 1.7955144e+09",
        r#"info{node="gpu-1",kernel_version="6.1",os_image="Debian",container_runtime_version="containerd://2",kubelet_version="v1.36.1",kubeproxy_version="",provider_id="aws:///1",pod_cidr="10.0.0.0/24",system_uuid="u",internal_ip="10.1.0.7"} 1"#,
        r#"role{node="gpu-1",role="worker"} 1"#,
        r#"spec_taint{node="gpu-1",key="gpu",value="yes",effect="NoSchedule"} 1"#,
        r#"spec_unschedulable{node="gpu-1"} 1"#,
        r#"status_allocatable{node="gpu-1",resource="cpu",unit="core"} 7.5"#,
        r#"status_allocatable{node="gpu-1",resource="nvidia_com_gpu",unit="integer"} 4"#,
        r#"status_capacity{node="gpu-1",resource="cpu",unit="core"} 8"#,
        r#"status_capacity{node="gpu-1",resource="ephemeral_storage",unit="byte"} 1.024e+06"#,
        r#"status_capacity{node="gpu-1",resource="hugepages_2Mi",unit="byte"} 0"#,
        r#"status_capacity{node="gpu-1",resource="memory",unit="byte"} 1.073741824e+09"#,
        r#"status_capacity{node="gpu-1",resource="nvidia_com_gpu",unit="integer"} 4"#,
        r#"status_capacity{node="gpu-1",resource="pods",unit="integer"} 110"#,
        r#"status_condition{node="gpu-1",condition="Ready",status="true"} 1"#,
        r#"status_condition{node="gpu-1",condition="Ready",status="false"} 0"#,
        r#"status_condition{node="gpu-1",condition="Ready",status="unknown"} 0"#,
    ];
    let expected: Vec<String> = expected.iter().map(|line| format!("kube_node_{line}")).collect();
    check::<Node>(
        json!({
            "metadata": {
                "name": "gpu-1", "creationTimestamp": "2026-11-24T10:00:00Z",
                "labels": {"node-role.kubernetes.io/worker": "", "zone": "a"},
            },
            "spec": {
                "providerID": "aws:///1", "podCIDR": "10.0.0.0/24", "unschedulable": true,
                "taints": [{"key": "gpu", "value": "yes", "effect": "NoSchedule"}],
            },
            "status": {
                "capacity": {
                    "cpu": "8", "memory": "1Gi", "nvidia.com/gpu": "4", "pods": 110, "ephemeral-storage": "1000Ki",
                    "hugepages-2Mi": "0", "unheard-of": "1", "kubernetes.io/batch-cpu": "1", "broken/x": "many",
                },
                "allocatable": {"cpu": "7500m", "nvidia.com/gpu": "4"},
                "addresses": [{"type": "Hostname", "address": "gpu-1"}, {"type": "InternalIP", "address": "10.1.0.7"}],
                "nodeInfo": {
                    "kernelVersion": "6.1", "osImage": "Debian", "containerRuntimeVersion": "containerd://2",
                    "kubeletVersion": "v1.36.1", "systemUUID": "u",
                },
                "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady"}],
            },
        }),
        &expected.iter().map(String::as_str).collect::<Vec<_>>(),
    );
}

fn pod() -> Value {
    json!({
        "metadata": {
            "name": "p", "namespace": "n", "uid": "u", "creationTimestamp": "2026-11-24T10:00:00Z",
            "ownerReferences": [{"kind": "ReplicaSet", "name": "r", "controller": true}],
        },
        "spec": {
            "nodeName": "gpu-1", "restartPolicy": "Always", "priorityClassName": "high",
            "containers": [
                {"name": "asr", "image": "crescendo:1", "resources": {
                    "limits": {"nvidia.com/gpu": "1", "memory": "2Gi"}, "requests": {"cpu": "250m", "memory": "1500m"},
                }},
                {"name": "side", "image": "side:2"},
            ],
        },
        "status": {
            "phase": "Running", "podIP": "10.0.0.9", "hostIP": "10.1.0.7", "qosClass": "Burstable",
            "startTime": "2026-11-24T10:00:01Z",
            "conditions": [
                {"type": "Ready", "status": "False", "lastTransitionTime": "2026-11-24T10:00:03Z"},
                {"type": "PodScheduled", "status": "True", "lastTransitionTime": "2026-11-24T10:00:01Z"},
            ],
            "containerStatuses": [
                {"name": "asr", "image": "r/crescendo:1", "imageID": "sha256:1", "containerID": "c://1", "ready": true,
                 "restartCount": 2, "state": {"running": {"startedAt": "2026-11-24T10:00:02Z"}},
                 "lastState": {"terminated": {"reason": "OOMKilled", "exitCode": 137}}},
                {"name": "side", "state": {"waiting": {"reason": "CrashLoopBackOff"}}},
            ],
        },
    })
}

#[test]
fn pod_is_told_with_its_containers() {
    let i = r#"namespace="n",pod="p",uid="u""#;
    let expected = [
        r#"container_info{I,container="asr",image_spec="crescendo:1",image="r/crescendo:1",image_id="sha256:1",container_id="c://1"} 1"#,
        r#"container_info{I,container="side",image_spec="side:2",image="",image_id="",container_id=""} 1"#,
        r#"container_resource_limits{I,container="asr",node="gpu-1",resource="memory",unit="byte"} 2.147483648e+09"#,
        r#"container_resource_limits{I,container="asr",node="gpu-1",resource="nvidia_com_gpu",unit="integer"} 1"#,
        r#"container_resource_requests{I,container="asr",node="gpu-1",resource="cpu",unit="core"} 0.25"#,
        r#"container_resource_requests{I,container="asr",node="gpu-1",resource="memory",unit="byte"} 2"#,
        r#"container_state_started{I,container="asr"} 1.795514402e+09"#,
        r#"container_status_last_terminated_exitcode{I,container="asr"} 137"#,
        r#"container_status_last_terminated_reason{I,container="asr",reason="OOMKilled"} 1"#,
        r#"container_status_ready{I,container="asr"} 1"#,
        r#"container_status_ready{I,container="side"} 0"#,
        r#"container_status_restarts_total{I,container="asr"} 2"#,
        r#"container_status_restarts_total{I,container="side"} 0"#,
        r#"container_status_running{I,container="asr"} 1"#,
        r#"container_status_running{I,container="side"} 0"#,
        r#"container_status_terminated{I,container="asr"} 0"#,
        r#"container_status_terminated{I,container="side"} 0"#,
        r#"container_status_waiting{I,container="asr"} 0"#,
        r#"container_status_waiting{I,container="side"} 1"#,
        r#"container_status_waiting_reason{I,container="side",reason="CrashLoopBackOff"} 1"#,
        "created{I} 1.7955144e+09",
        r#"info{I,host_ip="10.1.0.7",pod_ip="10.0.0.9",node="gpu-1",created_by_kind="ReplicaSet",created_by_name="r",priority_class="high",host_network="false"} 1"#,
        r#"owner{I,owner_kind="ReplicaSet",owner_name="r",owner_is_controller="true"} 1"#,
        r#"restart_policy{I,type="Always"} 1"#,
        "start_time{I} 1.795514401e+09",
        r#"status_phase{I,phase="Pending"} 0"#,
        r#"status_phase{I,phase="Succeeded"} 0"#,
        r#"status_phase{I,phase="Failed"} 0"#,
        r#"status_phase{I,phase="Unknown"} 0"#,
        r#"status_phase{I,phase="Running"} 1"#,
        r#"status_qos_class{I,qos_class="BestEffort"} 0"#,
        r#"status_qos_class{I,qos_class="Burstable"} 1"#,
        r#"status_qos_class{I,qos_class="Guaranteed"} 0"#,
        r#"status_ready{I,condition="true"} 0"#,
        r#"status_ready{I,condition="false"} 1"#,
        r#"status_ready{I,condition="unknown"} 0"#,
        r#"status_reason{I,reason="Evicted"} 0"#,
        r#"status_reason{I,reason="NodeAffinity"} 0"#,
        r#"status_reason{I,reason="NodeLost"} 0"#,
        r#"status_reason{I,reason="Shutdown"} 0"#,
        r#"status_reason{I,reason="UnexpectedAdmissionError"} 0"#,
        r#"status_scheduled{I,condition="true"} 1"#,
        r#"status_scheduled{I,condition="false"} 0"#,
        r#"status_scheduled{I,condition="unknown"} 0"#,
        "status_scheduled_time{I} 1.795514401e+09",
    ];
    let expected: Vec<String> =
        expected.iter().map(|line| format!("kube_pod_{}", line.replacen("{I", &format!("{{{i}"), 1))).collect();
    check::<Pod>(pod(), &expected.iter().map(String::as_str).collect::<Vec<_>>());
}

#[test]
fn pod_that_failed_says_why_and_when() {
    let mut object = pod();
    object["metadata"]["ownerReferences"] = Value::Null;
    object["status"]["phase"] = json!("Failed");
    object["status"]["reason"] = json!("Evicted");
    object["status"]["conditions"] = json!([{"type": "PodScheduled", "status": "False"}]);
    let end = |at: &str| json!({"terminated": {"reason": "Error", "finishedAt": at, "startedAt": at}});
    object["status"]["containerStatuses"][0]["state"] = end("2026-11-24T10:00:09Z");
    object["status"]["containerStatuses"][1]["state"] = end("2026-11-24T10:00:08Z");
    let page = page::<Pod>(object, Format::PrometheusText004);
    for line in [
        r#"kube_pod_completion_time{namespace="n",pod="p",uid="u"} 1.795514409e+09"#,
        r#"kube_pod_container_status_terminated_reason{namespace="n",pod="p",uid="u",container="side",reason="Error"} 1"#,
        r#"kube_pod_owner{namespace="n",pod="p",uid="u",owner_kind="",owner_name="",owner_is_controller=""} 1"#,
        r#"kube_pod_status_reason{namespace="n",pod="p",uid="u",reason="Evicted"} 1"#,
        r#"kube_pod_status_unschedulable{namespace="n",pod="p",uid="u"} 1"#,
    ] {
        assert!(page.lines().any(|found| found == line), "no {line} in {page}");
    }
    assert!(!page.contains("kube_pod_status_scheduled_time{"), "{page}");
}

#[test]
fn nothing_but_name_and_nothing_at_all_are_told_of_too() {
    fn odd<T: Told>() {
        for object in [json!({}), json!({"metadata": {"name": "x\"y\n", "uid": "\\"}, "status": {"conditions": null}})]
        {
            let text = page::<T>(object, Format::OpenMetrics100);
            let mut parser = Parser::strict(text.as_bytes(), Format::OpenMetrics100);
            while parser.next().unwrap().is_some() {}
        }
    }
    odd::<Deployment>();
    odd::<Autoscaler>();
    odd::<ReplicaSet>();
    odd::<StatefulSet>();
    odd::<Node>();
    odd::<Pod>();
}

#[test]
fn both_formats_say_the_same_and_keep_their_rules() {
    let samples = |format: Format| {
        let text = page::<Pod>(pod(), format);
        let mut parser = Parser::strict(text.as_bytes(), format);
        let (mut samples, mut counters) = (Vec::new(), Vec::new());
        while let Some(entry) = parser.next().unwrap() {
            match entry {
                Entry::Sample(line) => samples.push((line.labels().unwrap(), line.value.to_bits())),
                Entry::Type { name, metric_type: datamodel::MetricType::Counter } => counters.push(name.into_owned()),
                _ => {}
            }
        }
        (samples, counters)
    };
    let (classic, counters) = samples(Format::PrometheusText004);
    assert_eq!(counters, ["kube_pod_container_status_restarts_total"]);
    let (open, counters) = samples(Format::OpenMetrics100);
    assert_eq!(counters, ["kube_pod_container_status_restarts"]);
    assert_eq!(classic, open);
    assert!(classic.len() > 30, "{}", classic.len());
}

#[test]
fn page_that_is_too_long_is_refused() {
    let object = json!({"metadata": {"name": "x".repeat(2_000_000)}});
    let object: Arc<Deployment> = Arc::new(serde_json::from_value(object).unwrap());
    let mut page = Page::new(Format::PrometheusText004);
    page.tell(&vec![object; 40]);
    assert_eq!(page.finish().unwrap_err(), StateError::TooLong);
}

#[test]
fn resources_have_the_names_of_kube_state_metrics() {
    for resource in StateResource::ALL {
        assert_eq!(resource.as_str().parse::<StateResource>().unwrap(), resource);
    }
    assert_eq!(
        "secrets".parse::<StateResource>().unwrap_err().to_string(),
        "no state series of `secrets`; there are those of `deployments`, `horizontalpodautoscalers`, `nodes`, `pods`, \
         `replicasets`, `statefulsets`"
    );
}
