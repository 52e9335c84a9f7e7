//! The HTTP client that configuration files describe: TLS, credentials, proxies, headers.
//!
//! - [`HttpClientConfig`]: what Prometheus calls `<http_config>`, checked; [`http_client_config`] reads it.
//! - [`HttpClient`]: sends requests as such a configuration says.
//! - [`Connection`]: for those who keep one connection to one server.
//! - [`Connector`]: opens connections; tests put a server of their own behind it.
//! - [`kubeconfig`]: how Kubernetes' clients say where an API is and who they are.
//! - [`http_url`]: the decoder of a URL that is asked.
//!
//! ```text
//! scrape job ─┐
//! http_sd ────┤                           ┌─ proxy, TLS ─▶ Connection
//! notifier ───┼─▶ HttpClientConfig ─▶ HttpClient
//! remote ─────┘                           └─ credentials, headers
//! ```
//!
//! Rule: a secret never reaches a log, an error or a page.
#![forbid(unsafe_code)]

mod answer;
mod auth;
pub mod base64;
mod client;
mod config;
mod connection;
mod error;
mod file;
pub mod kubeconfig;
mod proxy;
mod stream;
mod tls;

pub use client::{ClientOptions, Endpoint, Exchange, HttpClient, MAX_REDIRECTS, redirect_location, resolve};
pub use config::{
    AuthConfig, Authorization, BasicAuth, HeaderConfig, HttpClientConfig, OAuth2Config, ProxyConfig, ProxyScheme,
    ProxyUrl, ProxyUrlError, Scheme, Secret, SecretSource, TlsConfig, TlsMaterial, TlsVersion, http_client_config,
    http_url, scheme,
};
pub use connection::Connection;
pub use error::{ClientError, ExchangeError};
pub use proxy::EnvironmentProxies;
pub use stream::{ConnectFuture, Connector, Stream, TcpConnector};

#[cfg(test)]
mod tests;
