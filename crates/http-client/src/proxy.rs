//! Which proxy leads to a server, and the tunnel through it.
//!
//! - [`EnvironmentProxies`]: what `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY` said at the start.
//! - [`choose`]: the proxy of a server. [`tunnel`]: `CONNECT`.
//!
//! Rule: exceptions are those of Go's clients: hosts, domains with all below them, addresses, networks.

use std::net::IpAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::base64::encode;
use crate::client::Endpoint;
use crate::config::{ProxyConfig, ProxyUrl};
use crate::error::ClientError;
use crate::stream::Stream;

/// Bytes of a proxy's answer to `CONNECT`.
const MAX_ANSWER_BYTES: usize = 16 * 1024;

/// The proxies that the environment of the process names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EnvironmentProxies {
    /// For `http` servers.
    pub http: Option<ProxyUrl>,
    /// For `https` servers.
    pub https: Option<ProxyUrl>,
    /// Servers that are reached directly.
    pub no_proxy: String,
}

impl EnvironmentProxies {
    /// Reads them by a function from name to value; a proxy that is none is left out.
    #[must_use]
    pub fn read(variable: impl Fn(&str) -> Option<String>) -> Self {
        let either = |upper: &str| {
            let set = |name: &str| variable(name).filter(|value| !value.is_empty());
            set(upper).or_else(|| set(&upper.to_lowercase()))
        };
        let proxy = |name| either(name).and_then(|url| url.parse().ok());
        Self {
            http: proxy("HTTP_PROXY"),
            https: proxy("HTTPS_PROXY"),
            no_proxy: either("NO_PROXY").unwrap_or_default(),
        }
    }
}

/// The proxy that leads to a server; none where it is reached directly.
pub(crate) fn choose<'a>(
    config: &'a ProxyConfig,
    environment: &'a EnvironmentProxies,
    endpoint: &Endpoint,
) -> Option<&'a ProxyUrl> {
    if config.from_environment {
        let proxy = if endpoint.https { &environment.https } else { &environment.http };
        return proxy.as_ref().filter(|_| !is_excepted(&environment.no_proxy, endpoint));
    }
    config.url.as_ref().filter(|_| config.no_proxy.is_empty() || !is_excepted(&config.no_proxy, endpoint))
}

/// Whether a server is reached without a proxy.
fn is_excepted(no_proxy: &str, endpoint: &Endpoint) -> bool {
    let host = endpoint.host.trim_end_matches('.').to_ascii_lowercase();
    let address: Option<IpAddr> = host.parse().ok();
    if host == "localhost" || address.is_some_and(|address| address.is_loopback()) {
        return true;
    }
    let excepts = |entry: &str| {
        if entry == "*" {
            return true;
        }
        if let Some((network, bits)) = entry.split_once('/') {
            return address.is_some_and(|address| in_network(address, network, bits));
        }
        let (name, port) = split_port(entry);
        if port.is_some_and(|port| port != endpoint.port) {
            return false;
        }
        if let Some(address) = address {
            return name.parse() == Ok(address);
        }
        match name.strip_prefix("*.").or_else(|| name.strip_prefix('.')) {
            Some(domain) => host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.')),
            None => host == name || host.strip_suffix(name).is_some_and(|rest| rest.ends_with('.')),
        }
    };
    let entries = no_proxy.split(',').map(|entry| entry.trim().to_ascii_lowercase());
    entries.filter(|entry| !entry.is_empty()).any(|entry| excepts(&entry))
}

/// Host and port of an exception; an IPv6 address has a port only behind brackets.
fn split_port(entry: &str) -> (&str, Option<u16>) {
    if let Some(rest) = entry.strip_prefix('[') {
        let (host, port) = rest.split_once(']').unwrap_or((rest, ""));
        return (host, port.strip_prefix(':').and_then(|port| port.parse().ok()));
    }
    match entry.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') => (host, port.parse().ok()),
        _ => (entry, None),
    }
}

fn in_network(address: IpAddr, network: &str, bits: &str) -> bool {
    let (Ok(network), Ok(bits)) = (network.parse::<IpAddr>(), bits.parse::<u32>()) else { return false };
    let (address, network, width) = match (address, network) {
        (IpAddr::V4(address), IpAddr::V4(network)) => {
            (u128::from(address.to_bits()), u128::from(network.to_bits()), 32)
        }
        (IpAddr::V6(address), IpAddr::V6(network)) => (address.to_bits(), network.to_bits(), 128),
        _ => return false,
    };
    // A shift by the whole width leaves nothing to compare.
    bits <= width && (address ^ network).checked_shr(width - bits).unwrap_or(0) == 0
}

/// The value of `Proxy-Authorization`, if the proxy's URL has credentials.
pub(crate) fn authorization(proxy: &ProxyUrl) -> Option<String> {
    let (user, password) = proxy.credentials.as_ref()?;
    Some(format!("Basic {}", encode(format!("{user}:{}", password.expose()).as_bytes())))
}

/// Asks a proxy for a tunnel to a server, over the connection to the proxy.
pub(crate) async fn tunnel(
    stream: &mut Box<dyn Stream>,
    config: &ProxyConfig,
    proxy: &ProxyUrl,
    endpoint: &Endpoint,
) -> Result<(), ClientError> {
    let address = endpoint.address();
    let refused = |reason: String| ClientError::Proxy {
        proxy: format!("{}:{}", proxy.host, proxy.port),
        address: address.clone(),
        reason,
    };
    let mut request = format!("CONNECT {address} HTTP/1.1\r\nHost: {address}\r\n");
    if let Some(authorization) = authorization(proxy) {
        request.push_str(&format!("Proxy-Authorization: {authorization}\r\n"));
    }
    for (name, values) in &config.connect_headers {
        for value in values {
            if value.expose().contains(['\r', '\n', '\0']) {
                return Err(ClientError::Header("proxy_connect_header"));
            }
            request.push_str(&format!("{name}: {}\r\n", value.expose()));
        }
    }
    request.push_str("\r\n");
    stream.write_all(request.as_bytes()).await.map_err(|error| refused(error.to_string()))?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        // Byte by byte: what follows belongs to the server behind the tunnel.
        let byte = stream.read_u8().await.map_err(|error| refused(error.to_string()))?;
        head.push(byte);
        if head.len() > MAX_ANSWER_BYTES {
            return Err(refused("its answer is too long".to_owned()));
        }
    }
    let head = String::from_utf8_lossy(&head);
    let status_line = head.lines().next().unwrap_or_default();
    let mut words = status_line.split(' ');
    let version = words.next().unwrap_or_default();
    match words.next() {
        Some("200") if version.starts_with("HTTP/1.") => Ok(()),
        _ => Err(refused(status_line.chars().take(100).collect())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(host: &str, port: u16) -> Endpoint {
        Endpoint { https: false, host: host.to_owned(), port }
    }

    #[test]
    fn exceptions_are_hosts_domains_addresses_and_networks() {
        for (no_proxy, host, port, expected) in [
            ("", "a.example", 80, false),
            ("", "localhost", 80, true),
            ("", "127.0.0.2", 80, true),
            ("", "::1", 80, true),
            ("*", "a.example", 80, true),
            ("example", "a.example", 80, true),
            ("example", "example", 80, true),
            ("example", "anexample", 80, false),
            (".example", "example", 80, false),
            (".example", "a.b.example", 80, true),
            ("*.example", "a.example", 80, true),
            ("x, A.Example ", "a.example.", 80, true),
            ("a.example:81", "a.example", 80, false),
            ("a.example:80", "a.example", 80, true),
            ("10.0.0.0/8", "10.1.2.3", 80, true),
            ("10.0.0.0/8", "11.1.2.3", 80, false),
            ("0.0.0.0/0", "11.1.2.3", 80, true),
            ("10.0.0.0/33", "10.0.0.0", 80, false),
            ("10.1.2.3", "10.1.2.3", 80, true),
            ("[fd00::1]:80", "fd00::1", 80, true),
            ("fd00::1", "fd00::1", 80, true),
            ("fd00::/8", "fd12::1", 80, true),
        ] {
            assert_eq!(is_excepted(no_proxy, &endpoint(host, port)), expected, "{no_proxy} {host}:{port}");
        }
    }

    #[test]
    fn environment_names_a_proxy_for_each_scheme() {
        let environment = EnvironmentProxies::read(|name| match name {
            "HTTP_PROXY" => Some("http://one:1".to_owned()),
            "https_proxy" => Some("two:2".to_owned()),
            "no_proxy" => Some("direct".to_owned()),
            _ => None,
        });
        let config = ProxyConfig { from_environment: true, ..ProxyConfig::default() };
        let chosen = |https, host: &str| {
            let endpoint = Endpoint { https, ..endpoint(host, 80) };
            choose(&config, &environment, &endpoint).map(|proxy| proxy.host.clone())
        };
        assert_eq!(chosen(false, "a").as_deref(), Some("one"));
        assert_eq!(chosen(true, "a").as_deref(), Some("two"));
        assert_eq!(chosen(true, "direct"), None);
        assert_eq!(chosen(false, "localhost"), None);
    }
}
