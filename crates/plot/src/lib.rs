//! One chart renderer: time series as SVG for web pages, command line and documents.
//!
//! - [`Chart`]: panels that share a time axis, with [`Marker`]s across all of them; [`Chart::to_svg`].
//! - [`Panel`], [`Series`], [`Point`], [`Threshold`]: what is drawn; [`Unit`]: how values are labelled.
//! - [`sparkline()`]: a row of blocks for terminals.
//!
//! ```text
//!  title                                ▼ decision
//!  panel  ── legend ───────────────────┊──────────
//!   2 ┤      ╭──╮                      ┊
//!   0 ┼──────╯  ╰──────                ┊
//!  panel  ── legend ───────────────────┊──────────
//!     └──────┬──────────┬──────────┬───┴──────
//!          10:00      10:05      10:10
//! ```
//!
//! The SVG is written by hand: a renderer like `plotters` puts colours into every element, so that its
//! charts cannot follow a page's theme, and brings thirty crates for what is paths and text here. Every
//! colour is a CSS variable (`--plot-…`) with a light and a dark value, and each element also carries the
//! light one as an attribute, for viewers that know no CSS variables.
//!
//! Rule: a function of its input, always bounded: no clock, no I/O, at most four points for each pixel
//! column, and no text of a label that could become markup.
#![forbid(unsafe_code)]

mod axis;
mod downsample;
mod format;
mod render;
mod sparkline;
mod svg;
mod theme;

#[cfg(test)]
mod tests;

use std::time::Duration;

use datamodel::Timestamp;
use datamodel::time::TimeRange;

pub use format::format_value;
pub use sparkline::sparkline;

/// The most panels that are drawn: more than fit a screen.
pub const MAX_PANELS: usize = 12;

/// The most series of a panel that are drawn. More cannot be told apart; the legend counts the others.
pub const MAX_SERIES: usize = 16;

/// The most markers that are drawn, the newest ones: one every five pixels.
pub const MAX_MARKERS: usize = 200;

/// The most characters of a label.
pub const MAX_LABEL_CHARS: usize = 120;

/// Panels that share a time axis.
#[derive(Clone, Debug, PartialEq)]
pub struct Chart {
    /// The heading; also the accessible name.
    pub title: String,
    /// What a person sees in it, for those who do not see it.
    pub description: String,
    /// Width in pixels of CSS, 240 to 4096; others are clamped.
    pub width_px: u32,
    /// The part of time that is drawn.
    pub range: TimeRange,
    /// How the time axis is labelled.
    pub time_labels: TimeLabels,
    /// From top to bottom.
    pub panels: Vec<Panel>,
    /// Instants that concern all panels.
    pub markers: Vec<Marker>,
}

/// How the time axis is labelled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TimeLabels {
    /// Time of day and date in UTC.
    #[default]
    Utc,
    /// Since the start of the range: `0s`, `30s`, `1m`.
    Elapsed,
}

/// One plot area with a value axis of its own.
#[derive(Clone, Debug, PartialEq)]
pub struct Panel {
    /// What is measured.
    pub title: String,
    /// How the values are labelled.
    pub unit: Unit,
    /// Height of the plot area in pixels of CSS, 24 to 2000; others are clamped.
    pub height_px: u32,
    /// In the order of the legend and of drawing.
    pub series: Vec<Series>,
    /// Horizontal lines, as a target.
    pub thresholds: Vec<Threshold>,
}

/// One line of a panel.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// Its name in the legend.
    pub name: String,
    /// How its points are joined.
    pub style: Style,
    /// In order of time. A value that is no finite number is a gap.
    pub points: Vec<Point>,
    /// Neighbours further apart are not joined; `None` joins all.
    pub max_gap: Option<Duration>,
}

/// How points are joined.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Style {
    /// Straight lines.
    #[default]
    Line,
    /// A value holds until the next one.
    Step,
    /// Straight lines, filled down to zero.
    Area,
    /// Steps, filled down to zero.
    StepArea,
}

/// A value at an instant.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// When.
    pub at: Timestamp,
    /// How much; in the panel's unit.
    pub value: f64,
}

/// A horizontal line.
#[derive(Clone, Debug, PartialEq)]
pub struct Threshold {
    /// Where.
    pub value: f64,
    /// What it means.
    pub label: String,
}

/// Something that happened, with its reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Marker {
    /// When.
    pub at: Timestamp,
    /// A few characters, as `1→3`.
    pub label: String,
    /// A sentence; shown when the pointer rests on the marker.
    pub reason: String,
    /// Its colour and shape.
    pub kind: MarkerKind,
}

/// What sort of thing a marker is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MarkerKind {
    /// Something happened.
    #[default]
    Event,
    /// More replicas.
    Up,
    /// Fewer replicas.
    Down,
    /// Something is wrong.
    Warning,
}

/// How values are labelled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unit {
    /// A number: `1.5k`.
    #[default]
    Number,
    /// `250ms`, `1m30s`.
    Seconds,
    /// `512MiB`.
    Bytes,
    /// `2/s`.
    PerSecond,
    /// 0 to 100: `40%`.
    Percent,
    /// 0 to 1: `40%`.
    Ratio,
}

impl Chart {
    /// The chart as a document that also stands inside a page.
    #[must_use]
    pub fn to_svg(&self) -> String {
        render::render(self)
    }
}

impl Default for Panel {
    fn default() -> Self {
        Self { title: String::new(), unit: Unit::Number, height_px: 120, series: Vec::new(), thresholds: Vec::new() }
    }
}
