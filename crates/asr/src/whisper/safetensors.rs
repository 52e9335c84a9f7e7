//! The index of a Hugging Face `model.safetensors`.
//!
//! ```text
//! u64 header length │ header: {"name": {"dtype", "shape", "data_offsets": [begin, end]}, …} │ data
//! ```
//!
//! Rule: the header's length is bounded before it is read.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use candle_core::DType;
use serde::Deserialize;

use super::error::LoadError;
use super::weights::Entry;

/// The large model's header has 150 kB.
const MAX_HEADER_BYTES: u64 = 4 << 20;

#[derive(Deserialize)]
struct Header {
    dtype: String,
    shape: Vec<usize>,
    data_offsets: [u64; 2],
}

/// Reads the header of the file.
///
/// # Errors
/// [`LoadError::Malformed`] or [`LoadError::Unsupported`].
pub fn index(path: &Path, file: &File) -> Result<HashMap<String, Entry>, LoadError> {
    let malformed = |reason: String| LoadError::Malformed { path: path.to_owned(), reason };
    let mut reader = BufReader::new(file);
    let mut length = [0; 8];
    reader.read_exact(&mut length).map_err(|error| malformed(error.to_string()))?;
    let length = u64::from_le_bytes(length);
    if length > MAX_HEADER_BYTES {
        return Err(malformed(format!("a header of {length} bytes")));
    }
    let headers: HashMap<String, serde_json::Value> =
        serde_json::from_reader(reader.take(length)).map_err(|error| malformed(error.to_string()))?;
    let mut index = HashMap::new();
    for (name, header) in headers {
        if name == "__metadata__" {
            continue;
        }
        let header: Header =
            serde_json::from_value(header).map_err(|error| malformed(format!("tensor `{name}`: {error}")))?;
        let dtype = match header.dtype.as_str() {
            "F32" => DType::F32,
            "F16" => DType::F16,
            "BF16" => DType::BF16,
            other => {
                return Err(LoadError::Unsupported {
                    path: path.to_owned(),
                    what: format!("type {other} of tensor `{name}`"),
                });
            }
        };
        let [begin, end] = header.data_offsets;
        let offset = begin.checked_add(8 + length);
        let entry = Entry { offset: offset.unwrap_or(u64::MAX), dtype, shape: header.shape };
        let bytes = entry.elements().map(|n| n as u64 * dtype.size_in_bytes() as u64);
        if end.checked_sub(begin) != bytes || bytes.is_none() {
            return Err(malformed(format!("tensor `{name}` has bytes {begin} to {end}")));
        }
        index.insert(name, entry);
    }
    Ok(index)
}
