//! Upstream's corpus: every file of the folder, with the counts that must not fall.
//!
//! The folder is `PROMQLTEST_DIR`, or `shared/conformance/promqltest` beside the repository. Where it is
//! absent, one line says so.
//!
//! Rule: a count only ever rises; a failing case names what is missing.

use std::path::PathBuf;

use promql::testing::run_script;

/// File and least number of passing cases: all that it holds. What is not listed, and every file of
/// another folder, must pass completely too.
const AT_LEAST: &[(&str, usize)] = &[
    ("aggregators.test", 160),
    ("duration_expression.test", 59),
    ("extended_vectors.test", 169),
    ("fill-modifier.test", 46),
    ("functions.test", 431),
    ("histograms.test", 185),
    ("info.test", 53),
    ("literals.test", 25),
    ("name_label_dropping.test", 30),
    ("native_histograms.test", 522),
    ("operators.test", 214),
    ("selectors.test", 31),
    ("start_timestamps.test", 26),
    ("type_and_unit.test", 58),
];

fn folder() -> PathBuf {
    std::env::var_os("PROMQLTEST_DIR").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/conformance/promqltest")),
        PathBuf::from,
    )
}

#[test]
fn corpus_passes_as_far_as_it_did() {
    let folder = folder();
    let is_other_folder = std::env::var_os("PROMQLTEST_DIR").is_some();
    let Ok(entries) = std::fs::read_dir(&folder) else {
        println!("no promqltest corpus at {}", folder.display());
        return;
    };
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "test"));
    paths.sort();
    let (mut passed, mut total) = (0, 0);
    let mut complaints = Vec::new();
    for path in paths {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let report = match run_script(&std::fs::read_to_string(&path).unwrap()) {
            Ok(report) => report,
            Err(error) => {
                complaints.push(format!("{name}: {error}"));
                continue;
            }
        };
        println!("{name}: {}/{}", report.passed(), report.total);
        if std::env::var_os("PROMQLTEST_SHOW").is_some() {
            for failure in &report.failures {
                println!("  {name}:{}: {}\n    {}", failure.line, failure.expr, failure.message);
            }
        }
        let known = AT_LEAST.iter().find(|(file, _)| *file == name && !is_other_folder);
        let least = known.map_or(report.total, |(_, least)| report.total.max(*least));
        if report.passed() < least {
            let first = report.failures.first().map(|failure| format!("line {}: {}", failure.line, failure.message));
            complaints.push(format!(
                "{name}: {} pass, {least} did; first: {}",
                report.passed(),
                first.unwrap_or_default()
            ));
        }
        passed += report.passed();
        total += report.total;
    }
    println!("all files: {passed}/{total}");
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}
