//! Writing SVG: elements, numbers, and text that cannot break out.

use std::fmt;

/// A text for element content and attribute values. Characters that XML forbids become U+FFFD.
pub(crate) struct Escaped<'a>(pub(crate) &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                '\t' | '\n' | '\r' => f.write_str(" ")?,
                c if c < ' ' || matches!(c, '\u{fffe}' | '\u{ffff}') => f.write_str("\u{fffd}")?,
                c => write!(f, "{c}")?,
            }
        }
        Ok(())
    }
}

/// A coordinate, to a tenth of a pixel.
pub(crate) struct Pixel(pub(crate) f64);

impl fmt::Display for Pixel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("{:.1}", self.0);
        f.write_str(text.strip_suffix(".0").unwrap_or(&text))
    }
}

/// The look of all charts. The names begin with `plot-`, because the SVG may stand inside a page.
pub(crate) const STYLE: &str = "\
.plot{--plot-ink:#1c2733;--plot-soft:#5c6b7a;--plot-grid:#dfe5ec;--plot-paper:#ffffff;\
--plot-c0:#0b6bcb;--plot-c1:#d9480f;--plot-c2:#2b8a3e;--plot-c3:#862e9c;--plot-c4:#b08900;--plot-c5:#0c8599;\
font:12px system-ui,sans-serif}\
@media(prefers-color-scheme:dark){.plot{--plot-ink:#e6edf3;--plot-soft:#9aa7b4;--plot-grid:#2d3640;\
--plot-paper:#12181f;--plot-c0:#58a6ff;--plot-c1:#ff9a5c;--plot-c2:#57c777;--plot-c3:#d38aef;--plot-c4:#e3b341;\
--plot-c5:#4cc9d8}}\
.plot-paper{fill:var(--plot-paper)}.plot text{fill:var(--plot-soft);stroke:none}.plot .plot-head{fill:var(--plot-ink);\
font-weight:600}.plot .plot-title{fill:var(--plot-ink);font-size:15px;font-weight:600}\
.plot-grid{stroke:var(--plot-grid);stroke-width:1;fill:none}.plot-line{fill:none;stroke-width:1.8;\
stroke-linejoin:round;stroke-linecap:round}.plot-area{stroke:none;fill-opacity:.15}\
.plot-mark{stroke-width:1;stroke-dasharray:3 3}.plot-up{stroke:var(--plot-c1);fill:var(--plot-c1)}\
.plot-down{stroke:var(--plot-c2);fill:var(--plot-c2)}.plot-note{stroke:var(--plot-soft);fill:var(--plot-soft)}\
.plot .plot-up text{fill:var(--plot-c1)}.plot .plot-down text{fill:var(--plot-c2)}";

/// How many colours the style has; further lines begin again.
pub(crate) const COLORS: usize = 6;
