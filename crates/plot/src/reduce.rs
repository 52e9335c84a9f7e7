//! Fewer points than pixels, with every peak kept.
//!
//! Rule: for each column of pixels the first, lowest, highest and last point stay, so that the picture is the same.

/// Splits at absent values and at gaps, and keeps at most four points for each of `columns` columns.
pub(crate) fn runs(points: &[(f64, f64)], range: (f64, f64), max_gap: f64, columns: usize) -> Vec<Vec<(f64, f64)>> {
    let mut runs: Vec<Vec<(f64, f64)>> = Vec::new();
    let mut open = false;
    for &(time, value) in points {
        if !time.is_finite() || !value.is_finite() {
            open = false;
            continue;
        }
        if time < range.0 || time > range.1 {
            continue;
        }
        match runs.last_mut() {
            Some(run) if open && run.last().is_some_and(|last| time - last.0 <= max_gap) => run.push((time, value)),
            _ => runs.push(vec![(time, value)]),
        }
        open = true;
    }
    for run in &mut runs {
        thin(run, range, columns);
    }
    runs
}

fn thin(run: &mut Vec<(f64, f64)>, range: (f64, f64), columns: usize) {
    if run.len() <= columns.saturating_mul(4) || range.1 <= range.0 {
        return;
    }
    let column = |time: f64| ((time - range.0) / (range.1 - range.0) * columns as f64).floor();
    let mut kept = Vec::with_capacity(columns * 4);
    for group in run.chunk_by(|a, b| column(a.0).total_cmp(&column(b.0)).is_eq()) {
        let by_value = |a: &&(f64, f64), b: &&(f64, f64)| a.1.total_cmp(&b.1);
        let picks = [group.first(), group.iter().min_by(by_value), group.iter().max_by(by_value), group.last()];
        let mut picks: Vec<_> = picks.into_iter().flatten().copied().collect();
        picks.sort_by(|a, b| a.0.total_cmp(&b.0));
        picks.dedup();
        kept.extend(picks);
    }
    *run = kept;
}
