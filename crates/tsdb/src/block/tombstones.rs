//! Deleted ranges of a block: written empty, and obeyed where they are read.
//!
//! Rule: a file that is not there is an empty one.

use std::collections::HashMap;
use std::path::Path;

use crate::bytes::{Corrupt, Reader};
use crate::disk::Disk;

use super::BlockError;
use super::crc::crc32c;

const MAGIC: u32 = 0x0130_ba30;
const VERSION: u8 = 1;

/// Deleted ranges, both ends inclusive, by the number of the series.
pub(super) type Deleted = HashMap<u64, Vec<(i64, i64)>>;

/// The bytes of a file without any.
pub(super) fn empty() -> Vec<u8> {
    let mut bytes = MAGIC.to_be_bytes().to_vec();
    bytes.push(VERSION);
    bytes.extend_from_slice(&crc32c(&[]).to_be_bytes());
    bytes
}

pub(super) fn read(disk: &dyn Disk, path: &Path) -> Result<Deleted, BlockError> {
    match disk.read(path) {
        Ok(bytes) => parse(&bytes).map_err(BlockError::corrupt(path)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Deleted::new()),
        Err(source) => Err(BlockError::io("read", path)(source)),
    }
}

fn parse(bytes: &[u8]) -> Result<Deleted, Corrupt> {
    let mut front = Reader(bytes);
    if u32::from_be_bytes(front.array()?) != MAGIC {
        return Err(Corrupt("no magic number"));
    }
    if front.byte()? != VERSION {
        return Err(Corrupt("unknown version"));
    }
    // The sum is over what lies between the version and itself.
    let (summed, sum) = front.0.split_last_chunk::<4>().ok_or(Corrupt("ends early"))?;
    if crc32c(summed) != u32::from_be_bytes(*sum) {
        return Err(Corrupt("checksum is wrong"));
    }
    let mut reader = Reader(summed);
    let mut deleted = Deleted::new();
    while !reader.is_empty() {
        let series = reader.varint()?;
        deleted.entry(series).or_default().push((reader.signed()?, reader.signed()?));
    }
    Ok(deleted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_and_damage_is_told() {
        assert_eq!(parse(&empty()), Ok(Deleted::new()));
        let mut stones = vec![7];
        crate::bytes::put_signed(&mut stones, -5);
        crate::bytes::put_signed(&mut stones, 900);
        let mut bytes = MAGIC.to_be_bytes().to_vec();
        bytes.push(VERSION);
        bytes.extend_from_slice(&stones);
        bytes.extend_from_slice(&crc32c(&stones).to_be_bytes());
        assert_eq!(parse(&bytes), Ok(HashMap::from([(7, vec![(-5, 900)])])));
        for len in 0..bytes.len() {
            assert!(parse(&bytes[..len]).is_err(), "{len}");
        }
    }
}
