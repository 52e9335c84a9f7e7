//! `tls_config`: how servers are checked, and the client's own certificate.
//!
//! Rule: certificate and key come together, and nothing below TLS 1.2 is spoken.

use std::path::{Path, PathBuf};

use yaml::decoders::{boolean, string};
use yaml::{Fields, Node, Report};

use super::{Secret, at_most_one, path, text};

/// A version that is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// TLS 1.2
    Tls12,
    /// TLS 1.3
    Tls13,
}

/// Certificates or a key in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TlsMaterial {
    /// The text itself.
    Inline(Secret),
    /// A file; it is looked at again with each new connection.
    File(PathBuf),
}

/// How servers are checked, and the client's own certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsConfig {
    /// The authorities that servers are checked against; by default the system's.
    pub ca: Option<TlsMaterial>,
    /// The client's certificate and its key.
    pub identity: Option<(TlsMaterial, TlsMaterial)>,
    /// The name that the server must prove; by default the host of the URL.
    pub server_name: Option<String>,
    /// Whether the server may be anybody.
    pub insecure_skip_verify: bool,
    /// The lowest version that is spoken.
    pub min_version: Option<TlsVersion>,
    /// The highest version that is spoken.
    pub max_version: Option<TlsVersion>,
}

impl TlsConfig {
    /// The files that a connection needs, so that a check can say which are missing.
    #[must_use]
    pub fn files(&self) -> Vec<PathBuf> {
        let (certificate, key) = self.identity.as_ref().map(|(certificate, key)| (certificate, key)).unzip();
        let file = |material: &TlsMaterial| match material {
            TlsMaterial::Inline(_) => None,
            TlsMaterial::File(path) => Some(path.clone()),
        };
        [self.ca.as_ref(), certificate, key].into_iter().flatten().filter_map(file).collect()
    }
}

pub(super) fn tls_config(node: &Node, report: &mut Report, directory: &Path) -> Option<TlsConfig> {
    yaml::mapping(node, report, |fields| {
        let ca = material(fields, ["ca", "ca_file", "ca_ref"], directory);
        let certificate = material(fields, ["cert", "cert_file", "cert_ref"], directory);
        let key = material(fields, ["key", "key_file", "key_ref"], directory);
        let identity = match (certificate, key) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            (Some(_), None) => {
                fields.error_here("a client certificate needs `key` or `key_file`");
                None
            }
            (None, Some(_)) => {
                fields.error_here("a client key needs `cert` or `cert_file`");
                None
            }
        };
        let server_name = text(fields, "server_name");
        let insecure_skip_verify = fields.or("insecure_skip_verify", boolean, false);
        let min_version = fields.optional("min_version", version);
        let max_version = fields.optional("max_version", version);
        if let (Some(min), Some(max)) = (min_version, max_version)
            && min > max
        {
            fields.error("max_version", "`max_version` is below `min_version`");
        }
        Some(TlsConfig { ca, identity, server_name, insecure_skip_verify, min_version, max_version })
    })
}

fn material(
    fields: &mut Fields<'_, '_>,
    [key, file_key, ref_key]: [&'static str; 3],
    directory: &Path,
) -> Option<TlsMaterial> {
    at_most_one(fields, &[key, file_key]);
    fields.unsupported(ref_key, "there is no secret manager; use a file");
    let inline = text(fields, key).map(|text| TlsMaterial::Inline(Secret::new(text)));
    inline.or(path(fields, file_key, directory).map(TlsMaterial::File))
}

fn version(node: &Node, report: &mut Report) -> Option<TlsVersion> {
    match string(node, report)?.as_str() {
        "TLS12" => Some(TlsVersion::Tls12),
        "TLS13" => Some(TlsVersion::Tls13),
        old @ ("TLS10" | "TLS11") => {
            report.error(node, format!("not supported: `{old}` is broken (RFC 8996); the lowest version is `TLS12`"));
            None
        }
        other => {
            report.error(node, format!("expected one of `TLS12`, `TLS13`, found `{other}`"));
            None
        }
    }
}
