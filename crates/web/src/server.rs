//! A listener: connections accepted, bounded in number and patience, and closed in order.
//!
//! Rule: after shutdown no connection is accepted, and every request that runs gets its answer.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::response::Response;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tower_service::Service;

use crate::protection::Protection;

/// Connections at once, as upstream's `--web.max-connections`.
const MAX_CONNECTIONS: usize = 512;

/// How long a connection may be silent, as upstream's `--web.read-timeout`.
const READ_TIMEOUT: Duration = Duration::from_secs(300);

/// A request's head, and a connection's read buffer. Queries in a URL reach some 16 kB.
const MAX_BUFFER_BYTES: usize = 64 * 1024;

/// How long a handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// After an error of `accept` (no file descriptors, mostly) a pause, so that it does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Connections in memory that may wait to be served.
pub const MAX_WAITING_STREAMS: usize = 8;

/// How a listener treats its connections.
#[derive(Clone, Copy, Debug)]
pub struct ServeOptions {
    /// Connections at once; further ones wait in the kernel.
    pub max_connections: usize,
    /// How long a connection may be silent, or take for a request's head.
    pub read_timeout: Duration,
    /// What requests that run get after shutdown before they are cut; none: as long as they take.
    pub grace_period: Option<Duration>,
}

impl Default for ServeOptions {
    fn default() -> Self {
        Self { max_connections: MAX_CONNECTIONS, read_timeout: READ_TIMEOUT, grace_period: None }
    }
}

/// Serves until shutdown, and returns when the last request was answered or cut and every connection is
/// closed. Dropping the future cuts what is left. Connections speak TLS as the `protection` says; its users are
/// asked for by the router that it protects.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    protection: Option<Protection>,
    options: ServeOptions,
    shutdown: CancellationToken,
) {
    let permits = Arc::new(Semaphore::new(options.max_connections.max(1)));
    let mut open = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            Some(_ended) = open.join_next() => continue,
            accepted = accept(&listener, &permits) => accepted,
        };
        match accepted {
            Ok((stream, permit)) => {
                let (router, shutdown, protection) = (router.clone(), shutdown.clone(), protection.clone());
                open.spawn(async move {
                    protected(stream, router, protection, options.read_timeout, shutdown).await;
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "cannot accept a connection");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    let all_answered = async { while open.join_next().await.is_some() {} };
    match options.grace_period {
        None => all_answered.await,
        Some(grace_period) => {
            if timeout(grace_period, all_answered).await.is_err() {
                tracing::warn!(connections = open.len(), "requests that still ran were cut");
                open.shutdown().await;
            }
        }
    }
}

/// Serves connections in memory until shutdown, or until nobody can make any more. All of them may be cut: who asks is
/// this process.
pub async fn serve_streams(mut streams: mpsc::Receiver<DuplexStream>, router: Router, shutdown: CancellationToken) {
    let mut open = JoinSet::new();
    loop {
        let stream = tokio::select! {
            () = shutdown.cancelled() => break,
            Some(_ended) = open.join_next() => continue,
            stream = streams.recv() => stream,
        };
        let Some(stream) = stream else {
            shutdown.cancelled().await;
            break;
        };
        let (router, shutdown) = (router.clone(), shutdown.clone());
        open.spawn(connection(stream, router, READ_TIMEOUT, shutdown));
    }
    open.shutdown().await;
}

async fn accept(listener: &TcpListener, permits: &Arc<Semaphore>) -> io::Result<(TcpStream, OwnedSemaphorePermit)> {
    let permit = Arc::clone(permits).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    // Fails when the client has gone already, which the connection will see.
    stream.set_nodelay(true).ok();
    Ok((stream, permit))
}

/// Shakes hands, where the protection asks for it, and then serves.
async fn protected(
    stream: TcpStream,
    router: Router,
    protection: Option<Protection>,
    read_timeout: Duration,
    shutdown: CancellationToken,
) {
    let acceptor = match &protection {
        Some(protection) => protection.acceptor().await,
        None => None,
    };
    let Some(acceptor) = acceptor else { return connection(stream, router, read_timeout, shutdown).await };
    tokio::select! {
        shaken = timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)) => match shaken {
            Ok(Ok(stream)) => connection(stream, router, read_timeout, shutdown).await,
            Ok(Err(error)) => tracing::debug!(error = &error as &dyn std::error::Error, "TLS handshake failed"),
            Err(_elapsed) => tracing::debug!("TLS handshake took too long"),
        },
        () = shutdown.cancelled() => {}
    }
}

async fn connection(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    router: Router,
    read_timeout: Duration,
    shutdown: CancellationToken,
) {
    let answer = move |request: Request<hyper::body::Incoming>| {
        let mut router = router.clone();
        // A router is always ready to be called.
        async move { Ok::<Response, Infallible>(router.call(request).await.unwrap_or_else(|never| match never {})) }
    };
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(read_timeout).max_buf_size(MAX_BUFFER_BYTES);
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service_fn(answer)));
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(error = &error as &dyn std::error::Error, "connection ended with an error");
    }
}
