//! Messages of other engines: remote write 1.0 and 2.0, remote read, snappy around them.
//!
//! Rule: what was read and is written again is read as the same thing.

use remote::wire::{MAX_MESSAGE_BYTES, ReadRequest, ReadResponse, WriteRequest, WriteVersion, compress, decompress};

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

fn write(version: WriteVersion, message: &[u8]) {
    let Ok(request) = WriteRequest::decode(version, message) else { return };
    let encoded = request.encode(version);
    let Ok(again) = WriteRequest::decode(version, &encoded) else { panic!("what was written cannot be read") };
    let (first, second) = (request.series.iter(), again.series.iter());
    assert_eq!(request.series.len(), again.series.len());
    for (first, second) in first.zip(second) {
        assert_eq!(first.labels, second.labels);
        assert_eq!((first.samples.len(), first.histograms.len()), (second.samples.len(), second.histograms.len()));
    }
}
