//! The keys of the file.
//!
//! Rule: a key that upstream knows is taken, or refused with the reason.

use std::io::Read;
use std::path::{Path, PathBuf};

use axum::http::{HeaderName, HeaderValue};
use yaml::decoders::{boolean, map, one_of, string};
use yaml::{Fields, Node, Report};

use super::{WebConfigError, tls};

/// The longest file.
const MAX_BYTES: u64 = 1 << 20;

/// The most users.
const MAX_USERS: usize = 1_000;

/// A password that takes longer to check would let few requests keep a core busy: 12 takes a quarter of a second.
const MAX_COST: u32 = 14;

/// Headers that upstream lets be set.
const HEADERS: [&str; 5] = [
    "Content-Security-Policy",
    "Strict-Transport-Security",
    "X-Content-Type-Options",
    "X-Frame-Options",
    "X-XSS-Protection",
];

/// What the file says.
#[derive(Clone, Debug, Default)]
pub struct WebConfig {
    /// How connections speak TLS; none: they do not.
    pub tls: Option<TlsServerConfig>,
    /// Headers of every answer.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Names, with the hashes of their passwords.
    pub users: Vec<(String, String)>,
}

/// How connections speak TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsServerConfig {
    /// The chain of certificates.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// Whether clients prove who they are.
    pub client_auth: ClientAuth,
    /// The authorities of clients.
    pub client_ca: Option<PathBuf>,
    /// Whether TLS 1.2 is refused.
    pub only_tls13: bool,
}

impl TlsServerConfig {
    /// The files that it names.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        [&self.certificate, &self.key].into_iter().chain(&self.client_ca).map(PathBuf::as_path)
    }
}

/// Whether clients prove who they are by a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientAuth {
    /// They need not.
    #[default]
    None,
    /// If they show one, it must be good.
    VerifyIfGiven,
    /// They must.
    Require,
}

impl WebConfig {
    /// Reads the file, and whether all that it names can be used.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the file, or the first that is wrong with what it names.
    pub fn load(path: &Path) -> Result<Self, WebConfigError> {
        let mut text = String::new();
        let read = std::fs::File::open(path).and_then(|file| file.take(MAX_BYTES).read_to_string(&mut text));
        read.map_err(|source| WebConfigError::Unreadable { path: path.to_owned(), source })?;
        let directory = path.parent().unwrap_or(Path::new(""));
        let config = decode(&path.display().to_string(), &text, directory)?;
        if let Some(tls) = &config.tls {
            tls::acceptor(tls)?;
        }
        Ok(config)
    }
}

/// Reads the text; relative paths lead from `directory`.
pub(super) fn decode(name: &str, text: &str, directory: &Path) -> Result<WebConfig, yaml::Errors> {
    yaml::decode(name, text, |node, report| {
        yaml::mapping(node, report, |fields| {
            let tls = |node: &Node, report: &mut Report| tls_server(node, report, directory);
            let tls = fields.optional("tls_server_config", tls).flatten();
            let headers = fields.optional("http_server_config", http_server).unwrap_or_default();
            let users = users(fields);
            fields.unsupported("rate_limit", "connections and queries are bounded by flags");
            Some(WebConfig { tls, headers, users })
        })
    })
}

fn path(fields: &mut Fields<'_, '_>, key: &'static str, directory: &Path) -> Option<PathBuf> {
    fields.optional(key, string).filter(|path| !path.is_empty()).map(|path| directory.join(path))
}

/// None inside where the section is empty, which upstream takes for no TLS.
fn tls_server(node: &Node, report: &mut Report, directory: &Path) -> Option<Option<TlsServerConfig>> {
    yaml::mapping(node, report, |fields| {
        let (certificate, key) = (path(fields, "cert_file", directory), path(fields, "key_file", directory));
        let client_ca = path(fields, "client_ca_file", directory);
        let client_auth = client_auth(fields);
        let inline = "give the file";
        for key in ["cert", "key", "client_ca"] {
            fields.unsupported(key, inline);
        }
        fields.unsupported("client_allowed_sans", "use an authority that signs the clients' certificates alone");
        fields.unsupported("cipher_suites", "only suites without known weakness are spoken");
        fields.unsupported("curve_preferences", "only groups without known weakness are spoken");
        // The server's order counts.
        fields.optional("prefer_server_cipher_suites", boolean);
        let versions = [("TLS12", false), ("TLS13", true), ("TLS10", false), ("TLS11", false)];
        let only_tls13 = fields.or("min_version", one_of(&versions), false);
        let most = fields.optional("max_version", one_of(&[("TLS13", ()), ("TLS12", ())]));
        if only_tls13 && most.is_none() && fields.has("max_version") {
            fields.error("max_version", "lower than `min_version`");
        }
        if client_auth != ClientAuth::None && client_ca.is_none() {
            fields.error_here("`client_auth_type` needs `client_ca_file`");
        }
        match (certificate, key) {
            (Some(certificate), Some(key)) => {
                Some(Some(TlsServerConfig { certificate, key, client_auth, client_ca, only_tls13 }))
            }
            (None, None) if client_auth == ClientAuth::None && client_ca.is_none() => Some(None),
            _ => {
                fields.error_here("`cert_file` and `key_file` are needed both");
                None
            }
        }
    })
}

fn client_auth(fields: &mut Fields<'_, '_>) -> ClientAuth {
    let text = fields.optional("client_auth_type", string);
    match text.as_deref() {
        None | Some("" | "NoClientCert") => ClientAuth::None,
        Some("VerifyClientCertIfGiven") => ClientAuth::VerifyIfGiven,
        Some("RequireAndVerifyClientCert") => ClientAuth::Require,
        Some(unchecked @ ("RequestClientCert" | "RequireAnyClientCert")) => {
            let message = format!("not supported: `{unchecked}`: a certificate that nobody checks proves nothing");
            fields.error("client_auth_type", message);
            ClientAuth::None
        }
        Some(other) => {
            let message = format!(
                "expected one of `NoClientCert`, `VerifyClientCertIfGiven`, `RequireAndVerifyClientCert`, found `{other}`"
            );
            fields.error("client_auth_type", message);
            ClientAuth::None
        }
    }
}

fn http_server(node: &Node, report: &mut Report) -> Option<Vec<(HeaderName, HeaderValue)>> {
    yaml::mapping(node, report, |fields| {
        // Over HTTP/1.1 every client is answered the same.
        fields.optional("http2", boolean);
        let mut headers = Vec::new();
        for (name, value) in fields.optional("headers", map(string)).unwrap_or_default() {
            if !HEADERS.contains(&name.as_str()) {
                fields.error(
                    "headers",
                    format!("header cannot be set: `{name}`; expected one of {}", HEADERS.join(", ")),
                );
                continue;
            }
            match (HeaderName::try_from(&name), HeaderValue::try_from(&value)) {
                (Ok(name), Ok(value)) if !value.is_empty() => headers.push((name, value)),
                (Ok(_), Ok(_)) => {}
                _ => fields.error("headers", format!("not a value of a header: `{name}`")),
            }
        }
        Some(headers)
    })
}

fn users(fields: &mut Fields<'_, '_>) -> Vec<(String, String)> {
    let users = fields.optional("basic_auth_users", map(string)).unwrap_or_default();
    if users.len() > MAX_USERS {
        fields.error("basic_auth_users", format!("more than {MAX_USERS} users"));
    }
    for (name, hash) in &users {
        // The hash itself is never shown.
        match hash.parse::<bcrypt::HashParts>() {
            Ok(parts) if parts.get_cost() > MAX_COST => {
                let message = format!("cost {} of the password of `{name}` is above {MAX_COST}", parts.get_cost());
                fields.error("basic_auth_users", message);
            }
            Ok(_) => {}
            Err(_) => fields.error("basic_auth_users", format!("password of `{name}` is no bcrypt hash")),
        }
    }
    users
}
