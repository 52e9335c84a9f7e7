//! Files from a hub over HTTP.
//!
//! - [`download`]: one file, going on where an earlier attempt broke off.
//!
//! Rule: every wait has a bound; the content is judged by its hash, elsewhere.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::fs::OpenOptions;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

use super::error::SourceError;
use super::{Progress, ProgressSink};

/// Where there is no way to the hub, another source should be tried soon.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// The longest silence within an answer.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// The hub sends to its storage, which may send once more.
const MAX_REDIRECTS: usize = 5;
/// The largest file accepted: the large model has 3 GB.
const MAX_FILE_BYTES: u64 = 8 << 30;

/// Fetches `url` into `path`, behind what is there already.
pub(super) async fn download(
    url: &str,
    path: &Path,
    file: &str,
    progress: ProgressSink<'_>,
) -> Result<(), SourceError> {
    let write = |source| SourceError::Write { path: path.to_owned(), source };
    let have = path.metadata().map_or(0, |metadata| metadata.len());
    let mut connection = JoinSet::new();
    let response = get(url, have, &mut connection).await?;
    let status = response.status();
    let (mut received, resumed) = match status {
        StatusCode::PARTIAL_CONTENT if begins_at(response.headers(), have) => (have, true),
        StatusCode::OK => (0, false),
        // Nothing lies behind what we have: it is all there, and its hash will tell.
        StatusCode::RANGE_NOT_SATISFIABLE if have > 0 => return Ok(()),
        _ => return Err(SourceError::Status { url: url.to_owned(), status: status.as_u16() }),
    };
    let total = content_length(response.headers()).map(|length| received.saturating_add(length));
    if total.is_some_and(|total| total > MAX_FILE_BYTES) {
        return Err(SourceError::TooLarge { url: url.to_owned(), limit: MAX_FILE_BYTES });
    }
    let mut options = OpenOptions::new();
    options.create(true).append(resumed).write(true).truncate(!resumed);
    let mut target = options.open(path).await.map_err(write)?;
    let mut body = response.into_body();
    let outcome = loop {
        let frame = match tokio::time::timeout(IDLE_TIMEOUT, body.frame()).await {
            Ok(Some(Ok(frame))) => frame,
            Ok(None) => break Ok(()),
            Ok(Some(Err(error))) => break Err(error.into()),
            Err(elapsed) => break Err(elapsed.into()),
        };
        let Ok(data) = frame.into_data() else { continue };
        target.write_all(&data).await.map_err(write)?;
        received += data.len() as u64;
        if received > MAX_FILE_BYTES {
            return Err(SourceError::TooLarge { url: url.to_owned(), limit: MAX_FILE_BYTES });
        }
        progress(Progress::Received { file, bytes: received, total });
    };
    target.flush().await.map_err(write)?;
    target.sync_data().await.map_err(write)?;
    let broken = |source| SourceError::Transfer { url: url.to_owned(), bytes: received, source };
    match total {
        _ if outcome.is_err() => outcome.map_err(broken),
        Some(total) if total != received => Err(broken("the answer ended early".into())),
        _ => Ok(()),
    }
}

/// Asks for the file from byte `from` on, and follows redirects.
async fn get(url: &str, from: u64, connections: &mut JoinSet<()>) -> Result<Response<Incoming>, SourceError> {
    let mut target = parse(url)?;
    for _ in 0..=MAX_REDIRECTS {
        let response = request(&target, from, connections).await?;
        if !response.status().is_redirection() {
            return Ok(response);
        }
        let location = response.headers().get(header::LOCATION);
        let location = location.and_then(|location| location.to_str().ok()).unwrap_or_default();
        target = redirected(&target, location)?;
    }
    Err(SourceError::Address { url: url.to_owned(), reason: "too many redirects" })
}

/// Sends one request over a connection of its own, which ends when `connections` is dropped.
async fn request(target: &Uri, from: u64, connections: &mut JoinSet<()>) -> Result<Response<Incoming>, SourceError> {
    let invalid = |reason| SourceError::Address { url: target.to_string(), reason };
    let host = target.host().ok_or_else(|| invalid("no host"))?;
    let is_tls = target.scheme_str() == Some("https");
    let port = target.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
    let name = format!("{host}:{port}");
    let connect_error = |source| SourceError::Connect { host: name.clone(), source };
    // An IPv6 address stands in brackets.
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let connect = async {
        let stream = TcpStream::connect((bare, port)).await?;
        if !is_tls {
            return Ok(Stream::Plain(stream));
        }
        let server = ServerName::try_from(bare.to_owned()).map_err(std::io::Error::other)?;
        let connector = TlsConnector::from(tls_config()?);
        Ok(Stream::Tls(Box::new(connector.connect(server, stream).await?)))
    };
    let stream = tokio::time::timeout(CONNECT_TIMEOUT, connect)
        .await
        .map_err(|elapsed| connect_error(elapsed.into()))?
        .map_err(connect_error)?;
    let transfer =
        |error: hyper::Error| SourceError::Transfer { url: target.to_string(), bytes: from, source: error.into() };
    let mut sender = match stream {
        Stream::Plain(stream) => handshake(stream, connections).await,
        Stream::Tls(stream) => handshake(stream, connections).await,
    }
    .map_err(transfer)?;
    let mut request = Request::get(target.path_and_query().map_or("/", |path| path.as_str()))
        .header(header::HOST, target.authority().map_or(host, |authority| authority.as_str()))
        .header(header::USER_AGENT, concat!("crescendo/", env!("CARGO_PKG_VERSION")));
    if from > 0 {
        request = request.header(header::RANGE, format!("bytes={from}-"));
    }
    let request = request.body(Empty::new()).map_err(|_invalid| invalid("it cannot be a request"))?;
    match tokio::time::timeout(IDLE_TIMEOUT, sender.send_request(request)).await {
        Ok(response) => response.map_err(transfer),
        Err(elapsed) => Err(connect_error(elapsed.into())),
    }
}

/// A connection to the hub.
enum Stream {
    Plain(TcpStream),
    Tls(Box<tokio_rustls::client::TlsStream<TcpStream>>),
}

type Sender = hyper::client::conn::http1::SendRequest<Empty<Bytes>>;

async fn handshake<S>(stream: S, connections: &mut JoinSet<()>) -> Result<Sender, hyper::Error>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    connections.spawn(async move {
        // The request sees the same error.
        if let Err(error) = connection.await {
            tracing::debug!(%error, "connection to the hub ended");
        }
    });
    Ok(sender)
}

/// Trusts what the machine trusts, so that a company's own mirror works.
fn tls_config() -> std::io::Result<Arc<rustls::ClientConfig>> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(std::io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

fn parse(url: &str) -> Result<Uri, SourceError> {
    let invalid = |reason| SourceError::Address { url: url.to_owned(), reason };
    let uri: Uri = url.parse().map_err(|_invalid| invalid("it is no URL"))?;
    match uri.scheme_str() {
        Some("http" | "https") if uri.host().is_some() => Ok(uri),
        _ => Err(invalid("it must begin with http:// or https://")),
    }
}

/// The address that a redirect leads to; never from a protected connection to a plain one.
fn redirected(from: &Uri, location: &str) -> Result<Uri, SourceError> {
    let to = if location.starts_with('/') {
        let authority = from.authority().map_or("", |authority| authority.as_str());
        parse(&format!("{}://{authority}{location}", from.scheme_str().unwrap_or("https")))?
    } else {
        parse(location)?
    };
    if from.scheme_str() == Some("https") && to.scheme_str() != Some("https") {
        return Err(SourceError::Address { url: to.to_string(), reason: "it leads away from a protected connection" });
    }
    Ok(to)
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Whether a partial answer begins where it should: `Content-Range: bytes FROM-…`.
fn begins_at(headers: &HeaderMap, from: u64) -> bool {
    let range = headers.get(header::CONTENT_RANGE).and_then(|range| range.to_str().ok());
    let begin = range.and_then(|range| range.strip_prefix("bytes ")?.split('-').next());
    begin.and_then(|begin| begin.trim().parse().ok()) == Some(from)
}
