//! How to reach an API by a kubeconfig file: whom to trust and who we are, of its current context.
//!
//! Only what concerns the connection is read; the address of the cluster is not ours to ask. Plug-ins (`exec`,
//! `auth-provider`) and unchecked certificates are refused by name.
//!
//! Rule: relative paths in the file are relative to the file.

use std::path::{Path, PathBuf};

use http_client::{AuthConfig, Authorization, BasicAuth, Secret, SecretSource, TlsConfig, TlsMaterial, base64};
use yaml::decoders::{boolean, string};
use yaml::{Errors, Fields, Node, Report};

/// Where a pod finds the token of its service account.
const TOKEN_FILE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";
/// Where a pod finds the authority of its cluster.
const CA_FILE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt";

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
}

/// What a kubeconfig file says about a connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// Whom to trust, and our certificate.
    pub tls: TlsConfig,
    /// Our token, or name and password.
    pub auth: Option<AuthConfig>,
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
pub(crate) fn bearer(token: SecretSource) -> AuthConfig {
    AuthConfig::Authorization(Authorization { scheme: "Bearer".to_owned(), credentials: Some(token) })
}

/// Reads the identity of the current context.
///
/// # Errors
///
/// See [`KubeconfigError`].
pub fn read(path: &Path) -> Result<Identity, KubeconfigError> {
    let failed = |source| KubeconfigError::Read { path: path.to_owned(), source };
    let text = std::fs::read_to_string(path).map_err(failed)?;
    let name = path.display().to_string();
    let file = yaml::decode(&name, &text, |node, report| {
        kubeconfig(node, report, path.parent().unwrap_or_else(|| Path::new(".")))
    })
    .map_err(KubeconfigError::Parse)?;
    file.current(path)
}

#[derive(Debug)]
struct Kubeconfig {
    current: String,
    contexts: Vec<(String, Context)>,
    clusters: Vec<(String, TlsConfig)>,
    users: Vec<(String, Identity)>,
}

#[derive(Clone, Debug)]
struct Context {
    cluster: String,
    user: String,
}

impl Kubeconfig {
    fn current(&self, path: &Path) -> Result<Identity, KubeconfigError> {
        let missing =
            |kind, name: &str| KubeconfigError::Missing { path: path.to_owned(), kind, name: name.to_owned() };
        let context = find(&self.contexts, &self.current).ok_or_else(|| missing("context", &self.current))?;
        let cluster = find(&self.clusters, &context.cluster).ok_or_else(|| missing("cluster", &context.cluster))?;
        let mut identity = match context.user.as_str() {
            "" => Identity::default(),
            user => find(&self.users, user).ok_or_else(|| missing("user", user))?,
        };
        identity.tls.ca = cluster.ca;
        identity.tls.server_name = cluster.server_name;
        Ok(identity)
    }
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
    fields.ignore(&["namespace", "extensions"]);
    let cluster = fields.required("cluster", string);
    let user = fields.or("user", string, String::new());
    Some(Context { cluster: cluster?, user })
}

fn cluster(fields: &mut Fields<'_, '_>, folder: &Path) -> Option<TlsConfig> {
    fields.ignore(&["server", "extensions", "disable-compression"]);
    fields.unsupported("proxy-url", "connections are made directly");
    if fields.or("insecure-skip-tls-verify", boolean, false) {
        fields.error("insecure-skip-tls-verify", "certificates are always checked: name an authority instead");
    }
    let server_name = fields.optional("tls-server-name", string);
    let ca = pem(fields, folder, "certificate-authority", "certificate-authority-data");
    Some(TlsConfig { ca, server_name, ..TlsConfig::default() })
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
