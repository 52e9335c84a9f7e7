//! The body of an answer: decompressed as it comes, never beyond its bound.
//!
//! - [`BodyReader`]: collects it. [`Body`]: the page, and the memory that is reserved for it.
//!
//! Rule: the bound holds for the bytes on the wire and for those after decompression.

use std::io::{self, Write};

use flate2::write::MultiGzDecoder;
use storage::{MemoryPool, Reservation};

use crate::error::ScrapeError;
use crate::zstd::ZstdDecoder;

/// The encodings that are asked for.
pub(crate) const ACCEPTED_ENCODINGS: &str = "gzip, zstd";

/// Bytes of a page that every target has without reserving: 40 times the page of a worker, and more than
/// those of most exporters. What goes beyond comes from the pool of all pages, so that targets that send too
/// much share a bound, and take nothing from those that do not.
pub(crate) const PAGE_ALLOWANCE_BYTES: usize = 256 * 1024;

/// Bytes of a part of what goes beyond. Parts are neither copied when the page grows nor given back to the system all at
/// once, which would hold up all threads that ask for memory (64 MiB take some 15 ms).
const PART_BYTES: usize = PAGE_ALLOWANCE_BYTES;

/// Collects a body.
#[derive(Debug)]
pub(crate) struct BodyReader {
    bound: usize,
    wire_bytes: usize,
    decoder: Decoder,
}

#[derive(Debug)]
enum Decoder {
    Identity(BoundedSink),
    Gzip(Box<MultiGzDecoder<BoundedSink>>),
    Zstd(Box<ZstdDecoder>, BoundedSink),
}

impl BodyReader {
    /// Takes the `Content-Encoding`, the bound in bytes, the expected size, and where memory is reserved.
    pub(crate) fn new(
        encoding: &str,
        bound: usize,
        expected_len: usize,
        pool: &MemoryPool,
    ) -> Result<Self, ScrapeError> {
        let sink = BoundedSink::new(bound, expected_len, pool);
        let decoder = match encoding.trim().to_ascii_lowercase().as_str() {
            "" | "identity" => Decoder::Identity(sink),
            "gzip" | "x-gzip" => Decoder::Gzip(Box::new(MultiGzDecoder::new(sink))),
            "zstd" => Decoder::Zstd(Box::new(ZstdDecoder::new(pool)), sink),
            _ => return Err(ScrapeError::ContentEncoding(encoding.to_owned())),
        };
        Ok(Self { bound, wire_bytes: 0, decoder })
    }

    /// Takes the next bytes from the wire.
    pub(crate) fn push(&mut self, data: &[u8]) -> Result<(), ScrapeError> {
        self.wire_bytes = self.wire_bytes.saturating_add(data.len());
        if self.wire_bytes > self.bound {
            return Err(ScrapeError::BodySize(self.bound));
        }
        let result = match &mut self.decoder {
            Decoder::Identity(sink) => sink.write_all(data),
            Decoder::Gzip(decoder) => decoder.write_all(data),
            Decoder::Zstd(decoder, sink) => {
                return decoder.push(data, sink).map_err(|error| sink.failure.take().unwrap_or(error));
            }
        };
        result.map_err(|error| self.error(error))
    }

    /// The whole body.
    pub(crate) fn finish(mut self) -> Result<Body, ScrapeError> {
        match &mut self.decoder {
            Decoder::Gzip(decoder) if self.wire_bytes > 0 => {
                if let Err(error) = decoder.try_finish() {
                    return Err(self.error(error));
                }
            }
            Decoder::Zstd(decoder, _) => decoder.finish()?,
            Decoder::Gzip(_) | Decoder::Identity(_) => {}
        }
        let sink = self.sink_mut();
        let nothing = sink.reserved.pool().reservation();
        Ok(Body { bytes: sink.take(), reserved: std::mem::replace(&mut sink.reserved, nothing) })
    }

    /// Bytes that came, or that they became, whichever is more.
    pub(crate) fn len(&self) -> usize {
        let sink = match &self.decoder {
            Decoder::Identity(sink) | Decoder::Zstd(_, sink) => sink,
            Decoder::Gzip(decoder) => decoder.get_ref(),
        };
        self.wire_bytes.max(sink.len())
    }

    /// Bytes from the wire that may be taken at once: those of a compressed page become up to a thousand times
    /// as many (gzip) or thirty thousand times (zstd), and whoever takes them must let others run in between.
    pub(crate) const fn step(&self) -> usize {
        match self.decoder {
            Decoder::Identity(_) => usize::MAX,
            Decoder::Gzip(_) => 512,
            Decoder::Zstd(..) => 32,
        }
    }

    fn sink_mut(&mut self) -> &mut BoundedSink {
        match &mut self.decoder {
            Decoder::Identity(sink) | Decoder::Zstd(_, sink) => sink,
            Decoder::Gzip(decoder) => decoder.get_mut(),
        }
    }

    fn error(&mut self, error: io::Error) -> ScrapeError {
        self.sink_mut().failure.take().unwrap_or(ScrapeError::Gzip(error))
    }
}

/// A page that came as a whole, with the memory that was reserved for it.
#[derive(Debug)]
pub(crate) struct Body {
    pub(crate) bytes: Vec<u8>,
    /// Given back when the page was read.
    pub(crate) reserved: Reservation,
}

#[derive(Debug)]
struct BoundedSink {
    /// Parts that are full, in their order.
    full: Vec<Vec<u8>>,
    full_len: usize,
    /// The last part.
    bytes: Vec<u8>,
    bound: usize,
    reserved: Reservation,
    failure: Option<ScrapeError>,
}

impl BoundedSink {
    fn new(bound: usize, expected_len: usize, pool: &MemoryPool) -> Self {
        // A little more than last time, so that a page that grows as usual is read without copying it.
        let capacity = expected_len.saturating_add(expected_len / 8).min(PAGE_ALLOWANCE_BYTES);
        let bytes = Vec::with_capacity(capacity);
        Self { full: Vec::new(), full_len: 0, bytes, bound, reserved: pool.reservation(), failure: None }
    }

    fn len(&self) -> usize {
        self.full_len + self.bytes.len()
    }

    /// Makes room for at least one of so many bytes more, reserving first what goes beyond the allowance.
    fn make_room(&mut self, more: usize) -> Result<(), ScrapeError> {
        if self.len().saturating_add(more) > self.bound {
            return Err(ScrapeError::BodySize(self.bound));
        }
        if self.bytes.len() < self.bytes.capacity() {
            return Ok(());
        }
        if self.full.is_empty() && self.bytes.len() < PAGE_ALLOWANCE_BYTES {
            let wanted = self.bytes.len().saturating_add(more).max(self.bytes.capacity().saturating_mul(2));
            self.bytes.reserve_exact(wanted.min(PAGE_ALLOWANCE_BYTES).min(self.bound) - self.bytes.len());
            return Ok(());
        }
        self.reserved.grow(PART_BYTES).map_err(ScrapeError::Memory)?;
        self.full_len += self.bytes.len();
        self.full.push(std::mem::replace(&mut self.bytes, Vec::with_capacity(PART_BYTES)));
        Ok(())
    }

    /// The bytes in one piece; each part is given back as soon as it was copied.
    fn take(&mut self) -> Vec<u8> {
        let last = std::mem::take(&mut self.bytes);
        if self.full.is_empty() {
            return last;
        }
        let mut whole = Vec::with_capacity(self.full_len + last.len());
        for part in std::mem::take(&mut self.full).into_iter().chain([last]) {
            whole.extend_from_slice(&part);
        }
        self.full_len = 0;
        whole
    }
}

impl Write for BoundedSink {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let mut rest = data;
        while !rest.is_empty() {
            if let Err(failure) = self.make_room(rest.len()) {
                self.failure = Some(failure);
                return Err(io::Error::other("no room for the body"));
            }
            let room = rest.len().min(self.bytes.capacity() - self.bytes.len());
            let (fits, others) = rest.split_at(room);
            self.bytes.extend_from_slice(fits);
            rest = others;
        }
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use ruzstd::encoding::{CompressionLevel, compress_to_vec};

    use super::*;

    #[test]
    fn plain_and_compressed_bodies_are_read() {
        check("", b"a 1\n", 4, Ok(b"a 1\n"));
        check("identity", b"a 1\n", 4, Ok(b"a 1\n"));
        check("gzip", &gzip(b"a 1\n"), 100, Ok(b"a 1\n"));
        check("gzip", &[gzip(b"a 1\n"), gzip(b"b 2\n")].concat(), 100, Ok(b"a 1\nb 2\n"));
        check("gzip", b"", 100, Ok(b""));
        check("zstd", &zstd(b"a 1\n"), 100, Ok(b"a 1\n"));
        check("ZSTD", b"", 100, Ok(b""));
    }

    #[test]
    fn bound_holds_before_and_after_decompression() {
        check("", b"12345", 4, Err("body exceeds its limit of 4 bytes"));
        let bomb = gzip(&vec![0; 10_000_000]);
        assert!(bomb.len() < 100_000);
        check("gzip", &bomb, 1_000_000, Err("body exceeds its limit of 1000000 bytes"));
        check("zstd", &zstd(&vec![0; 10_000_000]), 1_000_000, Err("body exceeds its limit of 1000000 bytes"));
        let empties: Vec<u8> = std::iter::repeat_n(gzip(b""), 100).flatten().collect();
        check("gzip", &empties, 1_000, Err("body exceeds its limit of 1000 bytes"));
    }

    #[test]
    fn damage_and_unknown_encodings_are_refused() {
        check("gzip", b"no gzip at all", 100, Err("damaged gzip body"));
        let whole = gzip(b"a 1\nb 2\n");
        check("gzip", &whole[..whole.len() - 6], 100, Err("damaged gzip body"));
        check("zstd", b"no zstd at all", 100, Err("damaged zstd body"));
        let whole = zstd(b"a 1\nb 2\n");
        check("zstd", &whole[..whole.len() - 1], 100, Err("damaged zstd body"));
        check("br", b"", 100, Err("unsupported content encoding: `br`"));
    }

    #[test]
    fn large_body_reserves_what_goes_beyond_the_allowance() {
        let pool = MemoryPool::new(3 * PAGE_ALLOWANCE_BYTES);
        let read = |len: usize| {
            let mut reader = BodyReader::new("", usize::MAX, 0, &pool)?;
            for chunk in vec![b'a'; len].chunks(10_000) {
                reader.push(chunk)?;
            }
            reader.finish()
        };
        let small = read(PAGE_ALLOWANCE_BYTES).unwrap();
        assert_eq!((small.bytes.len(), small.reserved.bytes()), (PAGE_ALLOWANCE_BYTES, 0));
        let large = read(3 * PAGE_ALLOWANCE_BYTES).unwrap();
        assert!(large.reserved.bytes() >= 2 * PAGE_ALLOWANCE_BYTES, "{:?}", large.reserved);
        let error = read(3 * PAGE_ALLOWANCE_BYTES).unwrap_err().to_string();
        assert!(error.starts_with("no memory for the page"), "{error}");
        drop(large);
        read(3 * PAGE_ALLOWANCE_BYTES).unwrap();
        assert_eq!(pool.used(), 0);
    }

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(text: &[u8]) -> Vec<u8> {
        compress_to_vec(text, CompressionLevel::Fastest)
    }

    #[track_caller]
    fn check(encoding: &str, wire: &[u8], bound: usize, expected: Result<&[u8], &str>) {
        let read = || {
            let mut reader = BodyReader::new(encoding, bound, 0, &MemoryPool::unlimited())?;
            for chunk in wire.chunks(1000) {
                reader.push(chunk)?;
            }
            reader.finish().map(|body| body.bytes)
        };
        let result = read().map_err(|error: ScrapeError| error.to_string());
        assert_eq!(result, expected.map(<[u8]>::to_vec).map_err(str::to_owned));
    }
}
