use proptest::prelude::*;

use crate::format::{TimeAxis, Unit};
use crate::scale::{time_ticks, value_ticks};
use crate::{Figure, Line, Marker, MarkerKind, Panel, Style, reduce, sparkline};

fn figure(lines: Vec<Line>) -> Figure {
    Figure { panels: vec![Panel { title: "load".to_owned(), lines, ..Panel::default() }], ..Figure::default() }
}

fn line(points: &[(f64, f64)]) -> Line {
    Line { name: "active".to_owned(), points: points.to_vec(), style: Style::Line }
}

#[test]
fn ticks_are_round_and_cover_the_range() {
    assert_eq!(value_ticks(0.0, 12.0, 4).values, [0.0, 5.0, 10.0]);
    assert_eq!(value_ticks(0.0, 1.0, 4).values, [0.0, 0.25, 0.5, 0.75, 1.0]);
    assert_eq!(time_ticks(3.0, 63.0, 4).values, [15.0, 30.0, 45.0, 60.0]);
    assert_eq!(time_ticks(0.0, 7200.0, 4).values, [0.0, 1800.0, 3600.0, 5400.0, 7200.0]);
}

#[test]
fn numbers_read_as_people_write_them() {
    let check = |unit: Unit, value: f64, step: f64, expected: &str| assert_eq!(unit.write(value, step), expected);
    check(Unit::None, 12.0, 2.0, "12");
    check(Unit::None, 0.25, 0.25, "0.25");
    check(Unit::None, 20_000.0, 10_000.0, "20k");
    check(Unit::Seconds, 0.25, 0.05, "250 ms");
    check(Unit::Seconds, 2.5, 0.5, "2.5 s");
    check(Unit::Seconds, 180.0, 60.0, "3 min");
    check(Unit::Bytes, 3.0 * 1024.0 * 1024.0, 1024.0 * 1024.0, "3 MiB");
    check(Unit::Ratio, 0.5, 0.25, "50 %");
    assert_eq!(TimeAxis::Clock.write(3_661.0, 1.0), "01:01:01");
    assert_eq!(TimeAxis::Elapsed.write(90.0, 15.0), "90 s");
    assert_eq!(TimeAxis::Elapsed.write(150.0, 30.0), "2:30 min");
}

#[test]
fn hostile_text_cannot_break_out() {
    let mut hostile = figure(vec![Line { name: "</text><script>alert(1)</script>".to_owned(), ..line(&[(0.0, 1.0)]) }]);
    hostile.title = "\"><img onerror='x'>\u{0}".to_owned();
    hostile.markers = vec![Marker { reason: "<b>&".to_owned(), ..Marker::default() }];
    let svg = hostile.to_svg();
    assert!(!svg.contains("<script>") && !svg.contains("<img") && !svg.contains("<b>") && !svg.contains('\u{0}'));
    assert!(svg.contains("&lt;script&gt;"));
}

#[test]
fn absent_values_and_gaps_interrupt_the_line() {
    let points = [(0.0, 1.0), (1.0, 1.0), (2.0, f64::NAN), (3.0, 1.0), (4.0, 1.0), (20.0, 1.0), (21.0, 1.0)];
    let mut chart = figure(vec![line(&points)]);
    chart.max_gap_seconds = 5.0;
    let drawn = chart.to_svg().matches("class=\"plot-line\" stroke=\"var(--plot-c0)\" d=\"M").count();
    assert_eq!(drawn, 3 + 1, "three runs and the legend");
}

#[test]
fn replicas_jump_in_steps_with_their_reason() {
    let mut chart = figure(vec![Line { style: Style::Step, ..line(&[(0.0, 1.0), (10.0, 3.0)]) }]);
    let reason = "asr_active_requests above target".to_owned();
    chart.markers = vec![Marker { time: 10.0, label: "3".to_owned(), reason, kind: MarkerKind::Up }];
    let svg = chart.to_svg();
    assert!(svg.contains("<title>asr_active_requests above target</title>"));
    assert!(svg.contains("H880V"), "a step goes right, then up: {svg}");
}

#[test]
fn thinning_keeps_the_peaks() {
    let mut points: Vec<_> = (0..100_000).map(|i| (f64::from(i), 1.0)).collect();
    points[54_321].1 = 99.0;
    points[54_322].1 = -99.0;
    let runs = reduce::runs(&points, (0.0, 99_999.0), f64::INFINITY, 800);
    assert_eq!(runs.len(), 1);
    assert!(runs[0].len() <= 4 * 801, "{}", runs[0].len());
    assert!(runs[0].contains(&(54_321.0, 99.0)) && runs[0].contains(&(54_322.0, -99.0)));
}

#[test]
fn sparkline_shows_the_last_values_from_zero() {
    assert_eq!(sparkline(&[9.0, 0.0, 1.0, 2.0, 4.0, f64::NAN, 8.0], 6), "▁▂▃▅ █");
    assert_eq!(sparkline(&[], 6), "");
    assert_eq!(sparkline(&[0.0, 0.0], 6), "▁▁");
}

proptest! {
    #[test]
    fn any_points_give_a_bounded_document(points in proptest::collection::vec((any::<f64>(), any::<f64>()), 0..200)) {
        let svg = figure(vec![line(&points)]).to_svg();
        prop_assert!(svg.len() < 100_000);
        prop_assert!(svg.starts_with("<svg") && svg.ends_with("</svg>"));
    }
}
