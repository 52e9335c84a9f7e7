//! A writer of SVG that cannot write broken markup.
//!
//! - [`Svg`]: elements with attributes and text, closed in order. [`number`]: pixels.
//!
//! Rule: every text and every attribute goes through [`escape_into`].

use std::fmt::Display;

/// A document under way.
#[derive(Debug, Default)]
pub(crate) struct Svg {
    text: String,
    open: Vec<&'static str>,
}

/// Name and value of an attribute.
pub(crate) type Attribute<'a> = (&'static str, &'a dyn Display);

impl Svg {
    /// Begins an element.
    pub(crate) fn open(&mut self, tag: &'static str, attributes: &[Attribute<'_>]) {
        self.begin(tag, attributes);
        self.text.push('>');
        self.open.push(tag);
    }

    /// Ends the innermost element.
    pub(crate) fn close(&mut self) {
        if let Some(tag) = self.open.pop() {
            self.text.push_str(&format!("</{tag}>"));
        }
    }

    /// An element without content.
    pub(crate) fn empty(&mut self, tag: &'static str, attributes: &[Attribute<'_>]) {
        self.begin(tag, attributes);
        self.text.push_str("/>");
    }

    /// An element with a text.
    pub(crate) fn text(&mut self, tag: &'static str, attributes: &[Attribute<'_>], content: &str) {
        self.begin(tag, attributes);
        self.text.push('>');
        escape_into(&mut self.text, content);
        self.text.push_str(&format!("</{tag}>"));
    }

    /// A new line, for people who read the source.
    pub(crate) fn line(&mut self) {
        self.text.push('\n');
    }

    /// The document, with all elements closed.
    pub(crate) fn finish(mut self) -> String {
        while !self.open.is_empty() {
            self.close();
        }
        self.text.push('\n');
        self.text
    }

    fn begin(&mut self, tag: &str, attributes: &[Attribute<'_>]) {
        self.text.push('<');
        self.text.push_str(tag);
        for (name, value) in attributes {
            self.text.push_str(&format!(" {name}=\""));
            escape_into(&mut self.text, &value.to_string());
            self.text.push('"');
        }
    }
}

/// Appends a text so that it is text and nothing else. Characters that XML forbids are replaced.
fn escape_into(into: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '&' => into.push_str("&amp;"),
            '<' => into.push_str("&lt;"),
            '>' => into.push_str("&gt;"),
            '"' => into.push_str("&quot;"),
            '\'' => into.push_str("&#39;"),
            '\n' | '\r' | '\t' => into.push(' '),
            c if c < ' ' || matches!(c, '\u{7f}'..='\u{9f}' | '\u{fffe}' | '\u{ffff}') => into.push('\u{fffd}'),
            c => into.push(c),
        }
    }
}

/// Pixels with one decimal, which is finer than any screen; zero for what is no number.
pub(crate) fn number(value: f64) -> String {
    let text = if value.is_finite() { format!("{value:.1}") } else { "0".to_owned() };
    match text.strip_suffix(".0") {
        Some("-0") => "0".to_owned(),
        Some(whole) => whole.to_owned(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_text_stays_text() {
        let mut svg = Svg::default();
        svg.open("g", &[("data-name", &"\"><script>")]);
        svg.text("text", &[("x", &1)], "</text><script>alert('1')&\u{0}\u{85}");
        let expected = "<g data-name=\"&quot;&gt;&lt;script&gt;\">\
            <text x=\"1\">&lt;/text&gt;&lt;script&gt;alert(&#39;1&#39;)&amp;\u{fffd}\u{fffd}</text></g>\n";
        assert_eq!(svg.finish(), expected);
    }

    #[test]
    fn pixels_are_short() {
        for (value, expected) in [(1.0, "1"), (1.25, "1.2"), (-0.01, "0"), (f64::NAN, "0"), (99.96, "100")] {
            assert_eq!(number(value), expected);
        }
    }
}
