//! The Kubernetes API as JSON: what a kubelet and a test ask.
//!
//! Rule: an answer that is no success is an error that quotes it.

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http_client::kubeconfig::bearer;
use http_client::{ClientOptions, HttpClient, HttpClientConfig, Secret, SecretSource, TlsConfig, TlsMaterial};
use hyper::{Method, Request};
use serde_json::Value;

use super::pki::{Authority, Identity};

/// More than any answer has.
const MAX_BYTES: usize = 16 << 20;

/// A server that is asked by one identity.
#[derive(Debug)]
pub struct Api {
    base: String,
    client: HttpClient,
}

impl Api {
    /// For an address such as `https://10.96.0.1`.
    #[must_use]
    pub fn new(base: &str, authority: &Authority, identity: Option<&Identity>, token: Option<&str>) -> Self {
        Self::new_named(base, None, authority, identity, token)
    }

    /// As [`new`](Self::new), for a server that proves another name than that of its address.
    #[must_use]
    pub fn new_named(
        base: &str,
        name: Option<&str>,
        authority: &Authority,
        identity: Option<&Identity>,
        token: Option<&str>,
    ) -> Self {
        let material = |path: &std::path::Path| TlsMaterial::File(path.to_owned());
        let identity = identity.map(|own| (material(&own.certificate), material(&own.key)));
        let tls = TlsConfig {
            ca: Some(material(&authority.file)),
            identity,
            server_name: name.map(str::to_owned),
            ..TlsConfig::default()
        };
        let auth = token.map(|token| bearer(SecretSource::Inline(Secret::new(token))));
        let config = HttpClientConfig { auth, tls, ..HttpClientConfig::default() };
        Self { base: base.to_owned(), client: HttpClient::new(config, ClientOptions::default()) }
    }

    /// Sends a request; gives status and text.
    ///
    /// # Errors
    ///
    /// There is no answer.
    pub async fn send(&self, method: Method, path: &str, kind: &str, body: Bytes) -> Result<(u16, String)> {
        self.send_with(method, path, kind, body, &[]).await
    }

    /// As [`send`](Self::send), with further headers.
    ///
    /// # Errors
    ///
    /// There is no answer.
    pub async fn send_with(
        &self,
        method: Method,
        path: &str,
        kind: &str,
        body: Bytes,
        headers: &[(&str, &str)],
    ) -> Result<(u16, String)> {
        let request = Request::builder().method(method).uri(format!("{}{path}", self.base));
        let request = request.header("content-type", kind).header("accept", "application/json");
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let answer = self.client.send(request.body(body)?, MAX_BYTES).await?;
        Ok((answer.status().as_u16(), String::from_utf8_lossy(answer.body()).into_owned()))
    }

    async fn json(&self, method: Method, path: &str, kind: &str, body: Option<&Value>) -> Result<Value> {
        let text = body.map(Value::to_string).unwrap_or_default();
        let (status, text) = self.send(method, path, kind, Bytes::from(text)).await?;
        ensure!((200..300).contains(&status), "{path}: {status}: {text}");
        serde_json::from_str(&text).with_context(|| format!("{path}: not JSON: {text}"))
    }

    /// GET of an object or a list.
    ///
    /// # Errors
    ///
    /// It is refused.
    pub async fn get(&self, path: &str) -> Result<Value> {
        self.json(Method::GET, path, "application/json", None).await
    }

    /// POST of an object.
    ///
    /// # Errors
    ///
    /// It is refused.
    pub async fn create(&self, path: &str, object: &Value) -> Result<Value> {
        self.json(Method::POST, path, "application/json", Some(object)).await
    }

    /// PATCH of an object, by merging.
    ///
    /// # Errors
    ///
    /// It is refused.
    pub async fn merge(&self, path: &str, change: &Value) -> Result<Value> {
        self.json(Method::PATCH, path, "application/merge-patch+json", Some(change)).await
    }

    /// DELETE of an object.
    ///
    /// # Errors
    ///
    /// It is refused.
    pub async fn delete(&self, path: &str, options: &Value) -> Result<Value> {
        self.json(Method::DELETE, path, "application/json", Some(options)).await
    }
}
