//! etcd, API server and controller manager, started and awaited.
//!
//! - [`program`]: the binary that `make controlplane` builds.
//! - [`ControlPlane`]: a running one, with its authorities, a client of an administrator and `kubectl`.
//!
//! Rule: it is started within namespaces of its own (see [`namespace`](super::namespace)); its ports are its own.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};

use super::api::Api;
use super::pki::{Authority, Identity, signing_keys};
use crate::wait;

/// Where the API is, from wherever within the namespaces.
pub const API: &str = "https://10.96.0.1";

/// What the parts may take to start, on a busy machine.
const START: Duration = Duration::from_secs(120);

/// Lines of a log that an error quotes.
const QUOTED_LINES: usize = 30;

const CONTROLLERS: &str = "horizontal-pod-autoscaler-controller,deployment-controller,replicaset-controller,\
statefulset-controller,endpoints-controller,endpointslice-controller,serviceaccount-controller,\
namespace-controller,garbage-collector-controller,root-ca-certificate-publisher-controller,\
job-controller,clusterrole-aggregation-controller";

/// The binary of `e2e/controlplane`, if it is there: `CRESCENDO_CONTROLPLANE`.
///
/// # Errors
///
/// It is not there, and this is CI.
pub fn program() -> Result<Option<PathBuf>> {
    let path = std::env::var_os("CRESCENDO_CONTROLPLANE").map(PathBuf::from).filter(|path| path.is_file());
    let is_required = std::env::var_os("CI").is_some();
    ensure!(path.is_some() || !is_required, "CRESCENDO_CONTROLPLANE names no file; `make controlplane` builds it");
    Ok(path)
}

/// A running control plane; its processes end with it.
#[derive(Debug)]
pub struct ControlPlane {
    /// The API, for an administrator.
    pub api: Api,
    /// Whom everybody trusts, and who issues certificates of clients.
    pub authority: Authority,
    /// The kubeconfig of an administrator.
    pub kubeconfig: PathBuf,
    program: PathBuf,
    folder: TempDir,
    _processes: Vec<Child>,
}

/// Files that the parts are started with.
struct Files {
    authority: Authority,
    proxy_authority: Authority,
    server: Identity,
    admin: Identity,
    manager: Identity,
    proxy: Identity,
    signing: (PathBuf, PathBuf),
}

impl Files {
    fn make(folder: &Path) -> Result<Self> {
        let authority = Authority::new(folder, "cluster-ca")?;
        let proxy_authority = Authority::new(folder, "front-proxy-ca")?;
        let hosts = ["10.96.0.1", "127.0.0.1", "localhost", "kubernetes.default.svc"];
        Ok(Self {
            server: authority.server("apiserver", &hosts)?,
            admin: authority.client("admin", Some("system:masters"))?,
            manager: authority.client("system:kube-controller-manager", None)?,
            proxy: proxy_authority.client("front-proxy-client", None)?,
            signing: signing_keys(folder)?,
            authority,
            proxy_authority,
        })
    }

    fn api_server(&self) -> Vec<String> {
        let own = |name: &str, path: &Path| format!("--{name}={}", path.display());
        let mut words: Vec<String> = [
            "--etcd-servers=http://127.0.0.1:2379",
            "--bind-address=10.96.0.1",
            "--secure-port=443",
            // Not the address of the service itself: endpoints of services are other addresses.
            "--advertise-address=10.244.255.254",
            "--service-cluster-ip-range=10.96.0.0/16",
            "--authorization-mode=RBAC",
            "--service-account-issuer=https://kubernetes.default.svc",
            "--requestheader-allowed-names=front-proxy-client",
            "--requestheader-username-headers=X-Remote-User",
            "--requestheader-uid-headers=X-Remote-Uid",
            "--requestheader-group-headers=X-Remote-Group",
            "--requestheader-extra-headers-prefix=X-Remote-Extra-",
            // Without a service proxy: the aggregator goes to the endpoints themselves.
            "--enable-aggregator-routing=true",
            // The node is always fit, and mounts the token of the account by itself.
            "--disable-admission-plugins=ServiceAccount,TaintNodesByCondition,Priority,DefaultTolerationSeconds",
        ]
        .map(str::to_owned)
        .to_vec();
        words.extend([
            own("client-ca-file", &self.authority.file),
            own("tls-cert-file", &self.server.certificate),
            own("tls-private-key-file", &self.server.key),
            own("service-account-signing-key-file", &self.signing.0),
            own("service-account-key-file", &self.signing.1),
            own("requestheader-client-ca-file", &self.proxy_authority.file),
            own("proxy-client-cert-file", &self.proxy.certificate),
            own("proxy-client-key-file", &self.proxy.key),
        ]);
        words
    }

    fn manager(&self, kubeconfig: &Path) -> Vec<String> {
        vec![
            format!("--kubeconfig={}", kubeconfig.display()),
            format!("--controllers={CONTROLLERS}"),
            format!("--root-ca-file={}", self.authority.file.display()),
            format!("--service-account-private-key-file={}", self.signing.0.display()),
            "--use-service-account-credentials=true".to_owned(),
            "--leader-elect=false".to_owned(),
            "--bind-address=127.0.0.1".to_owned(),
            "--horizontal-pod-autoscaler-sync-period=2s".to_owned(),
            "--horizontal-pod-autoscaler-downscale-stabilization=10s".to_owned(),
        ]
    }
}

impl ControlPlane {
    /// Starts it and waits until it is ready.
    ///
    /// # Errors
    ///
    /// A part does not start; the end of its log is in the error.
    pub async fn start(program: &Path) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let at = folder.path();
        let files = Files::make(at)?;
        let data = format!("--data-dir={}", at.join("etcd").display());
        let words = [data.as_str(), "--unsafe-no-fsync", "--log-level=warn"].map(str::to_owned);
        let mut processes = vec![start(program, at, "etcd", &words)?];
        processes.push(start(program, at, "apiserver", &files.api_server())?);
        let api = Api::new(API, &files.authority, Some(&files.admin), None);
        let ready = || async { api.send(hyper::Method::GET, "/readyz", "text/plain", bytes::Bytes::new()).await };
        wait::until("the API server is ready", START, ready, |answer| answer.0 == 200)
            .await
            .with_context(|| log(at, "apiserver"))?;
        let manager = kubeconfig(at, "manager", &files.authority, &files.manager)?;
        processes.push(start(program, at, "kcm", &files.manager(&manager))?);
        let kubeconfig = kubeconfig(at, "admin", &files.authority, &files.admin)?;
        let plane = Self {
            api,
            authority: files.authority,
            kubeconfig,
            program: program.to_owned(),
            folder,
            _processes: processes,
        };
        let account = || plane.api.get("/api/v1/namespaces/default/serviceaccounts/default");
        wait::until("the controllers work", START, account, |_| true)
            .await
            .with_context(|| log(plane.folder(), "kcm"))?;
        Ok(plane)
    }

    /// Where its files and logs are.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The end of a part's log: `apiserver`, `kcm`, `etcd`.
    #[must_use]
    pub fn log(&self, part: &str) -> String {
        log(self.folder(), part)
    }

    /// Runs `kubectl` as an administrator; gives its output.
    ///
    /// # Errors
    ///
    /// It fails; what it says is in the error.
    pub async fn kubectl(&self, words: &[&str], input: &str) -> Result<String> {
        let mut command = Command::new(&self.program);
        command.arg("kubectl").arg(format!("--kubeconfig={}", self.kubeconfig.display())).args(words);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.env("HOME", self.folder()).spawn()?;
        let mut stdin = child.stdin.take().context("stdin is not piped")?;
        stdin.write_all(input.as_bytes()).await?;
        drop(stdin);
        let output = child.wait_with_output().await?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "kubectl {}: {said}", words.join(" "));
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Applies objects.
    ///
    /// # Errors
    ///
    /// As [`kubectl`](Self::kubectl).
    pub async fn apply(&self, objects: &[Value]) -> Result<()> {
        let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
        self.kubectl(&["apply", "-f", "-"], &list.to_string()).await.map(drop)
    }

    /// A token of a service account.
    ///
    /// # Errors
    ///
    /// There is no such account.
    pub async fn token(&self, namespace: &str, account: &str) -> Result<String> {
        token(&self.api, namespace, account).await
    }
}

/// A token of a service account, for a day.
pub(super) async fn token(api: &Api, namespace: &str, account: &str) -> Result<String> {
    let request = json!({
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "spec": {"expirationSeconds": 86400},
    });
    let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token");
    let answer = api.create(&path, &request).await?;
    Ok(answer["status"]["token"].as_str().context("no token in the answer")?.to_owned())
}

fn start(program: &Path, folder: &Path, part: &str, words: &[String]) -> Result<Child> {
    let log = File::create(folder.join(format!("{part}.log")))?;
    let mut command = Command::new(program);
    command.arg(part).args(words).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).kill_on_drop(true);
    command.spawn().with_context(|| format!("cannot start {part}"))
}

fn log(folder: &Path, part: &str) -> String {
    let text = std::fs::read_to_string(folder.join(format!("{part}.log"))).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let from = lines.len().saturating_sub(QUOTED_LINES);
    format!("the end of the log of {part}:\n{}", lines.get(from..).unwrap_or_default().join("\n"))
}

fn kubeconfig(folder: &Path, name: &str, authority: &Authority, identity: &Identity) -> Result<PathBuf> {
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": name,
        "contexts": [{"name": name, "context": {"cluster": "local", "user": name}}],
        "clusters": [{"name": "local", "cluster": {"server": API, "certificate-authority": authority.file}}],
        "users": [{"name": name, "user": {
            "client-certificate": identity.certificate,
            "client-key": identity.key,
        }}],
    });
    let path = folder.join(format!("{name}.kubeconfig"));
    // JSON is YAML.
    std::fs::write(&path, config.to_string())?;
    Ok(path)
}
