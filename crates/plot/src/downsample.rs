//! Points for pixels: what is drawn of a series that has more points than the chart has columns.
//!
//! - [`runs`]: the unbroken stretches of a series, each with at most four points a pixel column.
//!
//! Of each column the first, the lowest, the highest and the last point stay, in order of time, so that
//! a spike of one sample is seen at any zoom and the line leaves a column where it did.
//!
//! Rule: what is drawn passes through points of the series only; nothing is averaged.

use std::time::Duration;

use datamodel::time::TimeRange;

use crate::Point;

/// A point in pixels of the time axis, still in the value's unit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Plotted {
    pub(crate) x: f64,
    pub(crate) value: f64,
}

/// The stretches of a series that lie in the range. Points outside are left out, but for one neighbour
/// on each side, so that lines reach the edges.
pub(crate) fn runs(
    points: &[Point],
    range: TimeRange,
    max_gap: Option<Duration>,
    to_x: impl Fn(Point) -> f64,
) -> Vec<Vec<Plotted>> {
    let inside_from = points.partition_point(|point| point.at < range.start);
    let inside_to = points.partition_point(|point| point.at <= range.end);
    let visible = points.get(inside_from.saturating_sub(1)..(inside_to + 1).min(points.len())).unwrap_or_default();
    let mut runs = Vec::new();
    let mut run = Run::default();
    let mut before: Option<Point> = None;
    for point in visible {
        let is_far = |before: Point| max_gap.is_some_and(|gap| point.at.since(before.at) > gap);
        if !point.value.is_finite() || before.is_some_and(is_far) {
            run.end_into(&mut runs);
        }
        before = None;
        if point.value.is_finite() {
            run.push(Plotted { x: to_x(*point), value: point.value });
            before = Some(*point);
        }
    }
    run.end_into(&mut runs);
    runs
}

/// A stretch under way, with its present column.
#[derive(Default)]
struct Run {
    done: Vec<Plotted>,
    column: Option<Column>,
}

/// First, lowest, highest and last point of a column; the numbers are positions in the series.
struct Column {
    x: f64,
    count: usize,
    first: Plotted,
    lowest: (usize, Plotted),
    highest: (usize, Plotted),
    last: Plotted,
}

impl Run {
    fn push(&mut self, point: Plotted) {
        let x = point.x.floor();
        match &mut self.column {
            Some(column) if column.x >= x => column.add(point),
            _ => {
                self.end_column();
                self.column =
                    Some(Column { x, count: 1, first: point, lowest: (0, point), highest: (0, point), last: point });
            }
        }
    }

    fn end_column(&mut self) {
        let Some(Column { count, first, lowest, highest, last, .. }) = self.column.take() else { return };
        self.done.push(first);
        let (earlier, later) = if lowest.0 <= highest.0 { (lowest, highest) } else { (highest, lowest) };
        for (position, point) in [earlier, later] {
            if position > 0 && position + 1 < count {
                self.done.push(point);
            }
        }
        if count > 1 {
            self.done.push(last);
        }
    }

    fn end_into(&mut self, runs: &mut Vec<Vec<Plotted>>) {
        self.end_column();
        if !self.done.is_empty() {
            runs.push(std::mem::take(&mut self.done));
        }
    }
}

impl Column {
    fn add(&mut self, point: Plotted) {
        if point.value < self.lowest.1.value {
            self.lowest = (self.count, point);
        }
        if point.value > self.highest.1.value {
            self.highest = (self.count, point);
        }
        self.last = point;
        self.count += 1;
    }
}

#[cfg(test)]
mod tests {
    use datamodel::Timestamp;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn gaps_and_missing_values_break_the_line() {
        check(
            &[(0, 1.0), (10, 2.0), (20, f64::NAN), (30, 3.0), (90, 4.0)],
            &[&[(0, 1.0), (10, 2.0)], &[(30, 3.0)], &[(90, 4.0)]],
        );
    }

    #[test]
    fn one_neighbour_on_each_side_is_kept() {
        check(&[(-50, 9.0), (-20, 1.0), (10, 2.0), (110, 3.0), (130, 9.0)], &[&[(-20, 1.0), (10, 2.0)], &[(110, 3.0)]]);
        check(&[(-50, 9.0), (-20, 1.0)], &[&[(-20, 1.0)]]);
        check(&[], &[]);
    }

    #[track_caller]
    fn check(points: &[(i64, f64)], expected: &[&[(i64, f64)]]) {
        let points: Vec<Point> = points.iter().map(|(at, value)| point(*at, *value)).collect();
        let runs = runs(&points, range(0, 100), Some(Duration::from_millis(50)), |point| point.at.unix_ms() as f64);
        let runs: Vec<Vec<(i64, f64)>> =
            runs.iter().map(|run| run.iter().map(|plotted| (plotted.x as i64, plotted.value)).collect()).collect();
        assert_eq!(runs, expected);
    }

    proptest! {
        #[test]
        fn extremes_of_every_column_survive_in_at_most_four_points(
            values in proptest::collection::vec(-1e6..1e6, 1..400),
        ) {
            let points: Vec<Point> = (0..).zip(&values).map(|(at, value)| point(at, *value)).collect();
            let runs = runs(&points, range(0, 1000), None, |point| point.at.unix_ms() as f64 / 50.0);
            prop_assert_eq!(runs.len(), 1);
            for (column, values) in values.chunks(50).enumerate() {
                let drawn: Vec<f64> = runs[0]
                    .iter()
                    .filter(|plotted| (plotted.x.floor() - column as f64).abs() < 0.5)
                    .map(|plotted| plotted.value)
                    .collect();
                prop_assert!(drawn.len() <= 4);
                let ends = |values: &[f64]| {
                    values.iter().fold((f64::MAX, f64::MIN), |(low, high), value| (low.min(*value), high.max(*value)))
                };
                prop_assert_eq!(ends(&drawn), ends(values));
                prop_assert_eq!((drawn.first(), drawn.last()), (values.first(), values.last()));
            }
        }
    }

    fn point(at_ms: i64, value: f64) -> Point {
        Point { at: Timestamp::from_unix_ms(at_ms), value }
    }

    fn range(start_ms: i64, end_ms: i64) -> TimeRange {
        TimeRange { start: Timestamp::from_unix_ms(start_ms), end: Timestamp::from_unix_ms(end_ms) }
    }
}
