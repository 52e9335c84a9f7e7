//! `docs/reference/state-series.md` against the families.
//!
//! Rule: `UPDATE=1 cargo test -p kubernetes --lib reference` writes the tables; without it they must be what would be
//! written.

use std::fmt::Write as _;
use std::path::Path;

use super::*;

const BEGIN: &str = "<!-- the tables are written by a test -->\n";

fn table<T: Told>(resource: StateResource, labels: &str, into: &mut String) {
    write!(into, "\n## `{resource}`\n\nEach with {labels}.\n\n| name | type | meaning |\n|---|---|---|\n").unwrap();
    for family in T::FAMILIES {
        writeln!(into, "| `{}` | {} | {} |", family.name, family.metric_type.as_str(), family.help).unwrap();
    }
}

#[test]
fn reference_of_state_series_is_what_is_told() {
    let mut tables = BEGIN.to_owned();
    for resource in StateResource::ALL {
        match resource {
            StateResource::Deployments => {
                table::<Deployment>(resource, "`namespace`, `deployment`", &mut tables);
            }
            StateResource::HorizontalPodAutoscalers => {
                table::<Autoscaler>(resource, "`namespace`, `horizontalpodautoscaler`", &mut tables);
            }
            StateResource::Nodes => table::<Node>(resource, "`node`", &mut tables),
            StateResource::Pods => table::<Pod>(resource, "`namespace`, `pod`, `uid`", &mut tables),
            StateResource::ReplicaSets => table::<ReplicaSet>(resource, "`namespace`, `replicaset`", &mut tables),
            StateResource::StatefulSets => table::<StatefulSet>(resource, "`namespace`, `statefulset`", &mut tables),
        }
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/state-series.md");
    let found = std::fs::read_to_string(&path).unwrap();
    let (head, below) = found.split_at(found.find(BEGIN).unwrap());
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, format!("{head}{tables}")).unwrap();
        return;
    }
    assert!(below == tables, "docs/reference/state-series.md is not what is told; UPDATE=1 writes it");
}
