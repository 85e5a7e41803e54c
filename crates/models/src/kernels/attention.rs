//! Scaled dot-product attention in blocks: no score outlives its block, and the softmax is put right as blocks come
//! (Dao et al. 2022; Milakov and Gimelshein 2018).

use std::ops::Range;

use pulp::{Simd, WithSimd};
use rayon::prelude::*;
use tracing::trace_span;

use super::arch::arch;
use super::buffer::zeros;
use super::lanes::{VECTORS, exp};
use super::product::{accumulate, counted, load, rows_at_once, store};

/// Queries of a piece of work.
const QUERIES: usize = 64;
/// Keys of a block.
const KEYS: usize = 128;

/// Smaller than any score, and far from what would overflow.
const LEAST: f32 = -1e30;

/// How tokens are divided.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Heads {
    pub(crate) count: usize,
    /// Numbers of a token that belong to one head.
    pub(crate) size: usize,
    pub(crate) queries: usize,
    pub(crate) keys: usize,
    /// What scores are multiplied with.
    pub(crate) scale: f32,
}

/// `softmax(scale · q · kᵀ + mask) · v` for each head.
///
/// `q`: `(batch, queries, count · size)`, `k` and `v`: `(batch, keys, count · size)`. `mask`: `(queries, keys)`, or one
/// such for each head of each of the batch. The result is like `q`.
pub(crate) fn attend(q: &[f32], k: &[f32], v: &[f32], heads: Heads, mask: Option<&[f32]>) -> Vec<f32> {
    let _span = trace_span!("attention").entered();
    let width = heads.count * heads.size;
    let batch = q.len() / (heads.queries * width).max(1);
    let blocks = heads.queries.div_ceil(QUERIES);
    let contexts: Vec<Context> = (0..batch * heads.count)
        .into_par_iter()
        .map(|index| {
            let (image, head) = (index / heads.count, index % heads.count);
            let part =
                |tokens: usize, all| Part { all, width, first: image * tokens, start: head * heads.size };
            arch().dispatch(Pack { k: part(heads.keys, k), v: part(heads.keys, v), heads })
        })
        .collect();
    let mut out = zeros(q.len());
    // The results of each head's blocks of queries, one for each query.
    let mut parts: Vec<_> = (0..batch * heads.count * blocks).map(|_| Vec::new()).collect();
    for (token, out) in out.chunks_exact_mut(width.max(1)).enumerate() {
        let (image, query) = (token / heads.queries, token % heads.queries);
        for (head, out) in out.chunks_exact_mut(heads.size).enumerate() {
            parts[(image * heads.count + head) * blocks + query / QUERIES].push(out);
        }
    }
    parts.into_par_iter().enumerate().for_each(|(index, out)| {
        let (head, block) = (index / blocks, index % blocks);
        let start = head % heads.count * heads.size;
        let q = Part { all: q, width, first: head / heads.count * heads.queries, start };
        let scores = heads.queries * heads.keys;
        let mask =
            mask.map(|mask| if mask.len() == scores { mask } else { &mask[head * scores..][..scores] });
        arch().dispatch(Piece { q, first: block * QUERIES, context: &contexts[head], heads, mask, out });
    });
    out
}

/// One head's numbers of the tokens of one of the batch.
#[derive(Clone, Copy)]
struct Part<'a> {
    all: &'a [f32],
    width: usize,
    first: usize,
    start: usize,
}

impl<'a> Part<'a> {
    #[inline(always)]
    fn token(&self, token: usize, size: usize) -> &'a [f32] {
        &self.all[(self.first + token) * self.width + self.start..][..size]
    }
}

/// Keys and values of a head as products read them.
struct Context {
    /// In panels of keys, `(panels, size, panel width)`.
    keys: Vec<f32>,
    /// In groups of vectors, `(keys, vectors of the group)` each.
    values: Vec<f32>,
}

/// How many of `rest` vectors are in the next group.
fn group(rest: usize) -> usize {
    if rest >= 3 && rest % 2 == 1 { 3 } else { rest.min(2) }
}

struct Pack<'a> {
    k: Part<'a>,
    v: Part<'a>,
    heads: Heads,
}

impl WithSimd for Pack<'_> {
    type Output = Context;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> Context {
        let Self { k, v, heads: Heads { size, keys: count, .. } } = self;
        let lanes = S::F32_LANES;
        let panel = VECTORS * lanes;
        let mut keys = vec![0.0; count.div_ceil(panel) * panel * size];
        for token in 0..count {
            let packed = &mut keys[token / panel * panel * size + token % panel..];
            for (place, value) in packed.iter_mut().step_by(panel).zip(k.token(token, size)) {
                *place = *value;
            }
        }
        let vectors = size.div_ceil(lanes);
        let mut values = vec![0.0; count * vectors * lanes];
        let mut done = 0;
        while done < vectors {
            let wide = group(vectors - done) * lanes;
            let packed = &mut values[done * lanes * count..][..count * wide];
            for (token, packed) in packed.chunks_exact_mut(wide).enumerate() {
                let own = &v.token(token, size)[done * lanes..];
                let own = &own[..own.len().min(wide)];
                packed[..own.len()].copy_from_slice(own);
            }
            done += wide / lanes;
        }
        Context { keys, values }
    }
}

struct Piece<'a> {
    q: Part<'a>,
    /// The first of the queries.
    first: usize,
    context: &'a Context,
    heads: Heads,
    mask: Option<&'a [f32]>,
    /// A result for each query.
    out: Vec<&'a mut [f32]>,
}

impl WithSimd for Piece<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { q, first, context, heads, mask, out } = self;
        let Heads { size, keys, scale, .. } = heads;
        let (lanes, count) = (S::F32_LANES, out.len());
        let queries = first..first + count;
        let scaled: Vec<f32> = queries
            .clone()
            .flat_map(|query| q.token(query, size).iter().map(|value| value * scale))
            .collect();
        let wide = size.div_ceil(lanes) * lanes;
        let mut block = Block {
            simd,
            context,
            heads,
            queries: &scaled,
            scores: vec![0.0; count * KEYS],
            greatest: vec![LEAST; count],
            totals: vec![0.0; count],
            sums: vec![0.0; count * wide],
        };
        for first in (0..keys).step_by(KEYS) {
            let run = first..keys.min(first + KEYS);
            simd.vectorize(Scores { block: &mut block, run: run.clone() });
            if let Some(mask) = mask {
                for (query, scores) in queries.clone().zip(block.scores.chunks_exact_mut(KEYS)) {
                    let mask = &mask[query * keys..][run.clone()];
                    scores.iter_mut().zip(mask).for_each(|(score, mask)| *score += mask);
                }
            }
            simd.vectorize(Softmax { block: &mut block, count: run.len() });
            simd.vectorize(Sums { block: &mut block, run });
        }
        for ((out, sums), total) in out.into_iter().zip(block.sums.chunks_exact(wide)).zip(&block.totals) {
            out.iter_mut().zip(sums).for_each(|(out, sum)| *out = sum / total);
        }
    }
}

/// The state between blocks of keys.
struct Block<'a, S> {
    simd: S,
    context: &'a Context,
    heads: Heads,
    /// `(queries, size)`, scaled.
    queries: &'a [f32],
    /// `(queries, KEYS)`.
    scores: Vec<f32>,
    /// The greatest score so far, of each query.
    greatest: Vec<f32>,
    /// The sum of the weights so far, of each query.
    totals: Vec<f32>,
    /// The weighted sum of the values so far, `(queries, size up to whole vectors)`.
    sums: Vec<f32>,
}

/// The scores of a block of keys.
struct Scores<'a, 'b, S> {
    block: &'a mut Block<'b, S>,
    run: Range<usize>,
}

impl<S: Simd> pulp::NullaryFnOnce for Scores<'_, '_, S> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Self { block, run } = self;
        let (size, panel) = (block.heads.size, VECTORS * S::F32_LANES);
        let count = block.totals.len();
        for first in run.clone().step_by(panel) {
            let keys = &block.context.keys[first * size..][..panel * size];
            let column = first - run.start;
            let step = rows_at_once::<S>();
            for query in (0..count).step_by(step) {
                let scores = &mut block.scores[query * KEYS..];
                let queries = &block.queries[query * size..];
                counted!(
                    step.min(count - query),
                    COUNT => score::<S, COUNT>(block.simd, queries, keys, scores, column)
                );
            }
        }
    }
}

/// Scores of `COUNT` queries with the keys of a panel.
#[inline(always)]
fn score<S: Simd, const COUNT: usize>(
    simd: S,
    queries: &[f32],
    keys: &[f32],
    scores: &mut [f32],
    column: usize,
) {
    let panel = VECTORS * S::F32_LANES;
    let size = keys.len() / panel;
    let rows: [&[f32]; COUNT] = std::array::from_fn(|index| &queries[index * size..][..size]);
    let mut sums = [[simd.splat_f32s(0.0); VECTORS]; COUNT];
    accumulate(simd, rows, keys, &mut sums);
    for (index, sums) in sums.into_iter().enumerate() {
        store(simd, &mut scores[index * KEYS + column..][..panel], sums);
    }
}

/// Makes weights of the scores of a block, and puts right what was summed up before.
struct Softmax<'a, 'b, S> {
    block: &'a mut Block<'b, S>,
    count: usize,
}

impl<S: Simd> pulp::NullaryFnOnce for Softmax<'_, '_, S> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Self { block, count } = self;
        let simd = block.simd;
        let lanes = S::F32_LANES;
        let padded = count.next_multiple_of(lanes);
        let wide = block.sums.len() / block.totals.len();
        let queries = block.scores.chunks_exact_mut(KEYS).zip(block.sums.chunks_exact_mut(wide));
        let states = block.greatest.iter_mut().zip(&mut block.totals);
        for ((scores, sums), (greatest, total)) in queries.zip(states) {
            scores[count..padded].fill(f32::NEG_INFINITY);
            let (vectors, _) = S::as_mut_simd_f32s(&mut scores[..padded]);
            let most =
                vectors.iter().fold(simd.splat_f32s(*greatest), |most, next| simd.max_f32s(most, *next));
            let most = simd.reduce_max_f32s(most);
            let center = simd.splat_f32s(most);
            let mut weights = simd.splat_f32s(0.0);
            for vector in vectors {
                *vector = exp(simd, simd.sub_f32s(*vector, center));
                weights = simd.add_f32s(weights, *vector);
            }
            let factor = if most > *greatest { (*greatest - most).exp() } else { 1.0 };
            *greatest = most;
            *total = *total * factor + simd.reduce_sum_f32s(weights);
            if factor != 1.0 {
                let (sums, _) = S::as_mut_simd_f32s(sums);
                let factor = simd.splat_f32s(factor);
                sums.iter_mut().for_each(|sum| *sum = simd.mul_f32s(*sum, factor));
            }
        }
    }
}

/// Adds the weighted values of a block.
struct Sums<'a, 'b, S> {
    block: &'a mut Block<'b, S>,
    run: Range<usize>,
}

impl<S: Simd> pulp::NullaryFnOnce for Sums<'_, '_, S> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Self { block, run } = self;
        let lanes = S::F32_LANES;
        let wide = block.sums.len() / block.totals.len();
        let mut done = 0;
        while done < wide {
            let own = group((wide - done) / lanes) * lanes;
            let values =
                &block.context.values[done * block.heads.keys + run.start * own..][..run.len() * own];
            match own / lanes {
                3 => weigh::<S, 3>(block, values, done),
                2 => weigh::<S, 2>(block, values, done),
                _ => weigh::<S, 1>(block, values, done),
            }
            done += own;
        }
    }
}

/// The same for a group of vectors, the first of which is at `column`.
#[inline(always)]
fn weigh<S: Simd, const VECTORS: usize>(block: &mut Block<'_, S>, values: &[f32], column: usize) {
    let count = block.totals.len();
    let step = rows_at_once::<S>();
    for query in (0..count).step_by(step) {
        counted!(
            step.min(count - query),
            COUNT => weigh_rows::<S, COUNT, VECTORS>(block, values, query, column)
        );
    }
}

#[inline(always)]
fn weigh_rows<S: Simd, const COUNT: usize, const VECTORS: usize>(
    block: &mut Block<'_, S>,
    values: &[f32],
    query: usize,
    column: usize,
) {
    let (simd, width) = (block.simd, VECTORS * S::F32_LANES);
    let wide = block.sums.len() / block.totals.len();
    let keys = values.len() / width;
    let rows: [&[f32]; COUNT] = std::array::from_fn(|index| &block.scores[(query + index) * KEYS..][..keys]);
    let place = |index: usize| (query + index) * wide + column..(query + index) * wide + column + width;
    let mut sums = [[simd.splat_f32s(0.0); VECTORS]; COUNT];
    for (index, sums) in sums.iter_mut().enumerate() {
        *sums = load(simd, &block.sums[place(index)]);
    }
    accumulate(simd, rows, values, &mut sums);
    for (index, sums) in sums.into_iter().enumerate() {
        store(simd, &mut block.sums[place(index)], sums);
    }
}

/// Keys of a block are whole panels.
const _: () = assert!(KEYS.is_multiple_of(VECTORS * 16));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_take_every_vector() {
        for vectors in 1..40 {
            let mut rest = vectors;
            while rest > 0 {
                let taken = group(rest);
                assert!((1..=3).contains(&taken) && taken <= rest, "{taken} of {rest}");
                rest -= taken;
            }
        }
        assert!(KEYS.is_multiple_of(crate::kernels::lanes::panel_width()));
    }
}
