//! Colours, light and dark.
//!
//! - [`Ink`]: what a colour is for; its class and its light value. [`style`]: the style sheet.
//!
//! A page changes a colour by setting its variable on `.plot` with a more specific selector, for example
//! `[data-theme=dark] .plot { --plot-ink: white }`.
//!
//! Rule: eight series colours that stay apart for all kinds of colour vision, on white and on black; then
//! they repeat.

/// What a colour is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ink {
    /// Titles and values.
    Text,
    /// Labels of axes.
    Dim,
    /// Lines behind the data.
    Grid,
    /// The series with this position.
    Series(usize),
    /// Thresholds.
    Threshold,
    /// Markers.
    Event,
    Up,
    Down,
    Warning,
}

/// Variable, light value, dark value.
const COLOURS: [(&str, &str, &str); 17] = [
    ("bg", "#ffffff", "#0d1117"),
    ("ink", "#1f2328", "#e6edf3"),
    ("dim", "#59636e", "#9198a1"),
    ("grid", "#dfe4ea", "#262c36"),
    ("threshold", "#cf222e", "#ff7b72"),
    ("event", "#7c3aed", "#b794f6"),
    ("up", "#1a7f37", "#3fb950"),
    ("down", "#0969da", "#58a6ff"),
    ("warning", "#cf222e", "#ff7b72"),
    ("c0", "#2563eb", "#6ea8fe"),
    ("c1", "#d9730d", "#ffb454"),
    ("c2", "#0f8a6a", "#3ddbb0"),
    ("c3", "#c2297d", "#ff80bf"),
    ("c4", "#7c3aed", "#b794f6"),
    ("c5", "#0b87a8", "#4dd4f0"),
    ("c6", "#5a8a00", "#b5e048"),
    ("c7", "#6b7280", "#a3acb9"),
];

const SERIES_COLOURS: [&str; 8] = ["c0", "c1", "c2", "c3", "c4", "c5", "c6", "c7"];

impl Ink {
    fn variable(self) -> &'static str {
        match self {
            Self::Text => "ink",
            Self::Dim => "dim",
            Self::Grid => "grid",
            Self::Threshold => "threshold",
            Self::Event => "event",
            Self::Up => "up",
            Self::Down => "down",
            Self::Warning => "warning",
            Self::Series(index) => SERIES_COLOURS.get(index % SERIES_COLOURS.len()).copied().unwrap_or("ink"),
        }
    }

    /// The class for a stroke of this colour.
    pub(crate) fn stroke(self) -> String {
        format!("plot-s-{}", self.variable())
    }

    /// The class for a filling of this colour.
    pub(crate) fn fill(self) -> String {
        format!("plot-f-{}", self.variable())
    }

    /// The light value, for viewers without variables.
    pub(crate) fn light(self) -> &'static str {
        let variable = self.variable();
        COLOURS.iter().find(|(name, ..)| *name == variable).map_or("#000000", |(_, light, _)| light)
    }
}

/// The light background.
pub(crate) const LIGHT_BACKGROUND: &str = "#ffffff";

/// The style sheet of a chart; the same for all, so that many in a page do not disturb each other.
pub(crate) fn style() -> String {
    let variables = |pick: fn(&(&str, &'static str, &'static str)) -> &'static str| {
        COLOURS.iter().map(|colour| format!("--plot-{}:{};", colour.0, pick(colour))).collect::<String>()
    };
    let mut text = format!(
        ".plot{{{light}}}\n@media (prefers-color-scheme:dark){{.plot{{{dark}}}}}\n",
        light = variables(|colour| colour.1),
        dark = variables(|colour| colour.2),
    );
    text.push_str(".plot-bg{fill:var(--plot-bg)}");
    for (name, ..) in COLOURS.iter().skip(1) {
        text.push_str(&format!(".plot-s-{name}{{stroke:var(--plot-{name})}}.plot-f-{name}{{fill:var(--plot-{name})}}"));
    }
    text
}
