use datamodel::selector::Selector;

use super::*;
use crate::api::{ObjectQuestion, Objects};
use crate::error::ApiError;
use crate::names::GroupResource;
use crate::source::SourceError;
use crate::testing::{Rig, at, labels, pod_sample, vector};
use crate::values::MetricValue;

#[tokio::test]
async fn trace_has_rule_query_and_each_series_with_its_state() {
    let rig = Rig::seed().await;
    rig.source.answers(|_query| {
        let held = vec![labels(&[("pod", "asr-1"), ("namespace", "asr")])];
        let missing = vec![labels(&[("pod", "asr-9"), ("namespace", "asr")])];
        let samples = vec![
            pod_sample("asr-0", 3.5, -2),
            pod_sample("asr-1", 4.0, -20),
            pod_sample("asr-2", 5.0, -200),
            pod_sample("other", f64::NAN, 0),
        ];
        Ok(InstantAnswer { held, missing, ..vector(samples) })
    });
    let (answer, trace) = ask(&rig, "asr_active_requests").await;
    assert_eq!(answer.unwrap().len(), 2);
    let rule = trace.rule.unwrap();
    assert_eq!(
        (rule.id, rule.series.as_str(), rule.label.as_deref()),
        (RuleId::Custom(0), "asr_active_requests", Some("pod"))
    );
    assert!(rule.metrics_query.contains("<<.LabelMatchers>>"), "{rule:?}");
    assert_eq!(trace.queries, rig.source.asked.lock().unwrap().clone());
    assert_eq!(trace.at, Some(at(0)));
    let told: Vec<_> = trace.series.iter().map(|one| (one.object.as_deref().unwrap(), one.state)).collect();
    let expected = [
        ("asr-0", TracedState::Counts(SampleState::Fresh)),
        ("asr-1", TracedState::Counts(SampleState::Held)),
        ("asr-2", TracedState::Expired),
        ("other", TracedState::NotFinite),
        ("asr-9", TracedState::Missing),
    ];
    assert_eq!(told, expected);
    assert_eq!(trace.series[4].value, None);
}

#[tokio::test]
async fn question_without_answer_is_traced_as_far_as_it_came() {
    let rig = Rig::seed().await;
    let (answer, trace) = ask(&rig, "no_such_metric").await;
    assert_eq!(trace, Trace::default());
    assert!(answer.unwrap_err().remedy().contains("the label of the series for pods"));

    rig.source.answers(|_query| Err(SourceError::Unavailable("connection refused".to_owned())));
    let (answer, trace) = ask(&rig, "asr_active_requests").await;
    assert_eq!((trace.queries.len(), trace.series.len()), (1, 0));
    assert!(answer.unwrap_err().remedy().contains("whether the source runs"));
}

#[tokio::test]
async fn external_metric_and_a_scalar_are_traced_too() {
    let rig = Rig::seed().await;
    rig.source.answers(|_query| Ok(InstantAnswer { value: InstantValue::Scalar(2.0), ..vector(Vec::new()) }));
    let (mut trace, everything) = (Trace::default(), Selector::everything());
    let metric = rig.api.external_metrics().remove(0);
    rig.api.traced_external_metric("asr", &metric, &everything, None, Some(&mut trace)).await.unwrap();
    assert_eq!(trace.rule.unwrap().id, RuleId::External(0));
    assert_eq!((trace.series.len(), trace.series[0].value), (1, Some(2.0)));
}

#[test]
fn series_beyond_the_bound_are_counted() {
    let samples = (0..MAX_TRACED + 7).map(|index| pod_sample(&format!("p-{index}"), 1.0, 0)).collect();
    let mut trace = Trace::default();
    trace.answered(&vector(samples), Ages::default(), at(0));
    assert_eq!((trace.series.len(), trace.more_series), (MAX_TRACED, 7));
}

async fn ask(rig: &Rig, metric: &str) -> (Result<Vec<MetricValue>, ApiError>, Trace) {
    let (selector, everything) = (Selector::parse("app=asr").unwrap(), Selector::everything());
    let question = ObjectQuestion {
        resource: &GroupResource::pods(),
        namespace: Some("asr"),
        objects: Objects::Matching(&selector),
        metric,
        metric_selector: &everything,
        deadline: None,
    };
    let mut trace = Trace::default();
    let answer = rig.api.traced_objects_metric(&question, Some(&mut trace)).await;
    (answer, trace)
}
