//! Scheduler and kubelet in one: the only node, on which every pod becomes real processes.
//!
//! A tick looks at all pods: it binds the new ones, starts those that are bound, tells the API how they are,
//! and ends those that are deleted (SIGTERM, their grace period, SIGKILL).
//!
//! Rule: what the API says of a pod was seen on its processes.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::control_plane::{ControlPlane, token};
use super::pod::{Account, Pod};

/// The name of the node.
const NODE: &str = "node-1";

/// How often pods are looked at.
const TICK: Duration = Duration::from_millis(200);

/// Pods have the addresses from `10.244.1.2` on, each its own; then from the beginning.
const ADDRESSES: u16 = 60_000;

/// A running node; its pods end with it.
#[derive(Debug)]
pub struct Node {
    _task: JoinSet<()>,
}

impl Node {
    /// Starts it; programs of pods are looked for in these folders, then in `PATH`.
    ///
    /// # Errors
    ///
    /// The node cannot be registered.
    pub async fn start(plane: &Arc<ControlPlane>, programs: Vec<PathBuf>) -> Result<Self> {
        let node = json!({"metadata": {"name": NODE, "labels": {"kubernetes.io/hostname": NODE}}});
        plane.api.create("/api/v1/nodes", &node).await?;
        let status = json!({"status": {
            "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady"}],
            "addresses": [{"type": "InternalIP", "address": "10.244.255.253"}],
        }});
        plane.api.merge(&format!("/api/v1/nodes/{NODE}/status"), &status).await?;
        let kubelet = Kubelet { plane: Arc::clone(plane), programs, pods: HashMap::new(), next: 0 };
        let mut task = JoinSet::new();
        task.spawn(kubelet.run());
        Ok(Self { _task: task })
    }
}

struct Kubelet {
    plane: Arc<ControlPlane>,
    programs: Vec<PathBuf>,
    /// By their uid.
    pods: HashMap<String, Pod>,
    next: u16,
}

impl Kubelet {
    async fn run(mut self) {
        loop {
            // What fails in a tick is done in the next one.
            if let Ok(list) = self.plane.api.get("/api/v1/pods").await {
                for object in list["items"].as_array().into_iter().flatten() {
                    self.look(object).await.ok();
                }
                let known =
                    list["items"].as_array().into_iter().flatten().filter_map(|pod| pod["metadata"]["uid"].as_str());
                let known: Vec<&str> = known.collect();
                // Whatever was deleted without asking the node ends at once.
                self.pods.retain(|uid, _| known.contains(&uid.as_str()));
            }
            tokio::time::sleep(TICK).await;
        }
    }

    async fn look(&mut self, object: &Value) -> Result<()> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let metadata = &object["metadata"];
        let (uid, name, namespace) = (text(&metadata["uid"]), text(&metadata["name"]), text(&metadata["namespace"]));
        let path = format!("/api/v1/namespaces/{namespace}/pods/{name}");
        if !metadata["deletionTimestamp"].is_null() {
            let grace = Duration::from_secs(metadata["deletionGracePeriodSeconds"].as_u64().unwrap_or(30));
            let ended = match self.pods.get_mut(&uid) {
                Some(pod) => pod.end(grace).await,
                None => true,
            };
            if ended {
                self.pods.remove(&uid);
                let options = json!({"gracePeriodSeconds": 0, "preconditions": {"uid": uid}});
                self.plane.api.delete(&path, &options).await?;
            }
            return Ok(());
        }
        if object["spec"]["nodeName"].is_null() {
            let target = json!({"apiVersion": "v1", "kind": "Node", "name": NODE});
            let binding = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name}, "target": target});
            self.plane.api.create(&format!("{path}/binding"), &binding).await?;
            return Ok(());
        }
        if !self.pods.contains_key(&uid) {
            let account = self.account(&namespace, object).await?;
            let number = self.next % ADDRESSES + 2;
            self.next = self.next.wrapping_add(1);
            let address = format!("10.244.{}.{}", 1 + number / 250, number % 250 + 2);
            let pod = Pod::start(object, address, &account, self.plane.folder(), &self.programs)?;
            self.pods.insert(uid.clone(), pod);
        }
        if let Some(pod) = self.pods.get_mut(&uid)
            && let Some(status) = pod.status().await?
        {
            self.plane.api.merge(&format!("{path}/status"), &json!({"status": status})).await?;
        }
        Ok(())
    }

    /// What every container finds below `/var/run/secrets`.
    async fn account(&self, namespace: &str, object: &Value) -> Result<Account> {
        let name = object["spec"]["serviceAccountName"].as_str().unwrap_or("default");
        let token = token(&self.plane.api, namespace, name).await?;
        Ok(Account { token, authority: self.plane.authority.pem(), namespace: namespace.to_owned() })
    }
}
