//! The HTTP client that configuration files describe: TLS, credentials, proxies, headers.
//!
//! - [`HttpClientConfig`]: what Prometheus calls `<http_config>`, checked; [`http_client_config`] reads it.
//! - [`http_url`]: the decoder of a URL that is asked.
//! - [`Secret`], [`SecretSource`]: what must not be shown.
//!
//! ```text
//! scrape job ─┐
//! http_sd ────┤
//! notifier ───┼─▶ HttpClientConfig
//! remote ─────┘
//! ```
//!
//! Rule: a secret never reaches a log, an error or a page.
#![forbid(unsafe_code)]

mod config;

pub use config::{
    AuthConfig, Authorization, BasicAuth, HeaderConfig, HttpClientConfig, OAuth2Config, ProxyConfig, ProxyScheme,
    ProxyUrl, ProxyUrlError, Secret, SecretSource, TlsConfig, TlsMaterial, TlsVersion, http_client_config, http_url,
};
