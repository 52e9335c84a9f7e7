//! `docs/reference/http-api.md` against the routes.
//!
//! Rule: every route is told, and what is told is a route.

use std::collections::BTreeSet;

const PAGE: &str = include_str!("../../../../docs/reference/http-api.md");
/// Where routes stand.
const SOURCES: [&str; 2] = [include_str!("../api/mod.rs"), include_str!("../pages/mod.rs")];

fn routes() -> BTreeSet<String> {
    let admin = "/api/v1/admin/tsdb";
    let mut found = BTreeSet::new();
    for call in SOURCES.iter().flat_map(|source| source.split(".route(").skip(1)) {
        let text = call.split('"').nth(1).unwrap();
        found.insert(text.replace("{admin}", admin));
    }
    found
}

/// The paths in the first cells of the tables.
fn told() -> BTreeSet<String> {
    let rows = PAGE.lines().filter(|line| line.starts_with("| `/"));
    let cells = rows.filter_map(|line| line.trim_matches('|').split(" | ").next());
    cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)).map(str::to_owned).collect()
}

#[test]
fn reference_of_the_api_tells_every_route() {
    let (routes, told) = (routes(), told());
    assert!(routes.len() > 40, "{routes:?}");
    let missing: Vec<_> = routes.difference(&told).collect();
    assert!(missing.is_empty(), "not in docs/reference/http-api.md: {missing:?}");
    let gone: Vec<_> = told.difference(&routes).collect();
    assert!(gone.is_empty(), "docs/reference/http-api.md tells what is no route: {gone:?}");
}
