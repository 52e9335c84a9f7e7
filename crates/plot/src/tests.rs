//! Whole charts: one golden picture, and what must hold for any input.

use expect_test::expect_file;
use proptest::prelude::*;

use super::*;

#[test]
fn loop_looks_as_it_did() {
    expect_file!["../testdata/loop.svg"].assert_eq(&the_loop().to_svg());
}

#[test]
fn empty_chart_says_that_there_is_no_data() {
    let chart = Chart { panels: vec![Panel::default()], markers: Vec::new(), ..the_loop() };
    assert!(chart.to_svg().contains(">no data</text>"));
    let chart = Chart { panels: Vec::new(), ..the_loop() };
    check_well_formed(&chart.to_svg());
}

#[test]
fn hostile_labels_are_text() {
    let evil = "</title><script>alert(1)</script>\" onload=\"x\u{0}";
    let mut chart = the_loop();
    chart.title = evil.to_owned();
    chart.description = evil.to_owned();
    for panel in &mut chart.panels {
        panel.title = evil.to_owned();
        for series in &mut panel.series {
            series.name = evil.to_owned();
        }
        panel.thresholds = vec![Threshold { value: 1.0, label: evil.to_owned() }];
    }
    for marker in &mut chart.markers {
        marker.label = evil.to_owned();
        marker.reason = evil.to_owned();
    }
    let svg = chart.to_svg();
    check_well_formed(&svg);
    assert!(!svg.contains("<script") && !svg.contains("\" onload"));
}

#[test]
fn gap_is_not_drawn_over() {
    let points = [(0, 1.0), (1, 1.0), (2, f64::NAN), (3, 1.0), (60, 1.0), (61, 1.0)];
    let series = series("s", Style::Line, &points);
    let panel = Panel { series: vec![series], ..Panel::default() };
    let svg = Chart { panels: vec![panel], ..the_loop() }.to_svg();
    let path = svg.split("<path d=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
    assert_eq!(path.matches('M').count(), 3, "{path}");
}

#[test]
fn what_is_not_drawn_is_counted() {
    let many = vec![series("s", Style::Line, &[(1, 1.0)]); MAX_SERIES + 3];
    let panels = vec![Panel { series: many, ..Panel::default() }; MAX_PANELS + 2];
    let markers = vec![marker(1, "1→2", MarkerKind::Up); MAX_MARKERS + 5];
    let svg = Chart { panels, markers, ..the_loop() }.to_svg();
    assert!(svg.contains("and 3 more, not drawn"));
    assert!(svg.contains("2 more panels are not drawn. 5 more markers are not drawn.</desc>"));
}

#[test]
fn million_points_make_a_small_picture() {
    let points: Vec<Point> = (0..1_000_000).map(|index| point_ms(index / 10, (index % 97) as f64)).collect();
    let series = Series { points, ..series("s", Style::Area, &[]) };
    let chart = Chart { panels: vec![Panel { series: vec![series], ..Panel::default() }], ..the_loop() };
    assert!(chart.to_svg().len() < 120_000, "{}", chart.to_svg().len());
}

proptest! {
    #[test]
    fn any_chart_is_well_formed(
        texts in proptest::collection::vec(any::<String>(), 5),
        points in proptest::collection::vec((any::<i64>(), proptest::num::f64::ANY), 0..40),
        (start, end) in (any::<i64>(), any::<i64>()),
        (width_px, height_px) in (any::<u32>(), any::<u32>()),
        style in proptest::sample::select(vec![Style::Line, Style::Step, Style::Area, Style::StepArea]),
        unit in proptest::sample::select(vec![Unit::Number, Unit::Seconds, Unit::Bytes, Unit::PerSecond]),
    ) {
        let [title, description, name, label, reason] = texts.try_into().unwrap();
        let points = points.into_iter().map(|(at, value)| point_ms(at, value)).collect();
        let series = Series { name, style, points, max_gap: Some(Duration::from_secs(9)) };
        let thresholds = vec![Threshold { value: 3.0, label: label.clone() }];
        let panel = Panel { title: title.clone(), unit, height_px, series: vec![series], thresholds };
        let chart = Chart {
            title,
            description,
            width_px,
            range: TimeRange { start: Timestamp::from_unix_ms(start), end: Timestamp::from_unix_ms(end) },
            time_labels: TimeLabels::Utc,
            panels: vec![panel],
            markers: vec![Marker { at: Timestamp::from_unix_ms(start), label, reason, kind: MarkerKind::Warning }],
        };
        check_well_formed(&chart.to_svg());
    }
}

/// A run of the autoscaling loop, made up.
fn the_loop() -> Chart {
    let wave = |at: i64| if (20..80).contains(&at) { 12.0 } else { 3.0 };
    let clients: Vec<(i64, f64)> = (0..120).map(|at| (at, wave(at))).collect();
    let wait: Vec<(i64, f64)> = (0..120).map(|at| (at, (0.3 * wave(at) - at as f64 / 40.0).max(0.05))).collect();
    let replicas = [(0, 1.0), (24, 2.0), (28, 3.0), (95, 2.0), (110, 1.0), (119, 1.0)];
    Chart {
        title: "The loop on one machine".to_owned(),
        description: "Clients rise from 3 to 12; replicas follow from 1 to 3 and back.".to_owned(),
        width_px: 960,
        range: TimeRange { start: at_seconds(0), end: at_seconds(120) },
        time_labels: TimeLabels::Utc,
        panels: vec![
            Panel {
                title: "Active requests".to_owned(),
                series: vec![series("offered", Style::StepArea, &clients)],
                thresholds: vec![Threshold { value: 4.0, label: "target 4 a worker".to_owned() }],
                ..Panel::default()
            },
            Panel {
                title: "Queue wait".to_owned(),
                unit: Unit::Seconds,
                series: vec![series("p95", Style::Line, &wait)],
                ..Panel::default()
            },
            Panel {
                title: "Replicas".to_owned(),
                height_px: 70,
                series: vec![
                    Series { max_gap: None, ..series("ready", Style::Step, &replicas) },
                    series("draining", Style::Step, &[(94, 1.0), (97, 1.0), (109, 1.0), (112, 1.0)]),
                ],
                ..Panel::default()
            },
        ],
        markers: vec![
            marker(22, "1→3", MarkerKind::Up),
            marker(24, "queue full", MarkerKind::Warning),
            marker(60, "worker killed", MarkerKind::Event),
            marker(94, "3→2", MarkerKind::Down),
            marker(109, "2→1", MarkerKind::Down),
        ],
    }
}

fn series(name: &str, style: Style, points: &[(i64, f64)]) -> Series {
    let points = points.iter().map(|(at, value)| Point { at: at_seconds(*at), value: *value }).collect();
    Series { name: name.to_owned(), style, points, max_gap: Some(Duration::from_secs(30)) }
}

fn marker(at: i64, label: &str, kind: MarkerKind) -> Marker {
    let reason = "above target for asr_active_requests: 12 / 4".to_owned();
    Marker { at: at_seconds(at), label: label.to_owned(), reason, kind }
}

/// 2023-11-14 22:13:20 UTC and so many seconds.
fn at_seconds(at: i64) -> Timestamp {
    Timestamp::from_unix_ms(1_700_000_000_000 + at * 1000)
}

fn point_ms(at_ms: i64, value: f64) -> Point {
    Point { at: Timestamp::from_unix_ms(at_ms.saturating_add(1_700_000_000_000)), value }
}

/// Elements are closed in order, attributes quoted, and no number is written that SVG does not know.
#[track_caller]
fn check_well_formed(svg: &str) {
    let mut open = Vec::new();
    let mut rest = svg;
    while let Some((_, after)) = rest.split_once('<') {
        let (tag, after) = after.split_once('>').unwrap();
        assert!(!tag.contains('<'), "{tag}");
        rest = after;
        let name = tag.trim_start_matches('/').split([' ', '/']).next().unwrap();
        if let Some(closed) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(closed));
        } else if !tag.ends_with('/') {
            open.push(name);
        }
        assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
        assert!(!tag.contains("NaN") && !tag.contains("inf"), "{tag}");
    }
    assert_eq!(open, Vec::<&str>::new());
}
