//! Audio files to mono samples at 16 kHz, a block at a time.
//!
//! - [`AudioReader`]: decodes, mixes down and resamples as the caller asks for more.
//! - [`AudioLimits`]: how much of it is accepted.
//! - [`sniff`]: which container a file is. [`resample`]: any rate to [`SAMPLE_RATE`].
//!
//! ```text
//! bytes ─▶ sniff ─▶ demux ─▶ decode ─▶ mean of channels ─▶ resample ─▶ f32, mono, 16 kHz
//! ```
//!
//! Rule: memory is bounded by the encoded file and one packet, however long the recording is.

pub mod resample;
pub mod sniff;

use std::io::{Cursor, Read};

use bytes::Bytes;
use symphonia::core::codecs::audio::{AudioCodecId, AudioDecoder, AudioDecoderOptions, well_known};
use symphonia::core::errors::Error as DecodeError;
use symphonia::core::formats::probe::Hint;
use symphonia::core::formats::{FormatOptions, FormatReader, TrackType};
use symphonia::core::io::{MediaSource, MediaSourceStream, MediaSourceStreamOptions, ReadOnlySource};
use symphonia::core::meta::MetadataOptions;

use self::resample::Resampler;
use self::sniff::Container;
use crate::backend::{AudioInput, TranscribeError};

/// The rate that the models hear, in hertz.
pub const SAMPLE_RATE: u32 = 16_000;
/// Below it there is no speech left, and a hostile header could make a recording endless.
pub const MIN_SAMPLE_RATE: u32 = 4_000;
/// The fastest rate of any known recorder; bounds the resampler's table to 2 MB.
pub const MAX_SAMPLE_RATE: u32 = 384_000;
/// How many damaged packets in a row are skipped before the file is refused: a second of mp3.
const MAX_DAMAGED_PACKETS: u32 = 40;
/// What a lossy codec's own count of frames may differ from the decoded ones: encoder delay and
/// padding are a few thousand samples.
const LOSSY_SLACK_SECONDS: f64 = 0.5;

/// How large a recording may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AudioLimits {
    /// Longest duration, in seconds.
    pub max_seconds: u64,
    /// Largest encoded size, in bytes.
    pub max_bytes: u64,
}

impl Default for AudioLimits {
    /// Two hours and 100 MB, as the seed's product documents them.
    fn default() -> Self {
        Self { max_seconds: 2 * 60 * 60, max_bytes: 100 * 1024 * 1024 }
    }
}

/// A recording that is being decoded.
pub struct AudioReader {
    format: Box<dyn FormatReader>,
    decoder: Box<dyn AudioDecoder>,
    track_id: u32,
    container: Container,
    /// Frames that the header promises, if it does.
    promised_frames: Option<u64>,
    /// Rate and converter, known from the first decoded packet on.
    resampler: Option<(u32, Resampler)>,
    decoded_frames: u64,
    damaged_packets: u32,
    max_seconds: u64,
    interleaved: Vec<f32>,
    mono: Vec<f32>,
    finished: bool,
}

impl std::fmt::Debug for AudioReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AudioReader")
            .field("container", &self.container)
            .field("decoded_frames", &self.decoded_frames)
            .finish_non_exhaustive()
    }
}

impl AudioReader {
    /// Opens a recording; decodes nothing yet, but refuses a file that has less than its header promises.
    ///
    /// # Errors
    /// Every [`TranscribeError`] that concerns the file.
    pub fn open(input: AudioInput, limits: AudioLimits) -> Result<Self, TranscribeError> {
        let file = input.encoded;
        if file.len() as u64 > limits.max_bytes {
            return Err(TranscribeError::TooLarge { limit_bytes: limits.max_bytes });
        }
        let container = sniff::sniff(&file)?;
        if sniff::is_cut_short(container, &file) {
            return Err(TranscribeError::Truncated { decoded_seconds: 0.0 });
        }
        let format = open_container(container, &file)?;
        let track = format.default_track(TrackType::Audio).ok_or(TranscribeError::Empty)?;
        let parameters = track
            .codec_params
            .as_ref()
            .and_then(|parameters| parameters.audio())
            .ok_or_else(|| unknown_codec("of unknown kind"))?;
        let mut decoder = symphonia::default::get_codecs()
            .make_audio_decoder(parameters, &AudioDecoderOptions::default())
            .map_err(|error| refused_codec(parameters.codec, &error))?;
        let (track_id, promised_frames) = (track.id, track.num_frames);
        let rate = parameters.sample_rate;
        if let (Some(frames), Some(rate)) = (promised_frames, rate) {
            check_duration(frames, rate, limits.max_seconds, container)?;
            if matches!(container, Container::Wav | Container::Flac) {
                check_whole(open_container(container, &file)?, decoder.as_mut(), frames, rate)?;
            }
        }
        Ok(Self {
            track_id,
            promised_frames,
            format,
            decoder,
            container,
            resampler: None,
            decoded_frames: 0,
            damaged_packets: 0,
            max_seconds: limits.max_seconds,
            interleaved: Vec::new(),
            mono: Vec::new(),
            finished: false,
        })
    }

    /// Appends the next samples to `output`: at most one packet's worth, some 0.1 s. `false` means
    /// that the recording is over; the call that says so may append the last samples.
    ///
    /// # Errors
    /// [`TranscribeError::TooLong`], [`TranscribeError::Damaged`], and at the end
    /// [`TranscribeError::Truncated`] or [`TranscribeError::Empty`].
    pub fn read(&mut self, output: &mut Vec<f32>) -> Result<bool, TranscribeError> {
        if self.finished {
            return Ok(false);
        }
        let packet = match self.format.next_packet() {
            Ok(Some(packet)) => packet,
            // The next link of a chained Ogg stream is another recording; the first one is over.
            Ok(None) | Err(DecodeError::ResetRequired) => {
                self.finish(output)?;
                return Ok(false);
            }
            Err(DecodeError::IoError(error)) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
                self.end_of_file(output)?;
                return Ok(false);
            }
            Err(error) => return Err(damaged(&error)),
        };
        if packet.track_id != self.track_id {
            return Ok(true);
        }
        match self.decoder.decode(&packet) {
            Ok(buffer) => {
                self.damaged_packets = 0;
                let rate = buffer.spec().rate();
                let channels = buffer.spec().channels().count().max(1);
                buffer.copy_to_vec_interleaved(&mut self.interleaved);
                self.take(rate, channels, output)?;
            }
            Err(error @ (DecodeError::DecodeError(_) | DecodeError::IoError(_))) => {
                self.damaged_packets += 1;
                if self.damaged_packets > MAX_DAMAGED_PACKETS {
                    return Err(damaged(&error));
                }
            }
            Err(error) => return Err(damaged(&error)),
        }
        Ok(true)
    }

    /// Mixes the decoded packet down and resamples it.
    fn take(&mut self, rate: u32, channels: usize, output: &mut Vec<f32>) -> Result<(), TranscribeError> {
        if !(MIN_SAMPLE_RATE..=MAX_SAMPLE_RATE).contains(&rate) {
            return Err(TranscribeError::Damaged {
                reason: format!("sample rate {rate} Hz is not between {MIN_SAMPLE_RATE} and {MAX_SAMPLE_RATE}"),
            });
        }
        let scale = 1.0 / channels as f32;
        self.mono.clear();
        self.mono.extend(self.interleaved.chunks_exact(channels).map(|frame| {
            let sample = frame.iter().sum::<f32>() * scale;
            // Float files may hold anything; one NaN would silence the whole window.
            if sample.is_finite() { sample.clamp(-1.0, 1.0) } else { 0.0 }
        }));
        self.decoded_frames += self.mono.len() as u64;
        check_duration(self.decoded_frames, rate, self.max_seconds, Container::Wav)?;
        match &mut self.resampler {
            Some((known, resampler)) if *known == rate => resampler.push(&self.mono, output),
            slot => {
                if let Some((_, old)) = slot {
                    old.finish(output);
                }
                let (_, resampler) = slot.insert((rate, Resampler::new(rate)));
                resampler.push(&self.mono, output);
            }
        }
        Ok(())
    }

    /// The file ended inside a packet. In containers that count their frames this is an end like
    /// any other; a last broken frame of a bare stream is dropped.
    fn end_of_file(&mut self, output: &mut Vec<f32>) -> Result<(), TranscribeError> {
        match self.container {
            Container::Mp3 | Container::Adts | Container::Ogg => self.finish(output),
            Container::Wav | Container::Flac | Container::Mp4 => {
                if self.promised_frames.is_some_and(|promised| promised <= self.decoded_frames) {
                    return self.finish(output);
                }
                Err(TranscribeError::Truncated { decoded_seconds: self.decoded_seconds() })
            }
        }
    }

    fn finish(&mut self, output: &mut Vec<f32>) -> Result<(), TranscribeError> {
        self.finished = true;
        let Some((rate, resampler)) = &mut self.resampler else {
            return Err(if self.promised_frames.is_some_and(|promised| promised > 0) {
                TranscribeError::Truncated { decoded_seconds: 0.0 }
            } else {
                TranscribeError::Empty
            });
        };
        let slack = match self.container {
            Container::Wav | Container::Flac => 0.0,
            Container::Ogg | Container::Mp3 | Container::Adts | Container::Mp4 => LOSSY_SLACK_SECONDS,
        };
        let missing = self.promised_frames.unwrap_or_default().saturating_sub(self.decoded_frames) as f64;
        if missing > slack * f64::from(*rate) {
            return Err(TranscribeError::Truncated { decoded_seconds: self.decoded_seconds() });
        }
        resampler.finish(output);
        if self.decoded_frames == 0 { Err(TranscribeError::Empty) } else { Ok(()) }
    }

    fn decoded_seconds(&self) -> f64 {
        let rate = self.resampler.as_ref().map_or(SAMPLE_RATE, |(rate, _)| *rate);
        self.decoded_frames as f64 / f64::from(rate)
    }
}

/// Looks through a file without decoding it: whether it holds all frames that its header promises.
fn check_whole(
    mut format: Box<dyn FormatReader>,
    decoder: &mut dyn AudioDecoder,
    promised_frames: u64,
    rate: u32,
) -> Result<(), TranscribeError> {
    let mut frames = 0_u64;
    let mut last = None;
    loop {
        match format.next_packet() {
            Ok(Some(packet)) => {
                frames = frames.saturating_add(packet.dur.get());
                last = Some(packet);
            }
            Ok(None) => break,
            Err(DecodeError::IoError(error)) if error.kind() == std::io::ErrorKind::UnexpectedEof => break,
            // Damaged, not cut: the decoder will tell.
            Err(_) => return Ok(()),
        }
    }
    // The last packet may itself be cut: only its content tells.
    if let Some(packet) = last {
        let held = decoder.decode(&packet).map_or(0, |buffer| buffer.frames() as u64);
        frames = frames.saturating_sub(packet.dur.get()).saturating_add(held);
    }
    decoder.reset();
    if frames >= promised_frames {
        return Ok(());
    }
    Err(TranscribeError::Truncated { decoded_seconds: frames as f64 / f64::from(rate.max(1)) })
}

/// The file's bytes. A wav file that was streamed does not know its length: it is told here.
fn source(container: Container, file: &Bytes) -> Box<dyn MediaSource> {
    let unknown = if container == Container::Wav { sniff::unknown_wav_length(file) } else { None };
    let parts = unknown.and_then(|at| Some((file.get(..at)?, file.get(at + 4..)?, at + 4)));
    let Some((head, samples, begin)) = parts else { return Box::new(Cursor::new(file.clone())) };
    let length = u32::try_from(samples.len()).unwrap_or(u32::MAX);
    let head = [head, &length.to_le_bytes()].concat();
    Box::new(ReadOnlySource::new(Cursor::new(head).chain(Cursor::new(file.slice(begin..)))))
}

fn open_container(container: Container, file: &Bytes) -> Result<Box<dyn FormatReader>, TranscribeError> {
    let stream = MediaSourceStream::new(source(container, file), MediaSourceStreamOptions::default());
    let mut hint = Hint::new();
    hint.with_extension(container.extension());
    symphonia::default::get_probe().probe(&hint, stream, FormatOptions::default(), MetadataOptions::default()).map_err(
        |error| match error {
            DecodeError::IoError(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
                TranscribeError::Truncated { decoded_seconds: 0.0 }
            }
            DecodeError::Unsupported(what) if what.starts_with("core (probe)") => TranscribeError::NotAudio,
            DecodeError::Unsupported(what) => unknown_codec(what),
            error => damaged(&error),
        },
    )
}

/// Headers are believed only where the format has nothing better: an mp3's count of frames may be
/// an estimate, so it is the decoded ones that count there.
fn check_duration(frames: u64, rate: u32, max_seconds: u64, container: Container) -> Result<(), TranscribeError> {
    let is_estimate = matches!(container, Container::Mp3 | Container::Adts);
    if !is_estimate && frames > max_seconds.saturating_mul(u64::from(rate)) {
        return Err(TranscribeError::TooLong { limit_seconds: max_seconds });
    }
    Ok(())
}

fn refused_codec(codec: AudioCodecId, error: &DecodeError) -> TranscribeError {
    let name = match codec {
        well_known::CODEC_ID_OPUS => "opus",
        well_known::CODEC_ID_SPEEX => "speex",
        well_known::CODEC_ID_ALAC => "alac",
        well_known::CODEC_ID_AC3 | well_known::CODEC_ID_EAC3 => "ac-3",
        well_known::CODEC_ID_ADPCM_MS | well_known::CODEC_ID_ADPCM_IMA_WAV => "adpcm",
        well_known::CODEC_ID_MP1 | well_known::CODEC_ID_MP2 => "mpeg layer 1 or 2",
        well_known::CODEC_ID_AAC => match error {
            DecodeError::Unsupported(what) => what,
            _ => "this profile of aac",
        },
        _ => match error {
            DecodeError::Unsupported(what) => what,
            other => return damaged(other),
        },
    };
    unknown_codec(name)
}

fn unknown_codec(name: &str) -> TranscribeError {
    TranscribeError::UnsupportedCodec { codec: name.to_owned() }
}

fn damaged(error: &DecodeError) -> TranscribeError {
    TranscribeError::Damaged { reason: error.to_string() }
}

#[cfg(test)]
mod tests;
