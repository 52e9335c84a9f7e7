//! The engine with a real model on real speech: accuracy, robustness, times, cancellation.
//!
//! Runs when `CRESCENDO_MODEL_DIR` names the folder of tiny.en and `CRESCENDO_AUDIO_DIR` the one
//! that `scripts/fetch-test-audio.sh` fills. Rule: noise comes from a seeded generator, so every run
//! hears the same.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "helpers of tests")]

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use asr::audio::AudioLimits;
use asr::transcribe::{ComputeDevice, WhisperBackend, WhisperConfig};
use asr::{AudioInput, Backend, CancelFlag, Languages, TranscribeError, TranscribeOptions, Transcript};
use datamodel::time::SystemClock;
use load::wer::WordErrors;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

const SAMPLE_RATE: u32 = 16_000;
const SECOND: usize = SAMPLE_RATE as usize;
/// tiny.en makes 3 to 5 errors in 93 words.
const MAX_ERROR_RATE: f64 = 0.08;
/// What quiet recordings may add, and white noise 10 dB below the speech in the mean of the draws.
const MAX_ADDED_RATE: f64 = 0.06;
/// Draws of noise, because one tells little: the six recordings have 93 words, so one error is a point.
const NOISE_SEEDS: [u64; 8] = [7, 8, 9, 10, 11, 12, 13, 14];

/// A recording and the text that was read.
struct Recording {
    samples: Vec<f32>,
    text: String,
}

#[test]
fn clean_quiet_and_noisy_speech_is_understood() {
    let Some((backend, recordings)) = setup("accuracy") else { return };
    let clean = error_rate(backend, recordings, |samples| samples.to_vec());
    assert!(clean <= MAX_ERROR_RATE, "clean: {clean}");
    let quiet = error_rate(backend, recordings, |samples| {
        samples.iter().map(|sample| sample * 10.0_f32.powf(-30.0 / 20.0)).collect()
    });
    assert!(quiet <= clean + MAX_ADDED_RATE, "at -30 dB: {quiet}, clean {clean}");
    let draws = NOISE_SEEDS.map(|seed| error_rate(backend, recordings, |samples| with_noise(samples, 10.0, seed)));
    let noisy = draws.iter().sum::<f64>() / draws.len() as f64;
    println!("errors: clean {clean:.3}, at -30 dB {quiet:.3}, at 10 dB SNR {noisy:.3} of {draws:.3?}");
    assert!(noisy <= clean + MAX_ADDED_RATE, "at 10 dB SNR: {noisy} of {draws:?}, clean {clean}");
}

#[test]
fn silence_noise_and_hum_have_no_words() {
    let Some((backend, _)) = setup("noise") else { return };
    let mut rng = StdRng::seed_from_u64(3);
    let check = |what: &str, samples: &[f32]| {
        let options = TranscribeOptions { segment_timestamps: true, ..Default::default() };
        let transcript = transcribe(backend, samples, &options);
        assert_eq!(transcript.text, "", "{what}");
        assert_eq!(transcript.segments, [], "{what}");
        assert!((transcript.duration_seconds - 10.0).abs() < 1e-3);
    };
    check("silence", &[0.0; 10 * SECOND]);
    for loudness in [0.3, 0.1, 0.03, 0.003] {
        check("white noise", &scaled(&white(10 * SECOND, &mut rng), loudness));
        check("pink noise", &scaled(&pink(10 * SECOND, &mut rng), loudness));
        let hum = (0..10 * SECOND).map(|i| {
            let phase = std::f32::consts::TAU * 50.0 * i as f32 / SAMPLE_RATE as f32;
            loudness * (phase.sin() + (3.0 * phase).sin() / 3.0)
        });
        check("hum", &hum.collect::<Vec<_>>());
    }
}

#[test]
fn long_recordings_neither_loop_nor_lose_speech() {
    let Some((backend, recordings)) = setup("44 s") else { return };
    check_long(backend, recordings, 44, SECOND / 5);
    // Pauses in which the model would stop listening.
    check_long(backend, recordings, 60, 5 * SECOND);
}

#[test]
fn ten_minutes_neither_loop_nor_lose_speech() {
    let Some((backend, recordings)) = setup("10 minutes") else { return };
    check_long(backend, recordings, 600, SECOND / 3);
}

#[test]
fn words_of_joined_recordings_stand_where_they_were_said() {
    let Some((backend, recordings)) = setup("word times") else { return };
    let options = TranscribeOptions { word_timestamps: true, ..Default::default() };
    let (joined, offsets) = join(recordings, 0, SECOND);
    let words = transcribe(backend, &joined, &options).words;
    assert!(words.windows(2).all(|pair| pair[0].end_seconds <= pair[1].start_seconds + 1e-6));
    // The first word begins and the last one ends with the sound of its recording.
    let mut distances = Vec::new();
    for (recording, offset) in recordings.iter().zip(&offsets) {
        let (begin, end) = sound_of(&recording.samples);
        let (begin, end) = (offset + begin, offset + end);
        let inside = |at: f64| at > begin - 0.5 && at < end + 0.5;
        let first = words.iter().find(|word| inside(word.start_seconds)).expect("a first word");
        let last = words.iter().rfind(|word| inside(word.end_seconds)).expect("a last word");
        distances.push((first.start_seconds - begin).abs());
        distances.push((last.end_seconds - end).abs());
    }
    // Inside, each word stands where it stands in its own recording.
    for (recording, offset) in recordings.iter().zip(&offsets) {
        for alone in transcribe(backend, &recording.samples, &options).words {
            let at = alone.start_seconds + offset;
            let same = words.iter().filter(|word| word.word == alone.word);
            let nearest = same.map(|word| (word.start_seconds - at).abs()).fold(9.0, f64::min);
            distances.push(nearest);
        }
    }
    distances.sort_by(f64::total_cmp);
    let median = distances[distances.len() / 2];
    assert!(median <= 0.15, "median {median} s of {distances:?}");
}

#[test]
fn segments_have_times_within_the_recording() {
    let Some((backend, recordings)) = setup("segments") else { return };
    let options = TranscribeOptions { segment_timestamps: true, ..Default::default() };
    let (joined, _) = join(recordings, 0, SECOND);
    let transcript = transcribe(backend, &joined, &options);
    assert!(transcript.segments.len() >= 3, "{:?}", transcript.segments);
    let mut before = 0.0;
    for (id, segment) in transcript.segments.iter().enumerate() {
        assert_eq!(segment.id, id);
        assert!(segment.start_seconds >= before && segment.end_seconds >= segment.start_seconds);
        assert!(!segment.tokens.is_empty() && segment.avg_logprob < 0.0);
        before = segment.end_seconds;
    }
    assert!(before <= transcript.duration_seconds);
    let parts: String = transcript.segments.iter().map(|segment| segment.text.as_str()).collect();
    assert_eq!(parts.trim(), transcript.text);
}

#[test]
fn options_are_obeyed() {
    let Some((backend, recordings)) = setup("options") else { return };
    assert_eq!(backend.model().languages, Languages::English);
    let samples = &recordings[0].samples;
    let run =
        |options: &TranscribeOptions| backend.transcribe(input(samples, SAMPLE_RATE), options, &CancelFlag::new());
    let german = TranscribeOptions { language: Some("de".into()), ..Default::default() };
    assert!(matches!(run(&german), Err(TranscribeError::UnsupportedLanguage { .. })));
    let hot = TranscribeOptions { temperature: 1.5, ..Default::default() };
    assert!(matches!(run(&hot), Err(TranscribeError::InvalidOption { .. })));
    let cancel = CancelFlag::new();
    cancel.cancel();
    let cancelled = backend.transcribe(input(samples, SAMPLE_RATE), &TranscribeOptions::default(), &cancel);
    assert!(matches!(cancelled, Err(TranscribeError::Cancelled)));
    // The same seed gives the same text, at any temperature.
    let warm = TranscribeOptions { temperature: 0.6, seed: 5, ..Default::default() };
    assert_eq!(run(&warm).unwrap().text, run(&warm).unwrap().text);
}

#[test]
fn a_prompt_teaches_spelling() {
    let Some((backend, recordings)) = setup("prompt") else { return };
    // tiny.en hears "old-sposed" in two of the recordings.
    let recording = recordings.iter().find(|r| r.text.contains("not an ill disposed"));
    let Some(recording) = recording else { return };
    let options = TranscribeOptions { prompt: Some("ill-disposed".into()), ..Default::default() };
    let text = transcribe(backend, &recording.samples, &options).text;
    assert_eq!(WordErrors::between(&recording.text, &text).errors, 0, "{text}");
}

#[test]
fn a_folder_as_hugging_face_has_it_gives_the_same_text() {
    let Some((backend, recordings)) = setup("Hugging Face layout") else { return };
    let source = PathBuf::from(std::env::var_os("CRESCENDO_MODEL_DIR").unwrap());
    let folder = tempfile::TempDir::new().unwrap();
    write_hugging_face_folder(&source, folder.path());
    let other = WhisperBackend::load(&config(folder.path().to_owned()), &SystemClock).unwrap();
    let options = TranscribeOptions { word_timestamps: true, ..Default::default() };
    for recording in recordings.iter().take(2) {
        let expected = transcribe(backend, &recording.samples, &options);
        let found = transcribe(&other, &recording.samples, &options);
        assert_eq!(found.text, expected.text);
        assert_eq!(found.words.len(), expected.words.len());
        for (found, expected) in found.words.iter().zip(&expected.words) {
            assert_eq!(found.word, expected.word);
            assert!((found.start_seconds - expected.start_seconds).abs() < 0.03, "{found:?} {expected:?}");
        }
    }
}

/// Writes the weights of a CTranslate2 folder as the hub's `transformers` layout has them: one
/// `model.safetensors` with a tensor for each name, and the settings in two JSON files.
fn write_hugging_face_folder(from: &Path, to: &Path) {
    let path = from.join("model.bin");
    let file = std::fs::File::open(&path).unwrap();
    let mut tensors: Vec<_> = asr::whisper::ct2::index(&path, &file).unwrap().into_iter().collect();
    tensors.sort_by(|a, b| a.0.cmp(&b.0));
    // The names as `WhisperForConditionalGeneration` writes them.
    for name in [
        "model.encoder.conv1.weight",
        "model.encoder.embed_positions.weight",
        "model.encoder.layers.0.self_attn.k_proj.weight",
        "model.encoder.layers.3.self_attn_layer_norm.bias",
        "model.encoder.layer_norm.weight",
        "model.decoder.embed_tokens.weight",
        "model.decoder.embed_positions.weight",
        "model.decoder.layers.0.encoder_attn.v_proj.bias",
        "model.decoder.layers.0.encoder_attn_layer_norm.weight",
        "model.decoder.layers.3.self_attn.out_proj.weight",
        "model.decoder.layers.3.fc2.bias",
        "model.decoder.layers.3.final_layer_norm.weight",
        "model.decoder.layer_norm.bias",
    ] {
        assert!(tensors.iter().any(|(known, _)| known == name), "{name}");
    }
    let weights = std::fs::read(&path).unwrap();
    let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
    for (name, entry) in &tensors {
        let dtype = format!("{:?}", entry.dtype);
        let bytes = entry.elements().unwrap() * entry.dtype.size_in_bytes();
        let begin = usize::try_from(entry.offset).unwrap();
        let offsets = [data.len(), data.len() + bytes];
        data.extend_from_slice(&weights[begin..begin + bytes]);
        let value = serde_json::json!({ "dtype": dtype, "shape": entry.shape, "data_offsets": offsets });
        header.insert(name.clone(), value);
    }
    header.insert("__metadata__".to_owned(), serde_json::json!({ "format": "pt" }));
    let header = serde_json::to_vec(&header).unwrap();
    let file = [(header.len() as u64).to_le_bytes().as_slice(), &header, &data].concat();
    std::fs::write(to.join("model.safetensors"), file).unwrap();
    let settings: serde_json::Value =
        serde_json::from_slice(&std::fs::read(from.join("config.json")).unwrap()).unwrap();
    let suppressed = serde_json::json!({
        "suppress_tokens": settings["suppress_ids"],
        "begin_suppress_tokens": settings["suppress_ids_begin"],
    });
    let mut config = suppressed.clone();
    config["model_type"] = "whisper".into();
    config["architectures"] = serde_json::json!(["WhisperForConditionalGeneration"]);
    let mut generation = suppressed;
    generation["alignment_heads"] = settings["alignment_heads"].clone();
    std::fs::write(to.join("config.json"), config.to_string()).unwrap();
    std::fs::write(to.join("generation_config.json"), generation.to_string()).unwrap();
    std::fs::copy(from.join("tokenizer.json"), to.join("tokenizer.json")).unwrap();
}

/// Joins recordings to this length, and compares.
fn check_long(backend: &WhisperBackend, recordings: &[Recording], seconds: usize, gap: usize) {
    let (samples, offsets) = join(recordings, seconds, gap);
    let read: Vec<&str> = recordings.iter().cycle().take(offsets.len()).map(|r| r.text.as_str()).collect();
    let transcript = transcribe(backend, &samples, &TranscribeOptions::default());
    let errors = WordErrors::between(&read.join(" "), &transcript.text);
    assert!(errors.rate() <= MAX_ERROR_RATE + 0.02, "{seconds} s: {errors:?} {}", transcript.text);
    assert!(transcript.segments.iter().all(|segment| segment.compression_ratio < 2.4));
}

/// Recordings one after another, `gap` samples apart, until `seconds` are reached, each at least
/// once; and where each begins.
fn join(recordings: &[Recording], seconds: usize, gap: usize) -> (Vec<f32>, Vec<f64>) {
    let (mut samples, mut offsets) = (Vec::new(), Vec::new());
    for recording in recordings.iter().cycle() {
        if offsets.len() >= recordings.len() && samples.len() >= seconds * SECOND {
            break;
        }
        offsets.push(samples.len() as f64 / f64::from(SAMPLE_RATE));
        samples.extend_from_slice(&recording.samples);
        samples.resize(samples.len() + gap, 0.0);
    }
    (samples, offsets)
}

/// First and last 20 ms that are louder than a tenth of the loudest, in seconds.
fn sound_of(samples: &[f32]) -> (f64, f64) {
    let level = |part: &[f32]| part.iter().map(|s| s * s).sum::<f32>().sqrt();
    let levels: Vec<f32> = samples.chunks(SECOND / 50).map(level).collect();
    let loudest = levels.iter().copied().fold(0.0, f32::max);
    let loud = |level: &f32| *level > loudest / 10.0;
    let first = levels.iter().position(loud).unwrap_or(0);
    let last = levels.iter().rposition(loud).unwrap_or(0);
    (first as f64 / 50.0, (last + 1) as f64 / 50.0)
}

fn error_rate(backend: &WhisperBackend, recordings: &[Recording], change: impl Fn(&[f32]) -> Vec<f32>) -> f64 {
    let errors = recordings.iter().map(|recording| {
        let samples = change(&recording.samples);
        let transcript = transcribe(backend, &samples, &TranscribeOptions::default());
        WordErrors::between(&recording.text, &transcript.text)
    });
    errors.sum::<WordErrors>().rate()
}

fn transcribe(backend: &WhisperBackend, samples: &[f32], options: &TranscribeOptions) -> Transcript {
    backend.transcribe(input(samples, SAMPLE_RATE), options, &CancelFlag::new()).unwrap()
}

/// The samples as a 16-bit wav file.
fn input(samples: &[f32], rate: u32) -> AudioInput {
    let data: Vec<u8> = samples
        .iter()
        .map(|sample| (sample.clamp(-1.0, 1.0) * 32_767.0).round() as i16)
        .flat_map(i16::to_le_bytes)
        .collect();
    let length = data.len() as u32;
    let mut file = b"RIFF".to_vec();
    file.extend((36 + length).to_le_bytes());
    file.extend(b"WAVEfmt \x10\0\0\0\x01\0\x01\0");
    file.extend(rate.to_le_bytes());
    file.extend((rate * 2).to_le_bytes());
    file.extend(b"\x02\0\x10\0data");
    file.extend(length.to_le_bytes());
    file.extend(data);
    AudioInput { encoded: file.into(), file_name: None }
}

fn with_noise(samples: &[f32], snr_db: f32, seed: u64) -> Vec<f32> {
    let mut rng = StdRng::seed_from_u64(seed);
    let power = samples.iter().map(|s| s * s).sum::<f32>() / samples.len() as f32;
    let noise = scaled(&white(samples.len(), &mut rng), (power / 10.0_f32.powf(snr_db / 10.0)).sqrt());
    samples.iter().zip(noise).map(|(sample, noise)| sample + noise).collect()
}

fn white(count: usize, rng: &mut StdRng) -> Vec<f32> {
    // The sum of four uniform numbers is nearly normal.
    (0..count).map(|_| (0..4).map(|_| rng.random::<f32>() - 0.5).sum()).collect()
}

/// White noise through slow, medium and fast filters: falls by about 3 dB for each octave.
fn pink(count: usize, rng: &mut StdRng) -> Vec<f32> {
    let mut poles = [0.0_f32; 3];
    white(count, rng)
        .into_iter()
        .map(|noise| {
            for ((state, pole), gain) in poles.iter_mut().zip([0.997_65, 0.963, 0.57]).zip([0.099, 0.297, 1.053]) {
                *state = pole * *state + gain * noise;
            }
            poles.iter().sum::<f32>() + noise * 0.185
        })
        .collect()
}

/// To this root mean square.
fn scaled(samples: &[f32], to: f32) -> Vec<f32> {
    let power = samples.iter().map(|s| s * s).sum::<f32>() / samples.len() as f32;
    samples.iter().map(|sample| sample * to / power.sqrt()).collect()
}

/// The model and the recordings, loaded once; `None`, with one line, where they are not at hand.
fn setup(what: &str) -> Option<(&'static WhisperBackend, &'static [Recording])> {
    static SETUP: OnceLock<Option<(WhisperBackend, Vec<Recording>)>> = OnceLock::new();
    let ready = SETUP.get_or_init(|| {
        let folder = |name| std::env::var_os(name).filter(|path| !path.is_empty());
        let model = PathBuf::from(folder("CRESCENDO_MODEL_DIR")?);
        let audio = PathBuf::from(folder("CRESCENDO_AUDIO_DIR")?);
        let backend = WhisperBackend::load(&config(model), &SystemClock).expect("the model loads");
        assert!(backend.model().load_seconds > 0.0);
        Some((backend, recordings(&audio)))
    });
    if ready.is_none() {
        println!("not run: {what} (CRESCENDO_MODEL_DIR or CRESCENDO_AUDIO_DIR is not set)");
    }
    ready.as_ref().map(|(backend, recordings)| (backend, recordings.as_slice()))
}

fn config(folder: PathBuf) -> WhisperConfig {
    WhisperConfig {
        folder,
        id: "tiny.en".to_owned(),
        device: ComputeDevice::Cpu,
        threads: 2,
        limits: AudioLimits::default(),
    }
}

/// All recordings of the folder: 16-bit mono wav files at 16 kHz, in the order of their names.
fn recordings(folder: &Path) -> Vec<Recording> {
    let entries = std::fs::read_dir(folder).expect("the folder with the recordings");
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "wav"))
        .collect();
    files.sort();
    assert_eq!(files.len(), 6, "recordings in {}", folder.display());
    files
        .iter()
        .map(|file| {
            let bytes = std::fs::read(file).unwrap();
            let data = bytes.windows(4).position(|window| window == b"data").unwrap() + 8;
            let samples = bytes[data..]
                .chunks_exact(2)
                .map(|pair| f32::from(i16::from_le_bytes([pair[0], pair[1]])) / 32_768.0)
                .collect();
            let text = std::fs::read_to_string(file.with_extension("txt")).unwrap();
            Recording { samples, text: text.trim().to_owned() }
        })
        .collect()
}
