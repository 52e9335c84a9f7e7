//! Is there a server that answers, and does it run what its configuration says?

use super::super::facts::Facts;
use super::super::finding::{Finding, Question};

/// "Check Prometheus": the server answers.
pub(super) fn ready(facts: &Facts) -> Vec<Finding> {
    let question = Question::new("server ready", format!("GET {}/-/ready", facts.prometheus.url));
    let finding = match question.answer(&facts.prometheus.ready) {
        Err(finding) => finding,
        Ok((200, text)) => question.ok(if text.is_empty() { "it answers" } else { text }),
        Ok((503, text)) => question.wrong(
            format!("it is starting or stopping: {text}"),
            "wait for the replay of its log; where it lasts, the log of the server says why \
             (`kubectl logs -l app.kubernetes.io/name=prometheus`)",
        ),
        Ok((code @ (401 | 403), _)) => question.wrong(
            format!("it answers {code}: it wants to know who asks"),
            "give credentials by `--http.config.file`",
        ),
        Ok((code, text)) => question.wrong(
            format!("it answers {code}: {text}"),
            "is it a server that speaks Prometheus' API, and the path before `/-/ready` right? `--prometheus-url` names it",
        ),
    };
    vec![finding]
}

/// The last load of the configuration went well.
pub(super) fn configuration(facts: &Facts) -> Vec<Finding> {
    let question = Question::new("configuration loaded", "/api/v1/status/runtimeinfo");
    let finding = match question.answer(&facts.prometheus.runtime) {
        Err(finding) => finding,
        Ok(runtime) if runtime.reload_config_success => {
            let retention = &runtime.storage_retention;
            let kept = if retention.is_empty() { String::new() } else { format!("; kept for {retention}") };
            question.ok(format!("the last load went well{kept}"))
        }
        Ok(_) => question.wrong(
            "the last load of the configuration failed: the one before it is in force",
            "the log of the server names the line; `crescendo check config FILE` names all of them without a server",
        ),
    };
    vec![finding]
}
