//! Messages of other engines: remote write 1.0 and 2.0, remote read, snappy around them.
//!
//! Rule: what was read and is written again is read as the same thing.

use std::collections::BTreeSet;

use remote::wire::{
    MAX_MESSAGE_BYTES, PartLabels, ReadRequest, ReadResponse, SeriesPart, WireError, WritePart, WriteRequest,
    WriteVersion, WriteVisitor, compress, decompress, read_write_request,
};

/// A write request of version 1 and one of version 2, each after a byte that chooses the message.
pub const SEEDS: &[&[u8]] = &[
    b"\x00\x0a\x1e\x0a\x0d\x0a\x08__name__\x12\x01m\x12\x0d\x09\0\0\0\0\0\0\xf0\x3f\x10\xe8\x07",
    b"\x01\x22\x00\x22\x08__name__\x22\x01m\x2a\x13\x0a\x02\x01\x02\x12\x0d\x09\0\0\0\0\0\0\xf0\x3f\x10\xe8\x07",
    b"\x02\x0a\x16\x08\x01\x10\x02\x1a\x10\x08\x00\x12\x08__name__\x1a\x01m\x22\x00",
    b"\x04\x05\x10hello",
];

/// The first byte chooses the message, the others are its bytes.
pub fn remote(data: &[u8]) {
    let Some((kind, message)) = data.split_first() else { return };
    match kind % 5 {
        0 => write(WriteVersion::V1, message),
        1 => write(WriteVersion::V2, message),
        2 => {
            if let Ok(request) = ReadRequest::decode(message) {
                let again = ReadRequest::decode(&request.encode());
                assert!(again.is_ok_and(|again| again == request), "{request:?}");
            }
        }
        3 => drop(ReadResponse::decode(message)),
        _ => {
            if let Ok(plain) = decompress(message, MAX_MESSAGE_BYTES.min(1 << 20)) {
                let again = compress(&plain).map(|packed| decompress(&packed, MAX_MESSAGE_BYTES));
                assert!(matches!(again, Ok(Ok(back)) if back == plain), "snappy changes a message");
            }
        }
    }
}

/// Reads a message as a receiver does that has seen it before: labels are known by their bytes.
#[derive(Default)]
struct SeenBefore {
    good: BTreeSet<Vec<u8>>,
    again: bool,
    request: WriteRequest,
}

impl WriteVisitor for SeenBefore {
    type Error = WireError;

    fn knows(&mut self, label_bytes: &[u8]) -> bool {
        self.again && self.good.contains(label_bytes)
    }

    fn part(&mut self, part: WritePart<'_>) -> Result<(), WireError> {
        if let WritePart::Series(SeriesPart { labels: PartLabels::Read(_, Some(bytes)), .. }) = &part {
            self.good.insert(bytes.to_vec());
        }
        self.request.part(part)
    }
}

fn write(version: WriteVersion, message: &[u8]) {
    let Ok(request) = WriteRequest::decode(version, message) else { return };
    let mut seen = SeenBefore::default();
    for again in [false, true] {
        seen.again = again;
        seen.request = WriteRequest::default();
        let read = read_write_request(version, message, &mut seen);
        assert!(read.is_ok() && same(&seen.request, &request), "known labels change a message: {request:?}");
    }
    let encoded = request.encode(version);
    let Ok(again) = WriteRequest::decode(version, &encoded) else { panic!("what was written cannot be read") };
    assert!(same(&again, &request), "what was written is read as something else: {request:?}");
}

/// Equal by what is encoded, because a NaN equals nothing.
fn same(a: &WriteRequest, b: &WriteRequest) -> bool {
    a.encode(WriteVersion::V1) == b.encode(WriteVersion::V1) && a.encode(WriteVersion::V2) == b.encode(WriteVersion::V2)
}
