//! How to reach an API as Kubernetes' clients say it: by a kubeconfig file, or from within a pod.
//!
//! - [`Identity`]: whom to trust and who we are; [`read`], [`in_cluster`].
//! - [`Cluster`]: that, and where the API is; [`read_cluster`], [`own_cluster`].
//!
//! Only the current context is looked at. Plug-ins (`exec`, `auth-provider`) and unchecked certificates are
//! refused by name.
//!
//! Rule: relative paths in the file are relative to the file.

use std::path::{Path, PathBuf};

use http::Uri;
use yaml::decoders::{boolean, string};
use yaml::{Errors, Fields, Node, Report};

use crate::base64;
use crate::config::{
    AuthConfig, Authorization, BasicAuth, HttpClientConfig, Secret, SecretSource, TlsConfig, TlsMaterial, http_url,
};

/// Where a pod finds the token of its service account.
const TOKEN_FILE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";
/// Where a pod finds the authority of its cluster.
const CA_FILE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt";
/// Where a pod finds the namespace that it is in.
const NAMESPACE_FILE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";

/// Why a kubeconfig file is of no use.
#[derive(Debug, thiserror::Error)]
pub enum KubeconfigError {
    /// The file cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The text is none, or says something that is not supported.
    #[error("invalid kubeconfig: {0}")]
    Parse(Errors),
    /// The current context is not there, or names something that is not.
    #[error("{path}: no {kind} named `{name}`")]
    Missing {
        /// The file.
        path: PathBuf,
        /// Context, cluster or user.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// The process runs in no pod.
    #[error("not in a pod: there is no {TOKEN_FILE}")]
    NotInPod,
    /// The process runs in a pod that is not told where the API is.
    #[error("not in a pod: KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set")]
    NoAddress,
    /// The cluster has no address.
    #[error("{path}: cluster `{name}` has no `server`")]
    NoServer {
        /// The file.
        path: PathBuf,
        /// The cluster.
        name: String,
    },
}

/// What a kubeconfig file says about a connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// Whom to trust, and our certificate.
    pub tls: TlsConfig,
    /// Our token, or name and password.
    pub auth: Option<AuthConfig>,
}

impl Identity {
    fn into_http(self) -> HttpClientConfig {
        HttpClientConfig { auth: self.auth, tls: self.tls, ..HttpClientConfig::default() }
    }
}

/// Where an API is, and how it is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// Its address.
    pub server: Uri,
    /// Whom to trust, and who we are.
    pub http: HttpClientConfig,
    /// The namespace that we are in, or that the context names.
    pub namespace: Option<String>,
}

/// The cluster of the current context of a file.
///
/// # Errors
///
/// See [`KubeconfigError`].
pub fn read_cluster(path: &Path) -> Result<Cluster, KubeconfigError> {
    let file = load(path)?;
    let (context, cluster) = file.context(path)?;
    let no_server = || KubeconfigError::NoServer { path: path.to_owned(), name: context.cluster.clone() };
    let server = cluster.server.ok_or_else(no_server)?;
    let namespace = context.namespace.clone();
    Ok(Cluster { server, http: file.current(path)?.into_http(), namespace })
}

/// The cluster of the pod that this process runs in. `variable` reads the environment.
///
/// # Errors
///
/// It runs in none.
pub fn own_cluster(variable: &dyn Fn(&str) -> Option<String>) -> Result<Cluster, KubeconfigError> {
    let namespace = std::fs::read_to_string(NAMESPACE_FILE).ok().map(|text| text.trim().to_owned());
    Ok(Cluster { server: own_server(variable)?, http: in_cluster()?.into_http(), namespace })
}

fn own_server(variable: &dyn Fn(&str) -> Option<String>) -> Result<Uri, KubeconfigError> {
    let given = |name: &str| variable(name).filter(|value| !value.is_empty());
    let (host, port) = (given("KUBERNETES_SERVICE_HOST"), given("KUBERNETES_SERVICE_PORT"));
    let (Some(host), Some(port)) = (host, port) else { return Err(KubeconfigError::NoAddress) };
    let host = if host.contains(':') { format!("[{host}]") } else { host };
    format!("https://{host}:{port}").parse().map_err(|_invalid| KubeconfigError::NoAddress)
}

/// The identity of the service account of the pod that this process runs in.
///
/// # Errors
///
/// It runs in none.
pub fn in_cluster() -> Result<Identity, KubeconfigError> {
    in_folder(Path::new(TOKEN_FILE), Path::new(CA_FILE))
}

fn in_folder(token: &Path, authority: &Path) -> Result<Identity, KubeconfigError> {
    if !token.exists() {
        return Err(KubeconfigError::NotInPod);
    }
    let ca = authority.exists().then(|| TlsMaterial::File(authority.to_owned()));
    Ok(Identity {
        tls: TlsConfig { ca, ..TlsConfig::default() },
        auth: Some(bearer(SecretSource::File(token.to_owned()))),
    })
}

/// The header of a token.
#[must_use]
pub fn bearer(token: SecretSource) -> AuthConfig {
    AuthConfig::Authorization(Authorization { scheme: "Bearer".to_owned(), credentials: Some(token) })
}

/// Reads the identity of the current context.
///
/// # Errors
///
/// See [`KubeconfigError`].
pub fn read(path: &Path) -> Result<Identity, KubeconfigError> {
    load(path)?.current(path)
}

fn load(path: &Path) -> Result<Kubeconfig, KubeconfigError> {
    let failed = |source| KubeconfigError::Read { path: path.to_owned(), source };
    let text = std::fs::read_to_string(path).map_err(failed)?;
    let name = path.display().to_string();
    yaml::decode(&name, &text, |node, report| kubeconfig(node, report, path.parent().unwrap_or_else(|| Path::new("."))))
        .map_err(KubeconfigError::Parse)
}

#[derive(Debug)]
struct Kubeconfig {
    current: String,
    contexts: Vec<(String, Context)>,
    clusters: Vec<(String, Server)>,
    users: Vec<(String, Identity)>,
}

#[derive(Clone, Debug)]
struct Context {
    cluster: String,
    user: String,
    namespace: Option<String>,
}

#[derive(Clone, Debug)]
struct Server {
    server: Option<Uri>,
    tls: TlsConfig,
}

impl Kubeconfig {
    fn context(&self, path: &Path) -> Result<(Context, Server), KubeconfigError> {
        let context = find(&self.contexts, &self.current).ok_or_else(|| missing(path, "context", &self.current))?;
        let cluster = find(&self.clusters, &context.cluster);
        let cluster = cluster.ok_or_else(|| missing(path, "cluster", &context.cluster))?;
        Ok((context, cluster))
    }

    fn current(&self, path: &Path) -> Result<Identity, KubeconfigError> {
        let (context, cluster) = self.context(path)?;
        let mut identity = match context.user.as_str() {
            "" => Identity::default(),
            user => find(&self.users, user).ok_or_else(|| missing(path, "user", user))?,
        };
        identity.tls.ca = cluster.tls.ca;
        identity.tls.server_name = cluster.tls.server_name;
        Ok(identity)
    }
}

fn missing(path: &Path, kind: &'static str, name: &str) -> KubeconfigError {
    KubeconfigError::Missing { path: path.to_owned(), kind, name: name.to_owned() }
}

fn find<T: Clone>(entries: &[(String, T)], name: &str) -> Option<T> {
    entries.iter().find(|(other, _)| other == name).map(|(_, value)| value.clone())
}

fn kubeconfig(node: &Node, report: &mut Report, folder: &Path) -> Option<Kubeconfig> {
    yaml::mapping(node, report, |fields| {
        fields.ignore(&["apiVersion", "kind", "preferences", "extensions"]);
        let current = fields.required("current-context", string);
        let contexts = fields.required("contexts", |node, report| named(node, report, "context", context));
        let clusters = fields
            .required("clusters", |node, report| named(node, report, "cluster", |fields| cluster(fields, folder)));
        let users = fields.optional("users", |node, report| named(node, report, "user", |fields| user(fields, folder)));
        Some(Kubeconfig {
            current: current?,
            contexts: contexts?,
            clusters: clusters?,
            users: users.unwrap_or_default(),
        })
    })
}

/// A list of `{name: …, KEY: {…}}`.
fn named<T>(
    node: &Node,
    report: &mut Report,
    key: &'static str,
    mut decode: impl FnMut(&mut Fields<'_, '_>) -> Option<T>,
) -> Option<Vec<(String, T)>> {
    let mut entries = yaml::decoders::list(|node: &Node, report: &mut Report| {
        yaml::mapping(node, report, |fields| {
            let name = fields.required("name", string);
            let value = fields.required(key, |node, report| yaml::mapping(node, report, &mut decode));
            Some((name?, value?))
        })
    });
    entries(node, report)
}

fn context(fields: &mut Fields<'_, '_>) -> Option<Context> {
    fields.ignore(&["extensions"]);
    let cluster = fields.required("cluster", string);
    let user = fields.or("user", string, String::new());
    let namespace = fields.optional("namespace", string).filter(|name| !name.is_empty());
    Some(Context { cluster: cluster?, user, namespace })
}

fn cluster(fields: &mut Fields<'_, '_>, folder: &Path) -> Option<Server> {
    fields.ignore(&["extensions", "disable-compression"]);
    let server = fields.optional("server", http_url);
    fields.unsupported("proxy-url", "connections are made directly");
    if fields.or("insecure-skip-tls-verify", boolean, false) {
        fields.error("insecure-skip-tls-verify", "certificates are always checked: name an authority instead");
    }
    let server_name = fields.optional("tls-server-name", string);
    let ca = pem(fields, folder, "certificate-authority", "certificate-authority-data");
    Some(Server { server, tls: TlsConfig { ca, server_name, ..TlsConfig::default() } })
}

fn user(fields: &mut Fields<'_, '_>, folder: &Path) -> Option<Identity> {
    fields.ignore(&["extensions"]);
    for key in ["exec", "auth-provider"] {
        fields.unsupported(key, "programs that make credentials are not run: use a token file or a certificate");
    }
    for key in ["as", "as-uid", "as-groups", "as-user-extra"] {
        fields.unsupported(key, "impersonation is the Kubernetes API's alone");
    }
    let certificate = pem(fields, folder, "client-certificate", "client-certificate-data");
    let key = pem(fields, folder, "client-key", "client-key-data");
    let token = fields.optional("token", string).map(|token| SecretSource::Inline(Secret::new(token)));
    let token_file = fields.optional("tokenFile", string).map(|path| SecretSource::File(folder.join(path)));
    let username = fields.optional("username", string);
    let password = fields.or("password", string, String::new());
    if certificate.is_some() != key.is_some() {
        fields.error_here("`client-certificate` and `client-key` go together");
    }
    // As Kubernetes' clients: a file goes before a token, either before a name.
    let given = |text: String| Some(SecretSource::Inline(Secret::new(text)));
    let auth = match (token_file.or(token), username) {
        (Some(token), _) => Some(bearer(token)),
        (None, Some(name)) => Some(AuthConfig::Basic(BasicAuth { username: given(name), password: given(password) })),
        (None, None) => None,
    };
    Some(Identity { tls: TlsConfig { identity: certificate.zip(key), ..TlsConfig::default() }, auth })
}

/// A PEM text in a file or in the document itself, in base 64; the latter goes before the former.
fn pem(fields: &mut Fields<'_, '_>, folder: &Path, file: &'static str, data: &'static str) -> Option<TlsMaterial> {
    let file = fields.optional(file, string).filter(|path| !path.is_empty());
    let text = fields.optional(data, |node, report| {
        let text = string(node, report)?;
        let bytes = base64::decode(&text).map_err(|error| report.error(node, error.to_string())).ok()?;
        String::from_utf8(bytes).map_err(|_invalid| report.error(node, "not a text in PEM")).ok()
    });
    match text.filter(|text| !text.is_empty()) {
        Some(text) => Some(TlsMaterial::Inline(Secret::new(text))),
        None => file.map(|path| TlsMaterial::File(folder.join(path))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "\
apiVersion: v1
kind: Config
current-context: b
contexts:
- name: a
  context: {cluster: nowhere, user: nobody}
- name: b
  context: {cluster: c, user: u, namespace: n}
clusters:
- name: c
  cluster:
    server: https://1.2.3.4
    certificate-authority: ca.pem
    tls-server-name: prometheus
users:
- name: u
  user:
    client-certificate-data: Zm9v
    client-key: /keys/key.pem
    token: secret
    tokenFile: token
";

    #[test]
    fn current_context_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config");
        std::fs::write(&path, GOOD).unwrap();
        let identity = read(&path).unwrap();
        let certificate = TlsMaterial::Inline(Secret::new("foo"));
        assert_eq!(identity.tls.ca, Some(TlsMaterial::File(folder.path().join("ca.pem"))));
        assert_eq!(identity.tls.identity, Some((certificate, TlsMaterial::File("/keys/key.pem".into()))));
        assert_eq!(identity.tls.server_name.as_deref(), Some("prometheus"));
        assert_eq!(identity.auth, Some(bearer(SecretSource::File(folder.path().join("token")))));
    }

    #[test]
    fn cluster_of_the_current_context_has_its_address_and_namespace() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config");
        std::fs::write(&path, GOOD).unwrap();
        let cluster = read_cluster(&path).unwrap();
        assert_eq!(cluster.server, Uri::from_static("https://1.2.3.4"));
        assert_eq!(cluster.namespace.as_deref(), Some("n"));
        assert_eq!(cluster.http.tls, read(&path).unwrap().tls);
        std::fs::write(&path, GOOD.replace("    server: https://1.2.3.4\n", "")).unwrap();
        assert!(read(&path).is_ok(), "an identity needs no address");
        let error = read_cluster(&path).unwrap_err().to_string();
        assert!(error.ends_with("cluster `c` has no `server`"), "{error}");
    }

    #[test]
    fn pod_is_told_where_the_api_is() {
        let check = |host: &str, port: &str, expected: Option<&str>| {
            let variable = |name: &str| Some(if name.ends_with("HOST") { host } else { port }.to_owned());
            let found = own_server(&variable).ok().map(|server| server.to_string());
            assert_eq!(found.as_deref(), expected, "{host} {port}");
        };
        check("10.96.0.1", "443", Some("https://10.96.0.1:443/"));
        check("fd00::1", "6443", Some("https://[fd00::1]:6443/"));
        check("", "443", None);
        check("10.96.0.1", "", None);
        check("not a host", "443", None);
    }

    #[test]
    fn what_is_wrong_or_not_supported_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config");
        let check = |from: &str, to: &str, expected: &str| {
            assert!(GOOD.contains(from), "{from}");
            std::fs::write(&path, GOOD.replace(from, to)).unwrap();
            let error = read(&path).unwrap_err().to_string().replace(&format!("{}", path.display()), "F");
            assert!(error.contains(expected), "{error}");
        };
        check("current-context: b", "current-context: x", "F: no context named `x`");
        check("current-context: b", "current-context: a", "F: no cluster named `nowhere`");
        check("user: u,", "user: x,", "F: no user named `x`");
        check("Zm9v", "Zm9", "not valid base64");
        check("    client-key: /keys/key.pem\n", "", "`client-certificate` and `client-key` go together");
        check("server:", "insecure-skip-tls-verify: true\n    server:", "certificates are always checked");
        check("token: secret", "exec: {command: x}", "programs that make credentials are not run");
        check("token: secret", "tokn: secret", "unknown key (did you mean `token`?)");
        std::fs::write(&path, "{").unwrap();
        assert!(matches!(read(&path).unwrap_err(), KubeconfigError::Parse(_)));
        assert!(matches!(read(&folder.path().join("none")).unwrap_err(), KubeconfigError::Read { .. }));
    }

    #[test]
    fn pod_has_its_identity_where_kubernetes_mounts_it() {
        let folder = tempfile::tempdir().unwrap();
        let (token, authority) = (folder.path().join("token"), folder.path().join("ca.crt"));
        assert!(matches!(in_folder(&token, &authority), Err(KubeconfigError::NotInPod)));
        std::fs::write(&token, "t").unwrap();
        std::fs::write(&authority, "a").unwrap();
        let identity = in_folder(&token, &authority).unwrap();
        assert_eq!(identity.auth, Some(bearer(SecretSource::File(token))));
        assert_eq!(identity.tls.ca, Some(TlsMaterial::File(authority)));
    }
}
