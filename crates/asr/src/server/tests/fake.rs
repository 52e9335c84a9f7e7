//! A backend without a model, and a server around it.
//!
//! - [`FakeBackend`]: does what the audio says. [`TestServer`]: a server on a free port.
//!
//! | audio | outcome |
//! |---|---|
//! | `say TEXT` | the text, as 2.5 s of audio |
//! | `block TEXT` | the same, once the test opens the gate; or cancelled |
//! | `noise` | not audio |
//! | `fail`, `panic` | a server's error |
//!
//! Rule: nothing here waits for time to pass, only for things to happen.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::super::{Loader, ServeError, Server, ServerConfig};
use super::client::{Client, Reply};
use crate::{
    AudioInput, Backend, CancelFlag, Languages, ModelInfo, Segment, TranscribeError, TranscribeOptions, Transcript,
    Word,
};

/// Counts the calls that stand at the gate, and those that were let through or cancelled.
#[derive(Debug, Default)]
pub(super) struct Gate {
    state: Mutex<GateState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct GateState {
    is_open: bool,
    cancelled: usize,
}

impl Gate {
    pub(super) fn open(&self) {
        self.state.lock().unwrap().is_open = true;
        self.changed.notify_all();
    }

    pub(super) fn cancelled(&self) -> usize {
        self.state.lock().unwrap().cancelled
    }

    fn pass(&self, cancel: &CancelFlag) -> Result<(), TranscribeError> {
        let mut state = self.state.lock().unwrap();
        while !state.is_open {
            if cancel.is_cancelled() {
                state.cancelled += 1;
                return Err(TranscribeError::Cancelled);
            }
            // As a model looks at the flag between two tokens.
            state = self.changed.wait_timeout(state, Duration::from_millis(2)).unwrap().0;
        }
        Ok(())
    }
}

#[derive(Debug)]
pub(super) struct FakeBackend {
    model: ModelInfo,
    gate: Arc<Gate>,
}

impl Backend for FakeBackend {
    fn model(&self) -> &ModelInfo {
        &self.model
    }

    fn transcribe(
        &self,
        audio: AudioInput,
        options: &TranscribeOptions,
        cancel: &CancelFlag,
    ) -> Result<Transcript, TranscribeError> {
        let order = String::from_utf8_lossy(&audio.encoded).into_owned();
        let text = match order.split_once(' ').unwrap_or((&order, "")) {
            ("say", text) => text,
            ("block", text) => {
                self.gate.pass(cancel)?;
                text
            }
            ("options", _) => return Ok(transcript(&format!("{options:?}"))),
            ("fail", _) => return Err(TranscribeError::Internal { source: "out of luck".into() }),
            ("panic", _) => panic!("as the test asked"),
            _ => return Err(TranscribeError::NotAudio),
        };
        Ok(transcript(text))
    }
}

fn transcript(text: &str) -> Transcript {
    let segment = Segment {
        id: 0,
        start_seconds: 0.0,
        end_seconds: 2.5,
        text: format!(" {text}"),
        tokens: vec![1],
        avg_logprob: -0.5,
        compression_ratio: 1.0,
        no_speech_prob: 0.0,
        temperature: 0.0,
    };
    Transcript {
        text: text.to_owned(),
        language: "en".to_owned(),
        duration_seconds: 2.5,
        segments: vec![segment],
        words: vec![Word { word: text.to_owned(), start_seconds: 0.5, end_seconds: 1.0 }],
    }
}

/// A server on a free port of the loopback.
#[derive(Debug)]
pub(super) struct TestServer {
    pub(super) address: SocketAddr,
    pub(super) gate: Arc<Gate>,
    pub(super) shutdown: CancellationToken,
    running: JoinSet<Result<(), ServeError>>,
}

/// Settings for tests: no delays, a free port, no GPU of this machine.
pub(super) fn config() -> ServerConfig {
    ServerConfig {
        listen_address: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        drain_delay: Duration::ZERO,
        nvml_library: "/nowhere/libnvidia-ml.so.1".into(),
        ..ServerConfig::default()
    }
}

impl TestServer {
    /// A server that is ready.
    pub(super) async fn start(config: ServerConfig) -> Self {
        let (server, loader) = Self::loading(config).await;
        loader.send(Ok(())).unwrap();
        server.until_ready().await;
        server
    }

    /// A server whose model is loaded when the test says so, or fails to.
    pub(super) async fn loading(config: ServerConfig) -> (Self, oneshot::Sender<Result<(), &'static str>>) {
        let gate = Arc::new(Gate::default());
        let model = ModelInfo {
            id: "tiny.en".to_owned(),
            device: "cpu".to_owned(),
            load_seconds: 0.25,
            languages: Languages::English,
        };
        let backend = FakeBackend { model, gate: Arc::clone(&gate) };
        let (go, gone) = oneshot::channel::<Result<(), &'static str>>();
        let load: Loader = Box::new(move || {
            gone.blocking_recv().unwrap_or(Err("the test ended"))?;
            Ok(Arc::new(backend) as Arc<dyn Backend>)
        });
        let (announce, bound) = oneshot::channel();
        let shutdown = CancellationToken::new();
        let server = Server::new(config, load).unwrap().announce(announce);
        let mut running = JoinSet::new();
        running.spawn(server.run(shutdown.clone()));
        let address = bound.await.unwrap();
        (Self { address, gate, shutdown, running }, go)
    }

    pub(super) async fn client(&self) -> Client {
        Client::connect(self.address).await
    }

    /// Asks until the server says it is ready.
    pub(super) async fn until_ready(&self) {
        self.until("/ready", |reply| reply.status == 200).await;
    }

    /// Asks until the page of metrics has this line.
    pub(super) async fn until_metric(&self, line: &str) {
        self.until("/metrics", |reply| reply.body.lines().any(|present| present == line)).await;
    }

    /// Asks until the answer is the expected one; each time on a new connection, as they may end.
    async fn until(&self, path: &str, is_expected: impl Fn(&Reply) -> bool) {
        let asked = async {
            loop {
                let reply = self.client().await.get(path).await;
                if is_expected(&reply) {
                    return;
                }
            }
        };
        // Ends a test that would never end; no test waits for it.
        timeout(Duration::from_secs(20), asked).await.unwrap();
    }

    /// Waits for the end of a server that ends by itself or was told to.
    pub(super) async fn ended(mut self) -> Result<(), ServeError> {
        self.running.join_next().await.unwrap().unwrap()
    }

    pub(super) async fn stop(self) {
        self.shutdown.cancel();
        self.ended().await.unwrap();
    }
}
