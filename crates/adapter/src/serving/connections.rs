//! Connections: accepted, bounded in number and patience, and closed in order.
//!
//! Rule: after shutdown no connection is accepted, and every request that runs gets its answer or its grace.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, Request};
use axum::response::Response;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use metrics_api::PeerCertificates;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower_service::Service;

use crate::watched::Watched;

/// Connections at once: kube-apiserver keeps some, and each client of ours one.
pub const MAX_CONNECTIONS: usize = 512;
/// How long a connection may be silent, as kube-apiserver's idle ones.
const READ_TIMEOUT: Duration = Duration::from_secs(90);
/// A client on another continent needs under one second.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// A request's head, and a connection's read buffer: the longest path with its selectors.
const MAX_BUFFER_BYTES: usize = 64 << 10;
/// After an error of `accept` (no file descriptors, mostly) a pause, so that it does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How a listener treats its connections.
#[derive(Clone, Copy, Debug)]
pub struct ServeOptions {
    /// What requests that run get after shutdown before they are cut.
    pub grace_period: Duration,
}

/// Serves until shutdown, and returns when every connection is closed.
pub async fn serve(
    listener: TcpListener,
    tls: Watched<ServerConfig>,
    router: Router,
    options: ServeOptions,
    shutdown: CancellationToken,
) {
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut open = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            Some(_ended) = open.join_next() => continue,
            accepted = accept(&listener, &permits) => accepted,
        };
        match accepted {
            Ok((stream, peer, permit)) => {
                let (router, shutdown) = (router.clone(), shutdown.clone());
                let acceptor = TlsAcceptor::from(tls.get());
                open.spawn(async move {
                    connection(stream, peer, acceptor, router, shutdown).await;
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
    if timeout(options.grace_period, all_answered).await.is_err() {
        tracing::warn!(connections = open.len(), "requests that still ran were cut");
        open.shutdown().await;
    }
}

async fn accept(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
) -> io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let permit = Arc::clone(permits).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    // Fails when the client has gone already, which the connection will see.
    stream.set_nodelay(true).ok();
    Ok((stream, peer, permit))
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    acceptor: TlsAcceptor,
    router: Router,
    shutdown: CancellationToken,
) {
    let handshake = tokio::select! {
        handshake = timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)) => handshake,
        () = shutdown.cancelled() => return,
    };
    let stream = match handshake {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            tracing::debug!(%peer, error = &error as &dyn std::error::Error, "TLS handshake failed");
            return;
        }
        Err(_elapsed) => {
            tracing::debug!(%peer, "TLS handshake timed out");
            return;
        }
    };
    let certificates = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let certificates = PeerCertificates(certificates.iter().map(|certificate| certificate.to_vec()).collect());
    let answer = move |mut request: Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        request.extensions_mut().insert(certificates.clone());
        let mut router = router.clone();
        // A router is always ready to be called.
        async move { Ok::<Response, Infallible>(router.call(request).await.unwrap_or_else(|never| match never {})) }
    };
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(READ_TIMEOUT).max_buf_size(MAX_BUFFER_BYTES);
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service_fn(answer)));
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(%peer, error = &error as &dyn std::error::Error, "connection ended with an error");
    }
}
