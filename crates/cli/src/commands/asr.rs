//! `crescendo asr`: the speech-recognition server.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use asr::Backend;
use asr::audio::AudioLimits;
use asr::server::{BoxError, Server, ServerConfig};
use asr::transcribe::{ComputeDevice, WhisperBackend, WhisperConfig};
use clap::Args;
use datamodel::time::{SystemClock, parse_duration};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::{Outcome, model};
use crate::printer::Printer;
use crate::signals;

/// Arguments of `asr`.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  crescendo asr --model tiny.en
  curl -F file=@speech.wav -F model=whisper-1 http://localhost:2269/v1/audio/transcriptions")]
pub struct AsrArgs {
    /// Where to listen; port 0 takes a free one.
    #[arg(long = "asr.listen-address", default_value = "0.0.0.0:2269")]
    listen_address: SocketAddr,
    /// A known model (see `crescendo model list`) or a folder in CTranslate2 or Hugging Face layout.
    #[arg(long, env = "ASR_MODEL_PATH", default_value = model::DEFAULT_MODEL)]
    model: String,
    /// The name under which clients see the model [default: that of the model or its folder].
    #[arg(long = "asr.model-id")]
    model_id: Option<String>,
    /// Where the model computes: `cpu`, or `cuda:N` in a build with the feature `cuda`.
    #[arg(long = "asr.device", default_value = "cpu", value_parser = device)]
    device: ComputeDevice,
    /// Threads that compute, for all requests together.
    #[arg(long = "asr.threads", default_value_t = 1)]
    threads: usize,
    /// Requests that compute at once.
    #[arg(long = "asr.max-concurrent-requests", default_value_t = ServerConfig::default().max_concurrent_requests)]
    max_concurrent_requests: usize,
    /// Accepted requests that may wait; above it 429 with Retry-After.
    #[arg(long = "asr.max-queued-requests", default_value_t = ServerConfig::default().max_queued_requests)]
    max_queued_requests: usize,
    /// The largest upload in bytes; above it 413.
    #[arg(long = "asr.max-upload-bytes", default_value_t = ServerConfig::default().max_upload_bytes)]
    max_upload_bytes: u64,
    /// The longest recording, as `2h`.
    #[arg(long = "asr.max-audio-duration", default_value = "2h", value_parser = parse_duration)]
    max_audio_duration: Duration,
    /// From acceptance to the answer; after it 504.
    #[arg(long = "asr.request-timeout", default_value = "5m", value_parser = parse_duration)]
    request_timeout: Duration,
    /// Open connections; further ones wait.
    #[arg(long = "asr.max-connections", default_value_t = ServerConfig::default().max_connections)]
    max_connections: usize,
    /// After it a connection is asked to close, so that clients meet new workers.
    #[arg(long = "asr.max-connection-age", default_value = "1m", value_parser = parse_duration)]
    max_connection_age: Duration,
    /// How long requests are still accepted after readiness has ended.
    #[arg(long = "asr.drain-delay", default_value = "1s", value_parser = parse_duration)]
    drain_delay: Duration,
    /// How long accepted requests may take to end after the signal to stop.
    #[arg(long = "asr.grace-period", default_value = "30s", value_parser = parse_duration)]
    grace_period: Duration,
    /// A file with API keys, one a line; without it everybody may ask.
    #[arg(long = "asr.api-keys-file")]
    api_keys_file: Option<PathBuf>,
    /// Certificate chain (PEM) for TLS; with the key.
    #[arg(long = "asr.tls-cert-file", requires = "tls_key_file")]
    tls_cert_file: Option<PathBuf>,
    /// Private key (PEM) for TLS.
    #[arg(long = "asr.tls-key-file", requires = "tls_cert_file")]
    tls_key_file: Option<PathBuf>,
    /// Value of the `pod` label of the metrics.
    #[arg(long = "asr.pod-name", env = "POD_NAME")]
    pod_name: Option<String>,
    /// NVIDIA's management library, for the GPU metrics.
    #[arg(long = "asr.nvml-library", default_value = "libnvidia-ml.so.1")]
    nvml_library: PathBuf,
    /// End when stdin ends: the supervisor of laptop mode holds its other end.
    #[arg(long, hide = true)]
    exit_with_stdin: bool,
}

fn device(text: &str) -> Result<ComputeDevice> {
    match text.split_once(':') {
        None if text == "cpu" => Ok(ComputeDevice::Cpu),
        None if text == "cuda" => Ok(ComputeDevice::Cuda(0)),
        Some(("cuda", ordinal)) => Ok(ComputeDevice::Cuda(ordinal.parse().context("not a number behind `cuda:`")?)),
        _ => bail!("expected `cpu` or `cuda:N`"),
    }
}

/// Serves until a signal comes.
///
/// # Errors
///
/// The settings, the model or the address cannot be used.
pub async fn run(args: AsrArgs, printer: Printer) -> Result<Outcome> {
    let whisper = whisper_config(&args)?;
    let load =
        move || -> Result<Arc<dyn Backend>, BoxError> { Ok(Arc::new(WhisperBackend::load(&whisper, &SystemClock)?)) };
    let exit_with_stdin = args.exit_with_stdin;
    let (bound, address) = oneshot::channel();
    let server = Server::new(server_config(args), Box::new(load))?.announce(bound);
    let shutdown = CancellationToken::new();
    let serve = server.run(shutdown.clone());
    let announce = async {
        if let Ok(address) = address.await {
            printer.data(&local::announcement(address))?;
        }
        signals::stop().await;
        shutdown.cancel();
        anyhow::Ok(())
    };
    tokio::select! {
        served = async { tokio::try_join!(async { serve.await.map_err(anyhow::Error::from) }, announce) } => {
            served?;
            Ok(Outcome::Fine)
        }
        () = supervisor_gone(), if exit_with_stdin => {
            tracing::warn!("the supervisor has gone: ending at once");
            Ok(Outcome::NotFine)
        }
    }
}

/// Ready when the other end of stdin is closed. A blocking read cannot be cancelled, so it has a thread of its
/// own, which ends with the process.
async fn supervisor_gone() {
    let (gone, ended) = oneshot::channel();
    let wait = move || {
        std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink()).ok();
        gone.send(()).ok();
    };
    match std::thread::Builder::new().name("supervisor-watch".to_owned()).spawn(wait) {
        Ok(_ends_with_the_process) => drop(ended.await),
        Err(error) => tracing::error!(%error, "cannot watch the supervisor: ending"),
    }
}

/// A folder as it is; a known name from the cache.
fn whisper_config(args: &AsrArgs) -> Result<WhisperConfig> {
    let given = PathBuf::from(&args.model);
    let (folder, id) = if given.is_dir() {
        let name = given.file_name().map_or_else(|| args.model.clone(), |name| name.to_string_lossy().into_owned());
        (given, name)
    } else {
        let found = model::store(None)?.locate(&args.model)?;
        let name = &args.model;
        (
            found.ok_or_else(|| anyhow!("model `{name}` is not here; `crescendo model pull {name}` fetches it"))?,
            name.clone(),
        )
    };
    Ok(WhisperConfig {
        folder,
        id: args.model_id.clone().unwrap_or(id),
        device: args.device,
        threads: args.threads,
        limits: AudioLimits { max_seconds: args.max_audio_duration.as_secs(), max_bytes: args.max_upload_bytes },
    })
}

fn server_config(args: AsrArgs) -> ServerConfig {
    let gpu_ordinal = match args.device {
        ComputeDevice::Cpu => 0,
        ComputeDevice::Cuda(ordinal) => ordinal,
    };
    ServerConfig {
        listen_address: args.listen_address,
        max_upload_bytes: args.max_upload_bytes,
        max_queued_requests: args.max_queued_requests,
        max_concurrent_requests: args.max_concurrent_requests,
        request_timeout: args.request_timeout,
        max_connections: args.max_connections,
        max_connection_age: args.max_connection_age,
        drain_delay: args.drain_delay,
        grace_period: args.grace_period,
        api_keys_file: args.api_keys_file,
        tls_cert_file: args.tls_cert_file,
        tls_key_file: args.tls_key_file,
        pod_name: args.pod_name.filter(|name| !name.is_empty()),
        nvml_library: args.nvml_library,
        visible_devices: std::env::var("CUDA_VISIBLE_DEVICES").ok(),
        gpu_ordinal,
        ..ServerConfig::default()
    }
}
