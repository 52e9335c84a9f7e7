//! The body of an answer: decompressed as it comes, never beyond its bound.
//!
//! Rule: the bound holds for the bytes on the wire and for those after decompression.

use std::io::{self, Write};

use flate2::write::MultiGzDecoder;

use crate::error::ScrapeError;

/// The encodings that are asked for.
pub(crate) const ACCEPTED_ENCODINGS: &str = "gzip";

/// The largest buffer that is taken on trust in the size of the last page.
const MAX_INITIAL_CAPACITY: usize = 1024 * 1024;

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
}

impl BodyReader {
    /// Takes the `Content-Encoding`, the bound in bytes and the expected size.
    pub(crate) fn new(encoding: &str, bound: usize, expected_len: usize) -> Result<Self, ScrapeError> {
        let sink = BoundedSink::new(bound, expected_len);
        let decoder = match encoding.trim().to_ascii_lowercase().as_str() {
            "" | "identity" => Decoder::Identity(sink),
            "gzip" | "x-gzip" => Decoder::Gzip(Box::new(MultiGzDecoder::new(sink))),
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
        };
        result.map_err(|error| self.error(error))
    }

    /// The whole body.
    pub(crate) fn finish(mut self) -> Result<Vec<u8>, ScrapeError> {
        if let Decoder::Gzip(decoder) = &mut self.decoder
            && self.wire_bytes > 0
            && let Err(error) = decoder.try_finish()
        {
            return Err(self.error(error));
        }
        Ok(std::mem::take(&mut self.sink_mut().bytes))
    }

    fn sink_mut(&mut self) -> &mut BoundedSink {
        match &mut self.decoder {
            Decoder::Identity(sink) => sink,
            Decoder::Gzip(decoder) => decoder.get_mut(),
        }
    }

    fn error(&mut self, error: io::Error) -> ScrapeError {
        if self.sink_mut().is_over { ScrapeError::BodySize(self.bound) } else { ScrapeError::Gzip(error) }
    }
}

#[derive(Debug)]
struct BoundedSink {
    bytes: Vec<u8>,
    bound: usize,
    is_over: bool,
}

impl BoundedSink {
    fn new(bound: usize, expected_len: usize) -> Self {
        Self { bytes: Vec::with_capacity(expected_len.min(MAX_INITIAL_CAPACITY)), bound, is_over: false }
    }
}

impl Write for BoundedSink {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if self.bytes.len().saturating_add(data.len()) > self.bound {
            self.is_over = true;
            return Err(io::Error::other("body exceeds its limit"));
        }
        self.bytes.extend_from_slice(data);
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

    use super::*;

    #[test]
    fn plain_and_compressed_bodies_are_read() {
        check("", b"a 1\n", 4, Ok(b"a 1\n"));
        check("identity", b"a 1\n", 4, Ok(b"a 1\n"));
        check("gzip", &gzip(b"a 1\n"), 100, Ok(b"a 1\n"));
        check("gzip", &[gzip(b"a 1\n"), gzip(b"b 2\n")].concat(), 100, Ok(b"a 1\nb 2\n"));
        check("gzip", b"", 100, Ok(b""));
    }

    #[test]
    fn bound_holds_before_and_after_decompression() {
        check("", b"12345", 4, Err("body exceeds its limit of 4 bytes"));
        let bomb = gzip(&vec![0; 10_000_000]);
        assert!(bomb.len() < 100_000);
        check("gzip", &bomb, 1_000_000, Err("body exceeds its limit of 1000000 bytes"));
        let empties: Vec<u8> = std::iter::repeat_n(gzip(b""), 100).flatten().collect();
        check("gzip", &empties, 1_000, Err("body exceeds its limit of 1000 bytes"));
    }

    #[test]
    fn damage_and_unknown_encodings_are_refused() {
        check("gzip", b"no gzip at all", 100, Err("damaged gzip body"));
        let whole = gzip(b"a 1\nb 2\n");
        check("gzip", &whole[..whole.len() - 6], 100, Err("damaged gzip body"));
        check("br", b"", 100, Err("unsupported content encoding: `br`"));
    }

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    #[track_caller]
    fn check(encoding: &str, wire: &[u8], bound: usize, expected: Result<&[u8], &str>) {
        let read = || {
            let mut reader = BodyReader::new(encoding, bound, 0)?;
            for chunk in wire.chunks(1000) {
                reader.push(chunk)?;
            }
            reader.finish()
        };
        let result = read().map_err(|error: ScrapeError| error.to_string());
        assert_eq!(result, expected.map(<[u8]>::to_vec).map_err(str::to_owned));
    }
}
