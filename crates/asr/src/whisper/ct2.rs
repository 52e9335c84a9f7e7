//! The index of a CTranslate2 `model.bin`.
//!
//! ```text
//! u32 version │ string specification │ u32 revision │ u32 variables
//! per variable: string name │ u8 rank │ u32 dims[rank] │ u8 type │ u32 bytes │ data
//! u32 aliases │ per alias: string name │ string target
//! string: u16 length with the closing NUL, then the bytes          (all little-endian)
//! ```
//!
//! Query, key and value (key and value in cross-attention) are rows of one matrix there. Rows of a
//! row-major matrix are a byte range, so they get entries of their own without any copying.
//!
//! Rule: a hostile file costs at most the reading of its own headers.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read, Seek};
use std::path::Path;

use candle_core::DType;

use super::error::LoadError;
use super::weights::Entry;

/// The large model has 1,260 variables.
const MAX_VARIABLES: u32 = 10_000;
/// Convolution kernels have three dimensions.
const MAX_RANK: u8 = 4;
/// The versions whose variables carry a type; older ones are no longer written.
const VERSIONS: std::ops::RangeInclusive<u32> = 4..=6;

/// Reads the headers of the file and names its tensors as Hugging Face does.
///
/// # Errors
/// [`LoadError::Malformed`] or [`LoadError::Unsupported`].
pub fn index(path: &Path, file: &File) -> Result<HashMap<String, Entry>, LoadError> {
    let mut headers = Headers { reader: BufReader::new(file), path };
    let version = headers.u32()?;
    if !VERSIONS.contains(&version) {
        return Err(headers.unsupported(format!("format version {version}")));
    }
    let specification = headers.string()?;
    if specification != "WhisperSpec" {
        return Err(headers.unsupported(format!("a model of kind `{specification}`")));
    }
    let _revision = headers.u32()?;
    let count = headers.u32()?;
    if count > MAX_VARIABLES {
        return Err(headers.malformed(format!("{count} variables")));
    }
    let mut index = HashMap::new();
    for _ in 0..count {
        let (name, variable) = headers.variable()?;
        if let Some(variable) = variable {
            insert(&mut index, &name, variable);
        }
    }
    Ok(index)
}

struct Headers<'a> {
    reader: BufReader<&'a File>,
    path: &'a Path,
}

impl Headers<'_> {
    /// The next variable's header; `None` for scalars, which are settings, not weights. Skips the
    /// data.
    fn variable(&mut self) -> Result<(String, Option<Entry>), LoadError> {
        let name = self.string()?;
        let [rank] = self.bytes()?;
        if rank > MAX_RANK {
            return Err(self.malformed(format!("variable `{name}` has {rank} dimensions")));
        }
        let mut shape = Vec::with_capacity(usize::from(rank));
        for _ in 0..rank {
            shape.push(self.u32()? as usize);
        }
        let [code] = self.bytes()?;
        let bytes = self.u32()?;
        let offset = self.reader.stream_position().map_err(|error| self.read_error(error))?;
        self.reader.seek_relative(i64::from(bytes)).map_err(|error| self.read_error(error))?;
        if rank == 0 {
            return Ok((name, None));
        }
        let dtype = match code {
            0 => DType::F32,
            4 => DType::F16,
            5 => DType::BF16,
            1 => return Err(self.unsupported(format!("8-bit weights (`{name}`); use float16"))),
            _ => return Err(self.unsupported(format!("type {code} of variable `{name}`"))),
        };
        let entry = Entry { offset, dtype, shape };
        let needed = entry.elements().and_then(|n| n.checked_mul(dtype.size_in_bytes()));
        if needed != Some(bytes as usize) {
            return Err(self.malformed(format!("variable `{name}` has {bytes} bytes")));
        }
        Ok((name, Some(entry)))
    }

    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], LoadError> {
        let mut bytes = [0; N];
        self.reader.read_exact(&mut bytes).map_err(|error| self.read_error(error))?;
        Ok(bytes)
    }

    fn u32(&mut self) -> Result<u32, LoadError> {
        Ok(u32::from_le_bytes(self.bytes()?))
    }

    fn string(&mut self) -> Result<String, LoadError> {
        let length = u16::from_le_bytes(self.bytes()?);
        let mut bytes = vec![0; usize::from(length)];
        self.reader.read_exact(&mut bytes).map_err(|error| self.read_error(error))?;
        if bytes.pop() != Some(0) {
            return Err(self.malformed("a name without its end".to_owned()));
        }
        String::from_utf8(bytes).map_err(|error| self.malformed(error.to_string()))
    }

    fn read_error(&self, error: std::io::Error) -> LoadError {
        if error.kind() == std::io::ErrorKind::UnexpectedEof {
            return self.malformed("the file ends within its headers".to_owned());
        }
        LoadError::Read { path: self.path.to_owned(), source: error }
    }

    fn malformed(&self, reason: String) -> LoadError {
        LoadError::Malformed { path: self.path.to_owned(), reason }
    }

    fn unsupported(&self, what: String) -> LoadError {
        LoadError::Unsupported { path: self.path.to_owned(), what }
    }
}

/// Files the variable under Hugging Face's name or names. What the model does not need is dropped;
/// what it needs and does not find is reported when it is read.
fn insert(index: &mut HashMap<String, Entry>, name: &str, variable: Entry) {
    let parts: Vec<&str> = name.split('/').collect();
    let kind = |part: &str| match part {
        "gamma" => "weight".to_owned(),
        "beta" => "bias".to_owned(),
        other => other.to_owned(),
    };
    let mut put = |place: String, entry: Entry| {
        index.insert(format!("model.{place}"), entry);
    };
    match parts.as_slice() {
        [side, "embeddings", "weight"] => put(format!("{side}.embed_tokens.weight"), variable),
        [side, "position_encodings", "encodings"] => {
            put(format!("{side}.embed_positions.weight"), variable);
        }
        [side, "layer_norm", what] => put(format!("{side}.layer_norm.{}", kind(what)), variable),
        [side, conv @ ("conv1" | "conv2"), what] => put(format!("{side}.{conv}.{what}"), variable),
        [side, layer, block, part, what] => {
            let Some(number) = layer.strip_prefix("layer_") else { return };
            let layer = format!("{side}.layers.{number}");
            let what = kind(what);
            match (*block, *part) {
                ("self_attention", "layer_norm") => {
                    put(format!("{layer}.self_attn_layer_norm.{what}"), variable);
                }
                ("attention", "layer_norm") => {
                    put(format!("{layer}.encoder_attn_layer_norm.{what}"), variable);
                }
                ("ffn", "layer_norm") => {
                    put(format!("{layer}.final_layer_norm.{what}"), variable);
                }
                ("ffn", "linear_0") => put(format!("{layer}.fc1.{what}"), variable),
                ("ffn", "linear_1") => put(format!("{layer}.fc2.{what}"), variable),
                ("self_attention", "linear_0") => {
                    for (part, rows) in ["q", "k", "v"].iter().zip(split_rows(&variable, 3)) {
                        put(format!("{layer}.self_attn.{part}_proj.{what}"), rows);
                    }
                }
                ("self_attention", "linear_1") => {
                    put(format!("{layer}.self_attn.out_proj.{what}"), variable);
                }
                ("attention", "linear_0") => {
                    put(format!("{layer}.encoder_attn.q_proj.{what}"), variable);
                }
                ("attention", "linear_1") => {
                    for (part, rows) in ["k", "v"].iter().zip(split_rows(&variable, 2)) {
                        put(format!("{layer}.encoder_attn.{part}_proj.{what}"), rows);
                    }
                }
                ("attention", "linear_2") => {
                    put(format!("{layer}.encoder_attn.out_proj.{what}"), variable);
                }
                _ => {}
            }
        }
        _ => {}
    }
}

/// The `parts` equal blocks of rows of a matrix, or of elements of a vector.
fn split_rows(matrix: &Entry, parts: usize) -> Vec<Entry> {
    let rows = matrix.shape.first().copied().unwrap_or_default() / parts;
    let mut shape = matrix.shape.clone();
    if let Some(first) = shape.first_mut() {
        *first = rows;
    }
    let block = Entry { offset: matrix.offset, dtype: matrix.dtype, shape };
    let bytes = block.elements().unwrap_or_default() * block.dtype.size_in_bytes();
    (0..parts).map(|part| Entry { offset: block.offset + (part * bytes) as u64, ..block.clone() }).collect()
}
