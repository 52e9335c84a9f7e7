//! Half a second of a tone at 440 Hz in every format, whole and broken.

use super::*;

/// The files were made by one encoder each from the same samples: stereo, 44.1 kHz, left twice as
/// loud as right.
fn file(name: &str) -> Vec<u8> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/audio/");
    std::fs::read(format!("{folder}{name}")).unwrap()
}

#[test]
fn every_supported_format_is_heard() {
    for name in ["tone.flac", "tone.mp3", "tone.ogg", "tone.m4a", "tone.aac"] {
        check_tone(name, &decode(file(name), AudioLimits::default()).unwrap());
    }
    check_tone("wav", &decode(wav(1, 2, 44_100, 16, &pcm_tone()), AudioLimits::default()).unwrap());
}

#[test]
fn what_is_not_supported_is_refused_by_name() {
    check_error(file("tone.opus"), "unsupported codec: opus (supported: wav, flac");
    check_error(file("tone.webm"), "unsupported codec: webm or matroska");
    check_error(file("tone-alac.m4a"), "unsupported codec: alac");
}

#[test]
fn what_is_not_audio_is_refused() {
    check_error(Vec::new(), "the file holds no audio");
    check_error(b"hello, this is a text".to_vec(), "the file is not audio");
    check_error(wav(1, 1, 16_000, 16, &[]), "the file holds no audio");
    // No magic at the begin, although an mp3 frame may be found somewhere in the middle.
    let mut hidden = vec![b'x'; 4_000];
    hidden.extend(file("tone.mp3"));
    check_error(hidden, "the file is not audio");
}

#[test]
fn a_file_that_ends_early_is_refused() {
    for name in ["tone.flac", "tone.ogg", "tone.m4a"] {
        let whole = file(name);
        check_error(whole[..whole.len() * 2 / 3].to_vec(), "the file is truncated");
    }
    let whole = wav(1, 1, 16_000, 16, &[1; 64_000]);
    check_error(whole[..whole.len() / 2].to_vec(), "the file is truncated after 1.0 s of audio");
    check_error(whole[..20].to_vec(), "the file is truncated");
}

#[test]
fn what_says_its_length_is_refused_before_anything_is_decoded() {
    let flac = file("tone.flac");
    let wav = wav(1, 2, 44_100, 16, &pcm_tone());
    for whole in [flac, wav] {
        assert!(open(whole.clone()).is_ok());
        for cut in [1, whole.len() / 3, whole.len() / 2] {
            let opened = open(whole[..whole.len() - cut].to_vec());
            assert!(matches!(opened, Err(TranscribeError::Truncated { .. })), "{cut}: {opened:?}");
        }
    }
}

#[test]
fn a_streamed_wav_reaches_to_the_end_of_the_file() {
    let whole = wav(1, 1, 16_000, 16, &[1; 64_000]);
    let expected = decode(whole.clone(), AudioLimits::default()).unwrap();
    for unknown in [u32::MAX, 0x7FFF_F024] {
        let mut streamed = whole.clone();
        streamed[4..8].copy_from_slice(&unknown.to_le_bytes());
        streamed[40..44].copy_from_slice(&unknown.to_le_bytes());
        assert!(decode(streamed, AudioLimits::default()).unwrap() == expected, "{unknown}");
    }
}

#[test]
fn limits_are_obeyed_before_and_while_decoding() {
    let limits = AudioLimits { max_seconds: 1, max_bytes: 1 << 20 };
    let too_long = wav(1, 1, 16_000, 16, &[0; 32_002]);
    check_limit(too_long, limits, "the recording is longer than 1 s");
    assert!(decode(wav(1, 1, 16_000, 16, &[0; 32_000]), limits).is_ok());
    let limits = AudioLimits { max_seconds: 1, max_bytes: 100 };
    check_limit(file("tone.mp3"), limits, "the file is larger than 100 bytes");
    // An mp3 does not say how long it is: the decoded samples count.
    let limits = AudioLimits { max_seconds: 0, max_bytes: 1 << 20 };
    check_limit(file("tone.mp3"), limits, "the recording is longer than 0 s");
}

#[test]
fn absurd_sample_rates_are_refused() {
    check_error(wav(1, 1, 10, 16, &[0; 400]), "the file is damaged: sample rate 10 Hz");
    check_error(wav(1, 1, 4_000_000, 16, &[0; 400]), "the file is damaged: sample rate 4000000 Hz");
}

#[test]
fn broken_float_samples_do_not_spread() {
    let samples = [f32::NAN, f32::INFINITY, 0.5, -3.0].map(f32::to_le_bytes).concat();
    let decoded = decode(wav(3, 1, 16_000, 32, &samples), AudioLimits::default()).unwrap();
    assert_eq!(decoded, [0.0, 0.0, 0.5, -1.0]);
}

/// A sample of hostile input: every file with each of some bytes changed ends in an answer.
#[test]
fn damaged_files_never_panic() {
    for name in ["tone.flac", "tone.mp3", "tone.ogg", "tone.m4a", "tone.aac"] {
        let whole = file(name);
        for step in 0..60 {
            let mut damaged = whole.clone();
            // Headers first, then spread over the file.
            let at = if step < 40 { step * 3 } else { step * whole.len() / 60 };
            if let Some(byte) = damaged.get_mut(at) {
                *byte ^= 0xA5;
            }
            let limits = AudioLimits { max_seconds: 60, max_bytes: 1 << 20 };
            if let Err(error) = decode(damaged, limits) {
                assert_eq!(error.class(), crate::backend::ErrorClass::Client, "{name}: {error}");
            }
        }
    }
}

/// Mostly 440 Hz, half a second, at the mean of both channels' loudness.
fn check_tone(name: &str, samples: &[f32]) {
    // Encoders put some silence around it.
    assert!((7_900..10_000).contains(&samples.len()), "{name}: {}", samples.len());
    let loudest = samples.iter().fold(0.0_f32, |loudest, sample| loudest.max(sample.abs()));
    // And lossy ones overshoot where the tone begins.
    assert!((0.33..0.50).contains(&loudest), "{name}: {loudest}");
    let crossings = samples.windows(2).filter(|pair| pair[0] < 0.0 && pair[1] >= 0.0).count();
    assert!((205..=245).contains(&crossings), "{name}: {crossings}");
}

fn check_error(file: Vec<u8>, expected: &str) {
    check_limit(file, AudioLimits::default(), expected);
}

fn check_limit(file: Vec<u8>, limits: AudioLimits, expected: &str) {
    let error = decode(file, limits).expect_err(expected);
    assert!(error.to_string().starts_with(expected), "{error}, not {expected}");
}

fn open(file: Vec<u8>) -> Result<AudioReader, TranscribeError> {
    AudioReader::open(AudioInput { encoded: file.into(), file_name: None }, AudioLimits::default())
}

fn decode(file: Vec<u8>, limits: AudioLimits) -> Result<Vec<f32>, TranscribeError> {
    let input = AudioInput { encoded: file.into(), file_name: None };
    let mut reader = AudioReader::open(input, limits)?;
    let mut samples = Vec::new();
    while reader.read(&mut samples)? {}
    Ok(samples)
}

/// The tone as 16-bit stereo.
fn pcm_tone() -> Vec<u8> {
    (0..22_050_u32)
        .flat_map(|i| {
            let sample = (std::f32::consts::TAU * 440.0 * i as f32 / 44_100.0).sin();
            [(sample * 16_000.0) as i16, (sample * 8_000.0) as i16]
        })
        .flat_map(i16::to_le_bytes)
        .collect()
}

/// A RIFF WAVE file; `format` 1 is PCM, 3 is float.
fn wav(format: u16, channels: u16, rate: u32, bits: u16, data: &[u8]) -> Vec<u8> {
    let align = (channels * bits / 8).max(1);
    let length = data.len() as u32;
    let mut file = b"RIFF".to_vec();
    file.extend((36 + length).to_le_bytes());
    file.extend(b"WAVEfmt \x10\0\0\0");
    file.extend(format.to_le_bytes());
    file.extend(channels.to_le_bytes());
    file.extend(rate.to_le_bytes());
    file.extend((rate * u32::from(align)).to_le_bytes());
    file.extend(align.to_le_bytes());
    file.extend(bits.to_le_bytes());
    file.extend(b"data");
    file.extend(length.to_le_bytes());
    file.extend_from_slice(data);
    file
}
