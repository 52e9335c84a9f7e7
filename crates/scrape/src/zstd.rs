//! Bodies in Zstandard: frames (RFC 8878), taken block by block as they come from the wire.
//!
//! - [`ZstdDecoder`]: takes bytes, gives what they become to a writer. [`ZstdError`]: why a body is refused.
//!
//! Rule: a block is decoded when it is there as a whole, one at a time, after its memory was reserved; a frame
//! with a larger window than RFC 9659 allows to servers is refused.

use std::io::Write;

use ruzstd::decoding::errors::FrameDecoderError;
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};
use storage::{MemoryPool, Reservation};

use crate::body::PAGE_ALLOWANCE_BYTES;
use crate::error::ScrapeError;

/// Bytes that a frame may refer back to; RFC 9659 section 3.
const MAX_WINDOW_BYTES: u64 = 8 << 20;

/// Bytes of a block, before and after decompression; RFC 8878 section 3.1.1.2.4.
const MAX_BLOCK_BYTES: usize = 128 << 10;

/// First four bytes of frames that hold no data; RFC 8878 section 3.1.2.
const SKIPPABLE: std::ops::RangeInclusive<u32> = 0x184D_2A50..=0x184D_2A5F;

/// Why a body is refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ZstdError {
    /// The frame breaks its format, needs a dictionary or too large a window.
    #[error(transparent)]
    Frame(Box<FrameDecoderError>),
    /// The header of a block says more than a block may have.
    #[error("block of {0} bytes, of at most {MAX_BLOCK_BYTES}")]
    BlockSize(usize),
    /// What was decompressed is not what was compressed.
    #[error("wrong checksum")]
    Checksum,
    /// The body ends within a frame.
    #[error("ends within a frame")]
    Incomplete,
}

impl From<FrameDecoderError> for ZstdError {
    fn from(error: FrameDecoderError) -> Self {
        Self::Frame(Box::new(error))
    }
}

/// Decompresses a body.
pub(crate) struct ZstdDecoder {
    state: State,
    /// What came and is no whole header or block yet.
    pending: Vec<u8>,
    /// For the window of the frame, which grows with its blocks.
    reserved: Reservation,
}

enum State {
    Between,
    Frame { decoder: Box<FrameDecoder>, has_checksum: bool },
    Skip(usize),
}

impl std::fmt::Debug for ZstdDecoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { pending, reserved, .. } = self;
        f.debug_struct("ZstdDecoder")
            .field("pending", &pending.len())
            .field("reserved", reserved)
            .finish_non_exhaustive()
    }
}

impl ZstdDecoder {
    pub(crate) fn new(pool: &MemoryPool) -> Self {
        Self { state: State::Between, pending: Vec::new(), reserved: pool.reservation() }
    }

    /// Takes the next bytes. Each four of them can become 128 KiB.
    ///
    /// # Errors
    ///
    /// The body is damaged, there is no memory, or the writer refuses.
    pub(crate) fn push(&mut self, data: &[u8], sink: &mut impl Write) -> Result<(), ScrapeError> {
        let mut pending = std::mem::take(&mut self.pending);
        pending.extend_from_slice(data);
        let mut rest = pending.as_slice();
        loop {
            let taken = self.step(rest, sink)?;
            if taken == 0 {
                break;
            }
            rest = rest.get(taken..).unwrap_or_default();
        }
        let taken = pending.len() - rest.len();
        pending.drain(..taken);
        self.pending = pending;
        Ok(())
    }

    /// Whether the body is whole.
    ///
    /// # Errors
    ///
    /// It ends within a frame.
    pub(crate) const fn finish(&self) -> Result<(), ZstdError> {
        if self.pending.is_empty() && matches!(self.state, State::Between) {
            Ok(())
        } else {
            Err(ZstdError::Incomplete)
        }
    }

    /// Takes a header, a block or a part of what is skipped; gives the bytes taken, 0 where more are needed.
    fn step(&mut self, data: &[u8], sink: &mut impl Write) -> Result<usize, ScrapeError> {
        match &mut self.state {
            State::Between => self.header(data),
            State::Frame { decoder, has_checksum } => {
                let Some(block) = Block::parse(data)? else { return Ok(0) };
                let checksum_len = if block.is_last && *has_checksum { 4 } else { 0 };
                let Some(mut source) = data.get(..block.len + checksum_len) else { return Ok(0) };
                reserve_window(&mut self.reserved, decoder.blocks_decoded())?;
                let taken = source.len();
                decoder.decode_blocks(&mut source, BlockDecodingStrategy::UptoBlocks(1)).map_err(ZstdError::from)?;
                decoder
                    .collect_to_writer(sink)
                    .map_err(|error| ZstdError::from(FrameDecoderError::FailedToDrainDecodebuffer(error)))?;
                if block.is_last {
                    if *has_checksum && decoder.get_checksum_from_data() != decoder.get_calculated_checksum() {
                        return Err(ZstdError::Checksum.into());
                    }
                    self.state = State::Between;
                }
                Ok(taken)
            }
            State::Skip(left) => {
                let taken = data.len().min(*left);
                *left -= taken;
                if *left == 0 {
                    self.state = State::Between;
                }
                Ok(taken)
            }
        }
    }

    fn header(&mut self, data: &[u8]) -> Result<usize, ScrapeError> {
        let Some(magic) = data.first_chunk::<4>() else { return Ok(0) };
        if SKIPPABLE.contains(&u32::from_le_bytes(*magic)) {
            let Some([_, _, _, _, len @ ..]) = data.first_chunk::<8>() else { return Ok(0) };
            let len = usize::try_from(u32::from_le_bytes(*len)).unwrap_or(usize::MAX);
            self.state = if len == 0 { State::Between } else { State::Skip(len) };
            return Ok(8);
        }
        let Some(descriptor) = data.get(4) else { return Ok(0) };
        let Some(header) = data.get(..header_len(*descriptor)) else { return Ok(0) };
        // A decoder of its own for each frame: one that is used again reserves the whole window at once.
        let mut decoder = Box::new(FrameDecoder::new());
        decoder.set_max_window_size(MAX_WINDOW_BYTES);
        decoder.init(header).map_err(ZstdError::from)?;
        self.state = State::Frame { decoder, has_checksum: descriptor & 4 != 0 };
        Ok(header.len())
    }
}

/// Bytes of a frame's header, by its descriptor; RFC 8878 section 3.1.1.1.
const fn header_len(descriptor: u8) -> usize {
    let is_single_segment = descriptor & 0x20 != 0;
    let window = if is_single_segment { 0 } else { 1 };
    let dictionary = match descriptor & 3 {
        0 => 0,
        1 => 1,
        2 => 2,
        _ => 4,
    };
    let content_size = match descriptor >> 6 {
        0 => 1 - window,
        1 => 2,
        2 => 4,
        _ => 8,
    };
    5 + window + dictionary + content_size
}

/// What the header of a block says; RFC 8878 section 3.1.1.2.
struct Block {
    is_last: bool,
    /// Bytes with the header.
    len: usize,
}

impl Block {
    fn parse(data: &[u8]) -> Result<Option<Self>, ZstdError> {
        let Some([low, middle, high]) = data.first_chunk::<3>() else { return Ok(None) };
        let is_repeated_byte = (low >> 1) & 3 == 1;
        let size = usize::from(low >> 3) | (usize::from(*middle) << 5) | (usize::from(*high) << 13);
        if size > MAX_BLOCK_BYTES {
            return Err(ZstdError::BlockSize(size));
        }
        Ok(Some(Self { is_last: low & 1 != 0, len: 3 + if is_repeated_byte { 1 } else { size } }))
    }
}

/// Reserves what the decoder may hold after one more block: its buffer has up to twice the bytes that it needs.
/// Those of the first block are within the allowance of every page.
fn reserve_window(reserved: &mut Reservation, blocks: usize) -> Result<(), ScrapeError> {
    let window = usize::try_from(MAX_WINDOW_BYTES).unwrap_or(usize::MAX);
    let held = blocks.saturating_add(1).saturating_mul(MAX_BLOCK_BYTES).min(window);
    reserved.resize((2 * held).saturating_sub(PAGE_ALLOWANCE_BYTES)).map_err(ScrapeError::Memory)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use ruzstd::encoding::{CompressionLevel, compress_to_vec};

    use super::*;

    /// What the reference encoder (1.5.4, level 3, with checksum) makes of `a 1\n`, eight times.
    const REFERENCE: &[u8] = &[
        0x28, 0xB5, 0x2F, 0xFD, 0x04, 0x58, 0x55, 0x00, 0x00, 0x20, 0x61, 0x20, 0x31, 0x0A, 0x01, 0x00, 0x33, 0x8E,
        0x08, 0x29, 0xC0, 0x98, 0x58,
    ];

    #[test]
    fn frames_are_read_in_any_pieces() {
        let text = page(20_000);
        let frame = compress_to_vec(text.as_bytes(), CompressionLevel::Fastest);
        assert!(frame.len() < text.len());
        for len in [1, 2, 3, 7, 64, 1000, usize::MAX] {
            assert_eq!(read(&frame, len).unwrap(), text.as_bytes(), "pieces of {len}");
        }
        assert_eq!(read(REFERENCE, 5).unwrap(), b"a 1\n".repeat(8));
        assert_eq!(read(b"", 1).unwrap(), b"");
    }

    #[test]
    fn frames_follow_one_another_and_some_are_skipped() {
        let skipped = [[0x5F, 0x2A, 0x4D, 0x18, 3, 0, 0, 0].as_slice(), b"abc"].concat();
        let nothing = [0x50, 0x2A, 0x4D, 0x18, 0, 0, 0, 0];
        let body = [REFERENCE, &skipped, &nothing, REFERENCE].concat();
        assert_eq!(read(&body, 3).unwrap(), b"a 1\n".repeat(16));
    }

    #[test]
    fn damage_is_named() {
        check(b"no zstd at all", "damaged zstd body: ");
        check(&REFERENCE[..REFERENCE.len() - 1], "damaged zstd body: ends within a frame");
        check(&REFERENCE[..7], "damaged zstd body: ends within a frame");
        let mut flipped = REFERENCE.to_vec();
        *flipped.last_mut().unwrap() ^= 1;
        check(&flipped, "damaged zstd body: wrong checksum");
        // Without content size; a window of 16 MiB.
        check(&[0x28, 0xB5, 0x2F, 0xFD, 0, 14 << 3], "damaged zstd body: ");
        // A window of 8 MiB, a block of 2 MiB.
        check(&[0x28, 0xB5, 0x2F, 0xFD, 0, 13 << 3, 0xFF, 0xFF, 0xFF], "damaged zstd body: block of 2097151 bytes");
        // A dictionary that nobody has.
        check(&[0x28, 0xB5, 0x2F, 0xFD, 0x21, 7, 4], "damaged zstd body: ");
    }

    #[test]
    fn window_is_reserved_before_it_is_used() {
        let pool = MemoryPool::new(PAGE_ALLOWANCE_BYTES);
        let mut decoder = ZstdDecoder::new(&pool);
        let body = repeated_bytes(40);
        let error = decoder.push(&body, &mut std::io::sink()).unwrap_err().to_string();
        assert!(error.starts_with("no memory for the page"), "{error}");
        drop(decoder);
        assert_eq!(pool.used(), 0);
        let pool = MemoryPool::new(16 << 20);
        ZstdDecoder::new(&pool).push(&repeated_bytes(400), &mut std::io::sink()).unwrap();
    }

    proptest! {
        #[test]
        fn damaged_frames_do_no_harm(at in 0..usize::MAX, mask in 1_u8.., cut in 0..usize::MAX, lines in 0..2000_usize) {
            let text = page(lines);
            let mut frame = compress_to_vec(text.as_bytes(), CompressionLevel::Fastest);
            let at = at % frame.len();
            frame[at] ^= mask;
            frame.truncate(frame.len() - cut % 3);
            // The checksum covers what the frame holds.
            if let Ok(found) = read(&frame, 100) {
                prop_assert!(found == text.as_bytes(), "another text");
            }
        }

        #[test]
        fn any_bytes_do_no_harm(tail in proptest::collection::vec(any::<u8>(), 0..2000)) {
            let body = [&[0x28, 0xB5, 0x2F, 0xFD, 0, 13 << 3], tail.as_slice()].concat();
            let longest = (body.len() / 4 + 1) * MAX_BLOCK_BYTES;
            prop_assert!(read(&body, 100).map_or(0, |text| text.len()) <= longest);
        }
    }

    /// A frame of `blocks` blocks that each stand for 128 KiB of one byte.
    fn repeated_bytes(blocks: u32) -> Vec<u8> {
        let mut frame = vec![0x28, 0xB5, 0x2F, 0xFD, 0, 13 << 3];
        for block in 1..=blocks {
            let header = ((128 << 10) << 3) | (1 << 1) | u32::from(block == blocks);
            frame.extend_from_slice(&header.to_le_bytes()[..3]);
            frame.push(b'a');
        }
        frame
    }

    fn page(lines: usize) -> String {
        (0..lines).map(|line| format!("metric{{label=\"{}\"}} {}\n", line % 97, line * line)).collect()
    }

    fn read(body: &[u8], piece: usize) -> Result<Vec<u8>, ScrapeError> {
        let mut decoder = ZstdDecoder::new(&MemoryPool::unlimited());
        let mut text = Vec::new();
        for piece in body.chunks(piece) {
            decoder.push(piece, &mut text)?;
        }
        decoder.finish()?;
        Ok(text)
    }

    #[track_caller]
    fn check(body: &[u8], expected: &str) {
        let error = crate::error::describe(&read(body, 3).unwrap_err());
        assert!(error.starts_with(expected), "{error}");
    }
}
