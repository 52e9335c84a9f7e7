//! Whether a worker takes requests.
//!
//! Rule: only an answer says yes or no; silence says nothing, and how much of it is too much is for the
//! supervisor to decide.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::BoxFuture;

/// How long an answer may take. `/ready` is answered from memory.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);

/// What a probe found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// It takes requests.
    Ready,
    /// It says that it does not.
    NotReady,
    /// It does not answer.
    NoAnswer,
}

/// Asks workers whether they take requests.
pub trait Probe: Send + Sync + fmt::Debug {
    /// Asks the worker at this address.
    fn probe(&self, address: SocketAddr) -> BoxFuture<'_, Readiness>;
}

/// Asks `GET /ready`: 200 is yes, every other answer no.
#[derive(Clone, Copy, Debug, Default)]
pub struct HttpProbe;

impl Probe for HttpProbe {
    fn probe(&self, address: SocketAddr) -> BoxFuture<'_, Readiness> {
        Box::pin(async move {
            match tokio::time::timeout(PROBE_TIMEOUT, ask(address)).await {
                Ok(Some(StatusCode::OK)) => Readiness::Ready,
                Ok(Some(_)) => Readiness::NotReady,
                Ok(None) | Err(_) => Readiness::NoAnswer,
            }
        })
    }
}

async fn ask(address: SocketAddr) -> Option<StatusCode> {
    let stream = TcpStream::connect(address).await.ok()?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.ok()?;
    let request = Request::get("/ready").header(http::header::HOST, address.to_string());
    let request = request.body(Empty::<Bytes>::new()).ok()?;
    let answer = sender.send_request(request);
    tokio::pin!(answer, connection);
    tokio::select! {
        biased;
        answer = &mut answer => answer.ok().map(|answer| answer.status()),
        _ended = connection => answer.await.ok().map(|answer| answer.status()),
    }
}
