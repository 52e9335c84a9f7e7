//! Saying who the client is.
//!
//! - [`Authenticator`]: makes the `Authorization` header, from files that are read anew or from a token.
//!
//! ```text
//! OAuth 2.0: token still good? ─▶ use it
//!            └▶ ask its server, one request for all who wait ─▶ keep it until shortly before it ends
//! ```
//!
//! Rule: credentials go to the server that was configured, and to none that it redirects to.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Request, Response, StatusCode};
use tokio::sync::Mutex;
use tokio::time::Instant;
use yaml::Node;

use crate::base64::encode;
use crate::client::{ClientOptions, HttpClient};
use crate::config::{AuthConfig, Authorization, BasicAuth, HttpClientConfig, OAuth2Config, SecretSource};
use crate::error::ClientError;
use crate::file::sensitive;

/// How long before its end a token is replaced, as Go's client does.
const EXPIRES_EARLY: Duration = Duration::from_secs(10);

/// The most bytes of an answer with a token: those of large providers have some 4 KB.
const MAX_TOKEN_BYTES: usize = 64 * 1024;

/// Makes the `Authorization` header.
#[derive(Debug)]
pub(crate) enum Authenticator {
    /// No header.
    Nobody,
    Basic(BasicAuth),
    Authorization(Authorization),
    OAuth2(Box<TokenSource>),
}

impl Authenticator {
    pub(crate) fn new(config: Option<AuthConfig>, options: &ClientOptions) -> Self {
        match config {
            None => Self::Nobody,
            Some(AuthConfig::Basic(basic)) => Self::Basic(basic),
            Some(AuthConfig::Authorization(authorization)) => Self::Authorization(authorization),
            Some(AuthConfig::OAuth2(config)) => Self::OAuth2(Box::new(TokenSource::new(*config, options))),
        }
    }

    /// The header, if there is one.
    pub(crate) async fn header(&self) -> Result<Option<HeaderValue>, ClientError> {
        let text = match self {
            Self::Nobody => return Ok(None),
            Self::Basic(basic) => {
                let (username, password) = (read(basic.username.as_ref()).await?, read(basic.password.as_ref()).await?);
                format!("Basic {}", encode(format!("{username}:{password}").as_bytes()))
            }
            Self::Authorization(authorization) => {
                if authorization.credentials.is_none() {
                    return Ok(None);
                }
                format!("{} {}", authorization.scheme, read(authorization.credentials.as_ref()).await?)
            }
            // Boxed: a client of its own is behind it.
            Self::OAuth2(source) => format!("Bearer {}", Box::pin(source.token()).await?),
        };
        sensitive(&text, "Authorization").map(Some)
    }
}

async fn read(source: Option<&SecretSource>) -> Result<String, ClientError> {
    Ok(match source {
        None => String::new(),
        Some(source) => source.read().await?.expose().to_owned(),
    })
}

/// Gets tokens, and keeps the last one.
#[derive(Debug)]
pub(crate) struct TokenSource {
    config: OAuth2Config,
    client: HttpClient,
    kept: Mutex<Option<Token>>,
}

struct Token {
    text: String,
    /// The secret that it was given for.
    secret: String,
    /// None: it never ends.
    good_until: Option<Instant>,
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Token").field("good_until", &self.good_until).finish_non_exhaustive()
    }
}

impl TokenSource {
    fn new(config: OAuth2Config, options: &ClientOptions) -> Self {
        let client_config =
            HttpClientConfig { tls: config.tls.clone(), proxy: config.proxy.clone(), ..HttpClientConfig::default() };
        Self { config, client: HttpClient::new(client_config, options.clone()), kept: Mutex::new(None) }
    }

    async fn token(&self) -> Result<String, ClientError> {
        let secret = read(self.config.client_secret.as_ref()).await?;
        let mut kept = self.kept.lock().await;
        let is_good = |token: &&Token| {
            token.secret == secret && token.good_until.is_none_or(|good_until| Instant::now() < good_until)
        };
        if let Some(token) = kept.as_ref().filter(is_good) {
            return Ok(token.text.clone());
        }
        *kept = None;
        let token = self.ask(secret).await?;
        Ok(kept.insert(token).text.clone())
    }

    async fn ask(&self, secret: String) -> Result<Token, ClientError> {
        let asked_at = Instant::now();
        // The standard wants the header (RFC 6749, section 2.3.1); some servers know only the form.
        let mut answer = self.request(&secret, true).await?;
        if matches!(answer.status(), StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED) {
            answer = self.request(&secret, false).await?;
        }
        let failed = |reason: String| ClientError::Token { url: self.config.token_url.to_string(), reason };
        if !answer.status().is_success() {
            return Err(failed(format!("server answered {}", answer.status())));
        }
        let (text, lifetime) =
            parse(answer.body()).ok_or_else(|| failed("no `access_token` in its answer".to_owned()))?;
        let good_until = lifetime.and_then(|lifetime| asked_at.checked_add(lifetime.saturating_sub(EXPIRES_EARLY)));
        Ok(Token { text, secret, good_until })
    }

    async fn request(&self, secret: &str, in_header: bool) -> Result<Response<Bytes>, ClientError> {
        let config = &self.config;
        let mut form = vec![("grant_type".to_owned(), "client_credentials".to_owned())];
        if !config.scopes.is_empty() {
            form.push(("scope".to_owned(), config.scopes.join(" ")));
        }
        form.extend(config.endpoint_params.iter().cloned());
        let mut request = Request::post(config.token_url.clone())
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(ACCEPT, "application/json");
        if in_header {
            let identity = format!("{}:{}", escaped(&config.client_id), escaped(secret));
            let value = sensitive(&format!("Basic {}", encode(identity.as_bytes())), "Authorization")?;
            request = request.header(AUTHORIZATION, value);
        } else {
            form.push(("client_id".to_owned(), config.client_id.clone()));
            form.push(("client_secret".to_owned(), secret.to_owned()));
        }
        let pairs: Vec<String> =
            form.iter().map(|(name, value)| format!("{}={}", escaped(name), escaped(value))).collect();
        let url = config.token_url.to_string();
        let request = request.body(Bytes::from(pairs.join("&"))).map_err(|_invalid| ClientError::Url(url.clone()))?;
        let answer = self.client.send(request, MAX_TOKEN_BYTES).await;
        answer.map_err(|source| ClientError::TokenRequest { url, source: Box::new(source) })
    }
}

/// Token and lifetime out of an answer in JSON.
fn parse(answer: &[u8]) -> Option<(String, Option<Duration>)> {
    // JSON is YAML.
    let document = yaml::parse("token", std::str::from_utf8(answer).ok()?).ok()?;
    let text = |key: &str| document.root().get(key).and_then(Node::as_scalar).map(|scalar| scalar.text.to_string());
    let token = text("access_token").filter(|token| !token.is_empty())?;
    // Some servers write the number as a text.
    let lifetime = text("expires_in").and_then(|seconds| seconds.parse().ok()).filter(|seconds| *seconds > 0);
    Some((token, lifetime.map(Duration::from_secs)))
}

/// A text as forms and the credentials of OAuth 2.0 spell it.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b' ' => escaped.push('+'),
            byte if byte.is_ascii_alphanumeric() || b"-_.*".contains(&byte) => escaped.push(char::from(byte)),
            byte => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}
