//! A row of blocks that shows a series in a line of text.
//!
//! - [`sparkline`]: values to `▁▂▅█`.
//!
//! Rule: as wide as asked for, whatever the values; a missing value is a space.

const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// The widest line, in characters: wider than any terminal.
const MAX_WIDTH: usize = 1000;

/// The newest values as blocks from zero (or the lowest, where that is negative) to the highest. At most
/// `width` characters, at most 1000; with more values than that, each character shows the highest of its
/// part.
#[must_use]
pub fn sparkline(values: &[f64], width: usize) -> String {
    let width = width.min(MAX_WIDTH).min(values.len());
    let finite = || values.iter().copied().filter(|value| value.is_finite());
    let low = finite().fold(0.0, f64::min);
    let high = finite().fold(0.0, f64::max);
    let part = |index: usize| {
        let (from, to) = (index * values.len() / width, (index + 1) * values.len() / width);
        let part = values.get(from..to).unwrap_or_default();
        part.iter().copied().filter(|value| value.is_finite()).reduce(f64::max)
    };
    let block = |value: f64| {
        // Halves, so that the difference of two huge values stays finite.
        let fraction = (value / 2.0 - low / 2.0) / (high / 2.0 - low / 2.0);
        // No number where all values are zero; the cast makes zero of it.
        #[expect(clippy::cast_sign_loss, reason = "the cast saturates at zero, as it should")]
        let level = (fraction * 7.0).round() as usize;
        BLOCKS.get(level).copied().unwrap_or('█')
    };
    (0..width).map(|index| part(index).map_or(' ', block)).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn values_become_blocks_from_zero_to_the_highest() {
        for (values, width, expected) in [
            (vec![], 5, ""),
            (vec![0.0, 0.0], 5, "▁▁"),
            (vec![0.0, 1.0, 2.0, 3.5, 7.0], 10, "▁▂▃▅█"),
            (vec![4.0, 4.0], 2, "██"),
            (vec![-1.0, 0.0, 1.0], 3, "▁▅█"),
            (vec![1.0, f64::NAN, 1.0], 3, "█ █"),
            (vec![0.0, 9.0, 0.0, 0.0], 2, "█▁"),
            (vec![1.0; 4], 0, ""),
        ] {
            assert_eq!(sparkline(&values, width), expected, "{values:?}");
        }
    }

    proptest! {
        #[test]
        fn any_values_give_the_width(values in proptest::collection::vec(proptest::num::f64::ANY, 0..50), width in 0_usize..60) {
            prop_assert_eq!(sparkline(&values, width).chars().count(), width.min(values.len()));
        }
    }
}
