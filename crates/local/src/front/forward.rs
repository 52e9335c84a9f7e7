//! One request to one worker.
//!
//! - [`answer`]: what the front answers itself, and everything else by a worker.
//! - `Exchange`: the connection to a worker, driven by whoever waits for its answer or reads its body.
//!
//! Rule: nothing runs beside the request. Whoever drops it (a client that hangs up) closes the connection to
//! the worker with it.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{HOST, HeaderValue};
use http::{Method, Request, Response, StatusCode, Uri, Version};
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::client::conn::http1::{self, Connection};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::error::{FrontError, json};
use super::headers::{prepare_request, remove_hop_by_hop};
use super::{FrontBody, MAX_BUFFER_BYTES};
use crate::fleet::{Fleet, Lease};
use crate::metrics::RequestOutcome;

/// How long a connection to a worker may take. It is on this machine.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Answers one request.
pub(super) async fn answer(fleet: &Arc<Fleet>, request: Request<Incoming>, peer: SocketAddr) -> Response<FrontBody> {
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    let result = match request.uri().path() {
        _ if request.method() == Method::CONNECT => Err(FrontError::Tunnel),
        "/health" if is_read => return json(StatusCode::OK, r#"{"status":"ok"}"#.to_owned()),
        "/ready" if is_read => match fleet.snapshot().iter().any(|worker| worker.is_ready) {
            true => return json(StatusCode::OK, r#"{"status":"ready"}"#.to_owned()),
            false => Err(FrontError::NoReadyWorker),
        },
        "/metrics" if is_read => speak_for_all(fleet, request, peer).await,
        _ => {
            let result = hand_over(fleet, request, peer).await;
            let outcome = match &result {
                Ok(_) => Some(RequestOutcome::Answered),
                Err(error) => error.outcome(),
            };
            if let Some(outcome) = outcome {
                fleet.tally().request(outcome);
            }
            result
        }
    };
    result.unwrap_or_else(FrontError::response)
}

/// By the oldest worker that answers; also while none is ready, because metrics tell why.
async fn speak_for_all(
    fleet: &Fleet,
    request: Request<Incoming>,
    peer: SocketAddr,
) -> Result<Response<FrontBody>, FrontError> {
    let address = fleet.spokesman().ok_or(FrontError::NoReadyWorker)?;
    let stream = connect(address).await.ok_or(FrontError::Unreachable)?;
    exchange(stream, request, peer, None).await
}

/// By the ready worker with the fewest requests; by the next one where a connection is refused.
async fn hand_over(
    fleet: &Arc<Fleet>,
    request: Request<Incoming>,
    peer: SocketAddr,
) -> Result<Response<FrontBody>, FrontError> {
    let mut refused = Vec::new();
    loop {
        let Some(lease) = fleet.acquire(&refused) else {
            return Err(if refused.is_empty() { FrontError::NoReadyWorker } else { FrontError::Unreachable });
        };
        match connect(lease.address()).await {
            Some(stream) => return exchange(stream, request, peer, Some(lease)).await,
            None => refused.push(lease.worker()),
        }
    }
}

async fn connect(address: SocketAddr) -> Option<TcpStream> {
    match timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await {
        Ok(Ok(stream)) => {
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "no-delay could not be set");
            }
            Some(stream)
        }
        Ok(Err(error)) => {
            tracing::debug!(%address, %error, "worker refused the connection");
            None
        }
        Err(_elapsed) => {
            tracing::warn!(%address, "worker does not take the connection");
            None
        }
    }
}

async fn exchange(
    stream: TcpStream,
    mut request: Request<Incoming>,
    peer: SocketAddr,
    lease: Option<Lease>,
) -> Result<Response<FrontBody>, FrontError> {
    prepare(&mut request, peer);
    let failed = |error: hyper::Error| {
        tracing::warn!(%error, "worker did not answer");
        FrontError::WorkerFailed
    };
    let handshake = http1::Builder::new().max_buf_size(MAX_BUFFER_BYTES).handshake(TokioIo::new(stream));
    let (mut sender, connection) = handshake.await.map_err(failed)?;
    let mut exchange = Exchange { connection: Some(Box::pin(connection)), _lease: lease };
    let mut sending = std::pin::pin!(sender.send_request(request));
    let response = poll_fn(|context| {
        exchange.drive(context);
        sending.as_mut().poll(context)
    });
    let (mut head, body) = response.await.map_err(failed)?.into_parts();
    remove_hop_by_hop(&mut head.headers);
    head.version = Version::HTTP_11;
    Ok(Response::from_parts(head, ProxiedBody { body, exchange }.boxed_unsync()))
}

/// Makes a request that came to us one that goes to a worker.
fn prepare(request: &mut Request<Incoming>, peer: SocketAddr) {
    let authority = request.uri().authority().map(ToString::to_string);
    let path = request.uri().path_and_query().cloned();
    if let (Some(authority), Some(path)) = (authority, path) {
        // A request in absolute form: its target counts, not its `Host`.
        *request.uri_mut() = Uri::from(path);
        if let Ok(host) = HeaderValue::try_from(authority) {
            request.headers_mut().insert(HOST, host);
        }
    }
    if !request.headers().contains_key(HOST) {
        request.headers_mut().insert(HOST, HeaderValue::from_static("localhost"));
    }
    *request.version_mut() = Version::HTTP_11;
    prepare_request(request.headers_mut(), peer);
}

type WorkerConnection = Connection<TokioIo<TcpStream>, Incoming>;

/// The connection of one request, and the right to its worker.
struct Exchange {
    connection: Option<Pin<Box<WorkerConnection>>>,
    _lease: Option<Lease>,
}

impl Exchange {
    /// Moves bytes in both directions as far as they go now. What goes wrong is told by the request or the
    /// body that waits.
    fn drive(&mut self, context: &mut Context<'_>) {
        if let Some(connection) = &mut self.connection
            && connection.as_mut().poll(context).is_ready()
        {
            self.connection = None;
        }
    }
}

/// The body of an answer; holds the connection that it comes over.
struct ProxiedBody {
    body: Incoming,
    exchange: Exchange,
}

impl Body for ProxiedBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        self.exchange.drive(context);
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
