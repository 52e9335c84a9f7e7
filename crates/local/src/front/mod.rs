//! The public address: takes requests and hands each to a worker.
//!
//! - [`Front`]: accepts, bounds, drains.
//! - `forward`: one request to one worker, bodies streamed in both directions.
//! - `headers`: what belongs to one connection and is not passed on.
//! - `error`: answers of our own, in the form of `OpenAI`'s API.
//!
//! ```text
//! client ──keep-alive──▶ Front ──a connection for each request──▶ worker
//! ```
//!
//! A connection for each request costs some 0.1 ms on the loopback, against requests of 100 ms and more,
//! and spares the one failure that cannot be told from a worker's: an idle connection that the worker closes
//! while a request is under way to it.
//!
//! `/health` and `/ready` are answered for the fleet; `/metrics` is that of the oldest ready worker.
//!
//! Rule: once a byte of a request was sent to a worker, the request is that worker's; it is never sent again.

mod error;
mod forward;
mod headers;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::fleet::Fleet;

/// Connections at once; more wait in the listener's queue. With 64 KiB of buffers each 64 MiB.
const MAX_CONNECTIONS: usize = 1_024;
/// Bytes that are buffered for a connection, and the longest head of a request.
const MAX_BUFFER_BYTES: usize = 64 * 1024;
/// How long the head of a request may take, counted from the answer before it: the time that an idle
/// connection is kept.
const HEAD_TIMEOUT: Duration = Duration::from_mins(2);
/// How long requests may take to end after shutdown has begun. As long as a leaving worker may take.
const DRAIN_TIMEOUT: Duration = Duration::from_mins(5);
/// After a connection could not be accepted: too many open files ends when others close theirs.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

pub(crate) type FrontBody = UnsyncBoxBody<Bytes, hyper::Error>;

/// The public address cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}")]
pub struct BindError {
    /// The address.
    pub address: SocketAddr,
    /// The cause.
    #[source]
    pub source: io::Error,
}

/// Takes requests for all workers.
#[derive(Debug)]
pub struct Front {
    listener: TcpListener,
    fleet: Arc<Fleet>,
}

impl Front {
    /// Listens; port 0 takes a free one.
    ///
    /// # Errors
    ///
    /// The address is in use, or not ours.
    pub async fn bind(address: SocketAddr, fleet: Arc<Fleet>) -> Result<Self, BindError> {
        let listener = TcpListener::bind(address).await.map_err(|source| BindError { address, source })?;
        Ok(Self { listener, fleet })
    }

    /// The address that was taken.
    ///
    /// # Errors
    ///
    /// The system does not say.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Takes requests until shutdown, then waits for those that it has.
    pub async fn run(self, shutdown: CancellationToken) {
        let mut connections = JoinSet::new();
        let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        loop {
            let place = Arc::clone(&places).acquire_owned();
            let accepted = tokio::select! {
                () = shutdown.cancelled() => break,
                Some(ended) = connections.join_next() => {
                    log_panic(&ended);
                    continue;
                }
                accepted = async { (place.await, self.listener.accept().await) } => accepted,
            };
            match accepted {
                (Ok(place), Ok((stream, peer))) => {
                    let serving = serve(stream, peer, Arc::clone(&self.fleet), shutdown.clone());
                    connections.spawn(async move {
                        serving.await;
                        drop(place);
                    });
                }
                (_, Err(error)) => {
                    tracing::warn!(%error, "connection could not be accepted");
                    sleep(ACCEPT_PAUSE).await;
                }
                // The semaphore is never closed.
                (Err(_closed), Ok(_)) => break,
            }
        }
        drop(self.listener);
        let all_ended = async {
            while let Some(ended) = connections.join_next().await {
                log_panic(&ended);
            }
        };
        if timeout(DRAIN_TIMEOUT, all_ended).await.is_err() {
            tracing::warn!(connections = connections.len(), "requests are cut: they did not end in time");
            connections.shutdown().await;
        }
    }
}

fn log_panic(ended: &Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a connection failed");
    }
}

async fn serve(stream: TcpStream, peer: SocketAddr, fleet: Arc<Fleet>, shutdown: CancellationToken) {
    // Answers are small and come in one piece; waiting for more to send gains nothing.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "no-delay could not be set");
    }
    let service = service_fn(move |request| {
        let fleet = Arc::clone(&fleet);
        async move { Ok::<_, std::convert::Infallible>(forward::answer(&fleet, request, peer).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_BUFFER_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "connection ended");
    }
}
