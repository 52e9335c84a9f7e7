//! Connections: accepted, bounded in number, age and patience, and closed in order.
//!
//! - [`Connections`]: the accept loop and its connections.
//! - [`Farewell`]: tells a request whether its answer should say `Connection: close`.
//!
//! ```text
//! accept ─▶ [TLS] ─▶ requests … ─ age reached ─▶ next answer says close ─▶ closed
//!                                └ idle at the age, or draining: closed after a moment
//! ```
//!
//! Rule: only silence closes a connection without a word: an answer always says `Connection: close`
//! before, so that no client sends into a closing connection.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower_service::Service;

use super::config::ServerConfig;
use super::reload::Reloaded;

/// A request's headers, and a connection's read buffer: 64 KiB is eight times what clients send.
const MAX_BUFFER_BYTES: usize = 64 * 1024;

/// A client on another continent needs under one second.
const TLS_HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Between a connection's age and its closing while idle: who uses it within this time gets an answer
/// that says `Connection: close`.
const IDLE_FAREWELL: Duration = Duration::from_secs(5);

/// After an error of `accept` (no file descriptors, mostly) a pause, so that it does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Tells a request whether its answer should be the connection's last.
#[derive(Clone, Debug)]
pub(crate) struct Farewell {
    age_ends: Instant,
    draining: CancellationToken,
}

impl Farewell {
    /// Whether the answer should say `Connection: close`.
    pub(crate) fn is_due(&self) -> bool {
        self.draining.is_cancelled() || Instant::now() >= self.age_ends
    }
}

/// The steps of a shutdown, each once.
#[derive(Clone, Debug, Default)]
pub(crate) struct ShutdownSteps {
    /// Answers say `Connection: close`.
    pub(crate) draining: CancellationToken,
    /// No new connection; idle ones are closed, busy ones after their answer.
    pub(crate) closing: CancellationToken,
    /// What is still open is cut.
    pub(crate) cutting: CancellationToken,
}

/// The listener and its connections.
#[derive(Debug)]
pub(crate) struct Connections {
    pub(crate) listener: TcpListener,
    pub(crate) tls: Option<Reloaded<TlsAcceptor>>,
    pub(crate) router: Router,
    pub(crate) steps: ShutdownSteps,
    pub(crate) max_connections: usize,
    pub(crate) max_age: Duration,
    pub(crate) header_read_timeout: Duration,
    /// The longest that a busy connection can need for its last request.
    pub(crate) last_request_limit: Duration,
}

impl Connections {
    pub(crate) fn new(
        config: &ServerConfig,
        listener: TcpListener,
        tls: Option<Reloaded<TlsAcceptor>>,
        router: Router,
        steps: ShutdownSteps,
    ) -> Self {
        Self {
            listener,
            tls,
            router,
            steps,
            max_connections: config.max_connections,
            max_age: config.max_connection_age,
            header_read_timeout: config.header_read_timeout,
            last_request_limit: config
                .header_read_timeout
                .saturating_add(config.body_read_timeout)
                .saturating_add(config.request_timeout)
                .saturating_add(IDLE_FAREWELL),
        }
    }

    /// Serves until the steps of a shutdown have been gone; returns when every connection is closed.
    pub(crate) async fn run(self) {
        let permits = Arc::new(Semaphore::new(self.max_connections));
        let mut open = JoinSet::new();
        let mut number: u32 = 0;
        loop {
            let accepted = tokio::select! {
                biased;
                () = self.steps.closing.cancelled() => break,
                Some(_) = open.join_next() => continue,
                accepted = accept(&self.listener, &permits) => accepted,
            };
            match accepted {
                Ok((stream, permit)) => {
                    number = number.wrapping_add(1);
                    let connection = self.connection(number);
                    let tls = self.tls.as_ref().map(Reloaded::get);
                    open.spawn(async move {
                        connection.serve(stream, tls).await;
                        drop(permit);
                    });
                }
                Err(error) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "cannot accept a connection");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop(self.listener);
        while open.join_next().await.is_some() {}
    }

    fn connection(&self, number: u32) -> Connection {
        let mut builder = http1::Builder::new();
        builder.timer(TokioTimer::new()).header_read_timeout(self.header_read_timeout).max_buf_size(MAX_BUFFER_BYTES);
        // The golden ratio spreads consecutive numbers evenly: 0 to 10 % less than the age.
        let spread = f64::from(number.wrapping_mul(0x9e37_79b9)) / f64::from(u32::MAX);
        Connection {
            builder,
            router: self.router.clone(),
            farewell: Farewell {
                age_ends: Instant::now() + self.max_age.mul_f64(1.0 - spread / 10.0),
                draining: self.steps.draining.clone(),
            },
            steps: self.steps.clone(),
            last_request_limit: self.last_request_limit,
        }
    }
}

async fn accept(listener: &TcpListener, permits: &Arc<Semaphore>) -> io::Result<(TcpStream, OwnedSemaphorePermit)> {
    let permit = Arc::clone(permits).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    // Fails when the client has gone already, which the connection will see.
    stream.set_nodelay(true).ok();
    Ok((stream, permit))
}

struct Connection {
    builder: http1::Builder,
    router: Router,
    farewell: Farewell,
    steps: ShutdownSteps,
    last_request_limit: Duration,
}

impl Connection {
    async fn serve(self, stream: TcpStream, tls: Option<Arc<TlsAcceptor>>) {
        let Some(tls) = tls else { return self.serve_http(stream).await };
        let handshake = timeout(TLS_HANDSHAKE_TIMEOUT, tls.accept(stream));
        let result = tokio::select! {
            result = handshake => result,
            () = self.steps.closing.cancelled() => return,
        };
        match result {
            Ok(Ok(stream)) => self.serve_http(stream).await,
            Ok(Err(error)) => tracing::debug!(error = &error as &dyn std::error::Error, "TLS handshake failed"),
            Err(_) => tracing::debug!("TLS handshake timed out"),
        }
    }

    async fn serve_http(self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        let Self { builder, router, farewell, steps, last_request_limit } = self;
        let idle_ends = farewell.age_ends + IDLE_FAREWELL;
        let service = service_fn(move |mut request: Request<hyper::body::Incoming>| {
            request.extensions_mut().insert(farewell.clone());
            // A router is always ready to be called.
            router.clone().call(request)
        });
        let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
        let ended = tokio::select! {
            result = connection.as_mut() => Some(result),
            () = sleep_until(idle_ends) => None,
            () = steps.closing.cancelled() => None,
        };
        let result = if let Some(result) = ended {
            result
        } else {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                result = connection.as_mut() => result,
                () = sleep(last_request_limit) => Ok(()),
                () = steps.cutting.cancelled() => Ok(()),
            }
        };
        if let Err(error) = result {
            tracing::debug!(error = &error as &dyn std::error::Error, "connection ended with an error");
        }
    }
}
