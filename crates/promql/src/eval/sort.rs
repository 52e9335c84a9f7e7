//! `sort`, `sort_desc`, `sort_by_label`, `sort_by_label_desc`.
//!
//! Rule: only instant queries keep an order; range queries are told that sorting has no effect.

use std::cmp::Ordering;

use crate::annotations::Note;
use crate::error::EvalError;
use crate::eval::series::{EvalSeries, Grid};
use crate::eval::{Evaluator, Sink};
use crate::plan::{SortBy, VectorPlan};
use crate::span::Span;

impl Evaluator<'_> {
    pub(super) fn sort(
        &self,
        input: &VectorPlan,
        by: &SortBy,
        span: Span,
        grid: Grid,
        sink: &mut Sink<'_>,
    ) -> Result<(), EvalError> {
        if !grid.is_instant() {
            self.note(Note::SortInRangeQuery, span);
        }
        let by_value = !matches!(by, SortBy::Labels { .. });
        let mut collected = self.collect(input, grid)?;
        if by_value {
            for series in &mut collected.series {
                series.column.map_floats(false, |_, value| Some(value));
            }
            collected.series.retain(|series| !series.column.is_empty());
        }
        if grid.is_instant() {
            collected.series.sort_by(|a, b| compare(by, a, b));
        }
        collected.series.into_iter().try_for_each(sink)
    }
}

fn compare(by: &SortBy, a: &EvalSeries, b: &EvalSeries) -> Ordering {
    let value = |series: &EvalSeries| series.column.float(0).unwrap_or(f64::NAN);
    match by {
        SortBy::Value => nan_last(value(a), value(b), false),
        SortBy::ValueDescending => nan_last(value(a), value(b), true),
        SortBy::Labels { labels, is_descending } => {
            let order = labels
                .iter()
                .map(|name| {
                    let get = |series: &EvalSeries| series.labels.get(name).unwrap_or_default().to_owned();
                    natural(&get(a), &get(b))
                })
                .find(|order| order.is_ne())
                .unwrap_or_else(|| a.labels.cmp(&b.labels));
            if *is_descending { order.reverse() } else { order }
        }
    }
}

fn nan_last(a: f64, b: f64, is_descending: bool) -> Ordering {
    match (a.is_nan(), b.is_nan()) {
        (false, false) if is_descending => b.partial_cmp(&a).unwrap_or(Ordering::Equal),
        (false, false) => a.partial_cmp(&b).unwrap_or(Ordering::Equal),
        (a, b) => a.cmp(&b),
    }
}

/// Runs of digits and of other characters, one after the other.
fn chunks(text: &str) -> Vec<&str> {
    let mut chunks = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let is_digit = first.is_ascii_digit();
        let end = rest.find(|c: char| c.is_ascii_digit() != is_digit).unwrap_or(rest.len());
        let (chunk, after) = rest.split_at(end);
        chunks.push(chunk);
        rest = after;
    }
    chunks
}

/// Numbers within texts by their value: `a2` before `a10`; equal values by their length and text.
fn natural(a: &str, b: &str) -> Ordering {
    let (a_chunks, b_chunks) = (chunks(a), chunks(b));
    for (a, b) in a_chunks.iter().zip(&b_chunks) {
        if a == b {
            continue;
        }
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if !(digits(a) && digits(b)) {
            return a.cmp(b);
        }
        let (a_value, b_value) = (a.trim_start_matches('0'), b.trim_start_matches('0'));
        let order = a_value.len().cmp(&b_value.len()).then_with(|| a_value.cmp(b_value));
        // The same number with more zeros in front comes later.
        let order = order.then_with(|| a.len().cmp(&b.len()));
        if order.is_ne() {
            return order;
        }
    }
    a_chunks.len().cmp(&b_chunks.len()).then_with(|| a.cmp(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_texts_sort_by_value() {
        let mut names = ["a10", "a2", "b1", "a", "a02", "4m600", "4m1000", "10"];
        names.sort_by(|a, b| natural(a, b));
        assert_eq!(names, ["4m600", "4m1000", "10", "a", "a2", "a02", "a10", "b1"]);
    }
}
