use super::*;

const V1: &str = "/apis/custom.metrics.k8s.io/v1beta1";

#[test]
fn attributes_are_those_that_kubernetes_sees() {
    check(
        &format!("{V1}/namespaces/asr/pods/*/m"),
        "get pods/m \"*\" in API group \"custom.metrics.k8s.io\" in namespace \"asr\"",
    );
    check(
        &format!("{V1}/namespaces/asr/metrics/m"),
        "get metrics \"m\" in API group \"custom.metrics.k8s.io\" in namespace \"asr\"",
    );
    check(&format!("{V1}/nodes/n/m"), "get nodes/m \"n\" in API group \"custom.metrics.k8s.io\" in namespace \"\"");
    check(
        "/apis/external.metrics.k8s.io/v1beta1/namespaces/asr/m",
        "list m \"\" in API group \"external.metrics.k8s.io\" in namespace \"asr\"",
    );
    check("/apis", "get path \"/apis\"");
    check("/apis/custom.metrics.k8s.io/v1beta2", "get path \"/apis/custom.metrics.k8s.io/v1beta2\"");
}

#[test]
fn names_that_could_leave_a_query_are_refused() {
    for name in ["a%22b", "a%2Fb", "..", "a%0Ab", "%7Bx%7D", "a%7Cb", &"x".repeat(600)] {
        let path = format!("{V1}/namespaces/asr/pods/{name}/m");
        assert!(matches!(route(&path, None), Err(ApiError::BadRequest(_))), "{name}");
        let path = format!("{V1}/namespaces/{name}/pods/*/m");
        assert!(matches!(route(&path, None), Err(ApiError::BadRequest(_))), "{name}");
    }
}

#[test]
fn metric_names_may_have_colons_encoded_or_not() {
    for metric in ["asr:requests:rate5m", "asr%3Arequests%3Arate5m"] {
        let routed = route(&format!("{V1}/namespaces/asr/pods/*/{metric}"), None).unwrap();
        assert!(matches!(routed.request, Request::Custom(request) if request.metric == "asr:requests:rate5m"));
    }
}

#[test]
fn malformed_parameters_are_refused() {
    for query in ["labelSelector=a%3D%3D%3Db", "labelSelector=%zz", "fieldSelector=spec.x%3Dy", "timeout=soon"] {
        let outcome = route(&format!("{V1}/namespaces/asr/pods/x/m"), Some(query));
        assert!(matches!(outcome, Err(ApiError::BadRequest(_))), "{query}: {outcome:?}");
    }
    let outcome = route(&format!("{V1}/namespaces/asr/pods/x/m"), Some("fieldSelector=metadata.name%3Dx&timeout=5s"));
    assert!(matches!(outcome.unwrap().request, Request::Custom(request) if request.timeout.is_some()));
}

#[test]
fn watches_and_resource_metrics_are_refused_by_name() {
    let outcome = route(&format!("{V1}/namespaces/asr/pods/x/m"), Some("watch=true"));
    assert!(matches!(outcome, Err(ApiError::MethodNotAllowed)));
    let error = route("/apis/metrics.k8s.io/v1beta1/nodes", None).unwrap_err();
    assert_eq!(error.explanation(), "metrics.k8s.io is not served here: use metrics-server");
}

proptest::proptest! {
    #[test]
    fn no_path_makes_the_router_panic(path in "/(apis|openapi)(/(custom.metrics.k8s.io|v1beta1|namespaces|v[23]|[ -~]{0,8})){0,8}", query in "[ -~]{0,40}") {
        let _outcome = route(&path, Some(&query));
    }

    /// Names go into queries: whatever the path, nothing that could end a quoted text is accepted.
    #[test]
    fn accepted_names_cannot_leave_a_query(segments in proptest::collection::vec("(%2[27F]|%5C|%7D|%C3%A4|[\"{}\\\\a-z0-9*:._-]){1,6}", 3)) {
        let path = format!("{V1}/namespaces/{}/{}/{}/metric", segments[0], segments[1], segments[2]);
        if let Ok(Routed { request: Request::Custom(request), .. }) = route(&path, None) {
            let names = [request.namespace, Some(request.resource.to_string()), request.name];
            let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._:".contains(c);
            proptest::prop_assert!(names.iter().flatten().all(|name| name.chars().all(is_plain)), "{names:?}");
        }
    }
}

#[track_caller]
fn check(path: &str, attributes: &str) {
    assert_eq!(route(path, None).unwrap().attributes.to_string(), attributes);
}
