//! `/status`, `/flags`, `/config`, `/tsdb-status`: the process, and what takes the memory of its storage.
//!
//! Rule: figures are those of the API; the advice says what to write where.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use datamodel::Timestamp;
use datamodel::rfc3339::format_rfc3339;
use datamodel::time::TimeRange;
use maud::{Markup, html};
use plot::{Unit, format_value};

use super::layout::Frame;
use super::{answer, refusal};
use crate::api::Shared;
use crate::api::status::{DEFAULT_ROWS, server, storage};
use crate::error::ApiError;
use crate::seams::{Cardinality, Count, DiskStatus, HeadStatus};

/// A metric with more than this share of the series is worth a look.
const LARGE_SHARE: f64 = 0.1;

/// A label with more values than this is worth a look.
const MANY_VALUES: u64 = 1_000;

fn page(frame: &Frame, title: &str, path: &str, content: Result<Markup, ApiError>) -> Response {
    match content {
        Ok(content) => answer(frame.page(title, path, &html! { h1 { (title) } (content) })),
        Err(error) => refusal(frame, title, path, &error),
    }
}

fn rows(pairs: &[(&str, String)]) -> Markup {
    html! { div.card { table { tbody { @for (key, value) in pairs { tr { th scope="row" { (key) } td { (value) } } } } } } }
}

pub(super) async fn runtime_page(State(shared): State<Arc<Shared>>) -> Response {
    let frame = Frame::of(&shared);
    let build = &shared.parts.build;
    let now = shared.parts.clock.now();
    let content = html! {
        @if let Ok(server) = server(&shared) {
            @let info = server.runtime();
            h2 { "Runtime Information" }
            (rows(&[
                ("Start time", format_rfc3339(info.start_time)),
                ("Server time", format_rfc3339(now)),
                ("Working directory", info.working_directory),
                ("Hostname", info.hostname),
                ("Configuration reload", if info.reload_config_success { "Successful" } else { "Unsuccessful" }.to_owned()),
                ("Last successful configuration reload", format_rfc3339(info.last_config_time)),
                ("WAL corruptions", info.corruption_count.to_string()),
                ("Threads", info.threads.to_string()),
                ("Memory limit", bytes(info.memory_limit_bytes)),
                ("Storage retention", info.storage_retention),
            ]))
        }
        h2 { "Build Information" }
        (rows(&[("Version", build.version.clone()), ("Revision", build.revision.clone()), ("Branch", build.branch.clone())]))
        @if let Some(managers) = &shared.parts.alertmanagers {
            h2 { "Alertmanagers" }
            @let active = managers.active();
            @if active.is_empty() { p.soft { "None was found: alerts go nowhere" } }
            ul { @for url in &active { li { code { (url) } } } }
            @for url in managers.dropped() { p.soft { "dropped by relabelling: " code { (url) } } }
        }
    };
    page(&frame, "Runtime & Build Information", "/status", Ok(content))
}

pub(super) async fn flags_page(State(shared): State<Arc<Shared>>) -> Response {
    let frame = Frame::of(&shared);
    let content = server(&shared).map(|server| {
        let mut flags = server.flags();
        flags.sort();
        html! { div.card { table { tbody { @for (name, value) in &flags { tr { th scope="row" { code { "--" (name) } } td { code { (value) } } } } } } } }
    });
    page(&frame, "Command-Line Flags", "/flags", content)
}

pub(super) async fn config_page(State(shared): State<Arc<Shared>>) -> Response {
    let frame = Frame::of(&shared);
    let content = match server(&shared) {
        Ok(server) => shared.blocking(move || server.config_yaml()).await,
        Err(error) => Err(error),
    };
    let content = content.map(|yaml| html! { pre.card { (yaml) } });
    page(&frame, "Configuration", "/config", content)
}

pub(super) async fn storage_page(State(shared): State<Arc<Shared>>) -> Response {
    let frame = Frame::of(&shared);
    let found = match storage(&shared) {
        Ok(storage) => {
            let read = move || (storage.head(), storage.disk(), storage.cardinality(DEFAULT_ROWS));
            shared.blocking(read).await
        }
        Err(error) => Err(error),
    };
    let content = found.map(|(head, disk, tables)| storage_content(&frame, &head, &disk, &tables));
    page(&frame, "TSDB Status", "/tsdb-status", content)
}

fn bytes(count: u64) -> String {
    if count == 0 { "none".to_owned() } else { format_value(count as f64, Unit::Bytes) }
}

fn times(bounds: Option<TimeRange>) -> String {
    let text = |at: Timestamp| format_rfc3339(at);
    bounds.map_or_else(|| "empty".to_owned(), |range| format!("{} – {}", text(range.start), text(range.end)))
}

fn storage_content(frame: &Frame, head: &HeadStatus, disk: &DiskStatus, tables: &Cardinality) -> Markup {
    html! {
        (rows(&[
            ("Series in the head", head.series.to_string()),
            ("Label pairs in the head", head.label_pairs.to_string()),
            ("Head covers", times(head.bounds)),
            ("Sealed segments", disk.segments.to_string()),
            ("Samples in them", disk.sealed_samples.to_string()),
            ("Segments cover", times(disk.bounds)),
            ("Write-ahead log", bytes(disk.wal_bytes)),
            ("On the disk", bytes(disk.bytes)),
        ]))
        h2 { "What to cut" }
        (advice(frame, head, tables))
        (table(frame, "Top 10 series count by metric names", "Series", &tables.series_by_metric))
        (table(frame, "Top 10 label names with value count", "Values", &tables.values_by_label))
        (table(frame, "Top 10 label names with high memory usage", "Bytes", &tables.bytes_by_label))
        (table(frame, "Top 10 series count by label value pairs", "Series", &tables.series_by_pair))
    }
}

fn table(frame: &Frame, title: &str, unit: &str, counts: &[Count]) -> Markup {
    let by_name = title.ends_with("metric names");
    html! {
        h2 { (title) }
        div.card {
            table {
                thead { tr { th { "Name" } th.number { (unit) } } }
                tbody { @for count in counts {
                    tr {
                        td {
                            @if by_name { a href=(frame.query_link(&count.name, "table")) { code { (count.name) } } }
                            @else { code { (count.name) } }
                        }
                        td.number { (count.value) }
                    }
                } }
            }
        }
    }
}

/// What takes most, and what would end it.
fn advice(frame: &Frame, head: &HeadStatus, tables: &Cardinality) -> Markup {
    let total = head.series.max(1) as f64;
    let large: Vec<&Count> =
        tables.series_by_metric.iter().filter(|count| count.value as f64 / total > LARGE_SHARE).take(3).collect();
    let wide: Vec<&Count> = tables.values_by_label.iter().filter(|count| count.value > MANY_VALUES).take(3).collect();
    html! {
        @if large.is_empty() && wide.is_empty() {
            p.good { "No metric has more than a tenth of the series, no label more than " (MANY_VALUES) " values" }
        }
        @for count in &large {
            div.card {
                p {
                    code { (count.name) } " has " b { (format!("{:.0} %", 100.0 * count.value as f64 / total)) } " of the series. "
                    a href=(frame.query_link(&format!("topk(10, count by (job) ({}))", count.name), "table")) { "Which job sends it" }
                    ". If nobody needs it, the job drops it by:"
                }
                pre { "metric_relabel_configs:\n- source_labels: [__name__]\n  regex: " (count.name) "\n  action: drop" }
            }
        }
        @for count in &wide {
            div.card {
                p {
                    "Label " code { (count.name) } " has " b { (count.value) } " values. If it identifies requests or users, it does not belong into a label; the job takes it away by:"
                }
                pre { "metric_relabel_configs:\n- regex: " (count.name) "\n  action: labeldrop" }
            }
        }
    }
}
