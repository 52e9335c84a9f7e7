//! What a file is, judged by its first bytes, and whether it is whole, judged by its frame.
//!
//! - [`sniff`]: the container, or why the file is refused.
//! - [`is_cut_short`]: whether a container that says its own length is longer than the file;
//!   [`unknown_wav_length`]: where one says that it does not know.
//!
//! Rule: every offset that the file names is checked against its end; nothing is allocated.

use crate::backend::TranscribeError;

/// A container that we can open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Container {
    /// RIFF WAVE.
    Wav,
    /// Native FLAC.
    Flac,
    /// Ogg, with Vorbis or FLAC inside.
    Ogg,
    /// MPEG audio frames, behind an ID3 tag or not.
    Mp3,
    /// AAC frames with ADTS headers.
    Adts,
    /// MPEG-4: m4a, mp4.
    Mp4,
}

impl Container {
    /// The file extension, a hint for the demuxer.
    #[must_use]
    pub const fn extension(self) -> &'static str {
        match self {
            Self::Wav => "wav",
            Self::Flac => "flac",
            Self::Ogg => "ogg",
            Self::Mp3 => "mp3",
            Self::Adts => "aac",
            Self::Mp4 => "m4a",
        }
    }
}

/// Names the container by the file's first bytes.
///
/// # Errors
/// [`TranscribeError::Empty`] for no bytes, [`TranscribeError::UnsupportedCodec`] for what is
/// known but not supported, [`TranscribeError::NotAudio`] for all else.
pub fn sniff(file: &[u8]) -> Result<Container, TranscribeError> {
    let unsupported = |codec: &str| Err(TranscribeError::UnsupportedCodec { codec: codec.into() });
    match file {
        [] => Err(TranscribeError::Empty),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'A', b'V', b'E', ..] => Ok(Container::Wav),
        [b'R', b'F', b'6', b'4', ..] => unsupported("RF64 wav"),
        [b'f', b'L', b'a', b'C', ..] => Ok(Container::Flac),
        [b'O', b'g', b'g', b'S', ..] => match first_ogg_packet(file) {
            [b'O', b'p', b'u', b's', b'H', b'e', b'a', b'd', ..] => unsupported("opus"),
            [b'S', b'p', b'e', b'e', b'x', ..] => unsupported("speex"),
            _ => Ok(Container::Ogg),
        },
        [b'I', b'D', b'3', ..] => Ok(Container::Mp3),
        [_, _, _, _, b'f', b't', b'y', b'p', ..] => Ok(Container::Mp4),
        [0x1A, 0x45, 0xDF, 0xA3, ..] => unsupported("webm or matroska"),
        [b'F', b'O', b'R', b'M', _, _, _, _, b'A', b'I', b'F', _, ..] => unsupported("aiff"),
        [b'c', b'a', b'f', b'f', ..] => unsupported("caf"),
        [b'#', b'!', b'A', b'M', b'R', ..] => unsupported("amr"),
        [0x30, 0x26, 0xB2, 0x75, ..] => unsupported("wma"),
        // A frame sync of eleven ones; the layer bits are 00 for ADTS, 01 for layer III.
        [0xFF, second, ..] if second & 0xF6 == 0xF0 => Ok(Container::Adts),
        [0xFF, second, ..] if second & 0xE6 == 0xE2 => Ok(Container::Mp3),
        [0xFF, second, ..] if second & 0xE0 == 0xE0 => unsupported("mpeg layer 1 or 2"),
        _ => Err(TranscribeError::NotAudio),
    }
}

/// Whether the file ends before its container says it does. Only containers that are framed from
/// the outside can tell; the others are found out by the number of samples.
#[must_use]
pub fn is_cut_short(container: Container, file: &[u8]) -> bool {
    match container {
        Container::Ogg => !last_ogg_page_ends_stream(file),
        Container::Mp4 => mp4_box_overruns(file),
        Container::Wav | Container::Flac | Container::Mp3 | Container::Adts => false,
    }
}

/// Where a wav file says how many bytes of samples it has, if it does not know: a recorder that streams
/// writes its header first, and leaves the largest number there.
#[must_use]
pub fn unknown_wav_length(file: &[u8]) -> Option<usize> {
    /// The largest signed number, less some header or rounded down; others write all ones.
    const UNKNOWN: u32 = 0x7FFF_F000;
    /// `RIFF`, length, `WAVE`.
    const HEADER: usize = 12;
    let mut at = HEADER;
    loop {
        let [a, b, c, d, e, f, g, h, ref body @ ..] = *file.get(at..)? else { return None };
        let length = u32::from_le_bytes([e, f, g, h]);
        if [a, b, c, d] == *b"data" {
            return (length >= UNKNOWN && body.len() < UNKNOWN as usize).then_some(at + 4);
        }
        // Chunks begin at even places.
        at = at.checked_add(8)?.checked_add(usize::try_from(length).ok()?.checked_next_multiple_of(2)?)?;
    }
}

/// The payload of the first page: the codec's identification.
fn first_ogg_packet(file: &[u8]) -> &[u8] {
    let Some(&segments) = file.get(26) else { return &[] };
    file.get(27 + usize::from(segments)..).unwrap_or_default()
}

/// Looks for the last page: it must be whole and carry the end-of-stream flag.
fn last_ogg_page_ends_stream(file: &[u8]) -> bool {
    /// A page has at most 27 + 255 + 255 * 255 bytes.
    const LONGEST_PAGE: usize = 65_307;
    let tail = file.get(file.len().saturating_sub(LONGEST_PAGE)..).unwrap_or_default();
    let Some(begin) = tail.windows(4).rposition(|window| window == b"OggS") else { return false };
    let page = tail.get(begin..).unwrap_or_default();
    let (Some(flags), Some(&segments)) = (page.get(5), page.get(26)) else { return false };
    let Some(lacing) = page.get(27..27 + usize::from(segments)) else { return false };
    let body: usize = lacing.iter().map(|length| usize::from(*length)).sum();
    flags & 4 != 0 && page.len() >= 27 + usize::from(segments) + body
}

/// Walks the outermost boxes: each must end within the file.
fn mp4_box_overruns(file: &[u8]) -> bool {
    let mut rest = file;
    while let [a, b, c, d, _, _, _, _, ..] = *rest {
        let short = u64::from(u32::from_be_bytes([a, b, c, d]));
        let length = match (short, rest.get(8..16)) {
            // To the end of the file.
            (0, _) => return false,
            (1, Some(long)) => u64::from_be_bytes(long.try_into().unwrap_or_default()),
            (1, None) => return true,
            _ => short,
        };
        if length < 8 {
            return false;
        }
        match usize::try_from(length).ok().and_then(|length| rest.get(length..)) {
            Some(after) => rest = after,
            None => return true,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_are_known_by_their_first_bytes() {
        check(b"RIFF\x24\0\0\0WAVEfmt ", "wav");
        check(b"fLaC\0\0\0\x22", "flac");
        check(b"ID3\x04\0\0", "mp3");
        check(&[0xFF, 0xFB, 0x90, 0x64], "mp3");
        check(&[0xFF, 0xF1, 0x50, 0x80], "aac");
        check(b"\0\0\0\x20ftypM4A ", "m4a");
        check(&ogg_page(0, b"\x01vorbis"), "ogg");
    }

    #[test]
    fn what_is_not_supported_is_refused_by_name() {
        check(b"", "the file holds no audio");
        check(&ogg_page(0, b"OpusHead\x01"), "unsupported codec: opus");
        check(&[0x1A, 0x45, 0xDF, 0xA3, 1], "unsupported codec: webm or matroska");
        check(b"<!doctype html>", "the file is not audio");
        check(b"RIFF\x24\0\0\0AVI ", "the file is not audio");
        check(&[0xFF, 0xFD, 0x90, 0x64], "unsupported codec: mpeg layer 1 or 2");
    }

    #[test]
    fn an_ogg_file_ends_with_a_whole_last_page() {
        let mut file = ogg_page(0, b"\x01vorbis");
        file.extend(ogg_page(4, &[7; 100]));
        assert!(!is_cut_short(Container::Ogg, &file));
        assert!(is_cut_short(Container::Ogg, &file[..file.len() - 1]));
        assert!(is_cut_short(Container::Ogg, &ogg_page(0, &[7; 100])));
        assert!(is_cut_short(Container::Ogg, b"OggS"));
    }

    #[test]
    fn an_mp4_file_holds_all_of_its_boxes() {
        let file = b"\0\0\0\x0cftypM4A \0\0\0\x0amdat12";
        assert!(!is_cut_short(Container::Mp4, file));
        assert!(is_cut_short(Container::Mp4, &file[..file.len() - 1]));
        assert!(!is_cut_short(Container::Mp4, b"\0\0\0\x0cftypM4A \0\0\0\x00mdat12"));
        assert!(is_cut_short(Container::Mp4, b"\0\0\0\x01mdat\xff\xff\xff\xff\xff\xff\xff\xff"));
        assert!(is_cut_short(Container::Mp4, b"\0\0\0\x01mdat\xff"));
    }

    #[test]
    fn a_streamed_wav_file_does_not_know_its_length() {
        let wav = |length: u32| {
            let mut file = b"RIFF\xff\xff\xff\xffWAVELIST\x03\0\0\0abc\0data".to_vec();
            file.extend(length.to_le_bytes());
            file.extend([0; 8]);
            file
        };
        for unknown in [u32::MAX, 0x7FFF_FFFF, 0x7FFF_F000] {
            assert_eq!(unknown_wav_length(&wav(unknown)), Some(28));
        }
        assert_eq!(unknown_wav_length(&wav(8)), None);
        assert_eq!(unknown_wav_length(b"RIFF\xff\xff\xff\xffWAVEfmt \xff\xff\xff\xff"), None);
        assert_eq!(unknown_wav_length(b"RIFF"), None);
    }

    fn check(file: &[u8], expected: &str) {
        match sniff(file) {
            Ok(container) => assert_eq!(container.extension(), expected),
            Err(error) => assert!(error.to_string().starts_with(expected), "{error}"),
        }
    }

    fn ogg_page(flags: u8, body: &[u8]) -> Vec<u8> {
        let mut page = b"OggS\0".to_vec();
        page.push(flags);
        page.extend([0; 20]);
        page.extend([1, body.len() as u8]);
        page.extend_from_slice(body);
        page
    }
}
