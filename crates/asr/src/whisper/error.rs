//! Why a model folder could not be loaded.

use std::path::PathBuf;

/// A model that cannot be used. Nothing here is worth a retry: the operator replaces the files.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The folder holds no known set of files.
    #[error("no model in {folder}: expected `model.bin` (CTranslate2) or `model.safetensors` (Hugging Face)")]
    NoModel {
        /// The folder that was looked at.
        folder: PathBuf,
    },
    /// A file is missing or cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A file does not hold what its name says, or is damaged.
    #[error("{path} is not usable: {reason}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        reason: String,
    },
    /// A file is intact, but holds something that this engine does not run.
    #[error("{path} is not supported: {what}")]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// What is not supported.
        what: String,
    },
    /// The device does not exist, or this build cannot use it.
    #[error("device `{device}` is not available: {reason}")]
    Device {
        /// As configured.
        device: String,
        /// What is missing.
        reason: String,
    },
    /// The tensor library failed, as when there is no memory.
    #[error("cannot prepare the model")]
    Prepare {
        /// What it says.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl From<candle_core::Error> for LoadError {
    fn from(error: candle_core::Error) -> Self {
        Self::Prepare { source: error.into() }
    }
}
