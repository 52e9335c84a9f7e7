//! Published golden files of Prometheus Operator, run against this crate.
//!
//! The files are data outside of the repository; `OPERATOR_GOLDEN` names another folder of the same form:
//! `golden/X.golden` is what the operator writes for `input/X.yaml`. For golden files that come without an input,
//! `testdata/operator-inputs.yaml` has one.
//!
//! What we do otherwise, for all files alike: nothing is sharded; there are no replicas to tell apart; what the
//! operator mounts from Secrets as files stands in the configuration itself; retention is not part of it.
//!
//! Each job that is made is also given to the reader of prometheus.yml, which must take it.
//!
//! Rule: `scrape_configs` and `global` agree as a whole, not only their rules on labels.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use discovery::{DecodeContext, OtherKind};
use http_client::{Secret, base64};
use serde_json::{Map, Value, json};

use super::objects::Prometheus;
use super::{AssetKind, AssetRef, Assets, Generator, Monitors, read};
use crate::json::value_of;
use crate::targets::{KEY, kubernetes_sd};

const DEFAULT_FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/conformance/operator-golden");

#[test]
fn golden_files_of_the_operator_agree() {
    let folder = std::env::var("OPERATOR_GOLDEN").unwrap_or_else(|_unset| DEFAULT_FOLDER.to_owned());
    let folder = PathBuf::from(folder);
    let Ok(inputs) = fs::read_dir(folder.join("input")) else {
        println!("operator golden files are absent: {}", folder.display());
        return;
    };
    let mut failures = Vec::new();
    let mut agreed = [0; 2];
    let mut inputs: Vec<PathBuf> = inputs.map(|entry| entry.unwrap().path()).collect();
    inputs.sort();
    for input in inputs {
        for (golden, input) in pairs(&folder, &input) {
            count(&golden, &input, &mut agreed[0], &mut failures);
        }
    }
    for (golden, input) in own_inputs(&folder) {
        count(&golden, &input, &mut agreed[1], &mut failures);
    }
    println!("operator golden files: {} pairs agree, and {} golden files with inputs of ours", agreed[0], agreed[1]);
    assert!(failures.is_empty(), "{} golden files differ:\n{}", failures.len(), failures.join("\n"));
    assert!(agreed[0] > 0, "the folder has no inputs");
}

fn count(golden: &Path, input: &Input, agreed: &mut usize, failures: &mut Vec<String>) {
    match check(golden, input) {
        Ok(()) => *agreed += 1,
        Err(reason) => failures.push(format!("{}: {reason}", golden.display())),
    }
}

/// What a configuration is made of.
#[derive(Default)]
struct Input {
    prometheus: Prometheus,
    monitors: Monitors,
    assets: Assets,
    /// The texts of assets by the files that the operator mounts them as.
    mounted: BTreeMap<String, String>,
}

impl Input {
    fn of(documents: impl IntoIterator<Item = Value>) -> Self {
        let mut input = Self::default();
        for document in documents {
            input.add(document);
        }
        input
    }

    fn add(&mut self, document: Value) {
        let monitors = &mut self.monitors;
        match document["kind"].as_str().unwrap() {
            "Prometheus" => self.prometheus = read(document).unwrap(),
            "ServiceMonitor" => monitors.service_monitors.push(read(document).unwrap()),
            "PodMonitor" => monitors.pod_monitors.push(read(document).unwrap()),
            "Probe" => monitors.probes.push(read(document).unwrap()),
            "ScrapeConfig" => monitors.scrape_configs.push(read(document).unwrap()),
            "PrometheusRule" => monitors.rules.push(read(document).unwrap()),
            "Secret" => self.add_asset(AssetKind::Secret, &document),
            "ConfigMap" => self.add_asset(AssetKind::ConfigMap, &document),
            other => panic!("unknown kind: {other}"),
        }
    }

    fn add_asset(&mut self, kind: AssetKind, document: &Value) {
        let text = |key: &str| document["metadata"][key].as_str().unwrap().to_owned();
        let (namespace, name) = (text("namespace"), text("name"));
        let entries = |field: &str| document[field].as_object().cloned().unwrap_or_default();
        let plain = |(key, value): (String, Value)| (key, value.as_str().unwrap().to_owned());
        let mut keys: BTreeMap<String, String> = entries("data").into_iter().map(plain).collect();
        if kind == AssetKind::Secret {
            keys.values_mut().for_each(|value| *value = String::from_utf8(base64::decode(value).unwrap()).unwrap());
        }
        keys.extend(entries("stringData").into_iter().map(plain));
        let number = if kind == AssetKind::Secret { 0 } else { 1 };
        for (key, value) in &keys {
            self.mounted.insert(format!("/etc/prometheus/certs/{number}_{namespace}_{name}_{key}"), value.clone());
        }
        let keys = keys.into_iter().map(|(key, value)| (key, Some(Secret::new(value)))).collect();
        self.assets.insert(AssetRef { kind, namespace, name }, keys);
    }
}

/// The golden files that belong to an input. A list is what the operator adds to its own jobs, and belongs to all
/// golden files about that.
fn pairs(folder: &Path, path: &Path) -> Vec<(PathBuf, Input)> {
    let text = fs::read_to_string(path).unwrap();
    let documents = yaml::parse_all(&path.display().to_string(), &text).unwrap();
    let documents: Vec<Value> = documents.iter().map(|document| value_of(document.root())).collect();
    let stem = path.file_stem().unwrap().to_string_lossy().into_owned();
    if !documents[0].is_array() {
        return vec![(folder.join(format!("golden/{stem}.golden")), Input::of(documents))];
    }
    let goldens = fs::read_dir(folder.join("golden")).unwrap().map(|entry| entry.unwrap().path());
    let goldens =
        goldens.filter(|golden| golden.file_name().unwrap().to_string_lossy().starts_with("AdditionalScrape"));
    let added = |golden| {
        let secret = json!({"kind": "Secret", "metadata": {"namespace": "default", "name": "added"},
            "stringData": {"jobs": text}});
        let spec = json!({"scrapeInterval": "30s", "evaluationInterval": "30s",
            "additionalScrapeConfigs": {"name": "added", "key": "jobs"}});
        let prometheus =
            json!({"kind": "Prometheus", "metadata": {"namespace": "default", "name": "test"}, "spec": spec});
        (golden, Input::of([secret, prometheus]))
    };
    goldens.map(added).collect()
}

fn own_inputs(folder: &Path) -> Vec<(PathBuf, Input)> {
    let text = include_str!("../../testdata/operator-inputs.yaml");
    let document = yaml::parse("operator-inputs.yaml", text).unwrap();
    let Value::Array(inputs) = value_of(document.root())["inputs"].take() else { panic!("no list") };
    let read = |input: &Value| {
        let golden = folder.join(format!("golden/{}.golden", input["golden"].as_str().unwrap()));
        let metadata = json!({"namespace": "default", "name": "test"});
        let prometheus = json!({"kind": "Prometheus", "metadata": metadata, "spec": input["prometheus"]});
        let objects = input["objects"].as_array().unwrap().iter().cloned();
        (golden, Input::of(std::iter::once(prometheus).chain(objects)))
    };
    inputs.iter().map(read).filter(|(golden, _)| golden.exists()).collect()
}

fn check(golden: &Path, input: &Input) -> Result<(), String> {
    let text = fs::read_to_string(golden).map_err(|error| error.to_string())?;
    let document = yaml::parse("golden", &text).map_err(|errors| errors.to_string())?;
    let mut expected = normal(value_of(document.root()), &input.mounted);
    let generator = Generator { prometheus: &input.prometheus, assets: &input.assets };
    let made = generator.generate(&input.monitors);
    if let Some(rejected) = made.rejected.first() {
        return Err(rejected.to_string());
    }
    let made_jobs: Vec<Value> = made.jobs.into_iter().map(|job| job.config).collect();
    made_jobs.iter().try_for_each(is_taken)?;
    let scrape_configs = normal(Value::Array(made_jobs), &input.mounted);
    let mut jobs = expected["scrape_configs"].take();
    jobs.as_array_mut().into_iter().flatten().for_each(remove_sharding);
    compare("scrape_configs", &jobs, &scrape_configs)?;
    let mut global = expected["global"].take();
    if let Some(labels) = global["external_labels"].as_object_mut() {
        labels.remove("prometheus_replica");
    }
    compare("global", &global, &normal(Value::Object(made.global), &input.mounted))
}

/// Whether a job is one for the reader of prometheus.yml. Its refusal of another discovery is its own to test.
fn is_taken(job: &Value) -> Result<(), String> {
    if job.get("gce_sd_configs").is_some() {
        return Ok(());
    }
    let folder = Path::new(".");
    let kubernetes = |node: &yaml::Node, report: &mut yaml::Report| kubernetes_sd(node, report, folder);
    let others = [OtherKind { key: KEY, decode: &kubernetes }];
    let context = DecodeContext { directory: folder, others: &others };
    let read = yaml::decode("job", &job.to_string(), |node, report| {
        scrape::scrape_config(node, report, &scrape::ScrapeDefaults::default(), &context)
    });
    let job = read.map_err(|errors| format!("refused by the reader: {errors}"))?;
    job.config.check().map(drop).map_err(|errors| format!("refused by the check: {errors}"))
}

/// Every scalar as its text, mappings sorted, and files that the operator mounts as what they hold.
fn normal(value: Value, mounted: &BTreeMap<String, String>) -> Value {
    match value {
        Value::Object(fields) => {
            let normalized = fields.into_iter().map(|(key, value)| {
                let value = normal(value, mounted);
                let inline = value.as_str().and_then(|path| mounted.get(path));
                match (key.strip_suffix("_file"), inline) {
                    (Some(key), Some(text)) => (key.to_owned(), json!(text)),
                    _ => (key, value),
                }
            });
            let sorted: BTreeMap<String, Value> = normalized.collect();
            Value::Object(sorted.into_iter().collect::<Map<_, _>>())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(|item| normal(item, mounted)).collect()),
        Value::String(text) => Value::String(text),
        Value::Null => Value::String(String::new()),
        other => Value::String(other.to_string()),
    }
}

/// Removes the last three rules, by which the operator shards, unless the job came with them.
fn remove_sharding(job: &mut Value) {
    let Some(rules) = job.get_mut("relabel_configs").and_then(Value::as_array_mut) else { return };
    let Some(first) = rules.len().checked_sub(3) else { return };
    let hashes = |rule: &Value| rule["source_labels"][1] == "__tmp_hash" && rule["target_label"] == "__tmp_hash";
    if hashes(&rules[first]) && rules[first + 1]["action"] == "hashmod" && rules[first + 2]["action"] == "keep" {
        rules.truncate(first);
    }
    if rules.is_empty() {
        job.as_object_mut().unwrap().remove("relabel_configs");
    }
}

fn compare(path: &str, expected: &Value, found: &Value) -> Result<(), String> {
    match (expected, found) {
        (Value::Object(left), Value::Object(right)) => {
            for key in left.keys().chain(right.keys()) {
                let path = format!("{path}.{key}");
                match (left.get(key), right.get(key)) {
                    (Some(left), Some(right)) => compare(&path, left, right)?,
                    (Some(left), None) => return Err(format!("{path}: missing, expected {left}")),
                    (_, right) => return Err(format!("{path}: not expected: {}", right.unwrap())),
                }
            }
            Ok(())
        }
        (Value::Array(left), Value::Array(right)) if left.len() == right.len() => left
            .iter()
            .zip(right)
            .enumerate()
            .try_for_each(|(index, (left, right))| compare(&format!("{path}[{index}]"), left, right)),
        _ if expected == found => Ok(()),
        _ => Err(format!("{path}: expected {expected}, found {found}")),
    }
}
