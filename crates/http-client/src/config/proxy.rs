//! `proxy_url` and its like: what stands between client and server.
//!
//! Rule: a proxy is asked for by URL or by the environment, never by both.

use std::str::FromStr;

use http::{HeaderName, Uri};
use yaml::decoders::{boolean, list, parsed, string};
use yaml::{Fields, Report};

use super::{Secret, at_most_one, text};

/// How a proxy is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyScheme {
    /// Plain HTTP.
    Http,
    /// HTTP over TLS.
    Https,
}

/// Why a proxy is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProxyUrlError {
    /// No URL, or none with a host.
    #[error("not a valid proxy URL (expected something like `http://proxy:3128`)")]
    Invalid,
    /// A protocol that is not spoken.
    #[error("not supported: proxies speak `http` or `https`, found `{0}`")]
    Scheme(String),
}

/// Where a proxy is, and who it lets through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyUrl {
    /// How it is spoken to.
    pub scheme: ProxyScheme,
    /// Its host, an IPv6 address without brackets.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// User name and password, if the URL has them.
    pub credentials: Option<(String, Secret)>,
}

impl FromStr for ProxyUrl {
    type Err = ProxyUrlError;

    fn from_str(text: &str) -> Result<Self, ProxyUrlError> {
        // As Go does for the environment: `proxy:3128` is an HTTP proxy.
        let with_scheme = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
        let url: Uri = with_scheme.parse().map_err(|_invalid| ProxyUrlError::Invalid)?;
        let (scheme, default_port) = match url.scheme_str() {
            Some("http") => (ProxyScheme::Http, 80),
            Some("https") => (ProxyScheme::Https, 443),
            other => return Err(ProxyUrlError::Scheme(other.unwrap_or_default().to_owned())),
        };
        let authority = url.authority().ok_or(ProxyUrlError::Invalid)?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        if host.is_empty() {
            return Err(ProxyUrlError::Invalid);
        }
        let credentials = authority.as_str().rsplit_once('@').map(|(credentials, _)| {
            let (user, password) = credentials.split_once(':').unwrap_or((credentials, ""));
            (unescape(user), Secret::new(unescape(password)))
        });
        Ok(Self { scheme, host, port: authority.port_u16().unwrap_or(default_port), credentials })
    }
}

/// Text with `%40` and the like resolved; what is no escape stays.
fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let hex = after.get(..2).and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        match hex {
            Some(byte) if *first == b'%' => {
                bytes.push(byte);
                rest = after.get(2..).unwrap_or_default();
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// What stands between client and server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProxyConfig {
    /// The proxy.
    pub url: Option<ProxyUrl>,
    /// Servers that are reached without it: hosts, domains, addresses, networks, separated by commas.
    pub no_proxy: String,
    /// Whether `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY` say it instead.
    pub from_environment: bool,
    /// Headers that are sent to the proxy when a tunnel is asked for.
    pub connect_headers: Vec<(HeaderName, Vec<Secret>)>,
}

pub(super) fn proxy(fields: &mut Fields<'_, '_>) -> ProxyConfig {
    let url = fields.optional("proxy_url", parsed::<ProxyUrl>);
    let no_proxy = text(fields, "no_proxy").unwrap_or_default();
    let from_environment = fields.or("proxy_from_environment", boolean, false);
    let connect_headers = fields.optional("proxy_connect_header", |node, report| {
        let Some(entries) = node.as_mapping() else {
            report.expected(node, "a mapping");
            return None;
        };
        let header = |entry: &yaml::Entry, report: &mut Report| {
            let values = list(string)(&entry.value, report)?;
            let Ok(name) = HeaderName::from_str(&entry.key.text) else {
                report.error_at(entry.key.position, format!("not a valid header name: `{}`", entry.key.text));
                return None;
            };
            Some((name, values.into_iter().map(Secret::new).collect()))
        };
        let headers: Vec<Option<(HeaderName, Vec<Secret>)>> =
            entries.iter().map(|entry| report.within_key(&entry.key.text, |report| header(entry, report))).collect();
        headers.into_iter().collect()
    });
    if from_environment {
        at_most_one(fields, &["proxy_from_environment", "proxy_url"]);
        at_most_one(fields, &["proxy_from_environment", "no_proxy"]);
    } else if !fields.has("proxy_url") {
        for key in ["no_proxy", "proxy_connect_header"] {
            if fields.has(key) {
                fields.error(key, "needs `proxy_url`");
            }
        }
    }
    ProxyConfig { url, no_proxy, from_environment, connect_headers: connect_headers.unwrap_or_default() }
}
