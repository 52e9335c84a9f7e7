//! The weights of a model file, read one tensor at a time.
//!
//! - [`WeightFile`]: an open file with an index from Hugging Face's tensor names to byte ranges.
//! - [`Entry`]: one tensor in the file. The formats build the index: [`super::ct2`],
//!   [`super::safetensors`].
//!
//! Rule: the index is checked against the file's length before a tensor is read, and no more than
//! one tensor is in memory besides the model under construction.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};

use super::error::LoadError;

/// The largest tensor accepted, in elements: the vocabulary of the large model is 66 million.
const MAX_ELEMENTS: usize = 1 << 28;

/// Where a tensor lies in the file and how it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// First byte, from the begin of the file.
    pub offset: u64,
    /// How the elements are stored.
    pub dtype: DType,
    /// Row-major dimensions.
    pub shape: Vec<usize>,
}

impl Entry {
    /// Elements in the tensor, if that number is sane.
    #[must_use]
    pub fn elements(&self) -> Option<usize> {
        let count = self.shape.iter().try_fold(1_usize, |count, dim| count.checked_mul(*dim))?;
        (count <= MAX_ELEMENTS).then_some(count)
    }

    /// The byte behind the last one.
    fn end(&self) -> Option<u64> {
        let bytes = self.elements()?.checked_mul(self.dtype.size_in_bytes())?;
        self.offset.checked_add(bytes as u64)
    }
}

/// An open model file.
#[derive(Debug)]
pub struct WeightFile {
    path: PathBuf,
    file: File,
    index: HashMap<String, Entry>,
}

impl WeightFile {
    /// Joins a file with its index.
    ///
    /// # Errors
    /// [`LoadError::Malformed`] if a tensor reaches beyond the file or is absurdly large.
    pub fn new(path: &Path, file: File, index: HashMap<String, Entry>) -> Result<Self, LoadError> {
        let length = file.metadata().map_err(|source| LoadError::Read { path: path.to_owned(), source })?.len();
        for (name, entry) in &index {
            if entry.end().is_none_or(|end| end > length) {
                return Err(LoadError::Malformed {
                    path: path.to_owned(),
                    reason: format!("tensor `{name}` reaches beyond the end of the file"),
                });
            }
        }
        Ok(Self { path: path.to_owned(), file, index })
    }

    /// The file's path, for messages.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The dimensions of a tensor.
    ///
    /// # Errors
    /// [`LoadError::Malformed`] if there is none of this name.
    pub fn shape(&self, name: &str) -> Result<&[usize], LoadError> {
        Ok(&self.entry(name)?.shape)
    }

    /// Whether there is a tensor of this name.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.index.contains_key(name)
    }

    /// Reads a tensor as `f32` on the CPU, with the dimensions that the model needs.
    ///
    /// # Errors
    /// [`LoadError::Malformed`] if it is missing or has others; [`LoadError::Read`].
    pub fn read(&mut self, name: &str, shape: &[usize]) -> Result<Tensor, LoadError> {
        let entry = self.entry(name)?.clone();
        if entry.shape != shape {
            return Err(self.malformed(format!("tensor `{name}` has dimensions {:?}, not {shape:?}", entry.shape)));
        }
        let elements = entry.elements().unwrap_or_default();
        let mut bytes = vec![0_u8; elements * entry.dtype.size_in_bytes()];
        self.file
            .seek(SeekFrom::Start(entry.offset))
            .and_then(|_| self.file.read_exact(&mut bytes))
            .map_err(|source| LoadError::Read { path: self.path.clone(), source })?;
        let tensor = Tensor::from_raw_buffer(&bytes, entry.dtype, shape, &Device::Cpu)?;
        Ok(tensor.to_dtype(DType::F32)?)
    }

    /// An error about this file.
    #[must_use]
    pub fn malformed(&self, reason: String) -> LoadError {
        LoadError::Malformed { path: self.path.clone(), reason }
    }

    fn entry(&self, name: &str) -> Result<&Entry, LoadError> {
        self.index.get(name).ok_or_else(|| self.malformed(format!("tensor `{name}` is missing")))
    }
}
