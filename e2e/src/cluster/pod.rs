//! One pod: the processes of its containers, and how they are.
//!
//! A container has `command` and `args` (with `$(NAME)` of its environment), `env` (values and `fieldRef`s) and a
//! `readinessProbe` by `httpGet`; its image is not looked at, and it sees the files of this machine.
//!
//! Rule: a process that ends is started again and counted.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use tokio::process::{Child, Command};

use crate::client::Client;
use crate::process::signal;

/// A probe that takes longer has failed.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);

/// Mounts the account where pods look for it, then becomes the program.
const MOUNT: &str = "mount --bind \"$0\" /run/secrets/kubernetes.io/serviceaccount; exec \"$@\"";

/// What a pod knows of its service account.
#[derive(Debug)]
pub(super) struct Account {
    pub(super) token: String,
    pub(super) authority: String,
    pub(super) namespace: String,
}

/// A running pod.
#[derive(Debug)]
pub(super) struct Pod {
    address: String,
    started_at: String,
    containers: Vec<Container>,
    /// When it was told to end.
    ending: Option<Instant>,
    told: Option<Value>,
}

#[derive(Debug)]
struct Container {
    name: String,
    words: Vec<String>,
    environment: Vec<(String, String)>,
    mount: PathBuf,
    log: PathBuf,
    probe: Option<(Client, String)>,
    child: Child,
    restarts: u32,
}

impl Pod {
    /// Starts its containers; their logs and its token lie in a folder of its own.
    pub(super) fn start(
        object: &Value,
        address: String,
        account: &Account,
        folder: &Path,
        programs: &[PathBuf],
    ) -> Result<Self> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let folder = folder.join("pods").join(text(&object["metadata"]["uid"]));
        let mount = folder.join("serviceaccount");
        std::fs::create_dir_all(&mount)?;
        std::fs::write(mount.join("token"), &account.token)?;
        std::fs::write(mount.join("ca.crt"), &account.authority)?;
        std::fs::write(mount.join("namespace"), &account.namespace)?;
        let path = std::env::var("PATH").unwrap_or_default();
        let path: Vec<String> = programs.iter().map(|folder| folder.display().to_string()).chain([path]).collect();
        let common = [
            ("PATH".to_owned(), path.join(":")),
            ("HOME".to_owned(), folder.display().to_string()),
            ("KUBERNETES_SERVICE_HOST".to_owned(), "10.96.0.1".to_owned()),
            ("KUBERNETES_SERVICE_PORT".to_owned(), "443".to_owned()),
        ];
        let mut containers = Vec::new();
        for spec in object["spec"]["containers"].as_array().into_iter().flatten() {
            let mut environment = common.to_vec();
            for variable in spec["env"].as_array().into_iter().flatten() {
                environment.push((text(&variable["name"]), value_of(variable, object, &address)?));
            }
            let words = ["command", "args"].into_iter().flat_map(|key| spec[key].as_array().into_iter().flatten());
            let words: Vec<String> = words.map(|word| expand(&text(word), &environment)).collect();
            let name = text(&spec["name"]);
            let log = folder.join(format!("{name}.log"));
            let child = launch(&words, &environment, &mount, &log)?;
            let probe = probe_of(&spec["readinessProbe"]["httpGet"], &address)?;
            containers.push(Container {
                name,
                words,
                environment,
                mount: mount.clone(),
                log,
                probe,
                child,
                restarts: 0,
            });
        }
        let started_at = text(&object["metadata"]["creationTimestamp"]);
        Ok(Self { address, started_at, containers, ending: None, told: None })
    }

    /// Its status, where it has changed.
    pub(super) async fn status(&mut self) -> Result<Option<Value>> {
        let mut statuses = Vec::new();
        let mut all_ready = true;
        for container in &mut self.containers {
            if container.child.try_wait()?.is_some() {
                container.restarts += 1;
                let Container { words, environment, mount, log, .. } = &*container;
                container.child = launch(words, environment, mount, log)?;
            }
            let ready = match &container.probe {
                Some((client, path)) => {
                    let asked = tokio::time::timeout(PROBE_TIMEOUT, client.get(path)).await;
                    asked.is_ok_and(|answer| answer.is_ok_and(|answer| answer.status.is_success()))
                }
                None => true,
            };
            all_ready &= ready;
            statuses.push(json!({
                "name": container.name, "ready": ready, "started": true, "restartCount": container.restarts,
                "image": "local", "imageID": "local", "state": {"running": {"startedAt": self.started_at}},
            }));
        }
        let condition = |kind: &str, status: bool| {
            let status = if status { "True" } else { "False" };
            json!({"type": kind, "status": status, "lastTransitionTime": self.started_at})
        };
        let status = json!({
            "phase": "Running",
            "podIP": self.address,
            "podIPs": [{"ip": self.address}],
            "hostIP": "10.244.255.253",
            "startTime": self.started_at,
            "conditions": [
                condition("PodScheduled", true), condition("Initialized", true),
                condition("ContainersReady", all_ready), condition("Ready", all_ready),
            ],
            "containerStatuses": statuses,
        });
        let has_changed = self.told.as_ref() != Some(&status);
        self.told = Some(status.clone());
        Ok(has_changed.then_some(status))
    }

    /// Tells its processes to end, and kills them after the grace period. Whether all have ended.
    pub(super) async fn end(&mut self, grace: Duration) -> bool {
        let is_first = self.ending.is_none();
        let since = *self.ending.get_or_insert_with(Instant::now);
        let mut all_ended = true;
        for container in &mut self.containers {
            if matches!(container.child.try_wait(), Ok(Some(_))) {
                continue;
            }
            all_ended = false;
            if is_first && let Some(id) = container.child.id() {
                signal(id, "TERM").await.ok();
            }
            if since.elapsed() >= grace {
                container.child.start_kill().ok();
            }
        }
        all_ended
    }
}

fn launch(words: &[String], environment: &[(String, String)], mount: &Path, log: &Path) -> Result<Child> {
    let log = File::options().create(true).append(true).open(log)?;
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-euc", MOUNT]).arg(mount).args(words);
    command.env_clear().envs(environment.iter().map(|(name, value)| (name, value)));
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).kill_on_drop(true);
    command.spawn().context("cannot start a container")
}

/// The value of a variable, from the object where it asks for that.
fn value_of(variable: &Value, object: &Value, address: &str) -> Result<String> {
    if let Some(value) = variable["value"].as_str() {
        return Ok(value.to_owned());
    }
    let field = variable["valueFrom"]["fieldRef"]["fieldPath"].as_str();
    let found = match field {
        Some("status.podIP") => Some(address),
        Some("metadata.name") => object["metadata"]["name"].as_str(),
        Some("metadata.namespace") => object["metadata"]["namespace"].as_str(),
        _ => bail!("not supported in a container's environment: {variable}"),
    };
    Ok(found.unwrap_or_default().to_owned())
}

/// A word with the variables that it names.
fn expand(word: &str, environment: &[(String, String)]) -> String {
    let replace = |word: String, (name, value): &(String, String)| word.replace(&format!("$({name})"), value);
    environment.iter().fold(word.to_owned(), replace)
}

/// Who is asked for readiness, by plain HTTP.
fn probe_of(probe: &Value, address: &str) -> Result<Option<(Client, String)>> {
    if probe.is_null() {
        return Ok(None);
    }
    let (Some(path), Some(port)) = (probe["path"].as_str(), probe["port"].as_u64()) else {
        bail!("a probe needs `path` and a number as `port`: {probe}");
    };
    Ok(Some((Client::new(&format!("http://{address}:{port}")), path.to_owned())))
}
