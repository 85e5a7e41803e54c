//! Scaled dot-product attention whose score buffer has a bound.

use candle_core::{D, DType, Device, Result, Tensor};
use candle_nn::ops::softmax_last_dim;

use crate::kernels::{self, floats, has_floats};

/// Most bytes of the score buffer. One head of a 64 × 64 latent takes 64 MiB in f32.
const MAX_SCORE_BYTES: usize = 256 << 20;

/// How to attend.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Attend<'a> {
    /// Added to the scores: f32 `(queries, keys)`, or `(batch · heads, queries, keys)` where heads differ.
    pub(crate) mask: Option<&'a Tensor>,
    /// What the scores are multiplied with.
    pub(crate) scale: Scale,
    /// Dtype of scores and softmax where it differs from the inputs'.
    pub(crate) score_dtype: Option<DType>,
}

/// A factor of the scores.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) enum Scale {
    /// One over the root of the head's size.
    #[default]
    Root,
    /// 1.
    None,
}

/// `softmax(scale · q · kᵀ + mask) · v` for each head.
///
/// `q`: contiguous `(batch · heads, queries, size)`, `k` and `v`: contiguous `(batch · heads, keys, size)`, as
/// [`split_heads`] makes them. The result is like `q`.
pub(crate) fn attend(q: &Tensor, k: &Tensor, v: &Tensor, how: Attend<'_>) -> Result<Tensor> {
    if has_floats(q) {
        return attend_on_cpu([q, k, v], 1, how);
    }
    attend_within(q, k, v, how, MAX_SCORE_BYTES)
}

fn attend_within(q: &Tensor, k: &Tensor, v: &Tensor, how: Attend<'_>, max_bytes: usize) -> Result<Tensor> {
    let (heads, queries, size) = q.dims3()?;
    let dtype = how.score_dtype.unwrap_or(q.dtype());
    let q = q.to_dtype(dtype)?;
    let q = match how.scale {
        Scale::Root => (q / (size as f64).sqrt())?,
        Scale::None => q,
    };
    let k = k.to_dtype(dtype)?;
    let row_bytes = k.dim(1)? * dtype.size_in_bytes();
    let max_rows = (max_bytes / row_bytes).max(1);
    if heads * queries <= max_rows {
        return attend_slice(&q, &k, v, how.mask);
    }
    // Whole heads where one fits, else some queries of one head.
    let heads_at_once = (max_rows / queries).max(1);
    let queries_at_once = queries.min(max_rows);
    let mut by_head = Vec::new();
    for head in (0..heads).step_by(heads_at_once) {
        let count = heads_at_once.min(heads - head);
        let (k, v) = (k.narrow(0, head, count)?, v.narrow(0, head, count)?);
        let mask = how
            .mask
            .map(|mask| if mask.rank() == 3 { mask.narrow(0, head, count) } else { Ok(mask.clone()) });
        let mask = mask.transpose()?;
        let mut by_query = Vec::new();
        for query in (0..queries).step_by(queries_at_once) {
            let rows = queries_at_once.min(queries - query);
            let q = q.narrow(0, head, count)?.narrow(1, query, rows)?.contiguous()?;
            let mask = mask.as_ref().map(|mask| mask.narrow(D::Minus2, query, rows)).transpose()?;
            by_query.push(attend_slice(&q, &k, &v, mask.as_ref())?);
        }
        by_head.push(Tensor::cat(&by_query, 1)?);
    }
    Tensor::cat(&by_head, 0)
}

/// The same for tokens whose heads lie side by side.
///
/// `q`: `(batch, queries, heads · size)`, `k` and `v`: `(batch, keys, heads · size)`. The result is like `q`.
pub(crate) fn attend_tokens([q, k, v]: [&Tensor; 3], heads: usize, how: Attend<'_>) -> Result<Tensor> {
    if has_floats(q) {
        return attend_on_cpu([q, k, v], heads, how);
    }
    let (q, k, v) = (split_heads(q, heads)?, split_heads(k, heads)?, split_heads(v, heads)?);
    merge_heads(&attend(&q, &k, &v, how)?, heads)
}

/// The same, of f32 in memory; scores are f32 as well.
fn attend_on_cpu([q, k, v]: [&Tensor; 3], heads: usize, how: Attend<'_>) -> Result<Tensor> {
    let (q, k, v) = (q.contiguous()?, k.contiguous()?, v.contiguous()?);
    let (_, queries, width) = q.dims3()?;
    let size = width / heads;
    let scale = match how.scale {
        Scale::Root => 1.0 / (size as f32).sqrt(),
        Scale::None => 1.0,
    };
    let shape = kernels::Heads { count: heads, size, queries, keys: k.dim(1)?, scale };
    let mask = how.mask.map(|mask| mask.to_dtype(DType::F32)?.contiguous()).transpose()?;
    let mask = mask.as_ref().map(floats).transpose()?;
    let (queries, keys, values) = (floats(&q)?, floats(&k)?, floats(&v)?);
    kernels::tensor(kernels::attend(&queries, &keys, &values, shape, mask.as_deref()), q.shape())
}

fn attend_slice(q: &Tensor, k: &Tensor, v: &Tensor, mask: Option<&Tensor>) -> Result<Tensor> {
    let scores = q.matmul(&k.transpose(1, 2)?)?;
    let scores = match mask {
        Some(mask) => scores.broadcast_add(&mask.to_dtype(scores.dtype())?)?,
        None => scores,
    };
    softmax_last_dim(&scores)?.to_dtype(v.dtype())?.matmul(v)
}

/// `(batch, tokens, heads · size)` to contiguous `(batch · heads, tokens, size)`.
pub(crate) fn split_heads(x: &Tensor, heads: usize) -> Result<Tensor> {
    let (batch, tokens, width) = x.dims3()?;
    let size = width / heads;
    let split = x.reshape((batch, tokens, heads, size))?.transpose(1, 2)?.contiguous()?;
    split.reshape((batch * heads, tokens, size))
}

/// The inverse of [`split_heads`].
pub(crate) fn merge_heads(x: &Tensor, heads: usize) -> Result<Tensor> {
    let (count, tokens, size) = x.dims3()?;
    let merged = x.reshape((count / heads, heads, tokens, size))?.transpose(1, 2)?.contiguous()?;
    merged.reshape((count / heads, tokens, heads * size))
}

/// f32 `(tokens, past + tokens)`: each of `tokens` new tokens sees the `past` ones, itself and those before it.
pub(crate) fn causal_mask(tokens: usize, past: usize, device: &Device) -> Result<Tensor> {
    let row = |token: usize| {
        (0..past + tokens).map(move |other| if other <= past + token { 0f32 } else { f32::NEG_INFINITY })
    };
    let mask = (0..tokens).flat_map(row).collect();
    Tensor::from_vec(mask, (tokens, past + tokens), device)
}

/// The largest difference between two tensors, for tests.
#[cfg(test)]
pub(crate) fn largest_difference(a: &Tensor, b: &Tensor) -> f32 {
    (a - b).unwrap().abs().unwrap().flatten_all().unwrap().max(0).unwrap().to_scalar().unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ramp(dims: (usize, usize, usize), frequency: f32) -> Tensor {
        let count = dims.0 * dims.1 * dims.2;
        let values = (0..count).map(|index| (index as f32 * frequency).sin()).collect::<Vec<_>>();
        Tensor::from_vec(values, dims, &Device::Cpu).unwrap()
    }

    #[test]
    fn slicing_heads_and_queries_changes_nothing() {
        let (q, k, v) = (ramp((6, 9, 4), 0.7), ramp((6, 9, 4), 1.3), ramp((6, 9, 4), 2.1));
        let mask = causal_mask(9, 0, &Device::Cpu).unwrap();
        let by_head = ramp((6, 9, 9), 1.1);
        let row = 9 * 4;
        for mask in [&mask, &by_head] {
            let how = Attend { mask: Some(mask), ..Attend::default() };
            let whole = attend(&q, &k, &v, how).unwrap();
            for rows in [0, 1, 4, 9, 20, 53] {
                let sliced = attend_within(&q, &k, &v, how, rows * row).unwrap();
                assert!(largest_difference(&whole, &sliced) < 1e-6, "{rows} rows at once");
            }
        }
    }

    #[test]
    fn scores_are_divided_by_the_root_of_the_size_unless_not_scaled() {
        let (q, k, v) = (ramp((2, 3, 4), 0.7), ramp((2, 3, 4), 1.3), ramp((2, 3, 4), 2.1));
        let scaled = attend(&q, &k, &v, Attend::default()).unwrap();
        let plain = Attend { scale: Scale::None, ..Attend::default() };
        let halved = attend(&(&q / 2.0).unwrap(), &k, &v, plain).unwrap();
        assert_eq!(largest_difference(&scaled, &halved), 0.0);
    }

    #[test]
    fn causal_mask_hides_only_later_tokens() {
        let mask = causal_mask(2, 1, &Device::Cpu).unwrap().to_vec2::<f32>().unwrap();
        assert_eq!(mask, [[0.0, 0.0, f32::NEG_INFINITY], [0.0, 0.0, 0.0]]);
    }

    #[test]
    fn merging_undoes_splitting() {
        let x = ramp((2, 5, 12), 0.3);
        let back = merge_heads(&split_heads(&x, 3).unwrap(), 3).unwrap();
        assert_eq!(largest_difference(&x, &back), 0.0);
    }
}
