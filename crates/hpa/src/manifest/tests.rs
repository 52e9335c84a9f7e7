use expect_test::{Expect, expect};

use super::*;

#[test]
fn manifest_of_the_product_is_read_with_every_value() {
    let hpa = parse(
        "
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: lightning-asr, namespace: smallest, labels: {app: lightning-asr}}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: lightning-asr}
  minReplicas: 1
  maxReplicas: 10
  metrics:
    - type: Pods
      pods:
        metric: {name: asr_active_requests}
        target: {type: AverageValue, averageValue: \"4\"}
  behavior:
    scaleUp:
      stabilizationWindowSeconds: 5
      tolerance: 0
      policies:
        - {type: Percent, value: 100, periodSeconds: 15}
        - {type: Pods, value: 2, periodSeconds: 15}
    scaleDown:
      selectPolicy: Min
status: {currentReplicas: 7, anything: else}
",
    );
    assert_eq!((hpa.name.as_str(), hpa.namespace.as_str()), ("lightning-asr", "smallest"));
    assert_eq!((hpa.spec.min_replicas, hpa.spec.max_replicas), (1, 10));
    let metric = MetricIdentifier { name: "asr_active_requests".to_owned(), selector: None };
    let target = MetricTarget::AverageValue(Quantity::from_whole(4));
    assert_eq!(hpa.spec.metrics, [MetricSpec::Pods { metric, target }]);
    let behavior = hpa.spec.behavior.as_ref().unwrap();
    assert_eq!(behavior.scale_up.stabilization_window_seconds, Some(5));
    assert_eq!(behavior.scale_up.policies.len(), 2);
    let down = ScalingRules { select_policy: SelectPolicy::Min, ..ScalingRules::default_scale_down() };
    assert_eq!(behavior.scale_down, down);
    let tolerances = hpa.spec.tolerances(&ControllerConfig::default());
    assert_eq!(tolerances, Tolerances { scale_down: 0.1, scale_up: 0.0 });
}

#[test]
fn defaults_are_those_of_upstream() {
    let hpa = parse(
        "{apiVersion: autoscaling/v2, kind: HorizontalPodAutoscaler, metadata: {name: a}, \
         spec: {scaleTargetRef: {kind: Deployment, name: a}, maxReplicas: 3, behavior: {}}}",
    );
    assert_eq!((hpa.namespace.as_str(), hpa.spec.min_replicas), ("default", 1));
    let cpu = MetricSpec::Resource { name: "cpu".to_owned(), target: MetricTarget::Utilization(80) };
    assert_eq!(hpa.spec.metrics, [cpu]);
    let behavior =
        HpaBehavior { scale_up: ScalingRules::default_scale_up(), scale_down: ScalingRules::default_scale_down() };
    assert_eq!(hpa.spec.behavior, Some(behavior));
}

#[test]
fn every_source_of_metrics_is_read() {
    let hpa = parse(&with_metrics(
        "
    - {type: Resource, resource: {name: memory, target: {type: AverageValue, averageValue: 200Mi}}}
    - type: ContainerResource
      containerResource: {name: cpu, container: asr, target: {type: Utilization, averageUtilization: 60}}
    - type: Object
      object:
        describedObject: {apiVersion: networking.k8s.io/v1, kind: Ingress, name: main}
        metric: {name: hits, selector: {matchLabels: {verb: GET}}}
        target: {type: Value, value: 10k}
    - type: External
      external:
        metric:
          name: queue
          selector:
            matchExpressions: [{key: zone, operator: In, values: [b, a]}, {key: old, operator: DoesNotExist}]
        target: {type: AverageValue, averageValue: 500m}
",
    ));
    let kinds: Vec<(&str, &str)> = hpa.spec.metrics.iter().map(|metric| (metric.kind(), metric.name())).collect();
    assert_eq!(
        kinds,
        [("Resource", "memory"), ("ContainerResource", "cpu"), ("Object", "hits"), ("External", "queue")]
    );
    let MetricSpec::External { metric, target } = &hpa.spec.metrics[3] else { panic!("not external") };
    assert_eq!(*target, MetricTarget::AverageValue(Quantity::from_milli(500)));
    let selector = metric.selector.as_ref().unwrap();
    assert_eq!(selector.selector().unwrap().to_string(), "!old,zone in (a,b)");
    assert_eq!(
        selector.to_string(),
        "&LabelSelector{MatchLabels:map[string]string{},MatchExpressions:[]LabelSelectorRequirement{\
         LabelSelectorRequirement{Key:zone,Operator:In,Values:[a b],},\
         LabelSelectorRequirement{Key:old,Operator:DoesNotExist,Values:[],},},}"
    );
}

#[test]
fn every_error_of_a_broken_manifest_is_reported_at_its_line_and_key() {
    check(
        "\
apiVersion: autoscaling/v1
kind: HorizontalPodAutoscaller
metadata:
  name: Lightning_ASR
  namspace: smallest
spec:
  scaleTargetRef: {kind: Deployment, name: a/b}
  minReplicas: 0
  maxReplicas: -1
  targetCPUUtilizationPercentage: 50
  metrics:
    - type: Pods
      pods:
        metric: {name: asr_active_requests}
        target: {type: AverageValue, averageValue: four}
    - type: Pod
      pods: {metric: {name: x}, target: {type: Value, value: 4}}
    - type: Resource
      resource: {name: cpu, target: {type: Utilization, averageUtilization: 0, averageValue: 1}}
    - type: External
      object: {}
    - type: Object
      object:
        describedObject: {kind: Ingress, name: main}
        metric: {name: hits, selector: {matchExpressions: [{key: a, operator: Near}]}}
        target: {type: Value, averageValue: 5}
  behavior:
    scaleUp:
      stabilizationWindowSeconds: 3601
      selectPolicy: Mix
      policies: []
      tolerance: -0.1
    scaleDown:
      policies:
        - {type: Pods, value: 0, periodSeconds: 1801}
        - {value: 1}
",
        expect![[r#"
            hpa.yml:1:13: apiVersion: expected `autoscaling/v2`, found `autoscaling/v1`
            hpa.yml:2:7: kind: expected `HorizontalPodAutoscaler`, found `HorizontalPodAutoscaller`
            hpa.yml:4:9: metadata.name: a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, `-` or `.`, and start and end with an alphanumeric character
            hpa.yml:5:3: metadata.namspace: unknown key (did you mean `namespace`?)
            hpa.yml:7:44: spec.scaleTargetRef.name: may not contain `/`
            hpa.yml:8:16: spec.minReplicas: must be greater than or equal to 1
            hpa.yml:9:16: spec.maxReplicas: must be greater than 0
            hpa.yml:10:3: spec.targetCPUUtilizationPercentage: unknown key
            hpa.yml:15:52: spec.metrics[0].pods.target.averageValue: not a quantity: `four` (expected something like `3`, `500m`, `1.5Gi` or `12e6`)
            hpa.yml:16:13: spec.metrics[1].type: expected one of `Object`, `Pods`, `Resource`, `ContainerResource`, `External`, found `Pod` (did you mean `Pods`?)
            hpa.yml:19:37: spec.metrics[2].resource.target: may not set both a target raw value and a target utilization
            hpa.yml:19:77: spec.metrics[2].resource.target.averageUtilization: must be greater than 0
            hpa.yml:20:7: spec.metrics[3].external: must populate information for the given metric source
            hpa.yml:21:15: spec.metrics[3].object.describedObject: required key is missing
            hpa.yml:21:15: spec.metrics[3].object.metric: required key is missing
            hpa.yml:21:15: spec.metrics[3].object.target: required key is missing
            hpa.yml:21:15: spec.metrics[3].object: must populate the given metric source only
            hpa.yml:25:79: spec.metrics[4].object.metric.selector.matchExpressions[0].operator: expected one of `In`, `NotIn`, `Exists`, `DoesNotExist`, found `Near`
            hpa.yml:26:17: spec.metrics[4].object.target: must set a target `value` or `averageValue`, the one that its `type` names
            hpa.yml:29:35: spec.behavior.scaleUp.stabilizationWindowSeconds: must be less than or equal to 3600
            hpa.yml:30:21: spec.behavior.scaleUp.selectPolicy: expected one of `Max`, `Min`, `Disabled`, found `Mix` (did you mean `Max`?)
            hpa.yml:31:17: spec.behavior.scaleUp.policies: must specify at least one policy
            hpa.yml:32:18: spec.behavior.scaleUp.tolerance: must be greater than or equal to 0
            hpa.yml:35:31: spec.behavior.scaleDown.policies[0].value: must be greater than zero
            hpa.yml:35:49: spec.behavior.scaleDown.policies[0].periodSeconds: must be less than or equal to 1800
            hpa.yml:36:11: spec.behavior.scaleDown.policies[1].type: required key is missing
            hpa.yml:36:11: spec.behavior.scaleDown.policies[1].periodSeconds: required key is missing"#]],
    );
}

#[test]
fn zero_replicas_need_the_gate_and_a_metric_that_can_ask_for_pods() {
    let gate = ControllerConfig { scale_to_zero: true, ..ControllerConfig::default() };
    let text = "{apiVersion: autoscaling/v2, kind: HorizontalPodAutoscaler, metadata: {name: a}, \
                spec: {scaleTargetRef: {kind: Deployment, name: a}, maxReplicas: 3, minReplicas: 0}}";
    let errors = HorizontalPodAutoscaler::parse("a.yml", text).unwrap_err();
    assert_eq!(errors.to_string(), "a.yml:1:163: spec.minReplicas: must be greater than or equal to 1");
    let errors = HorizontalPodAutoscaler::parse_with("a.yml", text, &gate).unwrap_err();
    expect!["a.yml:1:88: spec.metrics: must specify at least one Object or External metric to support scaling to zero replicas"].assert_eq(&errors.to_string());
    let text = with_metrics(
        "\n    - {type: External, external: {metric: {name: q}, target: {type: Value, value: 1}}}\n  minReplicas: 0",
    );
    assert_eq!(HorizontalPodAutoscaler::parse_with("a.yml", &text, &gate).unwrap().spec.min_replicas, 0);
}

fn with_metrics(metrics: &str) -> String {
    format!(
        "apiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nmetadata: {{name: a}}\nspec:\n  \
         scaleTargetRef: {{kind: Deployment, name: a}}\n  maxReplicas: 3\n  metrics:{metrics}"
    )
}

#[track_caller]
fn parse(text: &str) -> HorizontalPodAutoscaler {
    HorizontalPodAutoscaler::parse("hpa.yml", text).unwrap_or_else(|errors| panic!("{errors}"))
}

#[expect(clippy::needless_pass_by_value, reason = "expectations are written in place")]
#[track_caller]
fn check(text: &str, expected: Expect) {
    let errors = HorizontalPodAutoscaler::parse("hpa.yml", text).unwrap_err();
    expected.assert_eq(&errors.to_string());
}
