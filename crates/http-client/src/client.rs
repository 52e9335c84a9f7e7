//! The client: connections through proxies and TLS, and requests with credentials and headers.
//!
//! - [`HttpClient::connect`], [`HttpClient::decorate`]: for those who keep a connection of their own.
//! - [`HttpClient::send`]: one request and its whole answer, over connections that are kept.
//! - [`HttpClient::exchange`]: the same, with the body as it comes: an [`Exchange`].
//!
//! ```text
//! URL ─▶ proxy? ─▶ TCP ─▶ TLS to the proxy? ─▶ CONNECT? ─▶ TLS? ─▶ Connection
//! ```
//!
//! Rule: the caller limits the time; bytes are limited here.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::header::{AUTHORIZATION, HOST, HeaderMap, LOCATION, USER_AGENT};
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri};

use crate::auth::Authenticator;
use crate::config::{HttpClientConfig, ProxyScheme, ProxyUrl, TlsConfig};
use crate::connection::{Connection, Route, SendFailure};
use crate::error::ClientError;
use crate::file::sensitive;
use crate::proxy::{EnvironmentProxies, authorization, choose, tunnel};
use crate::stream::{Connector, Stream, TcpConnector};
use crate::tls::Tls;

/// Redirects that are followed for one request, as Go's client does.
pub const MAX_REDIRECTS: usize = 10;

/// Connections of a client that rest until the next request, as many as ask at once in a busy adapter; more are
/// closed.
const MAX_IDLE_CONNECTIONS: usize = 16;

/// What is the same for all clients of a process.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// Opens connections.
    pub connector: Arc<dyn Connector>,
    /// What we call ourselves to servers.
    pub user_agent: HeaderValue,
    /// The proxies that the environment names.
    pub environment: EnvironmentProxies,
}

impl Default for ClientOptions {
    fn default() -> Self {
        let user_agent = HeaderValue::from_static(concat!("Crescendo/", env!("CARGO_PKG_VERSION")));
        Self { connector: Arc::new(TcpConnector), user_agent, environment: EnvironmentProxies::default() }
    }
}

/// A server: where a connection leads to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// Whether TLS is spoken to it.
    pub https: bool,
    /// Its host, an IPv6 address without brackets.
    pub host: String,
    /// Its port.
    pub port: u16,
}

impl Endpoint {
    /// The server of an absolute URL.
    ///
    /// # Errors
    ///
    /// [`ClientError::Url`]: it is none, or of another scheme than `http` and `https`.
    pub fn of(url: &Uri) -> Result<Self, ClientError> {
        let invalid = || ClientError::Url(url.to_string());
        let https = match url.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(invalid()),
        };
        let authority = url.authority().ok_or_else(invalid)?;
        let named = authority.as_str().rsplit_once('@').map_or(authority.as_str(), |(_, named)| named);
        let port = match named.strip_prefix(authority.host()) {
            Some("" | ":") => Some(if https { 443 } else { 80 }),
            Some(rest) => rest.strip_prefix(':').and_then(|port| port.parse().ok()),
            None => None,
        };
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        if host.is_empty() { Err(invalid()) } else { Ok(Self { https, host, port: port.ok_or_else(invalid)? }) }
    }

    /// Host and port, as they stand in a URL.
    #[must_use]
    pub fn address(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// Whether credentials for this server may go to another that it redirects to: the same host, and
    /// never from TLS to plain.
    #[must_use]
    pub fn trusts(&self, other: &Self) -> bool {
        let same_port = self.port == other.port || (!self.https && other.https);
        self.host.eq_ignore_ascii_case(&other.host) && same_port && (other.https || !self.https)
    }
}

/// Sends requests as a configuration says.
pub struct HttpClient {
    config: HttpClientConfig,
    options: ClientOptions,
    tls: Tls,
    /// For proxies that are spoken to over TLS: they are checked against the same authorities.
    proxy_tls: Tls,
    auth: Authenticator,
    idle: Mutex<Vec<Connection>>,
}

impl fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpClient").field("config", &self.config).finish_non_exhaustive()
    }
}

impl HttpClient {
    /// A client without connections. Files are read when they are needed, so nothing can fail here.
    #[must_use]
    pub fn new(config: HttpClientConfig, options: ClientOptions) -> Self {
        let tls = Tls::new(config.tls.clone());
        let proxy_tls = Tls::new(TlsConfig { server_name: None, ..config.tls.clone() });
        let auth = Authenticator::new(config.auth.clone(), &options);
        Self { config, options, tls, proxy_tls, auth, idle: Mutex::new(Vec::new()) }
    }

    /// Whether redirects are followed.
    #[must_use]
    pub const fn follows_redirects(&self) -> bool {
        self.config.follow_redirects
    }

    /// Opens a connection to a server, through the proxy that leads to it.
    ///
    /// # Errors
    ///
    /// See [`ClientError`].
    pub async fn connect(&self, endpoint: &Endpoint) -> Result<Connection, ClientError> {
        let Some(proxy) = choose(&self.config.proxy, &self.options.environment, endpoint) else {
            let stream = self.open(&endpoint.host, endpoint.port).await?;
            return self.secured(stream, endpoint, Route::Direct).await;
        };
        let mut stream = self.open(&proxy.host, proxy.port).await?;
        if proxy.scheme == ProxyScheme::Https {
            stream = self.proxy_tls.wrap(stream, &proxy.host).await?;
        }
        if endpoint.https {
            tunnel(&mut stream, &self.config.proxy, proxy, endpoint).await?;
            return self.secured(stream, endpoint, Route::Direct).await;
        }
        self.secured(stream, endpoint, Route::Proxy(proxy_credentials(proxy)?)).await
    }

    async fn open(&self, host: &str, port: u16) -> Result<Box<dyn Stream>, ClientError> {
        let failed = |source| ClientError::Connect { address: format!("{host}:{port}"), source };
        self.options.connector.connect(host, port).await.map_err(failed)
    }

    async fn secured(
        &self,
        mut stream: Box<dyn Stream>,
        endpoint: &Endpoint,
        route: Route,
    ) -> Result<Connection, ClientError> {
        if endpoint.https {
            stream = self.tls.wrap(stream, &endpoint.host).await?;
        }
        Ok(Connection::new(stream, endpoint.clone(), route))
    }

    /// Adds what the configuration says to the headers of a request, and what every request has. Headers
    /// that are there already stay. Credentials only where the server is `trusted`.
    ///
    /// # Errors
    ///
    /// A file cannot be read, no token is given, or a value cannot stand in a header.
    pub async fn decorate(&self, url: &Uri, headers: &mut HeaderMap, trusted: bool) -> Result<(), ClientError> {
        let authority = url.authority().map_or("", http::uri::Authority::as_str);
        let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        let invalid = |_invalid| ClientError::Url(url.to_string());
        headers.insert(HOST, HeaderValue::from_str(host).map_err(invalid)?);
        headers.entry(USER_AGENT).or_insert_with(|| self.options.user_agent.clone());
        if !trusted {
            headers.remove(AUTHORIZATION);
            return Ok(());
        }
        for header in &self.config.headers {
            headers.remove(&header.name);
            for value in &header.values {
                let value = sensitive(value.read().await?.expose(), "http_headers")?;
                headers.append(&header.name, value);
            }
        }
        if !headers.contains_key(AUTHORIZATION)
            && let Some(value) = self.auth.header().await?
        {
            headers.insert(AUTHORIZATION, value);
        }
        Ok(())
    }

    /// Sends a request to its absolute URL and reads the whole answer, at most `max_bytes` of body.
    /// Redirects of a GET are followed where the configuration says so; others are the answer.
    ///
    /// # Errors
    ///
    /// See [`ClientError`]. An answer with any status is no error.
    pub async fn send(&self, request: Request<Bytes>, max_bytes: usize) -> Result<Response<Bytes>, ClientError> {
        let (mut parts, body) = request.into_parts();
        let first = Endpoint::of(&parts.uri)?;
        for _ in 0..=MAX_REDIRECTS {
            let endpoint = Endpoint::of(&parts.uri)?;
            let mut headers = parts.headers.clone();
            self.decorate(&parts.uri, &mut headers, endpoint == first || first.trusts(&endpoint)).await?;
            let mut request = Request::new(body.clone());
            (*request.method_mut(), *request.uri_mut()) = (parts.method.clone(), parts.uri.clone());
            *request.headers_mut() = headers;
            let answer = self.begin(&endpoint, &request).await?.whole(max_bytes).await?;
            let Some(location) = redirect_location(&answer).filter(|_| parts.method == Method::GET) else {
                return Ok(answer);
            };
            if !self.config.follow_redirects {
                return Err(ClientError::Redirect { location, reason: "`follow_redirects` is false" });
            }
            parts.uri = resolve(&parts.uri, &location)?;
        }
        Err(ClientError::Redirect { location: parts.uri.to_string(), reason: "too many redirects" })
    }

    /// Sends a request to its absolute URL, and gives the answer as it comes. Redirects are answers.
    ///
    /// # Errors
    ///
    /// See [`ClientError`]. An answer with any status is no error.
    pub async fn exchange(&self, request: Request<Bytes>) -> Result<Exchange<'_>, ClientError> {
        let (mut parts, body) = request.into_parts();
        let endpoint = Endpoint::of(&parts.uri)?;
        self.decorate(&parts.uri, &mut parts.headers, true).await?;
        self.begin(&endpoint, &Request::from_parts(parts, body)).await
    }

    /// Reads the files that connections and requests need, as they are now, so that what is wrong with them is
    /// found before the first request. A token that a server gives is not asked for.
    ///
    /// # Errors
    ///
    /// A file cannot be read, or does not hold what it should.
    pub async fn check(&self) -> Result<(), ClientError> {
        self.tls.settings().await?;
        if !matches!(self.auth, Authenticator::OAuth2(_)) {
            self.auth.header().await?;
        }
        Ok(())
    }

    /// Sends over a connection that rests, or a new one.
    async fn begin(&self, endpoint: &Endpoint, request: &Request<Bytes>) -> Result<Exchange<'_>, ClientError> {
        while let Some(mut connection) = self.take_idle(endpoint) {
            match connection.try_send(request).await {
                Ok(response) => return Ok(Exchange::new(self, connection, response)),
                // The server closed it while it rested.
                Err(SendFailure { error, is_unsent }) if !is_unsent && request.method() != Method::GET => {
                    return Err(ClientError::Exchange(error));
                }
                Err(_) => {}
            }
        }
        let mut connection = self.connect(endpoint).await?;
        let response = connection.send(request).await?;
        Ok(Exchange::new(self, connection, response))
    }

    fn take_idle(&self, endpoint: &Endpoint) -> Option<Connection> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.iter().position(|kept| kept.leads_to(endpoint)).map(|index| idle.swap_remove(index))
    }
}

/// An answer whose body is still to come. Dropped before the end of it, it closes its connection.
#[derive(Debug)]
pub struct Exchange<'a> {
    client: &'a HttpClient,
    connection: Connection,
    parts: http::response::Parts,
}

impl<'a> Exchange<'a> {
    fn new(client: &'a HttpClient, connection: Connection, response: Response<()>) -> Self {
        let (parts, ()) = response.into_parts();
        Self { client, connection, parts }
    }

    /// The status.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        self.parts.status
    }

    /// The headers.
    #[must_use]
    pub const fn headers(&self) -> &HeaderMap {
        &self.parts.headers
    }

    /// The next bytes of the body; none at its end.
    ///
    /// # Errors
    ///
    /// [`ClientError::Exchange`]: the body broke off.
    pub async fn data(&mut self) -> Result<Option<Bytes>, ClientError> {
        Ok(self.connection.data(usize::MAX).await?.map(Bytes::copy_from_slice))
    }

    /// After the end of the body: keeps the connection for the next request.
    pub fn finish(self) {
        if !self.connection.is_free() {
            return;
        }
        let mut idle = self.client.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < MAX_IDLE_CONNECTIONS {
            idle.push(self.connection);
        }
    }

    async fn whole(mut self, max_bytes: usize) -> Result<Response<Bytes>, ClientError> {
        let mut bytes = Vec::new();
        while let Some(data) = self.connection.data(usize::MAX).await? {
            if bytes.len().saturating_add(data.len()) > max_bytes {
                return Err(ClientError::Body(format!("larger than {max_bytes} bytes").into()));
            }
            bytes.extend_from_slice(data);
        }
        let parts = self.parts.clone();
        self.finish();
        Ok(Response::from_parts(parts, Bytes::from(bytes)))
    }
}

fn proxy_credentials(proxy: &ProxyUrl) -> Result<Option<HeaderValue>, ClientError> {
    authorization(proxy).map(|text| sensitive(&text, "Proxy-Authorization")).transpose()
}

/// Where an answer leads, if it is a redirect that says so.
#[must_use]
pub fn redirect_location<B>(response: &Response<B>) -> Option<String> {
    let redirects = matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308);
    let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok())?;
    (redirects && !location.is_empty()).then(|| location.to_owned())
}

/// The URL that a redirect names.
///
/// # Errors
///
/// It is neither an HTTP URL nor an absolute path, or has credentials.
pub fn resolve(from: &Uri, location: &str) -> Result<Uri, ClientError> {
    let refuse = |reason| ClientError::Redirect { location: location.to_owned(), reason };
    let uri: Uri = location.parse().map_err(|_invalid| refuse("location is no URL"))?;
    match uri.scheme_str() {
        None if location.starts_with('/') => {}
        Some("http" | "https") => {}
        _ => return Err(refuse("location is neither an http URL nor an absolute path")),
    }
    let mut parts = from.clone().into_parts();
    let named = uri.into_parts();
    if named.authority.as_ref().is_some_and(|authority| authority.as_str().contains('@')) {
        return Err(refuse("location has credentials"));
    }
    parts.scheme = named.scheme.or(parts.scheme);
    parts.authority = named.authority.or(parts.authority);
    parts.path_and_query = named.path_and_query.or_else(|| Some(http::uri::PathAndQuery::from_static("/")));
    Uri::from_parts(parts).map_err(|_invalid| refuse("location is no URL"))
}
