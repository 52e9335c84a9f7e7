//! The pages: rendered here, on the server; charts as SVG; a few lines of script refresh and complete.
//!
//! - [`layout`]: the frame of every page. [`autoscaling`]: the live page, with the [`explanation`] of its decision.
//! - `query`: expressions, as a table or a chart; `complete`: what may stand at a place in one.
//! - `targets`, `discovery`, `rules`, `status`: what the server is doing.
//!
//! Rule: a page shows what the API says, and works without its script.

pub(crate) mod autoscaling;
mod complete;
mod discovery;
mod explanation;
pub(crate) mod layout;
mod query;
mod rules;
mod status;
mod targets;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use datamodel::Timestamp;
use maud::{Markup, html};

use crate::api::Shared;
use crate::error::ApiError;
use layout::Frame;

/// The pages that need an open storage.
pub(crate) fn routes(shared: &Arc<Shared>) -> Router<Arc<Shared>> {
    let mut router = Router::new()
        .route("/query", get(query::page))
        .route("/graph", get(query::page))
        .route("/query/complete", get(complete::answer))
        .route("/targets", get(targets::page))
        .route("/service-discovery", get(discovery::page))
        .route("/rules", get(rules::rules_page))
        .route("/alerts", get(rules::alerts_page))
        .route("/status", get(status::runtime_page))
        .route("/tsdb-status", get(status::storage_page))
        .route("/config", get(status::config_page))
        .route("/flags", get(status::flags_page));
    if shared.parts.autoscaling.is_none() {
        let home = Frame::of(shared).link("/query");
        router = router.route("/", get(move || async move { Redirect::to(&home) }));
    }
    router
}

/// A page as an answer.
fn answer(page: Markup) -> Response {
    axum::response::Html(page.into_string()).into_response()
}

/// A page that says why there is no other.
fn refusal(frame: &Frame, title: &str, path: &str, error: &ApiError) -> Response {
    let content = html! { h1 { (title) } p.error role="alert" { (error.message) } };
    let mut response = answer(frame.page(title, path, &content));
    *response.status_mut() = error.error_type.status();
    response
}

/// How long ago something was, as people say it.
fn ago(now: Timestamp, at: Option<Timestamp>) -> String {
    at.map_or_else(|| "never".to_owned(), |at| format!("{} ago", whole(now.since(at))))
}

/// How long something is ago: nobody needs its milliseconds where it is seconds.
fn whole(duration: Duration) -> String {
    match duration.as_millis() {
        ms @ 0..1_000 => format!("{ms} ms"),
        1_000..60_000 => format!("{} s", duration.as_secs()),
        _ => span(duration),
    }
}

/// A duration as people say it, with some three digits.
fn span(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    if seconds < 0.001 {
        format!("{:.0} µs", seconds * 1e6)
    } else if seconds < 1.0 {
        format!("{:.3} ms", seconds * 1e3)
    } else if seconds < 60.0 {
        format!("{seconds:.3} s")
    } else {
        let whole = duration.as_secs();
        match whole {
            0..3_600 => format!("{}m {}s", whole / 60, whole % 60),
            3_600..86_400 => format!("{}h {}m", whole / 3_600, whole / 60 % 60),
            _ => format!("{}d {}h", whole / 86_400, whole / 3_600 % 24),
        }
    }
}

/// Labels in braces, one after the other.
fn labels(labels: &datamodel::Labels) -> Markup {
    html! {
        span.labels { @for (name, value) in labels { span.label { (name) "=" q { (value) } } " " } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_told_as_people_say_them() {
        for (ms, text) in [(0.25, "250 µs"), (1.5, "1.500 ms"), (2_000.0, "2.000 s"), (61_000.0, "1m 1s")] {
            assert_eq!(span(Duration::from_secs_f64(ms / 1000.0)), text);
        }
        for (ms, text) in [(0, "0 ms"), (104, "104 ms"), (12_924, "12 s"), (61_000, "1m 1s")] {
            assert_eq!(whole(Duration::from_millis(ms)), text);
        }
        assert_eq!(span(Duration::from_secs(7_261)), "2h 1m");
        assert_eq!(span(Duration::from_secs(200_000)), "2d 7h");
    }
}
