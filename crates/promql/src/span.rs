//! Places in the text of an expression.
//!
//! Rule: spans are byte offsets; a line and a column are computed only to be shown.

use std::fmt;

/// A range of bytes in the text of an expression.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Span {
    /// First byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
}

impl Span {
    /// From `start` to `end`, exclusive.
    #[must_use]
    pub const fn new(start: usize, end: usize) -> Self {
        Self { start, end }
    }

    /// From the start of `self` to the end of `last`.
    #[must_use]
    pub const fn to(self, last: Self) -> Self {
        Self { start: self.start, end: last.end }
    }

    /// The line and column (both from 1, the column in bytes) where the span starts in `text`.
    #[must_use]
    pub fn position(self, text: &str) -> Position {
        let before = text.as_bytes().get(..self.start).unwrap_or_default();
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        let line_start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        Position { line, column: self.start.saturating_sub(line_start) + 1 }
    }

    /// The text with a caret line under the span, for terminals:
    ///
    /// ```text
    ///   | rate(foo[5m)
    ///   |           ^
    /// ```
    #[must_use]
    pub fn underline(self, text: &str) -> String {
        let at = self.start.min(text.len());
        let position = self.position(text);
        let line = text.lines().nth(position.line - 1).unwrap_or_default();
        let line_start = at - (position.column - 1).min(at);
        let prefix = line.get(..at - line_start).unwrap_or(line);
        let width = self.end.saturating_sub(at).min(line.len().saturating_sub(at - line_start));
        let marked = line.get(at - line_start..at - line_start + width).map_or(1, |marked| marked.chars().count());
        let pad: String = prefix.chars().map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
        format!("  | {line}\n  | {pad}{}", "^".repeat(marked.max(1)))
    }
}

/// A line and a column, both from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Line, from 1.
    pub line: usize,
    /// Column in bytes, from 1.
    pub column: usize,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn position_counts_lines_and_bytes() {
        let text = "sum(\n  foo)";
        assert_eq!(Span::new(7, 10).position(text).to_string(), "2:3");
        assert_eq!(Span::new(0, 3).position(text).to_string(), "1:1");
        assert_eq!(Span::new(7, 10).underline(text), "  |   foo)\n  |   ^^^");
        assert_eq!(Span::new(99, 100).underline("x"), "  | x\n  |  ^");
    }
}
