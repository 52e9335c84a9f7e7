//! `/query` (and `/graph`): expressions with their answers, as a table or a chart.
//!
//! Links are those of Prometheus (`g0.expr`, `g0.tab`, `g0.range_input`, …), so that old ones go on working.
//!
//! Rule: the page asks the engine what any client could ask, through the same gate.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::Request;
use axum::response::Response;
use datamodel::float::parse_float;
use datamodel::rfc3339::{format_rfc3339, parse_rfc3339};
use datamodel::time::{TimeRange, duration_ms, format_duration, parse_duration};
use datamodel::{Labels, METRIC_NAME, Timestamp};
use maud::{Markup, PreEscaped, html};
use plot::{Chart, Point, Style, TimeLabels};
use promql::{Annotations, EvalError, QueryContext, QueryResult, QueryValue, RangeSeries, Value};

use super::layout::Frame;
use super::{answer, refusal};
use crate::api::Shared;
use crate::error::{ApiError, chain};
use crate::params::Params;

/// The most expressions on a page.
const MAX_PANELS: usize = 10;

/// The most rows of a table; the API has them all.
const MAX_SHOWN: usize = 1_000;

/// The most points of a series on a chart: one every four pixels.
const CHART_POINTS: u32 = 240;

/// The most points of a series that a step of one's own may ask for, as the API.
const MAX_POINTS: i64 = 11_000;

const DEFAULT_RANGE: Duration = Duration::from_secs(3_600);

const CHART_WIDTH_PX: u32 = 1_000;

const CHART_HEIGHT_PX: u32 = 320;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tab {
    Table,
    Graph,
}

/// One expression, and how its answer is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Panel {
    expr: String,
    tab: Tab,
    range: Duration,
    /// The end of a chart, the instant of a table; none for now.
    at: Option<Timestamp>,
    step: Option<Duration>,
}

impl Panel {
    fn empty() -> Self {
        Self { expr: String::new(), tab: Tab::Table, range: DEFAULT_RANGE, at: None, step: None }
    }

    /// The panel with this number, if the request has one.
    fn of(params: &Params, index: usize) -> Option<Self> {
        let get = |name: &str| params.get(&format!("g{index}.{name}")).to_owned();
        let expr = params.first(&format!("g{index}.expr"))?.to_owned();
        // Upstream's old and new words.
        let tab = if matches!(get("tab").as_str(), "0" | "graph") { Tab::Graph } else { Tab::Table };
        let instant = if tab == Tab::Graph { get("end_input") } else { get("moment_input") };
        let duration = |name: &str| parse_duration(get(name).trim()).ok().filter(|duration| !duration.is_zero());
        Some(Self {
            expr,
            tab,
            range: duration("range_input").unwrap_or(DEFAULT_RANGE),
            at: instant_of(&instant),
            step: duration("step_input"),
        })
    }

    fn put(&self, index: usize, into: &mut form_urlencoded::Serializer<'_, String>) {
        let mut put = |name: &str, value: &str| {
            into.append_pair(&format!("g{index}.{name}"), value);
        };
        put("expr", &self.expr);
        put("tab", if self.tab == Tab::Graph { "graph" } else { "table" });
        if self.tab == Tab::Graph {
            put("range_input", &format_duration(self.range));
        }
        if let Some(at) = self.at {
            put(if self.tab == Tab::Graph { "end_input" } else { "moment_input" }, &input_time(at));
        }
        if let Some(step) = self.step {
            put("step_input", &format_duration(step));
        }
    }
}

/// An instant as a form or a link gives it: seconds, RFC 3339, or without a zone, which is UTC.
fn instant_of(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    if text.is_empty() {
        return None;
    }
    // Milliseconds that a float holds exactly.
    let limit = 9.0e12;
    if let Some(seconds) = parse_float(text).ok().filter(|seconds| seconds.abs() < limit) {
        return Some(Timestamp::from_unix_ms((seconds * 1000.0).round() as i64));
    }
    let text = text.replacen(' ', "T", 1);
    ["", "Z", ":00Z"].iter().find_map(|zone| parse_rfc3339(&format!("{text}{zone}")))
}

/// An instant as `<input type="datetime-local">` holds it.
fn input_time(at: Timestamp) -> String {
    format_rfc3339(at).chars().take("2006-01-02T15:04:05".len()).collect()
}

/// Gives the page's own link with one panel changed.
type Linker<'a> = dyn Fn(usize, &dyn Fn(&mut Panel)) -> String + 'a;

/// What a panel shows.
enum Shown {
    Nothing,
    Error(String),
    Table(QueryResult),
    Chart { svg: String, series: usize, annotations: Annotations },
}

pub(super) async fn page(State(shared): State<Arc<Shared>>, request: Request<Body>) -> Response {
    let frame = Frame::of(&shared);
    let params = match Params::of(request).await {
        Ok(params) => params,
        Err(error) => return refusal(&frame, "Graph", "/query", &error),
    };
    let mut panels: Vec<Panel> = (0..MAX_PANELS).map_while(|index| Panel::of(&params, index)).collect();
    if panels.is_empty() {
        panels.push(Panel::empty());
    }
    let mut shown = Vec::with_capacity(panels.len());
    for panel in &panels {
        shown.push(evaluate(&shared, panel).await.unwrap_or_else(|error| Shown::Error(error.message)));
    }
    answer(frame.page("Graph", "/query", &content(&frame, &panels, &shown)))
}

async fn evaluate(shared: &Arc<Shared>, panel: &Panel) -> Result<Shown, ApiError> {
    if panel.expr.trim().is_empty() {
        return Ok(Shown::Nothing);
    }
    let options = shared.parts.engine.options();
    let now = shared.parts.clock.now();
    let deadline = Some(now.saturating_add(options.timeout));
    let context = QueryContext { deadline, ..QueryContext::default() };
    let cancel: Arc<AtomicBool> = Arc::clone(&context.cancel);
    let (owner, panel) = (Arc::clone(shared), panel.clone());
    let at = panel.at.unwrap_or(now);
    let work = move || {
        let done = match panel.tab {
            Tab::Table => {
                owner.parts.engine.instant(&*owner.parts.queryable, &panel.expr, at, &context).map(Shown::Table)
            }
            Tab::Graph => graph(&owner, &panel, at, &context),
        };
        done.unwrap_or_else(|error| Shown::Error(explain(&error, &panel.expr)))
    };
    shared.gate.run(options.timeout, cancel, work).await
}

fn graph(shared: &Shared, panel: &Panel, end: Timestamp, context: &QueryContext) -> Result<Shown, EvalError> {
    let range = TimeRange { start: end.saturating_sub(panel.range), end };
    let step = panel.step.unwrap_or_else(|| (panel.range / CHART_POINTS).max(Duration::from_secs(1)));
    if duration_ms(panel.range) / duration_ms(step).max(1) > MAX_POINTS {
        return Ok(Shown::Error(format!("more than {MAX_POINTS} points: a larger step, or a shorter range")));
    }
    let engine = &shared.parts.engine;
    let result = engine.range(&*shared.parts.queryable, &panel.expr, range.start, range.end, step, context)?;
    let QueryValue::RangeVector(series) = result.value else { return Ok(Shown::Nothing) };
    let drawn = series.iter().take(plot::MAX_SERIES).map(|series| line(series, step)).collect();
    let chart = Chart {
        title: String::new(),
        description: panel.expr.clone(),
        width_px: CHART_WIDTH_PX,
        range,
        time_labels: TimeLabels::Utc,
        panels: vec![plot::Panel { height_px: CHART_HEIGHT_PX, series: drawn, ..plot::Panel::default() }],
        markers: Vec::new(),
    };
    Ok(Shown::Chart { svg: chart.to_svg(), series: series.len(), annotations: result.annotations })
}

fn line(series: &RangeSeries, step: Duration) -> plot::Series {
    let samples = series.samples.timestamps.iter().zip(&series.samples.values);
    let points = samples.map(|(at, value)| Point { at: Timestamp::from_unix_ms(*at), value: *value }).collect();
    plot::Series { name: series_name(&series.labels), style: Style::Line, points, max_gap: Some(step + step / 2) }
}

/// An error as the command line prints it: with the place in the expression where there is one.
fn explain(error: &EvalError, text: &str) -> String {
    match error {
        EvalError::Parse(parse) => parse.render(text),
        other => chain(other),
    }
}

fn series_name(labels: &Labels) -> String {
    let rest = labels.without_metric_name();
    let name = labels.metric_name().unwrap_or_default();
    if rest.is_empty() && !name.is_empty() { name.to_owned() } else { format!("{name}{rest}") }
}

/// The page's own link with other panels.
fn link(frame: &Frame, panels: &[Panel]) -> String {
    let mut pairs = form_urlencoded::Serializer::new(String::new());
    for (index, panel) in panels.iter().enumerate() {
        panel.put(index, &mut pairs);
    }
    frame.link(&format!("/query?{}", pairs.finish()))
}

fn content(frame: &Frame, panels: &[Panel], shown: &[Shown]) -> Markup {
    let with = |index: usize, change: &dyn Fn(&mut Panel)| {
        let mut panels = panels.to_vec();
        if let Some(panel) = panels.get_mut(index) {
            change(panel);
        }
        link(frame, &panels)
    };
    let mut more = panels.to_vec();
    more.push(Panel::empty());
    html! {
        form action=(frame.link("/query")) method="get" {
            @for (index, (panel, shown)) in panels.iter().zip(shown).enumerate() {
                section.panel aria-label=(format!("Query {}", index + 1)) {
                    (input(frame, index, panel))
                    div.tabs {
                        a href=(with(index, &|panel| { panel.tab = Tab::Table; panel.at = None; }))
                            aria-current=[(panel.tab == Tab::Table).then_some("true")] { "Table" }
                        a href=(with(index, &|panel| { panel.tab = Tab::Graph; panel.at = None; }))
                            aria-current=[(panel.tab == Tab::Graph).then_some("true")] { "Graph" }
                        @if panels.len() > 1 {
                            a.remove href=(link(frame, &without(panels, index))) { "Remove" }
                        }
                    }
                    (controls(index, panel, &with))
                    (result(shown))
                }
            }
        }
        @if panels.len() < MAX_PANELS { p { a href=(link(frame, &more)) { "Add query" } } }
    }
}

fn without(panels: &[Panel], index: usize) -> Vec<Panel> {
    panels.iter().enumerate().filter(|(at, _)| *at != index).map(|(_, panel)| panel.clone()).collect()
}

fn input(frame: &Frame, index: usize, panel: &Panel) -> Markup {
    html! {
        div.expression {
            textarea #(format!("expr-{index}")) name=(format!("g{index}.expr")) rows="1" spellcheck="false"
                autocomplete="off" autocapitalize="off" aria-label="Expression"
                placeholder="Expression (Enter runs it, Shift+Enter for a new line)"
                autofocus[index == 0 && panel.expr.is_empty()]
                data-complete=(frame.link("/query/complete")) { (panel.expr) }
            button type="submit" { "Execute" }
        }
        input type="hidden" name=(format!("g{index}.tab")) value=(if panel.tab == Tab::Graph { "graph" } else { "table" });
    }
}

fn controls(index: usize, panel: &Panel, with: &Linker<'_>) -> Markup {
    let value = panel.at.map(input_time).unwrap_or_default();
    let shift = |back: bool| {
        with(index, &|panel: &mut Panel| {
            let half = panel.range / 2;
            // Without an end of its own the chart ends now, which only the server knows.
            panel.at = panel.at.map(|at| if back { at.saturating_sub(half) } else { at.saturating_add(half) });
        })
    };
    html! {
        div.controls {
            @match panel.tab {
                Tab::Table => label { "Evaluation time (UTC) "
                    input type="datetime-local" step="1" name=(format!("g{index}.moment_input")) value=(value);
                },
                Tab::Graph => {
                    a.button href=(with(index, &|panel| panel.range = (panel.range / 2).max(Duration::from_secs(1))))
                        title="Half the range" { "−" }
                    label { "Range "
                        input.short type="text" name=(format!("g{index}.range_input")) value=(format_duration(panel.range));
                    }
                    a.button href=(with(index, &|panel| panel.range *= 2)) title="Twice the range" { "+" }
                    @if panel.at.is_some() { a.button href=(shift(true)) title="Earlier" { "◀" } }
                    label { "End (UTC) "
                        input type="datetime-local" step="1" name=(format!("g{index}.end_input")) value=(value);
                    }
                    @if panel.at.is_some() { a.button href=(shift(false)) title="Later" { "▶" } }
                    label { "Step "
                        input.short type="text" name=(format!("g{index}.step_input")) placeholder="auto"
                            value=(panel.step.map(format_duration).unwrap_or_default());
                    }
                }
            }
        }
    }
}

fn result(shown: &Shown) -> Markup {
    match shown {
        Shown::Nothing => html! { p.soft { "No data queried yet" } },
        Shown::Error(text) => html! { pre.error role="alert" { (text) } },
        Shown::Table(result) => html! { (notes(&result.annotations)) (table(&result.value)) },
        Shown::Chart { series: 0, annotations, .. } => html! { (notes(annotations)) (empty()) },
        Shown::Chart { svg, series, annotations } => html! {
            (notes(annotations))
            div.card { (PreEscaped(svg)) }
            @if *series > plot::MAX_SERIES {
                p.soft { "The first " (plot::MAX_SERIES) " of " (series) " series: an aggregation or topk shows which matter" }
            }
        },
    }
}

fn empty() -> Markup {
    html! { p.soft { "Empty query result: no series matches at this time" } }
}

fn notes(annotations: &Annotations) -> Markup {
    html! {
        @for text in &annotations.warnings { p.notice { (text) } }
        @for text in &annotations.infos { p.info { (text) } }
    }
}

fn table(value: &QueryValue) -> Markup {
    let rows: Vec<(Markup, String)> = match value {
        QueryValue::Scalar(sample) => vec![(html! { "scalar" }, number(sample.value))],
        QueryValue::String { value, .. } => vec![(html! { "string" }, value.clone())],
        QueryValue::InstantVector(samples) => {
            let text = |value: &Value| match value {
                Value::Float(value) => number(*value),
                Value::Histogram(histogram) => format!("{histogram}"),
            };
            samples.iter().take(MAX_SHOWN).map(|sample| (name(&sample.labels), text(&sample.value))).collect()
        }
        QueryValue::RangeVector(series) => {
            series.iter().take(MAX_SHOWN).map(|series| (name(&series.labels), run(series))).collect()
        }
    };
    let all = match value {
        QueryValue::InstantVector(samples) => samples.len(),
        QueryValue::RangeVector(series) => series.len(),
        QueryValue::Scalar(_) | QueryValue::String { .. } => 1,
    };
    if rows.is_empty() {
        return empty();
    }
    html! {
        div.card {
            table {
                thead { tr { th { "Series" } th.number { "Value" } } }
                tbody { @for (name, value) in &rows { tr { td { (name) } td.number { pre { (value) } } } } }
            }
        }
        p.soft {
            (all) @if all == 1 { " result" } @else { " results" }
            @if all > MAX_SHOWN { ", the first " (MAX_SHOWN) " shown" }
        }
    }
}

fn number(value: f64) -> String {
    let mut text = String::new();
    datamodel::float::write_api(&mut text, value);
    text
}

/// The samples of a series, the newest ones where there are many.
fn run(series: &RangeSeries) -> String {
    let most = 100;
    let samples = &series.samples;
    let lines = samples.timestamps.iter().zip(&samples.values).enumerate().map(|(index, (at, value))| {
        let histogram = samples.histograms.iter().find(|(found, _)| *found == index);
        let value = histogram.map_or_else(|| number(*value), |(_, histogram)| format!("{histogram}"));
        let seconds = Timestamp::from_unix_ms(*at).unix_seconds();
        format!("{value} @{seconds}")
    });
    let skipped = samples.len().saturating_sub(most);
    let head = (skipped > 0).then(|| format!("… {skipped} earlier"));
    head.into_iter().chain(lines.skip(skipped)).collect::<Vec<_>>().join("\n")
}

fn name(labels: &Labels) -> Markup {
    let pairs: Vec<_> = labels.iter().filter(|(name, _)| *name != METRIC_NAME).collect();
    html! {
        code.series {
            b { (labels.metric_name().unwrap_or_default()) }
            @if !pairs.is_empty() || labels.metric_name().is_none() {
                "{"
                @for (index, (name, value)) in pairs.iter().enumerate() {
                    @if index > 0 { ", " }
                    (name) "=" span.value { "\"" (value) "\"" }
                }
                "}"
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_read_as_links_and_forms_give_them() {
        for (text, unix_ms) in [
            ("", None),
            ("1.5", Some(1_500)),
            ("1970-01-01T00:00:02Z", Some(2_000)),
            ("1970-01-01 00:00:02", Some(2_000)),
            ("1970-01-01T00:01", Some(60_000)),
            ("yesterday", None),
        ] {
            assert_eq!(instant_of(text).map(Timestamp::unix_ms), unix_ms, "{text}");
        }
        assert_eq!(input_time(Timestamp::from_unix_ms(61_000)), "1970-01-01T00:01:01");
    }
}
