//! Blocks between us and Debian's Prometheus: both answer the same queries over the same blocks, whoever wrote them.
//!
//! - [`data`]: the samples, from a seed. - [`server`]: a running Prometheus. - [`queries`]: what both are asked.
//! - [`write_request`]: how histograms with whole counts get into a Prometheus.
//!
//! Where the machine has no Prometheus, one line says so; in CI that is a failure.
//!
//! Rule: queries stay within what Prometheus 2.42 and 3.14 define alike: no sample lies on the edge of a range.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test may fail by panic, and prints its seed"
)]

mod data;
mod queries;
mod server;
mod write_request;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use datamodel::time::{ManualClock, TimeRange};
use datamodel::{Matcher, Timestamp};
use storage::Queryable;
use tsdb::{BlockInfo, ExportOptions, Tsdb, TsdbOptions, list_blocks};

use server::Prometheus;

/// Whether the machine has the tools; says so where it has not.
fn has_tools(test: &str) -> bool {
    let is_there = |tool: &str| Command::new(tool).arg("--version").output().is_ok_and(|done| done.status.success());
    let found = is_there("prometheus") && is_there("promtool");
    if !found {
        assert!(std::env::var_os("CI").is_none(), "{test}: prometheus and promtool are needed");
        println!("not run: {test}: no prometheus and promtool on this machine (scripts/install-tools.sh)");
    }
    found
}

fn open(folder: &Path) -> Tsdb {
    let clock = Arc::new(ManualClock::new(Timestamp::from_unix_ms(data::END_MS)));
    let window = Duration::from_secs(3600);
    let options = TsdbOptions { retention_time: None, out_of_order_window: window, ..TsdbOptions::new(folder) };
    Tsdb::open(options, clock).unwrap().0
}

fn export(tsdb: &Tsdb, to: &Path) -> Vec<BlockInfo> {
    let options = ExportOptions {
        range: TimeRange::ALL,
        matchers: vec![],
        block: Duration::from_secs(7200),
        now: Timestamp::from_unix_ms(data::END_MS),
    };
    tsdb.export_blocks(to, &options, &mut |_| {}).unwrap()
}

fn import(folder: &Path, blocks: &[BlockInfo]) -> Tsdb {
    let tsdb = open(folder);
    for block in blocks {
        let imported = tsdb.import_block(&block.path, &mut |_| {}).unwrap();
        assert_eq!(imported.samples, block.samples, "{}", block.ulid);
    }
    tsdb
}

fn promtool(arguments: &[&str], folder: &Path) -> String {
    let done = Command::new("promtool").args(arguments).arg(folder).output().unwrap();
    let errors = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(done.status.success(), "promtool {arguments:?}: {errors}");
    String::from_utf8(done.stdout).unwrap()
}

fn count(queryable: &dyn Queryable) -> usize {
    let querier = queryable.querier(TimeRange::ALL).unwrap();
    let all = Matcher::new(datamodel::MatchOp::Regex, "__name__", ".+").unwrap();
    let mut set = querier.select(&[all], &storage::SelectHints::default()).unwrap();
    let mut samples = storage::Samples::default();
    while let Some(series) = set.next() {
        samples.timestamps.clear();
        let mut more = storage::Samples::default();
        series.unwrap().read(TimeRange::ALL, &mut more).unwrap();
        samples.values.extend(more.values);
    }
    samples.values.len()
}

#[test]
fn prometheus_answers_the_same_from_exported_blocks() {
    if !has_tools("prometheus_answers_the_same_from_exported_blocks") {
        return;
    }
    let (folder, blocks) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let tsdb = open(folder.path());
    data::write(&tsdb, true);
    let exported = export(&tsdb, blocks.path());
    assert_eq!(exported.len(), 3);
    let samples: u64 = exported.iter().map(|block| block.samples).sum();
    assert_eq!(samples as usize, count(&tsdb));

    let listed = promtool(&["tsdb", "list"], blocks.path());
    for block in &exported {
        let row = listed.lines().find(|line| line.starts_with(&block.ulid)).unwrap_or_else(|| panic!("{listed}"));
        let cells: Vec<&str> = row.split_whitespace().collect();
        let figures = [block.samples, block.chunks, block.series].map(|figure| figure.to_string());
        assert!(figures.iter().all(|figure| cells.contains(&figure.as_str())), "{row}: {figures:?}");
    }
    let analyzed = promtool(&["tsdb", "analyze"], blocks.path());
    assert!(analyzed.contains(&format!("\nSeries: {}\n", exported[2].series)), "{analyzed}");
    // The command opens a whole data folder.
    std::fs::create_dir(blocks.path().join("wal")).unwrap();
    let dumped = promtool(&["tsdb", "dump"], blocks.path());
    assert!(dumped.lines().count() as u64 > samples / 2, "{} of {samples}", dumped.lines().count());

    let server = Prometheus::start(blocks.path(), &[]);
    let asked = queries::compare(&tsdb, &server, true);
    println!("{asked} queries over {samples} exported samples answered alike");
    assert!(asked >= 100);
}

#[test]
fn blocks_of_promtool_answer_the_same_here() {
    if !has_tools("blocks_of_promtool_answer_the_same_here") {
        return;
    }
    let (folder, blocks, other) =
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let source = open(folder.path());
    data::write(&source, false);
    let page = folder.path().join("page.om");
    std::fs::write(&page, data::open_metrics(&source)).unwrap();
    let done = Command::new("promtool")
        .args(["tsdb", "create-blocks-from", "openmetrics"])
        .args([&page, &blocks.path().to_path_buf()])
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let listed = list_blocks(blocks.path()).unwrap();
    let imported = import(other.path(), &listed);
    assert_eq!(count(&imported), count(&source));
    let server = Prometheus::start(blocks.path(), &[]);
    let asked = queries::compare(&imported, &server, false);
    println!("{asked} queries over {} blocks of promtool answered alike", listed.len());
    assert!(asked >= 100);
}

#[test]
fn blocks_of_a_running_prometheus_answer_the_same_here() {
    if !has_tools("blocks_of_a_running_prometheus_answer_the_same_here") {
        return;
    }
    let (folder, data_folder, other) =
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let source = open(folder.path());
    data::write(&source, true);
    let flags = ["--web.enable-remote-write-receiver", "--web.enable-admin-api", "--enable-feature=native-histograms"];
    let server = Prometheus::start(data_folder.path(), &flags);
    let mut whole = 0;
    for body in write_request::of(&source) {
        whole += body.whole_histograms;
        server.post("/api/v1/write", &body.bytes);
    }
    assert!(whole > 100, "histograms with whole counts are among them");
    let answer = server.post("/api/v1/admin/tsdb/snapshot", b"");
    let name = answer["data"]["name"].as_str().unwrap();
    let snapshot: PathBuf = data_folder.path().join("snapshots").join(name);
    let listed = list_blocks(&snapshot).unwrap();
    let imported = import(other.path(), &listed);
    let lengths = |tsdb: &Tsdb| {
        let sent = data::series(tsdb).into_iter().filter(|(labels, _)| !write_request::is_left_out(labels));
        sent.map(|(labels, samples)| (labels.to_string(), samples.len())).collect::<Vec<_>>()
    };
    assert_eq!(lengths(&imported), lengths(&source));
    let asked = queries::compare(&imported, &server, true);
    println!("{asked} queries over {} blocks of a running prometheus answered alike", listed.len());
    assert!(asked >= 100);
}
