//! The layers of a Whisper model: linear maps, attention, blocks.
//!
//! - [`Precision`]: how a linear map keeps its weights. The decoder reads all of its weights for
//!   every token, so 8 bits (`Q8_0`) halve its time; the encoder reads them once for a whole window
//!   and is faster in `f32`.
//! - [`Linear`], [`Attention`], [`Block`].
//!
//! Queries and keys are scaled by the fourth root of the head size when they are loaded, so that
//! attention needs no scaling of its own.
//!
//! Rule: layers are immutable; what a call needs besides is in its arguments.

use candle_core::quantized::{GgmlDType, QMatMul, QTensor};
use candle_core::{Device, Module, Result, Tensor};
use candle_nn::{LayerNorm, ops};

use super::error::LoadError;
use super::weights::WeightFile;

/// Width of an attention head; the same in all Whisper models.
pub(super) const HEAD_WIDTH: usize = 64;
/// Query rows that attend at once in the encoder: the scores of 256 rows fit the cache, where
/// those of a whole window (1500 x 1500 for each head) need 100 MB per call.
const ATTENTION_ROWS: usize = 256;

/// How a linear map keeps its weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Precision {
    /// As `f32`.
    Full,
    /// As 8-bit integers in blocks of 32 with a common scale.
    Q8,
}

/// `x W^T + b`.
#[derive(Debug)]
pub(super) struct Linear {
    weight: Weight,
    bias: Option<Tensor>,
    output: usize,
}

#[derive(Debug)]
enum Weight {
    /// Transposed.
    Full(Tensor),
    Quantized(QMatMul),
}

impl Linear {
    /// Takes a weight of `[output, input]` on the CPU and moves it to the device.
    pub(super) fn new(weight: &Tensor, bias: Option<&Tensor>, precision: Precision, device: &Device) -> Result<Self> {
        let output = weight.dim(0)?;
        let weight = match precision {
            Precision::Full => Weight::Full(weight.t()?.contiguous()?.to_device(device)?),
            Precision::Q8 => {
                let weight = weight.contiguous()?.to_device(device)?;
                let quantized = QTensor::quantize(&weight, GgmlDType::Q8_0)?;
                Weight::Quantized(QMatMul::from_qtensor(quantized)?)
            }
        };
        let bias = bias.map(|bias| bias.to_device(device)).transpose()?;
        Ok(Self { weight, bias, output })
    }

    /// Takes `[1, rows, input]`, gives `[1, rows, output]`.
    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (batch, rows, input) = x.dims3()?;
        let x = x.reshape((batch * rows, input))?;
        let y = match &self.weight {
            Weight::Full(weight) => x.matmul(weight)?,
            Weight::Quantized(weight) => weight.forward(&x)?,
        };
        let y = match &self.bias {
            Some(bias) => y.broadcast_add(bias)?,
            None => y,
        };
        y.reshape((batch, rows, self.output))
    }
}

/// Reads layers from a file under a name prefix.
pub(super) struct Loader<'a> {
    pub(super) weights: &'a mut WeightFile,
    pub(super) device: &'a Device,
    pub(super) width: usize,
    pub(super) precision: Precision,
}

impl Loader<'_> {
    pub(super) fn tensor(&mut self, name: &str, shape: &[usize]) -> std::result::Result<Tensor, LoadError> {
        Ok(self.weights.read(name, shape)?.to_device(self.device)?)
    }

    pub(super) fn layer_norm(&mut self, name: &str) -> std::result::Result<LayerNorm, LoadError> {
        let weight = self.tensor(&format!("{name}.weight"), &[self.width])?;
        let bias = self.tensor(&format!("{name}.bias"), &[self.width])?;
        Ok(LayerNorm::new(weight, bias, 1e-5))
    }

    fn linear(&mut self, name: &str, input: usize, output: usize) -> std::result::Result<Linear, LoadError> {
        let weight = self.weights.read(&format!("{name}.weight"), &[output, input])?;
        let bias = self.weights.read(&format!("{name}.bias"), &[output])?;
        Ok(Linear::new(&weight, Some(&bias), self.precision, self.device)?)
    }

    /// The maps of one attention under `name`: `(weight, bias)` of query, key and value.
    fn projections(&mut self, name: &str) -> std::result::Result<[(Tensor, Tensor); 3], LoadError> {
        let scale = (HEAD_WIDTH as f64).powf(-0.25);
        let square = [self.width, self.width];
        let mut read = |part: &str| self.weights.read(&format!("{name}.{part}_proj.weight"), &square);
        let (query, key, value) = (read("q")?, read("k")?, read("v")?);
        let mut bias = |part: &str| self.weights.read(&format!("{name}.{part}_proj.bias"), &[self.width]);
        let (query_bias, value_bias) = (bias("q")?, bias("v")?);
        let key_bias = value_bias.zeros_like()?;
        Ok([((query * scale)?, (query_bias * scale)?), ((key * scale)?, key_bias), (value, value_bias)])
    }

    fn stacked(&self, parts: &[&(Tensor, Tensor)], precision: Precision) -> std::result::Result<Linear, LoadError> {
        let weights: Vec<&Tensor> = parts.iter().map(|(weight, _)| weight).collect();
        let biases: Vec<&Tensor> = parts.iter().map(|(_, bias)| bias).collect();
        let weight = Tensor::cat(&weights, 0)?;
        let bias = Tensor::cat(&biases, 0)?;
        Ok(Linear::new(&weight, Some(&bias), precision, self.device)?)
    }

    fn self_attention(&mut self, name: &str) -> std::result::Result<Attention, LoadError> {
        let [query, key, value] = self.projections(name)?;
        Ok(Attention {
            input: self.stacked(&[&query, &key, &value], self.precision)?,
            output: self.linear(&format!("{name}.out_proj"), self.width, self.width)?,
            norm: self.layer_norm(&format!("{name}_layer_norm"))?,
            width: self.width,
        })
    }

    fn cross_attention(&mut self, name: &str) -> std::result::Result<CrossAttention, LoadError> {
        let [query, key, value] = self.projections(name)?;
        Ok(CrossAttention {
            query: self.stacked(&[&query], self.precision)?,
            // Runs once for each window, over all of its frames: as the encoder.
            key_value: self.stacked(&[&key, &value], Precision::Full)?,
            output: self.linear(&format!("{name}.out_proj"), self.width, self.width)?,
            norm: self.layer_norm(&format!("{name}_layer_norm"))?,
            width: self.width,
        })
    }

    pub(super) fn encoder_block(&mut self, name: &str) -> std::result::Result<Block, LoadError> {
        Ok(Block {
            attention: self.self_attention(&format!("{name}.self_attn"))?,
            cross: None,
            feed_forward: self.feed_forward(name)?,
        })
    }

    pub(super) fn decoder_block(&mut self, name: &str) -> std::result::Result<Block, LoadError> {
        Ok(Block { cross: Some(self.cross_attention(&format!("{name}.encoder_attn"))?), ..self.encoder_block(name)? })
    }

    fn feed_forward(&mut self, name: &str) -> std::result::Result<FeedForward, LoadError> {
        Ok(FeedForward {
            up: self.linear(&format!("{name}.fc1"), self.width, 4 * self.width)?,
            down: self.linear(&format!("{name}.fc2"), 4 * self.width, self.width)?,
            norm: self.layer_norm(&format!("{name}.final_layer_norm"))?,
        })
    }
}

/// Attention of a sequence to itself.
#[derive(Debug)]
pub(super) struct Attention {
    /// Query, key and value in one map.
    input: Linear,
    output: Linear,
    norm: LayerNorm,
    width: usize,
}

/// Keys and values, `[texts, heads, positions, HEAD_WIDTH]` each.
pub(super) type KeyValue = (Tensor, Tensor);

/// How the rows of the decoder's input belong together.
#[derive(Clone, Copy)]
pub(super) enum Rows<'a> {
    /// Tokens of one text, one after another; the mask hides later ones from earlier ones.
    Following(Option<&'a Tensor>),
    /// The next token of each of as many texts, which do not see each other.
    Beside,
}

impl Attention {
    /// For the encoder: every position sees every other.
    fn forward_all(&self, x: &Tensor) -> Result<Tensor> {
        let (query, (key, value)) = self.project(x)?;
        let rows = query.dim(2)?;
        // On a GPU one large product beats many small ones.
        let step = if x.device().is_cpu() { ATTENTION_ROWS } else { rows };
        let key = key.t()?.contiguous()?;
        let mut blocks = Vec::with_capacity(rows.div_ceil(step));
        for begin in (0..rows).step_by(step) {
            let query = query.narrow(2, begin, step.min(rows - begin))?.contiguous()?;
            let weights = ops::softmax_last_dim(&query.matmul(&key)?)?;
            blocks.push(weights.matmul(&value)?);
        }
        self.output.forward(&merge_heads(&Tensor::cat(&blocks, 2)?)?)
    }

    /// For the decoder: new rows see the `past` ones of their text, themselves, and what `rows` leaves
    /// of each other.
    fn forward_causal(&self, x: &Tensor, past: &mut Option<KeyValue>, rows: Rows<'_>) -> Result<Tensor> {
        let (mut query, (mut key, mut value)) = self.project(x)?;
        let mask = match rows {
            Rows::Following(mask) => mask,
            Rows::Beside => {
                (query, key, value) = (swap_rows(&query)?, swap_rows(&key)?, swap_rows(&value)?);
                None
            }
        };
        if let Some((past_key, past_value)) = past.as_ref() {
            key = Tensor::cat(&[past_key, &key], 2)?;
            value = Tensor::cat(&[past_value, &value], 2)?;
        }
        let scores = query.matmul(&key.t()?)?;
        let scores = match mask {
            Some(mask) => scores.broadcast_add(mask)?,
            None => scores,
        };
        let attended = ops::softmax_last_dim(&scores)?.matmul(&value)?;
        *past = Some((key, value));
        let attended = match rows {
            Rows::Following(_) => attended,
            Rows::Beside => swap_rows(&attended)?,
        };
        self.output.forward(&merge_heads(&attended)?)
    }

    fn project(&self, x: &Tensor) -> Result<(Tensor, KeyValue)> {
        let projected = self.input.forward(&self.norm.forward(x)?)?;
        let part = |i| split_heads(&projected.narrow(2, i * self.width, self.width)?);
        Ok((part(0)?, (part(1)?, part(2)?)))
    }
}

/// Attention of the text to the audio.
#[derive(Debug)]
pub(super) struct CrossAttention {
    query: Linear,
    key_value: Linear,
    output: Linear,
    norm: LayerNorm,
    width: usize,
}

impl CrossAttention {
    /// Keys and values of a window of audio; the same for every token.
    pub(super) fn key_value(&self, audio: &Tensor) -> Result<KeyValue> {
        let projected = self.key_value.forward(audio)?;
        let part = |i| split_heads(&projected.narrow(2, i * self.width, self.width)?);
        Ok((part(0)?, part(1)?))
    }

    /// The output, and the attention weights `[1, heads, tokens, frames]`.
    fn forward(&self, x: &Tensor, (key, value): &KeyValue) -> Result<(Tensor, Tensor)> {
        let query = split_heads(&self.query.forward(&self.norm.forward(x)?)?)?;
        let weights = ops::softmax_last_dim(&query.matmul(&key.t()?)?)?;
        let attended = weights.matmul(value)?;
        Ok((self.output.forward(&merge_heads(&attended)?)?, weights))
    }
}

#[derive(Debug)]
struct FeedForward {
    up: Linear,
    down: Linear,
    norm: LayerNorm,
}

impl FeedForward {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.down.forward(&self.up.forward(&self.norm.forward(x)?)?.gelu_erf()?)
    }
}

/// One layer of the encoder or the decoder.
#[derive(Debug)]
pub(super) struct Block {
    attention: Attention,
    cross: Option<CrossAttention>,
    feed_forward: FeedForward,
}

impl Block {
    /// The attention to the audio; decoder blocks have one.
    pub(super) fn cross(&self) -> Option<&CrossAttention> {
        self.cross.as_ref()
    }

    /// A layer of the encoder.
    pub(super) fn encode(&self, x: &Tensor) -> Result<Tensor> {
        let x = (x + self.attention.forward_all(x)?)?;
        &x + self.feed_forward.forward(&x)?
    }

    /// A layer of the decoder; gives the attention to the audio besides the output.
    pub(super) fn decode(
        &self,
        x: &Tensor,
        past: &mut Option<KeyValue>,
        audio: &KeyValue,
        rows: Rows<'_>,
    ) -> Result<(Tensor, Option<Tensor>)> {
        let mut x = (x + self.attention.forward_causal(x, past, rows)?)?;
        let mut weights = None;
        if let Some(cross) = &self.cross {
            let (attended, seen) = cross.forward(&x, audio)?;
            x = (x + attended)?;
            weights = Some(seen);
        }
        Ok(((&x + self.feed_forward.forward(&x)?)?, weights))
    }
}

/// `[1, rows, width]` to `[1, heads, rows, HEAD_WIDTH]`.
fn split_heads(x: &Tensor) -> Result<Tensor> {
    let (batch, rows, width) = x.dims3()?;
    x.reshape((batch, rows, width / HEAD_WIDTH, HEAD_WIDTH))?.transpose(1, 2)?.contiguous()
}

/// The way back.
fn merge_heads(x: &Tensor) -> Result<Tensor> {
    x.transpose(1, 2)?.flatten_from(2)
}

/// `[1, heads, rows, HEAD_WIDTH]` to `[rows, heads, 1, HEAD_WIDTH]`, and back.
fn swap_rows(x: &Tensor) -> Result<Tensor> {
    x.transpose(0, 2)?.contiguous()
}
