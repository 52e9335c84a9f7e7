//! A figure: panels above each other on one time axis.
//!
//! ```text
//! title
//! ┌ panel ─────────────── legend ┐
//! │ lines, areas, steps          │
//! └──────────────────────────────┘
//!   … further panels …
//!   time axis
//! ```

use std::fmt::Write;

use crate::format::{TimeAxis, Unit};
use crate::reduce;
use crate::scale::{Scale, Ticks, time_ticks, value_ticks, whole};
use crate::svg::{COLORS, Escaped, Pixel, STYLE};

/// How the points of a line are joined.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Style {
    /// Straight from point to point.
    #[default]
    Line,
    /// Each value holds until the next point: for counts that jump, as replicas do.
    Step,
    /// Like a line, with the area below filled.
    Area,
    /// Single points.
    Dots,
}

/// One line of a panel.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Line {
    /// What the legend calls it; any text.
    pub name: String,
    /// Time in seconds and value, ascending by time. A NaN interrupts the line.
    pub points: Vec<(f64, f64)>,
    /// How the points are joined.
    pub style: Style,
}

/// One chart of a figure.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Panel {
    /// What is shown.
    pub title: String,
    /// The unit of the values.
    pub unit: Unit,
    /// The lines, in the order of their colours.
    pub lines: Vec<Line>,
    /// A horizontal rule, such as the target of an autoscaler.
    pub reference: Option<(String, f64)>,
}

/// What a marker says about the direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MarkerKind {
    /// Something grew.
    Up,
    /// Something shrank.
    Down,
    /// Anything else.
    #[default]
    Note,
}

/// An event across all panels, with its reason as a tooltip.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Marker {
    /// When, in seconds.
    pub time: f64,
    /// A few characters at the top of the figure.
    pub label: String,
    /// Why; shown when the pointer rests on the marker.
    pub reason: String,
    /// The direction.
    pub kind: MarkerKind,
}

/// Charts on one time axis.
#[derive(Clone, Debug, PartialEq)]
pub struct Figure {
    /// The head line; empty for none.
    pub title: String,
    /// What the times are.
    pub time_axis: TimeAxis,
    /// From and to, in seconds; `None` takes what the points span.
    pub range: Option<(f64, f64)>,
    /// Points of a line further apart than this, in seconds, are not joined.
    pub max_gap_seconds: f64,
    /// Width in pixels; at least 240.
    pub width: u32,
    /// Height of each panel in pixels; at least 60.
    pub panel_height: u32,
    /// The charts, from top to bottom.
    pub panels: Vec<Panel>,
    /// Events across all of them.
    pub markers: Vec<Marker>,
}

impl Default for Figure {
    fn default() -> Self {
        Self {
            title: String::new(),
            time_axis: TimeAxis::default(),
            range: None,
            max_gap_seconds: f64::INFINITY,
            width: 900,
            panel_height: 120,
            panels: Vec::new(),
            markers: Vec::new(),
        }
    }
}

/// Room for the labels of the value axis.
const LEFT: f64 = 64.0;
const RIGHT: f64 = 20.0;
/// Room above each panel for its title and legend.
const HEAD: f64 = 26.0;
/// Room below the last panel for the time axis.
const FOOT: f64 = 28.0;
const TITLE: f64 = 30.0;
/// Room for the labels of markers, where there are any.
const MARKERS: f64 = 18.0;
/// Average width of a character of the legend, in pixels.
const CHARACTER: f64 = 6.6;

/// Where a panel's plot area lies.
struct Frame {
    left: f64,
    right: f64,
    top: f64,
    bottom: f64,
    range: (f64, f64),
}

impl Figure {
    /// The figure as an SVG document, which can also stand inside an HTML page.
    #[must_use]
    pub fn to_svg(&self) -> String {
        let width = f64::from(self.width.max(240));
        let panel_height = f64::from(self.panel_height.max(60));
        let title_room = if self.title.is_empty() { 4.0 } else { TITLE };
        let top = title_room + if self.markers.is_empty() { 0.0 } else { MARKERS };
        let height = top + self.panels.len() as f64 * (HEAD + panel_height) + FOOT;
        let range = self.range.unwrap_or_else(|| self.span());
        let mut out = String::new();
        // Writing to a `String` cannot fail.
        write!(
            out,
            "<svg class=\"plot\" xmlns=\"http://www.w3.org/2000/svg\" role=\"img\" viewBox=\"0 0 {} {}\" \
             width=\"{}\" height=\"{}\"><title>{}</title><style>{STYLE}</style>\
             <rect class=\"plot-paper\" width=\"100%\" height=\"100%\"/>",
            Pixel(width),
            Pixel(height),
            Pixel(width),
            Pixel(height),
            Escaped(if self.title.is_empty() { "chart" } else { &self.title }),
        )
        .ok();
        if !self.title.is_empty() {
            let head = Escaped(&self.title);
            write!(out, "<text class=\"plot-title\" x=\"12\" y=\"20\">{head}</text>").ok();
        }
        let mut bottom = top;
        for panel in &self.panels {
            let frame = Frame {
                left: LEFT,
                right: width - RIGHT,
                top: bottom + HEAD,
                bottom: bottom + HEAD + panel_height,
                range,
            };
            self.draw_panel(&mut out, panel, &frame);
            bottom = frame.bottom;
        }
        let frame = Frame { left: LEFT, right: width - RIGHT, top: title_room, bottom, range };
        self.draw_time_axis(&mut out, &frame);
        self.draw_markers(&mut out, &frame);
        out.push_str("</svg>");
        out
    }

    /// The times that the points span.
    fn span(&self) -> (f64, f64) {
        let lines = self.panels.iter().flat_map(|panel| &panel.lines);
        let times = lines.flat_map(|line| &line.points).map(|point| point.0).filter(|time| time.is_finite());
        let (low, high) = times.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), t| (low.min(t), high.max(t)));
        if low <= high { (low, high) } else { (0.0, 1.0) }
    }

    fn draw_panel(&self, out: &mut String, panel: &Panel, frame: &Frame) {
        let (ticks, values) = value_axis(panel, frame);
        for value in &ticks.values {
            let y = Pixel(values.pixel(*value));
            write!(
                out,
                "<path class=\"plot-grid\" d=\"M{} {y}H{}\"/><text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>",
                Pixel(frame.left),
                Pixel(frame.right),
                Pixel(frame.left - 8.0),
                Pixel(values.pixel(*value) + 4.0),
                Escaped(&panel.unit.write(*value, ticks.step)),
            )
            .ok();
        }
        if let Some((name, value)) = &panel.reference {
            let y = Pixel(values.pixel(*value));
            write!(
                out,
                "<path class=\"plot-mark plot-note\" d=\"M{} {y}H{}\"><title>{}</title></path>",
                Pixel(frame.left),
                Pixel(frame.right),
                Escaped(name)
            )
            .ok();
        }
        let times = Scale::new(frame.range, (frame.left, frame.right));
        for (index, line) in panel.lines.iter().enumerate() {
            self.draw_line(out, line, index % COLORS, frame, times, values);
        }
        draw_head(out, panel, frame);
    }

    fn draw_line(&self, out: &mut String, line: &Line, color: usize, frame: &Frame, times: Scale, values: Scale) {
        let columns = (frame.right - frame.left).max(1.0);
        for run in reduce::runs(&line.points, frame.range, self.max_gap_seconds, whole(columns)) {
            let pixels: Vec<_> = run.iter().map(|(time, value)| (times.pixel(*time), values.pixel(*value))).collect();
            if line.style == Style::Dots || pixels.len() == 1 {
                for (x, y) in &pixels {
                    let (x, y) = (Pixel(*x), Pixel(*y));
                    write!(out, "<circle cx=\"{x}\" cy=\"{y}\" r=\"2\" fill=\"var(--plot-c{color})\"/>").ok();
                }
                continue;
            }
            let path = path(&pixels, line.style);
            if line.style == Style::Area {
                let ends = (pixels.first().map_or(0.0, |p| p.0), pixels.last().map_or(0.0, |p| p.0));
                write!(
                    out,
                    "<path class=\"plot-area\" fill=\"var(--plot-c{color})\" d=\"{path}V{}H{}Z\"/>",
                    Pixel(frame.bottom),
                    Pixel(ends.0)
                )
                .ok();
            }
            write!(out, "<path class=\"plot-line\" stroke=\"var(--plot-c{color})\" d=\"{path}\"/>").ok();
        }
    }

    fn draw_time_axis(&self, out: &mut String, frame: &Frame) {
        let times = Scale::new(frame.range, (frame.left, frame.right));
        // A label with its surroundings takes some 90 pixels.
        let ticks = time_ticks(frame.range.0, frame.range.1, whole((frame.right - frame.left) / 90.0).max(2));
        for time in &ticks.values {
            write!(
                out,
                "<path class=\"plot-grid\" d=\"M{x} {}v5\"/><text x=\"{x}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
                Pixel(frame.bottom),
                Pixel(frame.bottom + 19.0),
                Escaped(&self.time_axis.write(*time, ticks.step)),
                x = Pixel(times.pixel(*time)),
            )
            .ok();
        }
    }

    fn draw_markers(&self, out: &mut String, frame: &Frame) {
        let times = Scale::new(frame.range, (frame.left, frame.right));
        for marker in &self.markers {
            if !(frame.range.0..=frame.range.1).contains(&marker.time) {
                continue;
            }
            let class = match marker.kind {
                MarkerKind::Up => "plot-up",
                MarkerKind::Down => "plot-down",
                MarkerKind::Note => "plot-note",
            };
            let x = Pixel(times.pixel(marker.time));
            write!(
                out,
                "<g class=\"{class}\"><title>{}</title><path class=\"plot-mark\" d=\"M{x} {}V{}\"/>\
                 <circle cx=\"{x}\" cy=\"{}\" r=\"3\"/><text x=\"{x}\" y=\"{}\" text-anchor=\"middle\">{}</text></g>",
                Escaped(&marker.reason),
                Pixel(frame.top + MARKERS),
                Pixel(frame.bottom),
                Pixel(frame.top + MARKERS),
                Pixel(frame.top + MARKERS - 7.0),
                Escaped(&marker.label),
            )
            .ok();
        }
    }
}

/// Ticks and scale of a panel's values: from zero where all are positive, never without height.
fn value_axis(panel: &Panel, frame: &Frame) -> (Ticks, Scale) {
    let points = panel.lines.iter().flat_map(|line| &line.points);
    let shown = points.filter(|point| (frame.range.0..=frame.range.1).contains(&point.0)).map(|point| point.1);
    let shown = shown.chain(panel.reference.iter().map(|(_, value)| *value)).filter(|value| value.is_finite());
    let (low, high) = shown.fold((0.0_f64, 0.0_f64), |(low, high), value| (low.min(value), high.max(value)));
    let high = if high > low { high } else { low + 1.0 };
    // A label every 36 pixels.
    let ticks = value_ticks(low, high, whole((frame.bottom - frame.top) / 36.0).max(2));
    let top = (high / ticks.step - 1e-9).ceil() * ticks.step;
    let bottom = (low / ticks.step + 1e-9).floor() * ticks.step;
    let ticks = value_ticks(bottom, top, whole((top - bottom) / ticks.step));
    (ticks, Scale::new((bottom, top), (frame.bottom, frame.top)))
}

/// Title on the left, legend on the right, as much of it as fits.
fn draw_head(out: &mut String, panel: &Panel, frame: &Frame) {
    let y = Pixel(frame.top - 9.0);
    let title = Escaped(&panel.title);
    write!(out, "<text class=\"plot-head\" x=\"{}\" y=\"{y}\">{title}</text>", Pixel(frame.left)).ok();
    let room = frame.right - frame.left - CHARACTER * panel.title.chars().count() as f64 - 24.0;
    let width = |line: &Line| 26.0 + CHARACTER * line.name.chars().count() as f64;
    let mut used = 0.0;
    for (index, line) in panel.lines.iter().enumerate().filter(|(_, line)| !line.name.is_empty()).rev() {
        if used + width(line) > room {
            break;
        }
        used += width(line);
        let x = frame.right - used;
        write!(
            out,
            "<path class=\"plot-line\" stroke=\"var(--plot-c{})\" d=\"M{} {}h12\"/><text x=\"{}\" y=\"{y}\">{}</text>",
            index % COLORS,
            Pixel(x),
            Pixel(frame.top - 13.0),
            Pixel(x + 16.0),
            Escaped(&line.name),
        )
        .ok();
    }
}

fn path(pixels: &[(f64, f64)], style: Style) -> String {
    let mut path = String::new();
    for (index, (x, y)) in pixels.iter().enumerate() {
        let (x, y) = (Pixel(*x), Pixel(*y));
        if index == 0 {
            write!(path, "M{x} {y}").ok();
        } else if style == Style::Step {
            write!(path, "H{x}V{y}").ok();
        } else {
            write!(path, "L{x} {y}").ok();
        }
    }
    path
}
