//! One line of block characters for terminals.

const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Draws the values from zero (or from the lowest, if negative) to the highest, the last `width` of them.
/// Values that are no numbers leave a blank.
#[must_use]
pub fn sparkline(values: &[f64], width: usize) -> String {
    let shown = values.get(values.len().saturating_sub(width)..).unwrap_or(values);
    let finite = shown.iter().copied().filter(|value| value.is_finite());
    let (low, high) = finite.fold((0.0_f64, 0.0_f64), |(low, high), value| (low.min(value), high.max(value)));
    let block = |value: &f64| {
        if !value.is_finite() {
            return ' ';
        }
        let share = if high > low { (value - low) / (high - low) } else { 0.0 };
        let level = (0..BLOCKS.len()).rev().find(|level| share * 7.0 + 0.5 >= *level as f64).unwrap_or(0);
        BLOCKS.get(level).copied().unwrap_or(' ')
    };
    shown.iter().map(block).collect()
}
