//! `<http_config>`: what a configuration file says about the requests of a client.
//!
//! - `auth`: `basic_auth`, `authorization`, `bearer_token`, `oauth2`.
//! - `tls`: `tls_config`. `proxy`: `proxy_url` and its like. `secret`: what must not be shown.
//!
//! Rule: the keys stand in the mapping of whoever uses the client, so they are read from its [`Fields`]; what
//! is wrong is reported and counts as absent.

mod auth;
mod headers;
mod proxy;
mod secret;
mod tls;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use http::Uri;
use yaml::decoders::{boolean, one_of, string};
use yaml::{Fields, Node, Report};

pub use auth::{AuthConfig, Authorization, BasicAuth, OAuth2Config};
pub use headers::HeaderConfig;
pub use proxy::{ProxyConfig, ProxyScheme, ProxyUrl, ProxyUrlError};
pub use secret::{Secret, SecretSource};
pub use tls::{TlsConfig, TlsMaterial, TlsVersion};

/// How requests are sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpClientConfig {
    /// Who the client says it is.
    pub auth: Option<AuthConfig>,
    /// How servers are checked, and the client's certificate.
    pub tls: TlsConfig,
    /// What stands between client and server.
    pub proxy: ProxyConfig,
    /// Whether redirects are followed; otherwise they are an error.
    pub follow_redirects: bool,
    /// Headers of each request, beside those that the client sets.
    pub headers: Vec<HeaderConfig>,
}

impl Default for HttpClientConfig {
    fn default() -> Self {
        Self {
            auth: None,
            tls: TlsConfig::default(),
            proxy: ProxyConfig::default(),
            follow_redirects: true,
            headers: Vec::new(),
        }
    }
}

impl HttpClientConfig {
    /// The files that a request needs, so that a check can say which are missing.
    #[must_use]
    pub fn files(&self) -> Vec<PathBuf> {
        let mut files = self.tls.files();
        files.extend(self.auth.iter().flat_map(AuthConfig::files));
        files.extend(self.headers.iter().flat_map(HeaderConfig::files));
        files
    }
}

/// Reads the keys of `<http_config>` out of the mapping that holds them. Relative paths lead from
/// `directory`, that of the configuration file.
pub fn http_client_config(fields: &mut Fields<'_, '_>, directory: &Path) -> HttpClientConfig {
    let auth = auth::auth(fields, directory);
    let tls = fields.optional("tls_config", |node, report| tls::tls_config(node, report, directory));
    let proxy = proxy::proxy(fields);
    let follow_redirects = fields.or("follow_redirects", boolean, true);
    // Over HTTP/1.1 every server answers the same.
    fields.optional("enable_http2", boolean);
    let headers = headers::headers(fields, directory);
    HttpClientConfig { auth, tls: tls.unwrap_or_default(), proxy, follow_redirects, headers }
}

/// The scheme of the URLs of targets that discovery gives host and port of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scheme {
    /// Plain HTTP.
    #[default]
    Http,
    /// HTTP over TLS.
    Https,
}

impl Scheme {
    /// The scheme as URLs spell it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// Reads `scheme`: `http` or `https`.
pub fn scheme(node: &Node, report: &mut Report) -> Option<Scheme> {
    one_of(&[("http", Scheme::Http), ("https", Scheme::Https)])(node, report)
}

/// An absolute URL with a host, over HTTP or HTTPS.
pub fn http_url(node: &Node, report: &mut Report) -> Option<Uri> {
    let text = string(node, report)?;
    let url: Option<Uri> = text.parse().ok();
    let url = url.filter(|url| matches!(url.scheme_str(), Some("http" | "https")));
    let url = url.filter(|url| url.host().is_some_and(|host| !host.is_empty()));
    if url.is_none() {
        report.error(node, format!("not a URL of `http` or `https`: `{text}`"));
    }
    url
}

/// Refuses a mapping that has several of the keys.
fn at_most_one(fields: &mut Fields<'_, '_>, keys: &[&str]) {
    let present: Vec<String> = keys.iter().filter(|key| fields.has(key)).map(|key| format!("`{key}`")).collect();
    if present.len() > 1 {
        fields.error_here(format!("only one of {} can be set", present.join(", ")));
    }
}

/// A text; an empty one counts as absent, as upstream.
fn text(fields: &mut Fields<'_, '_>, key: &'static str) -> Option<String> {
    fields.optional(key, string).filter(|text| !text.is_empty())
}

fn path(fields: &mut Fields<'_, '_>, key: &'static str, directory: &Path) -> Option<PathBuf> {
    text(fields, key).map(|path| directory.join(path))
}

/// A secret that stands in `key` or in the file that `file_key` names. References to a secret manager
/// (`ref_key`) are refused.
fn secret(
    fields: &mut Fields<'_, '_>,
    [key, file_key, ref_key]: [&'static str; 3],
    directory: &Path,
) -> Option<SecretSource> {
    at_most_one(fields, &[key, file_key]);
    fields.unsupported(ref_key, "there is no secret manager; use a file");
    let inline = text(fields, key).map(|text| SecretSource::Inline(Secret::new(text)));
    let file = path(fields, file_key, directory).map(SecretSource::File);
    inline.or(file)
}
