//! Templates with `$1` and `${name}`, as Go's `Regexp.Expand` fills them.
//!
//! Rule: what names no group of the expression is the empty text; a `$` that begins no name is itself.

use std::sync::Arc;

/// What the groups of an expression matched in a text.
#[derive(Clone, Debug)]
pub struct Captures<'t> {
    pub(super) text: &'t str,
    pub(super) names: Arc<[Option<Box<str>>]>,
    /// Start and end of each group.
    pub(super) spans: Vec<Option<(usize, usize)>>,
}

impl<'t> Captures<'t> {
    /// What a group matched; 0 is the whole match. `None` if it took no part.
    #[must_use]
    pub fn get(&self, group: usize) -> Option<&'t str> {
        let (start, end) = (*self.spans.get(group)?)?;
        self.text.get(start..end)
    }

    /// What the first group of that name matched which took part.
    #[must_use]
    pub fn name(&self, name: &str) -> Option<&'t str> {
        let named = self.names.iter().enumerate().filter(|(_, group)| group.as_deref() == Some(name));
        named.into_iter().find_map(|(index, _)| self.get(index))
    }

    /// Fills a template: `$1`, `${1}`, `$name`, `${name}`, `$$`. A name is as long as possible: `$1x` is
    /// `${1x}`.
    #[must_use]
    pub fn expand(&self, template: &str) -> String {
        let mut filled = String::with_capacity(template.len());
        let mut rest = template;
        while let Some((before, after)) = rest.split_once('$') {
            filled.push_str(before);
            rest = after;
            if let Some(after) = rest.strip_prefix('$') {
                filled.push('$');
                rest = after;
            } else if let Some((reference, after)) = reference(rest) {
                let value = match group_number(reference) {
                    Some(group) => self.get(group),
                    None => self.name(reference),
                };
                filled.push_str(value.unwrap_or_default());
                rest = after;
            } else {
                filled.push('$');
            }
        }
        filled.push_str(rest);
        filled
    }
}

/// The name behind a `$`, with or without braces, and what follows it.
fn reference(text: &str) -> Option<(&str, &str)> {
    let inside = text.strip_prefix('{');
    let start = inside.unwrap_or(text);
    let end = start.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(start.len());
    let (name, after) = start.split_at(end);
    let after = if inside.is_some() { after.strip_prefix('}')? } else { after };
    (!name.is_empty()).then_some((name, after))
}

/// The number of a group: decimal digits without leading zeros.
fn group_number(name: &str) -> Option<usize> {
    let digits = name.bytes().all(|byte| byte.is_ascii_digit());
    let leading_zero = name.len() > 1 && name.starts_with('0');
    // Eight digits are more groups than any expression has; a longer one is a name, as in Go.
    if digits && !leading_zero && name.len() <= 8 { name.parse().ok() } else { None }
}
