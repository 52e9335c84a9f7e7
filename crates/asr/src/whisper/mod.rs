//! Whisper on candle: files to a network, audio to text tokens.
//!
//! - [`Model`]: a loaded folder: network, tokenizer, mel tables, and how to decode.
//! - [`model`] and its `layers`: the network. [`mel`]: what it hears. [`tokenizer`]: what it says.
//! - [`weights`]: tensors of a file; [`ct2`], [`safetensors`]: the two formats.
//!
//! Rule: model files are hostile: every size is bounded before memory is taken for it.

pub mod ct2;
pub mod error;
mod layers;
pub mod mel;
pub mod model;
pub mod safetensors;
pub mod tokenizer;
pub mod weights;

use std::collections::HashMap;
use std::fs::File;
use std::path::Path;

use candle_core::Device;
use serde::Deserialize;
use serde::de::DeserializeOwned;

pub use self::error::LoadError;
pub use self::mel::MelFrontend;
pub use self::model::{AudioFeatures, DecoderState, HeadAttention, Whisper};
pub use self::tokenizer::{SpecialTokens, Tokenizer};
use self::weights::{Entry, WeightFile};

/// `config.json` and `generation_config.json` have a few kilobytes.
const MAX_CONFIG_BYTES: u64 = 1 << 20;

/// A loaded model folder.
#[derive(Debug)]
pub struct Model {
    /// The network.
    pub network: Whisper,
    /// Its vocabulary.
    pub tokenizer: Tokenizer,
    /// What it hears.
    pub mel: MelFrontend,
    /// How its text is made.
    pub generation: Generation,
}

/// What the model's makers say about decoding.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Generation {
    /// Tokens that are never written: marks that are not spoken.
    pub suppressed: Vec<u32>,
    /// Tokens that do not begin a text.
    pub suppressed_at_begin: Vec<u32>,
    /// `(layer, head)` of the attention heads that follow the audio in time.
    pub alignment_heads: Vec<(usize, usize)>,
}

/// The keys of both formats, of which each file has some.
#[derive(Default, Deserialize)]
#[serde(default)]
struct ConfigFile {
    // CTranslate2
    suppress_ids: Option<Vec<i64>>,
    suppress_ids_begin: Option<Vec<i64>>,
    // Hugging Face
    suppress_tokens: Option<Vec<i64>>,
    begin_suppress_tokens: Option<Vec<i64>>,
    model_type: Option<String>,
    // both
    alignment_heads: Option<Vec<(usize, usize)>>,
}

impl Model {
    /// Loads a folder, whose format is known by its files.
    ///
    /// # Errors
    /// [`LoadError`], with the file that is to blame.
    pub fn load(folder: &Path, device: &Device) -> Result<Self, LoadError> {
        let ct2 = folder.join("model.bin");
        let hugging_face = folder.join("model.safetensors");
        let mut weights = if ct2.is_file() {
            open(&ct2, ct2::index)?
        } else if hugging_face.is_file() {
            open(&hugging_face, safetensors::index)?
        } else {
            return Err(LoadError::NoModel { folder: folder.to_owned() });
        };
        let network = Whisper::load(&mut weights, device)?;
        let dimensions = network.dimensions();
        let tokenizer = Tokenizer::load(&folder.join("tokenizer.json"), dimensions.vocabulary)?;
        let generation = Generation::load(folder, &network)?;
        Ok(Self { network, tokenizer, mel: MelFrontend::new(dimensions.mel_bins), generation })
    }

    /// Whether the model knows more than English; told by its vocabulary, as by its makers.
    #[must_use]
    pub fn is_multilingual(&self) -> bool {
        /// English-only models have one token less in the text part.
        const MULTILINGUAL_VOCABULARY: usize = 51_865;
        self.network.dimensions().vocabulary >= MULTILINGUAL_VOCABULARY
    }
}

impl Generation {
    fn load(folder: &Path, network: &Whisper) -> Result<Self, LoadError> {
        let path = folder.join("config.json");
        let config: ConfigFile = read_json(&path, MAX_CONFIG_BYTES)?;
        if let Some(other) = config.model_type.as_ref().filter(|kind| *kind != "whisper") {
            return Err(LoadError::Unsupported { path, what: format!("a model of kind `{other}`") });
        }
        let path = folder.join("generation_config.json");
        let generation: ConfigFile =
            if path.is_file() { read_json(&path, MAX_CONFIG_BYTES)? } else { ConfigFile::default() };
        let tokens = |candidates: [Option<Vec<i64>>; 3]| {
            // -1 stands for "the usual ones" in some files; it names no token.
            let ids = candidates.into_iter().flatten().next().unwrap_or_default();
            ids.into_iter().filter_map(|id| u32::try_from(id).ok()).collect::<Vec<_>>()
        };
        let (layers, heads) = (network.dimensions().decoder_layers, network.dimensions().heads());
        let mut alignment_heads = generation.alignment_heads.or(config.alignment_heads).unwrap_or_default();
        alignment_heads.retain(|(layer, head)| *layer < layers && *head < heads);
        if alignment_heads.is_empty() {
            // The makers' own default: every head of the upper half.
            alignment_heads =
                (layers / 2..layers).flat_map(|layer| (0..heads).map(move |head| (layer, head))).collect();
        }
        Ok(Self {
            suppressed: tokens([config.suppress_ids, generation.suppress_tokens, config.suppress_tokens]),
            suppressed_at_begin: tokens([
                config.suppress_ids_begin,
                generation.begin_suppress_tokens,
                config.begin_suppress_tokens,
            ]),
            alignment_heads,
        })
    }
}

type IndexReader = fn(&Path, &File) -> Result<HashMap<String, Entry>, LoadError>;

fn open(path: &Path, index: IndexReader) -> Result<WeightFile, LoadError> {
    let file = File::open(path).map_err(|source| LoadError::Read { path: path.to_owned(), source })?;
    let index = index(path, &file)?;
    WeightFile::new(path, file, index)
}

/// Reads a JSON file of bounded size.
fn read_json<T: DeserializeOwned>(path: &Path, max_bytes: u64) -> Result<T, LoadError> {
    let read = |source| LoadError::Read { path: path.to_owned(), source };
    let malformed = |reason: String| LoadError::Malformed { path: path.to_owned(), reason };
    let length = path.metadata().map_err(read)?.len();
    if length > max_bytes {
        return Err(malformed(format!("{length} bytes")));
    }
    let text = std::fs::read(path).map_err(read)?;
    serde_json::from_slice(&text).map_err(|error| malformed(error.to_string()))
}

#[cfg(test)]
mod tests;
