//! The Whisper network: audio frames to features, features and tokens to the next token's logits.
//!
//! - [`Whisper`]: the weights, shared by every call.
//! - [`AudioFeatures`]: what the decoder sees of a window of audio.
//! - [`DecoderState`]: one text under construction, with the keys and values of its tokens.
//!
//! Rule: `&self` everywhere; a call owns its state, so calls never meet.

use std::sync::Arc;

use candle_core::{Device, IndexOp, Result, Tensor};
use candle_nn::{Conv1d, Conv1dConfig, LayerNorm, Module};

use super::error::LoadError;
use super::layers::{Block, HEAD_WIDTH, KeyValue, Linear, Loader, Precision, Rows};
use super::weights::WeightFile;

/// Feature positions of a full window of 30 s; one is 20 ms, two mel frames.
pub const MAX_AUDIO_POSITIONS: usize = 1500;
/// Tokens that the decoder can hold.
pub const MAX_TEXT_POSITIONS: usize = 448;
/// The largest sizes accepted; large-v3 has 1280, 32 and 51,866.
const MAX_WIDTH: usize = 2048;
const MAX_LAYERS: usize = 64;
const MAX_VOCABULARY: usize = 70_000;

/// The sizes of a model, read off its weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dimensions {
    /// Mel bins of a frame: 80 or 128.
    pub mel_bins: usize,
    /// Width of the network.
    pub width: usize,
    /// Layers of the encoder.
    pub encoder_layers: usize,
    /// Layers of the decoder.
    pub decoder_layers: usize,
    /// Tokens in the vocabulary.
    pub vocabulary: usize,
}

impl Dimensions {
    /// Attention heads in each layer.
    #[must_use]
    pub const fn heads(&self) -> usize {
        self.width / HEAD_WIDTH
    }

    fn of(weights: &WeightFile) -> std::result::Result<Self, LoadError> {
        let [width, mel_bins, 3] = *weights.shape("model.encoder.conv1.weight")? else {
            return Err(weights.malformed("the first convolution is not 3 wide".to_owned()));
        };
        let [vocabulary, _] = *weights.shape("model.decoder.embed_tokens.weight")? else {
            return Err(weights.malformed("the embedding is not a matrix".to_owned()));
        };
        let layers = |side: &str| {
            (0..=MAX_LAYERS).take_while(|i| weights.contains(&format!("model.{side}.layers.{i}.fc1.weight"))).count()
        };
        let found =
            Self { mel_bins, width, encoder_layers: layers("encoder"), decoder_layers: layers("decoder"), vocabulary };
        let is_sane = matches!(mel_bins, 80 | 128)
            && (HEAD_WIDTH..=MAX_WIDTH).contains(&width)
            && width.is_multiple_of(HEAD_WIDTH)
            && (1..=MAX_LAYERS).contains(&found.encoder_layers)
            && (1..=MAX_LAYERS).contains(&found.decoder_layers)
            && vocabulary <= MAX_VOCABULARY;
        if is_sane {
            Ok(found)
        } else {
            Err(LoadError::Unsupported {
                path: weights.path().to_owned(),
                what: format!("a network of these sizes: {found:?}"),
            })
        }
    }
}

/// A Whisper network.
#[derive(Debug)]
pub struct Whisper {
    dimensions: Dimensions,
    device: Device,
    convolutions: [Conv1d; 2],
    audio_positions: Tensor,
    encoder: Vec<Block>,
    encoder_norm: LayerNorm,
    embedding: Tensor,
    /// The embedding again, quantised: from features to logits.
    vocabulary: Linear,
    text_positions: Tensor,
    decoder: Vec<Block>,
    decoder_norm: LayerNorm,
}

/// What the decoder sees of a window of audio: keys and values of every decoder layer.
#[derive(Clone, Debug)]
pub struct AudioFeatures {
    key_values: Arc<[KeyValue]>,
}

/// One text under construction, or several of the same length about the same audio.
#[derive(Clone, Debug)]
pub struct DecoderState {
    audio: AudioFeatures,
    past: Vec<Option<KeyValue>>,
    position: usize,
}

impl DecoderState {
    /// Tokens decoded so far, those of the prompt included.
    #[must_use]
    pub const fn position(&self) -> usize {
        self.position
    }

    /// Goes on with these texts, each named by its place among those so far; a text may go on several
    /// times.
    fn select(&mut self, texts: &[u32], device: &Device) -> Result<()> {
        let texts = Tensor::new(texts, device)?;
        for (key, value) in self.past.iter_mut().flatten() {
            *key = key.index_select(&texts, 0)?;
            *value = value.index_select(&texts, 0)?;
        }
        Ok(())
    }
}

/// How strongly each token attended to each 20 ms of audio in one attention head: `tokens` rows of
/// `positions` weights.
#[derive(Clone, Debug)]
pub struct HeadAttention {
    /// Row-major.
    pub weights: Vec<f32>,
    /// Length of a row.
    pub positions: usize,
}

impl Whisper {
    /// Reads the weights, converts them and moves them to the device.
    ///
    /// # Errors
    /// [`LoadError`] if a tensor is missing or has the wrong shape, or the device fails.
    pub fn load(weights: &mut WeightFile, device: &Device) -> std::result::Result<Self, LoadError> {
        let dimensions = Dimensions::of(weights)?;
        let width = dimensions.width;
        let mut loader = Loader { weights, device, width, precision: Precision::Full };
        let convolution = |loader: &mut Loader<'_>, name: &str, input, stride| {
            let weight = loader.tensor(&format!("model.encoder.{name}.weight"), &[width, input, 3])?;
            let bias = loader.tensor(&format!("model.encoder.{name}.bias"), &[width])?;
            let config = Conv1dConfig { padding: 1, stride, ..Conv1dConfig::default() };
            Ok::<_, LoadError>(Conv1d::new(weight, Some(bias), config))
        };
        let convolutions =
            [convolution(&mut loader, "conv1", dimensions.mel_bins, 1)?, convolution(&mut loader, "conv2", width, 2)?];
        let audio_positions = loader.tensor("model.encoder.embed_positions.weight", &[MAX_AUDIO_POSITIONS, width])?;
        let encoder = (0..dimensions.encoder_layers)
            .map(|i| loader.encoder_block(&format!("model.encoder.layers.{i}")))
            .collect::<std::result::Result<_, _>>()?;
        let encoder_norm = loader.layer_norm("model.encoder.layer_norm")?;
        loader.precision = Precision::Q8;
        let embedding = loader.tensor("model.decoder.embed_tokens.weight", &[dimensions.vocabulary, width])?;
        Ok(Self {
            dimensions,
            device: device.clone(),
            convolutions,
            audio_positions,
            encoder,
            encoder_norm,
            vocabulary: Linear::new(&embedding, None, Precision::Q8, device)?,
            embedding,
            text_positions: loader.tensor("model.decoder.embed_positions.weight", &[MAX_TEXT_POSITIONS, width])?,
            decoder: (0..dimensions.decoder_layers)
                .map(|i| loader.decoder_block(&format!("model.decoder.layers.{i}")))
                .collect::<std::result::Result<_, _>>()?,
            decoder_norm: loader.layer_norm("model.decoder.layer_norm")?,
        })
    }

    /// The model's sizes.
    #[must_use]
    pub const fn dimensions(&self) -> Dimensions {
        self.dimensions
    }

    /// Encodes a window: `mel` holds one row for each mel bin. An even number of frames, at most
    /// twice [`MAX_AUDIO_POSITIONS`].
    ///
    /// # Errors
    /// As the device fails, or for a window of the wrong size.
    pub fn encode(&self, mel: Vec<f32>) -> Result<AudioFeatures> {
        let bins = self.dimensions.mel_bins;
        let frames = mel.len() / bins;
        let mut x = Tensor::from_vec(mel, (1, bins, frames), &self.device)?;
        for convolution in &self.convolutions {
            x = convolution.forward(&x)?.gelu_erf()?;
        }
        let x = x.transpose(1, 2)?.contiguous()?;
        let mut x = x.broadcast_add(&self.audio_positions.narrow(0, 0, x.dim(1)?)?)?;
        for block in &self.encoder {
            x = block.encode(&x)?;
        }
        let features = self.encoder_norm.forward(&x)?;
        let key_values = self
            .decoder
            .iter()
            .filter_map(Block::cross)
            .map(|cross| cross.key_value(&features))
            .collect::<Result<_>>()?;
        Ok(AudioFeatures { key_values })
    }

    /// Begins a text about the audio.
    #[must_use]
    pub fn begin(&self, audio: &AudioFeatures) -> DecoderState {
        DecoderState { audio: audio.clone(), past: vec![None; self.decoder.len()], position: 0 }
    }

    /// Appends tokens (at least one) to the text; gives the logits of the token behind them.
    ///
    /// # Errors
    /// As the device fails, or beyond [`MAX_TEXT_POSITIONS`].
    pub fn step(&self, state: &mut DecoderState, tokens: &[u32]) -> Result<Vec<f32>> {
        let mask = if tokens.len() > 1 { Some(self.mask(tokens.len(), state.position)?) } else { None };
        let x = self.decode(state, tokens, Rows::Following(mask.as_ref()), |_, _| Ok(()))?;
        let last = x.narrow(1, tokens.len() - 1, 1)?.contiguous()?;
        self.vocabulary.forward(&last)?.i((0, 0))?.to_vec1()
    }

    /// Appends one token to each of several texts, which go on from those of the state named by
    /// `parents`; gives the logits behind each.
    ///
    /// # Errors
    /// As the device fails, beyond [`MAX_TEXT_POSITIONS`], or for a parent that is not there.
    pub fn step_each(&self, state: &mut DecoderState, parents: &[u32], tokens: &[u32]) -> Result<Vec<Vec<f32>>> {
        state.select(parents, &self.device)?;
        let x = self.decode(state, tokens, Rows::Beside, |_, _| Ok(()))?;
        self.vocabulary.forward(&x)?.i(0)?.to_vec2()
    }

    /// Runs a finished text again and reports how the given heads `(layer, head)` attended to the
    /// audio.
    ///
    /// # Errors
    /// As the device fails, or beyond [`MAX_TEXT_POSITIONS`].
    pub fn attention(
        &self,
        audio: &AudioFeatures,
        tokens: &[u32],
        heads: &[(usize, usize)],
    ) -> Result<Vec<HeadAttention>> {
        let mut found = Vec::with_capacity(heads.len());
        let mask = self.mask(tokens.len(), 0)?;
        self.decode(&mut self.begin(audio), tokens, Rows::Following(Some(&mask)), |layer, weights| {
            for (_, head) in heads.iter().filter(|(wanted, _)| *wanted == layer) {
                let weights = weights.i((0, *head))?;
                let positions = weights.dim(1)?;
                let weights = weights.flatten_all()?.to_vec1()?;
                found.push(HeadAttention { weights, positions });
            }
            Ok(())
        })?;
        Ok(found)
    }

    /// Runs the decoder's layers over new tokens; shows the attention of each layer.
    fn decode(
        &self,
        state: &mut DecoderState,
        tokens: &[u32],
        rows: Rows<'_>,
        mut attention: impl FnMut(usize, &Tensor) -> Result<()>,
    ) -> Result<Tensor> {
        // Tokens beside each other stand at the same place of their texts.
        let count = match rows {
            Rows::Following(_) => tokens.len(),
            Rows::Beside => 1,
        };
        let ids = Tensor::new(tokens, &self.device)?;
        let x = self.embedding.index_select(&ids, 0)?.unsqueeze(0)?;
        let positions = self.text_positions.narrow(0, state.position, count)?;
        let mut x = x.broadcast_add(&positions)?;
        let layers = self.decoder.iter().zip(&mut state.past).zip(state.audio.key_values.iter());
        for (layer, ((block, past), audio)) in layers.enumerate() {
            let (output, weights) = block.decode(&x, past, audio, rows)?;
            x = output;
            if let Some(weights) = weights {
                attention(layer, &weights)?;
            }
        }
        state.position += count;
        self.decoder_norm.forward(&x)
    }

    /// Hides later tokens from earlier ones: `count` rows over all `past + count` tokens.
    fn mask(&self, count: usize, past: usize) -> Result<Tensor> {
        let mask: Vec<f32> = (0..count)
            .flat_map(|row| {
                (0..past + count).map(move |column| if column > past + row { f32::NEG_INFINITY } else { 0.0 })
            })
            .collect();
        Tensor::from_vec(mask, (count, past + count), &self.device)
    }
}
