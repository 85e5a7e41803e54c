//! Attention of picture and text to both.

use candle_core::{Result as CandleResult, Tensor};
use candle_nn::{Module, RmsNorm};

use super::config::Sd3Config;
use crate::attention::{Attend, attend, merge_heads, split_heads};
use crate::error::Error;
use crate::layers::{Linear, linear, rms_norm};
use crate::weights::Weights;

/// Of the normalisation of queries and keys.
const EPS: f64 = 1e-6;

/// The picture's attention to itself alone.
pub(super) struct SelfAttention {
    project: Projections,
    to_out: Linear,
    heads: usize,
}

/// One attention of picture and text, which have projections of their own.
pub(super) struct JointAttention {
    picture: SelfAttention,
    project_text: Projections,
    /// None in the last layer, after which nothing reads the text.
    to_add_out: Option<Linear>,
}

/// What makes queries, keys and values of states.
struct Projections {
    to_q: Linear,
    to_k: Linear,
    to_v: Linear,
    /// Of each head of the queries and the keys.
    norms: Option<(RmsNorm, RmsNorm)>,
}

/// Names of [`Projections`] in the checkpoint: query, key, value and the normalisations of the first two.
type Names = [&'static str; 5];

const PICTURE: Names = ["to_q", "to_k", "to_v", "norm_q", "norm_k"];
const TEXT: Names = ["add_q_proj", "add_k_proj", "add_v_proj", "norm_added_q", "norm_added_k"];

impl Projections {
    fn load(config: &Sd3Config, names: Names, weights: &Weights<'_>) -> Result<Self, Error> {
        let width = config.width();
        let [to_q, to_k, to_v] =
            [names[0], names[1], names[2]].map(|name| linear(width, width, &weights.pp(name)));
        let norm = |name: &str| rms_norm(config.head_size, EPS, &weights.pp(name));
        let norms = config.normalises_heads.then(|| Ok::<_, Error>((norm(names[3])?, norm(names[4])?)));
        Ok(Self { to_q: to_q?, to_k: to_k?, to_v: to_v?, norms: norms.transpose()? })
    }

    /// `(batch, tokens, width)` to three times `(batch · heads, tokens, head_size)`.
    fn forward(&self, x: &Tensor, heads: usize) -> CandleResult<[Tensor; 3]> {
        let q = split_heads(&self.to_q.forward(x)?, heads)?;
        let k = split_heads(&self.to_k.forward(x)?, heads)?;
        let v = split_heads(&self.to_v.forward(x)?, heads)?;
        match &self.norms {
            Some((norm_q, norm_k)) => Ok([norm_q.forward(&q)?, norm_k.forward(&k)?, v]),
            None => Ok([q, k, v]),
        }
    }
}

impl SelfAttention {
    pub(super) fn load(config: &Sd3Config, weights: &Weights<'_>) -> Result<Self, Error> {
        let width = config.width();
        Ok(Self {
            project: Projections::load(config, PICTURE, weights)?,
            to_out: linear(width, width, &weights.pp("to_out.0"))?,
            heads: config.heads,
        })
    }

    /// `(batch, tokens, width)` to the same.
    pub(super) fn forward(&self, x: &Tensor) -> CandleResult<Tensor> {
        let [q, k, v] = self.project.forward(x, self.heads)?;
        self.to_out.forward(&merge_heads(&attend(&q, &k, &v, Attend::default())?, self.heads)?)
    }
}

impl JointAttention {
    pub(super) fn load(config: &Sd3Config, weights: &Weights<'_>) -> Result<Self, Error> {
        let to_add_out = linear(config.width(), config.width(), &weights.pp("to_add_out"))?;
        Ok(Self { to_add_out: Some(to_add_out), ..Self::load_last(config, weights)? })
    }

    /// As the last layer has it: for the picture only.
    pub(super) fn load_last(config: &Sd3Config, weights: &Weights<'_>) -> Result<Self, Error> {
        Ok(Self {
            picture: SelfAttention::load(config, weights)?,
            project_text: Projections::load(config, TEXT, weights)?,
            to_add_out: None,
        })
    }

    /// Picture `(batch, patches, width)` and text `(batch, tokens, width)` to the same; the last layer's gives no
    /// text.
    pub(super) fn forward(&self, x: &Tensor, text: &Tensor) -> CandleResult<(Tensor, Option<Tensor>)> {
        let (patches, tokens, heads) = (x.dim(1)?, text.dim(1)?, self.picture.heads);
        let [q, k, v] = self.picture.project.forward(x, heads)?;
        let [text_q, text_k, text_v] = self.project_text.forward(text, heads)?;
        let [q, k, v] =
            [(&q, &text_q), (&k, &text_k), (&v, &text_v)].map(|(x, text)| Tensor::cat(&[x, text], 1));
        let attended = merge_heads(&attend(&q?, &k?, &v?, Attend::default())?, heads)?;
        let x = self.picture.to_out.forward(&attended.narrow(1, 0, patches)?.contiguous()?)?;
        let text = match &self.to_add_out {
            Some(out) => Some(out.forward(&attended.narrow(1, patches, tokens)?.contiguous()?)?),
            None => None,
        };
        Ok((x, text))
    }
}
