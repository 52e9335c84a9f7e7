//! Charts over time: SVG for web pages, command line and README, sparklines for terminals.
//!
//! - [`Figure`]: panels above each other on one time axis, with markers across all of them.
//! - [`Panel`], [`Line`], [`Marker`]: what is drawn; [`Unit`], [`TimeAxis`]: how numbers are written.
//! - [`sparkline`]: one line of block characters.
//!
//! ```text
//! Figure ─▶ reduce (points per pixel) ─▶ scale (ticks, pixels) ─▶ svg (text, escaped)
//! ```
//!
//! The SVG is written by hand and not through `plotters`: its text carries classes and custom properties, so that
//! one file follows the light or dark scheme of its reader, which a renderer with fixed colours cannot.
//!
//! Rule: the same figure gives the same bytes; no clock, no I/O, no script in the output, every text escaped.
#![forbid(unsafe_code)]

mod figure;
mod format;
mod reduce;
mod scale;
mod sparkline;
mod svg;

pub use figure::{Figure, Line, Marker, MarkerKind, Panel, Style};
pub use format::{TimeAxis, Unit};
pub use sparkline::sparkline;

#[cfg(test)]
mod tests;
