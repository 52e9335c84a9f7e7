//! Clips: the recordings that are sent, with what is said in them where that is known.
//!
//! - [`Clip`]: one recording. [`Clips`]: those of a run, from files, folders, or the built-in one.
//!
//! A file `name.txt` beside `name.wav` is the text that was read in it.
//!
//! Rule: everything is read before the run, within bounds; during it nothing touches the disk.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use bytes::Bytes;

/// The largest recording: what OpenAI accepts.
pub const MAX_CLIP_BYTES: u64 = 25 * 1024 * 1024;

/// All recordings of a run together.
pub const MAX_TOTAL_BYTES: u64 = 1024 * 1024 * 1024;

/// The most recordings of a run.
pub const MAX_CLIPS: usize = 10_000;

/// The longest text of a recording: an hour of speech has some 60 kB.
const MAX_TEXT_BYTES: u64 = 1024 * 1024;

const EXTENSIONS: [&str; 7] = ["wav", "flac", "mp3", "ogg", "oga", "m4a", "mp4"];

/// The recording that comes with the program; see `assets/README.md`.
const SAMPLE: &[u8] = include_bytes!("../assets/sample.wav");
const SAMPLE_TEXT: &str = include_str!("../assets/sample.txt");

/// One recording.
#[derive(Clone, Debug, PartialEq)]
pub struct Clip {
    /// Its file name.
    pub name: String,
    /// The whole file.
    pub bytes: Bytes,
    /// Its duration, where it is a WAV file whose header says so.
    pub audio_seconds: Option<f64>,
    /// What is said in it.
    pub text: Option<String>,
}

/// Why the recordings cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ClipsError {
    /// A file or folder cannot be read.
    #[error("cannot read audio: {path}")]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A folder holds none.
    #[error("no audio files ({}) in folder: {path}", EXTENSIONS.join(", "))]
    EmptyFolder {
        /// The folder.
        path: PathBuf,
    },
    /// A recording is too large.
    #[error("audio file is larger than {MAX_CLIP_BYTES} bytes: {path}")]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// All together are too large, or too many.
    #[error("more than {MAX_CLIPS} audio files or more than {MAX_TOTAL_BYTES} bytes of them, at {path}")]
    TooMany {
        /// The first that is too much.
        path: PathBuf,
    },
}

/// The recordings of a run; never empty.
#[derive(Clone, Debug, PartialEq)]
pub struct Clips(Vec<Clip>);

impl Clips {
    /// The built-in recording: 4.3 s of synthetic speech.
    #[must_use]
    pub fn sample() -> Self {
        let clip = Clip {
            name: "sample.wav".to_owned(),
            bytes: Bytes::from_static(SAMPLE),
            audio_seconds: wav_seconds(SAMPLE),
            text: Some(SAMPLE_TEXT.trim().to_owned()),
        };
        Self(vec![clip])
    }

    /// Reads files and folders (not those inside them); the built-in recording when none are given.
    ///
    /// # Errors
    /// See [`ClipsError`].
    pub fn read(paths: &[PathBuf]) -> Result<Self, ClipsError> {
        if paths.is_empty() {
            return Ok(Self::sample());
        }
        let mut files = Vec::new();
        for path in paths {
            if path.is_dir() {
                files.extend(audio_files(path)?);
            } else {
                files.push(path.clone());
            }
        }
        let mut clips = Vec::new();
        let mut total_bytes = 0;
        for path in files {
            let clip = read_clip(&path)?;
            total_bytes += clip.bytes.len() as u64;
            if clips.len() >= MAX_CLIPS || total_bytes > MAX_TOTAL_BYTES {
                return Err(ClipsError::TooMany { path });
            }
            clips.push(clip);
        }
        Ok(Self(clips))
    }

    #[cfg(test)]
    pub(crate) fn of(clips: Vec<Clip>) -> Self {
        Self(clips)
    }

    /// The recordings.
    #[must_use]
    pub fn all(&self) -> &[Clip] {
        &self.0
    }
}

fn audio_files(folder: &Path) -> Result<Vec<PathBuf>, ClipsError> {
    let read = |source| ClipsError::Read { path: folder.to_owned(), source };
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(read)? {
        let path = entry.map_err(read)?.path();
        let extension = path.extension().and_then(|extension| extension.to_str()).map(str::to_ascii_lowercase);
        if path.is_file() && extension.is_some_and(|extension| EXTENSIONS.contains(&extension.as_str())) {
            files.push(path);
        }
        if files.len() > MAX_CLIPS {
            return Err(ClipsError::TooMany { path: folder.to_owned() });
        }
    }
    // Folders have no order of their own; a run must be repeatable.
    files.sort();
    if files.is_empty() { Err(ClipsError::EmptyFolder { path: folder.to_owned() }) } else { Ok(files) }
}

fn read_clip(path: &Path) -> Result<Clip, ClipsError> {
    let failed = |source| ClipsError::Read { path: path.to_owned(), source };
    let bytes = read_bounded(path, MAX_CLIP_BYTES).map_err(failed)?;
    let Some(bytes) = bytes else { return Err(ClipsError::TooLarge { path: path.to_owned() }) };
    let text_path = path.with_extension("txt");
    let text = match read_bounded(&text_path, MAX_TEXT_BYTES) {
        Ok(Some(text)) => Some(String::from_utf8_lossy(&text).trim().to_owned()),
        Ok(None) => return Err(ClipsError::TooLarge { path: text_path }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(source) => return Err(ClipsError::Read { path: text_path, source }),
    };
    let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    Ok(Clip { name, audio_seconds: wav_seconds(&bytes), text, bytes: bytes.into() })
}

/// The file's bytes; none if there are more than `limit`.
fn read_bounded(path: &Path, limit: u64) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(limit + 1).read_to_end(&mut bytes)?;
    Ok((bytes.len() as u64 <= limit).then_some(bytes))
}

/// The duration that a WAV file's header gives: bytes of its `data` chunk over bytes per second.
fn wav_seconds(bytes: &[u8]) -> Option<f64> {
    let number = |at: usize| -> Option<u32> { Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?)) };
    if bytes.get(..4)? != b"RIFF" || bytes.get(8..12)? != b"WAVE" {
        return None;
    }
    let mut at = 12;
    let mut bytes_per_second = None;
    loop {
        let (name, len) = (bytes.get(at..at + 4)?, usize::try_from(number(at + 4)?).ok()?);
        let content = at + 8;
        match name {
            b"fmt " => bytes_per_second = number(content + 8),
            b"data" => {
                // A recorder that was interrupted leaves a length that is not there.
                let present = len.min(bytes.len() - content);
                return bytes_per_second.filter(|rate| *rate > 0).map(|rate| present as f64 / f64::from(rate));
            }
            _ => {}
        }
        // Chunks have even lengths.
        at = content.checked_add(len)?.checked_add(len % 2)?;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sample_is_some_seconds_of_known_speech() {
        let clips = Clips::sample();
        let [clip] = clips.all() else { panic!("one clip") };
        assert!(clip.audio_seconds.is_some_and(|seconds| (3.0..8.0).contains(&seconds)), "{:?}", clip.audio_seconds);
        assert!(clip.bytes.len() <= 150 * 1024);
        assert!(clip.text.as_ref().is_some_and(|text| text.split(' ').count() > 8));
    }

    #[test]
    fn folder_gives_its_audio_in_order_with_texts() {
        let folder = tempfile::tempdir().unwrap();
        for (name, content) in [("b.wav", "x"), ("a.MP3", "y"), ("b.txt", "words\n"), ("notes.md", "")] {
            fs::write(folder.path().join(name), content).unwrap();
        }
        let clips = Clips::read(&[folder.path().to_owned()]).unwrap();
        let seen: Vec<_> = clips.all().iter().map(|clip| (clip.name.as_str(), clip.text.as_deref())).collect();
        assert_eq!(seen, [("a.MP3", None), ("b.wav", Some("words"))]);
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_owned();
        let error = Clips::read(std::slice::from_ref(&path)).unwrap_err().to_string();
        let expected = "no audio files (wav, flac, mp3, ogg, oga, m4a, mp4) in folder: ";
        assert_eq!(error, format!("{expected}{}", path.display()));
        let missing = path.join("missing.wav");
        let error = Clips::read(std::slice::from_ref(&missing)).unwrap_err().to_string();
        assert_eq!(error, format!("cannot read audio: {}", missing.display()));
    }

    #[test]
    fn wav_header_gives_the_duration() {
        let mut wav = b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0\x80\x3e\0\0\0\x7d\0\0\x02\0\x10\0".to_vec();
        wav.extend(b"LIST\x03\0\0\0abc\0data\0\x7d\0\0");
        wav.extend(vec![0; 32_000]);
        assert_eq!(wav_seconds(&wav), Some(1.0));
        wav.truncate(wav.len() - 16_000);
        assert_eq!(wav_seconds(&wav), Some(0.5));
        assert_eq!(wav_seconds(b"fLaC"), None);
    }

    proptest! {
        #[test]
        fn any_bytes_have_a_duration_or_none(tail in proptest::collection::vec(any::<u8>(), 0..100)) {
            let bytes = [b"RIFF\0\0\0\0WAVE".as_slice(), &tail].concat();
            prop_assert!(wav_seconds(&bytes).is_none_or(|seconds| seconds >= 0.0));
        }
    }
}
