//! Files of `testdata`: good ones are taken, bad ones give exactly the errors beside them.
//!
//! `UPDATE=1` writes the expected errors anew.

use std::fs;
use std::path::{Path, PathBuf};

use yaml::decoders::list;

use super::*;

/// The jobs of a file, with the defaults that its `global` sets.
fn decode(path: &Path) -> Result<Vec<JobConfig>, yaml::Errors> {
    let text = fs::read_to_string(path).unwrap();
    let name = path.file_name().unwrap().to_string_lossy().into_owned();
    yaml::decode(&name, &text, |node, report| {
        yaml::mapping(node, report, |fields| {
            let global =
                |node: &Node, report: &mut Report| yaml::mapping(node, report, |fields| Some(scrape_defaults(fields)));
            let defaults = fields.or("global", global, ScrapeDefaults::default());
            let context = DecodeContext { directory: Path::new("/etc/prometheus"), others: &[] };
            let job = |node: &Node, report: &mut Report| scrape_config(node, report, &defaults, &context);
            fields.required("scrape_configs", list(job))
        })
    })
}

fn files(suffix: &str) -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata");
    let mut files: Vec<PathBuf> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.to_string_lossy().ends_with(suffix));
    files.sort();
    assert!(!files.is_empty(), "no file ends with `{suffix}`");
    files
}

#[test]
fn good_files_are_taken() {
    for path in files(".good.yml") {
        let jobs = decode(&path).unwrap_or_else(|errors| panic!("{errors}"));
        for job in jobs {
            job.config.check().unwrap_or_else(|errors| panic!("{}: {errors}", path.display()));
        }
    }
}

#[test]
fn bad_files_are_refused_with_every_error() {
    for path in files(".bad.yml") {
        let errors = decode(&path).expect_err(&path.display().to_string()).to_string() + "\n";
        let expected = path.with_extension("txt");
        if std::env::var_os("UPDATE").is_some() {
            fs::write(&expected, &errors).unwrap();
        }
        assert_eq!(errors, fs::read_to_string(&expected).unwrap_or_default(), "{}", expected.display());
    }
}

#[test]
fn job_inherits_what_it_does_not_set() {
    let jobs = decode(&files("defaults.good.yml")[0]).unwrap();
    let [short, own, bare] = &jobs[..] else { panic!("{jobs:?}") };
    assert_eq!((short.config.scrape_interval, short.config.scrape_timeout), (seconds(5), seconds(5)));
    assert_eq!(short.config.limits.body_size_limit, 10 << 20);
    assert_eq!(short.config.limits.sample_limit, 1000);
    assert_eq!(short.config.scrape_protocols, [ScrapeProtocol::PrometheusText004]);
    assert_eq!(short.config.metric_name_validation, NameValidation::Legacy);
    assert_eq!(short.config.metric_name_escaping, Some(NameEscaping::Dots));
    assert!(short.config.extra_scrape_metrics);
    assert_eq!((own.config.scrape_interval, own.config.scrape_timeout), (seconds(30), seconds(3)));
    assert_eq!(own.config.limits.sample_limit, 7);
    assert_eq!(own.config.metric_name_escaping, None, "its own scheme suggests another escaping");
    assert!(!own.config.extra_scrape_metrics);
    assert_eq!((bare.config.scrape_interval, bare.config.scrape_timeout), (seconds(15), seconds(10)));
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}
