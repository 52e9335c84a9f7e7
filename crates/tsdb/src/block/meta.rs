//! What a block says about itself, and its name.
//!
//! Rule: a name is made of the time and the checksums of the content, so that the same export has the same names.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::disk::Disk;

use super::BlockError;

/// The digits of a name.
const DIGITS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// What a block says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockInfo {
    /// Its folder.
    pub path: PathBuf,
    /// Its name.
    pub ulid: String,
    /// First instant, in Unix milliseconds.
    pub min_ms: i64,
    /// The instant behind the last one, in Unix milliseconds.
    pub max_ms: i64,
    /// Samples in it.
    pub samples: u64,
    /// Series in it.
    pub series: u64,
    /// Chunks in it.
    pub chunks: u64,
    /// Merges that led to it, from one.
    pub level: u64,
    /// Bytes of its files.
    pub bytes: u64,
    /// Histograms with custom buckets in it, which Prometheus reads from version 3.0 on. Only told by an export.
    pub custom_histograms: u64,
}

impl BlockInfo {
    /// The text of `meta.json`.
    pub(super) fn to_json(&self) -> String {
        let meta = json!({
            "ulid": self.ulid,
            "minTime": self.min_ms,
            "maxTime": self.max_ms,
            "stats": {"numSamples": self.samples, "numSeries": self.series, "numChunks": self.chunks},
            "compaction": {"level": self.level, "sources": [self.ulid]},
            "version": 1,
        });
        format!("{meta:#}\n")
    }

    /// Reads the `meta.json` of a block.
    pub(crate) fn read(disk: &dyn Disk, path: &Path) -> Result<Self, BlockError> {
        let file = path.join("meta.json");
        let text = match disk.read(&file) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(BlockError::NotABlock(path.to_path_buf()));
            }
            Err(source) => return Err(BlockError::io("read", &file)(source)),
        };
        let corrupt = |reason: String| BlockError::Corrupt { path: file.clone(), reason };
        let meta: Value = serde_json::from_slice(&text).map_err(|error| corrupt(error.to_string()))?;
        if meta["version"].as_u64() != Some(1) {
            let what = format!("version {} of a block", meta["version"]);
            return Err(BlockError::Unsupported { path: file, what });
        }
        let time = |key: &str| meta[key].as_i64().ok_or_else(|| corrupt(format!("`{key}` is no number")));
        let count = |key: &str| meta["stats"][key].as_u64().unwrap_or(0);
        Ok(Self {
            path: path.to_path_buf(),
            ulid: meta["ulid"].as_str().unwrap_or_default().to_owned(),
            min_ms: time("minTime")?,
            max_ms: time("maxTime")?,
            samples: count("numSamples"),
            series: count("numSeries"),
            chunks: count("numChunks"),
            level: meta["compaction"]["level"].as_u64().unwrap_or(0),
            bytes: disk.byte_len(path),
            custom_histograms: 0,
        })
    }
}

/// The blocks in a folder of Prometheus, ascending by time. Folders that are none are left out.
///
/// # Errors
///
/// The folder or a `meta.json` cannot be read.
pub fn list_blocks(folder: &Path) -> Result<Vec<BlockInfo>, BlockError> {
    let disk = crate::disk::RealDisk;
    let mut blocks = Vec::new();
    for path in disk.list(folder).map_err(BlockError::io("list", folder))? {
        match BlockInfo::read(&disk, &path) {
            Ok(block) => blocks.push(block),
            Err(BlockError::NotABlock(_)) => {}
            Err(BlockError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotADirectory => {}
            Err(error) => return Err(error),
        }
    }
    blocks.sort_by(|a, b| (a.min_ms, &a.ulid).cmp(&(b.min_ms, &b.ulid)));
    Ok(blocks)
}

/// A name: 48 bits of time and 80 others.
pub(super) fn ulid(time_ms: i64, others: u128) -> String {
    let time = u128::from(time_ms.max(0).unsigned_abs() & ((1 << 48) - 1));
    let bits = time << 80 | others & ((1 << 80) - 1);
    (0..26).rev().map(|at| char::from(DIGITS[(bits >> (at * 5) & 31) as usize])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_ordered_by_time() {
        assert_eq!(ulid(1_469_922_850_259, 0), "01ARZ3NDEK0000000000000000");
        assert_eq!(ulid(0, (1 << 80) - 1), "0000000000ZZZZZZZZZZZZZZZZ");
    }
}
