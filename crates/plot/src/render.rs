//! From a chart to its SVG: where everything stands.
//!
//! - [`render`]: heading, lane of markers, panels from top to bottom, time axis.
//!
//! The root carries what a script needs to turn a pointer's place into time and value: `data-start` and
//! `data-end` (Unix ms) with `data-left` and `data-right` (pixels); each panel carries `data-top`,
//! `data-bottom` (pixels), `data-min` and `data-max` (values).
//!
//! Rule: positions are computed here only, from numbers that are clamped first.

use std::fmt::Write;

use datamodel::Timestamp;
use datamodel::time::TimeRange;

use crate::axis::{ValueAxis, time_ticks};
use crate::downsample::{Plotted, runs};
use crate::format::format_value;
use crate::svg::{Svg, number};
use crate::theme::{Ink, LIGHT_BACKGROUND, style};
use crate::{
    Chart, MAX_LABEL_CHARS, MAX_MARKERS, MAX_PANELS, MAX_SERIES, Marker, MarkerKind, Panel, Series, Style, TimeLabels,
    Unit,
};

/// Room for labels such as `1.25GiB`.
const LEFT: f64 = 62.0;
const RIGHT: f64 = 18.0;
const TITLE_HEIGHT: f64 = 34.0;
const LANE_HEIGHT: f64 = 22.0;
const LEGEND_LINE: f64 = 19.0;
const PANEL_GAP: f64 = 16.0;
const AXIS_HEIGHT: f64 = 26.0;

/// Half a line's width beyond the plot area, so that lines at its edge are not cut.
const BLEED: f64 = 2.0;

/// Of the fonts that browsers choose, in pixels a character at 12 px; only legends depend on it.
const CHAR_WIDTH: f64 = 6.6;

/// Between two labels of the time axis, and between two of a value axis.
const TIME_LABEL_EVERY: f64 = 90.0;
const VALUE_LABEL_EVERY: f64 = 30.0;

const FONT: &str = "system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',sans-serif";

pub(crate) fn render(chart: &Chart) -> String {
    let width = f64::from(chart.width_px.clamp(240, 4096));
    let layout = Layout::of(chart, width);
    let mut svg = Svg::default();
    let (start, end) = (chart.range.start.unix_ms(), chart.range.end.unix_ms());
    svg.open(
        "svg",
        &[
            ("xmlns", &"http://www.w3.org/2000/svg"),
            ("class", &"plot"),
            ("role", &"img"),
            ("width", &number(width)),
            ("height", &number(layout.height)),
            ("viewBox", &format!("0 0 {} {}", number(width), number(layout.height))),
            ("font-family", &FONT),
            ("font-size", &12),
            ("data-start", &start),
            ("data-end", &end),
            ("data-left", &number(LEFT)),
            ("data-right", &number(width - RIGHT)),
        ],
    );
    svg.line();
    svg.text("title", &[], &label(&chart.title));
    svg.text("desc", &[], &described(chart));
    svg.text("style", &[], &style());
    svg.line();
    let size: [(&str, &dyn std::fmt::Display); 4] =
        [("width", &"100%"), ("height", &"100%"), ("class", &"plot-bg"), ("fill", &LIGHT_BACKGROUND)];
    svg.empty("rect", &size);
    if !chart.title.is_empty() {
        text(&mut svg, Ink::Text, (LEFT, 22.0), "start", &[("font-size", &15), ("font-weight", &600)], &chart.title);
    }
    let ticks = time_ticks(chart.range, layout.plot_width() / TIME_LABEL_EVERY, chart.time_labels);
    for (panel, place) in chart.panels.iter().zip(&layout.panels) {
        svg.line();
        draw_panel(&mut svg, chart, panel, &layout, place, &ticks);
    }
    svg.line();
    draw_time_labels(&mut svg, &layout, &ticks, chart.time_labels);
    draw_markers(&mut svg, chart, &layout);
    svg.finish()
}

fn label(text: &str) -> String {
    match text.char_indices().nth(MAX_LABEL_CHARS) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
    }
}

/// The description, and what is not drawn.
fn described(chart: &Chart) -> String {
    let mut text: String = chart.description.chars().take(1000).collect();
    let mut missing = |count: usize, limit: usize, what: &str| {
        if let Some(more) = count.checked_sub(limit).filter(|more| *more > 0) {
            // Writing to a string never fails.
            write!(text, " {more} more {what} are not drawn.").ok();
        }
    };
    missing(chart.panels.len(), MAX_PANELS, "panels");
    missing(chart.markers.len(), MAX_MARKERS, "markers");
    text
}

/// Where everything stands, in pixels.
struct Layout {
    width: f64,
    height: f64,
    range: TimeRange,
    lane_top: f64,
    bottom: f64,
    panels: Vec<Place>,
}

struct Place {
    header_top: f64,
    top: f64,
    bottom: f64,
    legend: Vec<LegendEntry>,
}

struct LegendEntry {
    /// Position of the series; none for the count of those that are not drawn.
    series: Option<usize>,
    text: String,
    x: f64,
    line: f64,
}

impl Layout {
    fn of(chart: &Chart, width: f64) -> Self {
        let title = if chart.title.is_empty() { 8.0 } else { TITLE_HEIGHT };
        let lane = if chart.markers.is_empty() { 0.0 } else { LANE_HEIGHT };
        let mut y = title + lane;
        let mut panels = Vec::new();
        for panel in chart.panels.iter().take(MAX_PANELS) {
            let legend = legend(panel, width);
            let lines = 1.0 + legend.last().map_or(0.0, |entry| entry.line);
            let top = y + lines * LEGEND_LINE + 5.0;
            let bottom = top + f64::from(panel.height_px.clamp(24, 2000));
            panels.push(Place { header_top: y, top, bottom, legend });
            y = bottom + PANEL_GAP;
        }
        let bottom = panels.last().map_or(y, |place| place.bottom);
        Self { width, height: bottom + AXIS_HEIGHT, range: chart.range, lane_top: title, bottom, panels }
    }

    fn plot_width(&self) -> f64 {
        self.width - LEFT - RIGHT
    }

    /// From the left edge of the plot area.
    fn x(&self, at: Timestamp) -> f64 {
        let length = ms_between(self.range.start, self.range.end);
        if length <= 0.0 {
            return self.plot_width() / 2.0;
        }
        ms_between(self.range.start, at) / length * self.plot_width()
    }
}

/// Exact enough for pixels, and without overflow.
fn ms_between(from: Timestamp, to: Timestamp) -> f64 {
    to.unix_ms() as f64 - from.unix_ms() as f64
}

fn legend(panel: &Panel, width: f64) -> Vec<LegendEntry> {
    let first_x = LEFT + text_width(&label(&panel.title)) * 1.08 + 18.0;
    let (mut x, mut line) = (first_x, 0.0);
    let mut entries = Vec::new();
    let mut add = |series, text: String| {
        let entry_width = text_width(&text) + 34.0;
        if x + entry_width > width - RIGHT && x > LEFT {
            line += 1.0;
            x = LEFT;
        }
        entries.push(LegendEntry { series, text, x, line });
        x += entry_width;
    };
    for (index, series) in panel.series.iter().take(MAX_SERIES).enumerate() {
        let newest = series.points.iter().rev().find(|point| point.value.is_finite());
        let value = newest.map_or_else(|| "no data".to_owned(), |point| format_value(point.value, panel.unit));
        add(Some(index), format!("{} {value}", label(&series.name)).trim_start().to_owned());
    }
    if let Some(more) = panel.series.len().checked_sub(MAX_SERIES).filter(|more| *more > 0) {
        add(None, format!("and {more} more, not drawn"));
    }
    entries
}

fn text_width(text: &str) -> f64 {
    // Characters of East Asia and emoji are twice as wide.
    text.chars().map(|c| if c >= '\u{1100}' { 2.0 * CHAR_WIDTH } else { CHAR_WIDTH }).sum()
}

fn text(svg: &mut Svg, ink: Ink, (x, y): (f64, f64), anchor: &str, more: &[crate::svg::Attribute<'_>], content: &str) {
    let (x, y, class) = (number(x), number(y), ink.fill());
    let mut attributes: Vec<crate::svg::Attribute<'_>> = vec![("x", &x), ("y", &y)];
    let (anchor, fill) = (&anchor, ink.light());
    attributes.extend_from_slice(&[("text-anchor", anchor), ("class", &class), ("fill", &fill)]);
    attributes.extend_from_slice(more);
    svg.text("text", &attributes, &label(content));
}

fn line(svg: &mut Svg, ink: Ink, (x1, y1): (f64, f64), (x2, y2): (f64, f64), dash: &str) {
    let ends = [number(x1), number(y1), number(x2), number(y2)];
    let [x1, y1, x2, y2] = &ends;
    let (class, stroke) = (ink.stroke(), ink.light());
    let mut attributes: Vec<crate::svg::Attribute<'_>> =
        vec![("x1", x1), ("y1", y1), ("x2", x2), ("y2", y2), ("class", &class), ("stroke", &stroke)];
    if !dash.is_empty() {
        attributes.push(("stroke-dasharray", &dash));
    }
    svg.empty("line", &attributes);
}

fn draw_panel(
    svg: &mut Svg,
    chart: &Chart,
    panel: &Panel,
    layout: &Layout,
    place: &Place,
    ticks: &[(Timestamp, String)],
) {
    let height = place.bottom - place.top;
    let in_range = |series: &Series| {
        let x = |point: crate::Point| layout.x(point.at);
        runs(&series.points, chart.range, series.max_gap, x)
    };
    let drawn: Vec<(usize, &Series, Vec<Vec<Plotted>>)> = panel
        .series
        .iter()
        .take(MAX_SERIES)
        .enumerate()
        .map(|(index, series)| (index, series, in_range(series)))
        .collect();
    let values = drawn.iter().flat_map(|(_, _, runs)| runs.iter().flatten()).map(|plotted| plotted.value);
    let thresholds = panel.thresholds.iter().take(MAX_SERIES).filter(|threshold| threshold.value.is_finite());
    let all = values.chain(thresholds.clone().map(|threshold| threshold.value));
    let axis = ValueAxis::of(all, panel.unit, (height / VALUE_LABEL_EVERY).clamp(1.0, 8.0));
    let (top, bottom) = (number(place.top), number(place.bottom));
    svg.open(
        "g",
        &[
            ("class", &"plot-panel"),
            ("data-top", &top),
            ("data-bottom", &bottom),
            ("data-min", &axis.min),
            ("data-max", &axis.max),
            ("data-unit", &unit_name(panel.unit)),
        ],
    );
    draw_header(svg, panel, place);
    let y = |value: f64| place.bottom - axis.fraction(value) * height;
    let right = layout.width - RIGHT;
    for (value, tick) in &axis.ticks {
        line(svg, Ink::Grid, (LEFT, y(*value)), (right, y(*value)), "");
        text(svg, Ink::Dim, (LEFT - 8.0, y(*value) + 4.0), "end", &[("font-size", &11)], tick);
    }
    for (at, _) in ticks {
        let x = LEFT + layout.x(*at);
        line(svg, Ink::Grid, (x, place.top), (x, place.bottom), "");
    }
    // An inner document cuts off what lies outside, without an id that two charts could share.
    svg.open(
        "svg",
        &[
            ("x", &number(LEFT - BLEED)),
            ("y", &number(place.top - BLEED)),
            ("width", &number(layout.plot_width() + 2.0 * BLEED)),
            ("height", &number(height + 2.0 * BLEED)),
        ],
    );
    let inner_y = |value: f64| BLEED + (1.0 - axis.fraction(value)) * height;
    for (index, series, runs) in &drawn {
        draw_series(svg, *index, series, runs, &inner_y);
    }
    svg.close();
    for threshold in thresholds {
        let y = y(threshold.value);
        line(svg, Ink::Threshold, (LEFT, y), (right, y), "6 4");
        text(svg, Ink::Threshold, (right - 4.0, y - 4.0), "end", &[("font-size", &11)], &threshold.label);
    }
    if drawn.iter().all(|(_, _, runs)| runs.is_empty()) {
        let middle = ((LEFT + right) / 2.0, (place.top + place.bottom) / 2.0 + 4.0);
        text(svg, Ink::Dim, middle, "middle", &[], "no data");
    }
    svg.close();
}

const fn unit_name(unit: Unit) -> &'static str {
    match unit {
        Unit::Number => "number",
        Unit::Seconds => "seconds",
        Unit::Bytes => "bytes",
        Unit::PerSecond => "per-second",
        Unit::Percent => "percent",
        Unit::Ratio => "ratio",
    }
}

fn draw_header(svg: &mut Svg, panel: &Panel, place: &Place) {
    text(svg, Ink::Text, (LEFT, place.header_top + 14.0), "start", &[("font-weight", &600)], &panel.title);
    for entry in &place.legend {
        let y = place.header_top + entry.line * LEGEND_LINE;
        if let Some(index) = entry.series {
            let ink = Ink::Series(index);
            let (class, fill) = (ink.fill(), ink.light());
            svg.empty(
                "rect",
                &[
                    ("x", &number(entry.x)),
                    ("y", &number(y + 5.0)),
                    ("width", &10),
                    ("height", &10),
                    ("rx", &2),
                    ("class", &class),
                    ("fill", &fill),
                ],
            );
        }
        text(svg, Ink::Dim, (entry.x + 15.0, y + 14.0), "start", &[], &entry.text);
    }
}

fn draw_series(svg: &mut Svg, index: usize, series: &Series, runs: &[Vec<Plotted>], y: &impl Fn(f64) -> f64) {
    let ink = Ink::Series(index);
    let is_step = matches!(series.style, Style::Step | Style::StepArea);
    let is_area = matches!(series.style, Style::Area | Style::StepArea);
    let (mut lines, mut areas) = (String::new(), String::new());
    for run in runs {
        let path = path(run, is_step, y);
        if let (true, [first, .., last]) = (is_area, run.as_slice()) {
            let zero = number(y(0.0));
            let (from, to) = (number(first.x + BLEED), number(last.x + BLEED));
            areas.push_str(&format!("{path}L{to} {zero}L{from} {zero}Z"));
        }
        lines.push_str(&path);
    }
    let name = label(&series.name);
    if !areas.is_empty() {
        let (class, fill) = (ink.fill(), ink.light());
        svg.empty("path", &[("d", &areas), ("class", &class), ("fill", &fill), ("fill-opacity", &0.16)]);
    }
    if !lines.is_empty() {
        let (class, stroke) = (ink.stroke(), ink.light());
        svg.empty(
            "path",
            &[
                ("d", &lines),
                ("data-name", &name),
                ("class", &class),
                ("stroke", &stroke),
                ("fill", &"none"),
                ("stroke-width", &1.75),
                ("stroke-linejoin", &"round"),
                ("stroke-linecap", &"round"),
            ],
        );
    }
}

/// A run as a path; a single point as a short dash, which round ends make a dot.
fn path(run: &[Plotted], is_step: bool, y: &impl Fn(f64) -> f64) -> String {
    let mut path = String::new();
    for (index, point) in run.iter().enumerate() {
        let (x, y) = (number(point.x + BLEED), number(y(point.value)));
        path.push_str(&match (index, is_step) {
            (0, _) => format!("M{x} {y}"),
            (_, false) => format!("L{x} {y}"),
            (_, true) => format!("H{x}V{y}"),
        });
    }
    if run.len() == 1 {
        path.push_str("h0.1");
    }
    path
}

fn draw_time_labels(svg: &mut Svg, layout: &Layout, ticks: &[(Timestamp, String)], labels: TimeLabels) {
    let y = layout.bottom + 17.0;
    let right = layout.width - RIGHT;
    let zone = if labels == TimeLabels::Utc { "UTC" } else { "" };
    if !zone.is_empty() {
        text(svg, Ink::Dim, (LEFT - 8.0, y), "end", &[("font-size", &11)], zone);
    }
    for (at, tick) in ticks {
        let x = LEFT + layout.x(*at);
        let half = text_width(tick) / 2.0;
        let (x, anchor) = if x + half > right + RIGHT { (right, "end") } else { (x, "middle") };
        text(svg, Ink::Dim, (x, y), anchor, &[("font-size", &11)], tick);
    }
}

fn draw_markers(svg: &mut Svg, chart: &Chart, layout: &Layout) {
    let newest = chart.markers.len().saturating_sub(MAX_MARKERS);
    let visible = chart.markers.iter().skip(newest).filter(|marker| chart.range.contains(marker.at));
    let mut placed: Vec<(f64, &Marker)> = visible.map(|marker| (LEFT + layout.x(marker.at), marker)).collect();
    placed.sort_by(|a, b| a.0.total_cmp(&b.0));
    let nexts = placed.iter().skip(1).map(|(x, _)| x - FLAG).chain([layout.width]);
    for ((x, marker), room_ends) in placed.iter().zip(nexts) {
        svg.line();
        draw_marker(svg, layout, marker, *x, room_ends);
    }
}

/// Half the width of a flag, and a little.
const FLAG: f64 = 8.0;

fn draw_marker(svg: &mut Svg, layout: &Layout, marker: &Marker, x: f64, room_ends: f64) {
    let ink = match marker.kind {
        MarkerKind::Event => Ink::Event,
        MarkerKind::Up => Ink::Up,
        MarkerKind::Down => Ink::Down,
        MarkerKind::Warning => Ink::Warning,
    };
    svg.open("g", &[("class", &"plot-marker"), ("data-at", &marker.at.unix_ms())]);
    svg.text("title", &[], &marker_title(marker));
    // In the plot areas alone, so that no legend is crossed out.
    let x_text = number(x);
    let segments: String =
        layout.panels.iter().map(|place| format!("M{x_text} {}V{}", number(place.top), number(place.bottom))).collect();
    let (class, stroke) = (ink.stroke(), ink.light());
    svg.empty("path", &[("d", &segments), ("class", &class), ("stroke", &stroke), ("stroke-dasharray", &"2 3")]);
    // Wide and unseen, so that a pointer finds it.
    let whole = format!("M{x_text} {}V{}", number(layout.lane_top), number(layout.bottom));
    svg.empty("path", &[("d", &whole), ("stroke", &"#000"), ("stroke-opacity", &0), ("stroke-width", &9)]);
    draw_flag(svg, ink, marker.kind, (x, layout.lane_top + 9.0));
    if x + FLAG + text_width(&label(&marker.label)) < room_ends {
        let style = [("font-size", &11 as &dyn std::fmt::Display), ("font-weight", &600)];
        text(svg, ink, (x + FLAG, layout.lane_top + 13.0), "start", &style, &marker.label);
    }
    svg.close();
}

fn marker_title(marker: &Marker) -> String {
    let reason: String = marker.reason.chars().take(500).collect();
    match (marker.label.is_empty(), reason.is_empty()) {
        (false, false) => format!("{}: {reason}", label(&marker.label)),
        (false, true) => label(&marker.label),
        (true, _) => reason,
    }
}

fn draw_flag(svg: &mut Svg, ink: Ink, kind: MarkerKind, (x, y): (f64, f64)) {
    let at = |dx: f64, dy: f64| format!("{} {}", number(x + dx), number(y + dy));
    let corners = match kind {
        MarkerKind::Up => vec![at(0.0, -5.0), at(5.0, 4.0), at(-5.0, 4.0)],
        MarkerKind::Down => vec![at(0.0, 5.0), at(5.0, -4.0), at(-5.0, -4.0)],
        MarkerKind::Event => vec![at(0.0, -5.0), at(5.0, 0.0), at(0.0, 5.0), at(-5.0, 0.0)],
        MarkerKind::Warning => vec![at(-4.0, -4.0), at(4.0, -4.0), at(4.0, 4.0), at(-4.0, 4.0)],
    };
    let (class, fill) = (ink.fill(), ink.light());
    svg.empty("path", &[("d", &format!("M{}Z", corners.join("L"))), ("class", &class), ("fill", &fill)]);
}
