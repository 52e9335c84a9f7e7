//! Transcribes recordings and measures the cost: processor time, memory, errors.
//!
//! ```text
//! cargo run --release -p asr --example transcribe -- MODEL [--segments] [--words] [--prompt TEXT] FILE...
//! ```
//!
//! The model is a folder, or a name that is pulled into the cache. Beside `NAME.wav`, the file `NAME.txt` may hold the text that was read. Rule: one call at a time,
//! so that the processor time is the call's own.
#![expect(clippy::print_stdout, reason = "a command-line tool")]

use std::error::Error;
use std::path::{Path, PathBuf};

use asr::audio::AudioLimits;
use asr::store::{self, Progress, Store};
use asr::transcribe::{ComputeDevice, WhisperBackend, WhisperConfig};
use asr::{AudioInput, Backend, CancelFlag, TranscribeOptions};
use datamodel::time::SystemClock;
use load::wer::WordErrors;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = model_folder(&arguments.next().ok_or("which model?")?)?;
    let mut options = TranscribeOptions::default();
    let mut files = Vec::new();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--segments" => options.segment_timestamps = true,
            "--words" => options.word_timestamps = true,
            "--language" => options.language = arguments.next(),
            "--prompt" => options.prompt = arguments.next(),
            _ => files.push(PathBuf::from(argument)),
        }
    }
    let config = WhisperConfig {
        id: folder.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        folder,
        device: ComputeDevice::Cpu,
        threads: 1,
        limits: AudioLimits::default(),
    };
    let backend = WhisperBackend::load(&config, &SystemClock)?;
    println!(
        "{}: loaded in {:.2} s; resident {} MB, peak {} MB",
        backend.model().id,
        backend.model().load_seconds,
        memory_mb("VmRSS"),
        memory_mb("VmHWM"),
    );
    let before = cpu_seconds();
    let mut audio_seconds = 0.0;
    let mut errors = WordErrors::default();
    for file in files {
        let (seconds, own) = transcribe(&backend, &options, &file)?;
        audio_seconds += seconds;
        errors = errors + own;
    }
    println!(
        "{audio_seconds:.1} s of audio: {:.4} CPU-s per second; {} errors in {} words ({:.1} %); \
         resident {} MB, peak {} MB",
        (cpu_seconds() - before) / audio_seconds,
        errors.errors,
        errors.words,
        100.0 * errors.rate(),
        memory_mb("VmRSS"),
        memory_mb("VmHWM"),
    );
    Ok(())
}

fn model_folder(model: &str) -> Result<PathBuf, Box<dyn Error>> {
    if Path::new(model).is_dir() {
        return Ok(PathBuf::from(model));
    }
    let store = Store::in_user_cache(|name| std::env::var_os(name)).ok_or("HOME is not set")?;
    let sources = store::default_sources(std::env::var("HF_ENDPOINT").ok());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut progress = |progress: Progress<'_>| match progress {
        Progress::Failed(source, error) => println!("{source}: {error}"),
        Progress::Trying(source) => println!("pulling {model} from {source}"),
        Progress::Received { .. } | Progress::Verifying(_) | Progress::Waiting => {}
    };
    Ok(runtime.block_on(store.pull(model, &sources, &mut progress))?)
}

fn transcribe(
    backend: &WhisperBackend,
    options: &TranscribeOptions,
    file: &Path,
) -> Result<(f64, WordErrors), Box<dyn Error>> {
    let before = cpu_seconds();
    let input =
        AudioInput { encoded: std::fs::read(file)?.into(), file_name: Some(file.to_string_lossy().into_owned()) };
    let transcript = match backend.transcribe(input, options, &CancelFlag::new()) {
        Ok(transcript) => transcript,
        Err(error) => {
            println!("{}: {error}", file.display());
            return Ok((0.0, WordErrors::default()));
        }
    };
    let errors = std::fs::read_to_string(file.with_extension("txt"))
        .map(|read| WordErrors::between(&read, &transcript.text))
        .unwrap_or_default();
    println!(
        "{}: {:.1} s, {:.2} CPU-s, {} errors, {}: {}",
        file.file_name().unwrap_or_default().to_string_lossy(),
        transcript.duration_seconds,
        cpu_seconds() - before,
        errors.errors,
        transcript.language,
        transcript.text,
    );
    for segment in &transcript.segments {
        println!(
            "  [{:.2} {:.2}] logprob {:.2}, ratio {:.2}, no speech {:.3}, temperature {}:{}",
            segment.start_seconds,
            segment.end_seconds,
            segment.avg_logprob,
            segment.compression_ratio,
            segment.no_speech_prob,
            segment.temperature,
            segment.text,
        );
    }
    for word in &transcript.words {
        println!("    {:.2} {:.2} {}", word.start_seconds, word.end_seconds, word.word);
    }
    Ok((transcript.duration_seconds, errors))
}

/// User and system time of this process so far; zero where there is no `/proc`.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks: f64 = fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum();
    // A tick is 10 ms on every Linux.
    ticks / 100.0
}

/// A field of `/proc/self/status`, in megabytes; zero where there is none.
fn memory_mb(field: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with(field));
    let kilobytes = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    kilobytes.unwrap_or_default() / 1024
}
