//! Products of rows with packed weights: linear layers, and convolutions as products that find their rows in the
//! picture (Dukhan 2019, "The Indirect Convolution Algorithm").

use std::ops::Range;

use pulp::{Simd, WithSimd};
use rayon::prelude::*;
use tracing::trace_span;

use super::arch::arch;
use super::buffer::zeros;
use super::lanes::VECTORS;
use super::packed::Packed;

/// Rows of a product at once, at most 8: their sums fill the vector registers.
#[inline(always)]
pub(super) fn rows_at_once<S: Simd>() -> usize {
    if S::REGISTER_COUNT >= 32 { 8 } else { 4 }
}

/// An expression with a number of rows, 1 to 8, as the constant `$name`.
macro_rules! counted {
    ($count:expr, $name:ident => $call:expr) => {
        counted!($count, $name => $call; 1 2 3 4 5 6 7 8)
    };
    ($count:expr, $name:ident => $call:expr; $($number:literal)+) => {
        match $count {
            $($number => {
                const $name: usize = $number;
                $call
            })+
            count => unreachable!("{count} rows at once"),
        }
    };
}
pub(super) use counted;

/// Inputs summed up before the next panel's turn: so much of a panel stays in the first two caches.
const DEPTH: usize = 384;

/// Rows of a piece of work.
const PIECE_ROWS: usize = 64;

/// Weights of panels that all rows meet before the next panels' turn: they stay in the last cache.
const GROUP_BYTES: usize = 4 << 20;

/// What is multiplied with packed weights: for each row and tap as many numbers as there are inputs.
pub(super) trait Rows: Sync {
    fn row(&self, row: usize, tap: usize) -> &[f32];
}

/// A matrix `(rows, inputs)`.
struct Matrix<'a> {
    values: &'a [f32],
    inputs: usize,
}

impl Rows for Matrix<'_> {
    #[inline(always)]
    fn row(&self, row: usize, _: usize) -> &[f32] {
        &self.values[row * self.inputs..][..self.inputs]
    }
}

/// What sums begin with: zeros, or the sum of these.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Start<'a> {
    /// One for each output; or so many for each picture, all of which have equally many rows.
    pub(crate) bias: Option<&'a [f32]>,
    /// `(rows, outputs)`.
    pub(crate) around: Option<&'a [f32]>,
}

impl<'a> Start<'a> {
    /// The biases of a row out of `count`.
    #[inline(always)]
    pub(super) fn bias_of(&self, row: usize, count: usize, outputs: usize) -> Option<&'a [f32]> {
        let bias = self.bias?;
        if bias.len() <= outputs {
            return Some(bias);
        }
        let rows = count * outputs / bias.len();
        Some(&bias[row / rows * outputs..][..outputs])
    }
}

/// `x · weightᵀ + start`: `(rows, inputs)` to `(rows, outputs)`.
pub(crate) fn multiply(x: &[f32], packed: &Packed, start: Start<'_>) -> Vec<f32> {
    let _span = trace_span!("linear layers").entered();
    let inputs = packed.inputs();
    multiply_rows(&Matrix { values: x, inputs }, x.len() / inputs.max(1), packed, start)
}

/// The same for `count` rows from elsewhere.
pub(super) fn multiply_rows(rows: &impl Rows, count: usize, packed: &Packed, start: Start<'_>) -> Vec<f32> {
    let outputs = packed.outputs();
    let product = Product { rows, packed, start, count };
    let mut out = zeros(count * outputs);
    let threads = rayon::current_num_threads();
    let pieces = count.div_ceil(PIECE_ROWS);
    if threads == 1 || pieces >= 3 * threads || packed.panels() < 2 {
        // All rows with some panels, then with the next: weights come from memory once, however many rows there are.
        let group = (GROUP_BYTES / size_of_val(packed.panel(0)).max(1)).max(1);
        for start in (0..packed.panels()).step_by(group) {
            let panels = start..packed.panels().min(start + group);
            out.par_chunks_mut(PIECE_ROWS * outputs).enumerate().for_each(|(piece, values)| {
                let rows = values.chunks_exact_mut(outputs).collect();
                product.compute(piece * PIECE_ROWS, panels.clone(), Out { rows, first: 0 });
            });
        }
        return out;
    }
    // Few rows: panels are shared out as well.
    let shares = (4 * threads).div_ceil(pieces.max(1)).min(packed.panels());
    let panels = packed.panels().div_ceil(shares);
    let mut parts: Vec<_> = (0..pieces * shares).map(|_| Vec::new()).collect();
    for (row, values) in out.chunks_exact_mut(outputs).enumerate() {
        for (share, columns) in values.chunks_mut(panels * packed.width()).enumerate() {
            parts[row / PIECE_ROWS * shares + share].push(columns);
        }
    }
    parts.into_par_iter().enumerate().filter(|(_, rows)| !rows.is_empty()).for_each(|(index, rows)| {
        let first = index % shares * panels;
        let panels = first..packed.panels().min(first + panels);
        product.compute(index / shares * PIECE_ROWS, panels, Out { rows, first: first * packed.width() });
    });
    out
}

struct Product<'a, R> {
    rows: &'a R,
    packed: &'a Packed,
    start: Start<'a>,
    /// How many rows there are.
    count: usize,
}

/// Where results go: for each row, those from output `first` on.
struct Out<'a> {
    rows: Vec<&'a mut [f32]>,
    first: usize,
}

impl<R: Rows> Product<'_, R> {
    /// Of as many rows as `out` has, from `first` on.
    fn compute(&self, first: usize, panels: Range<usize>, out: Out<'_>) {
        arch().dispatch(Piece { product: self, first, panels, out });
    }
}

struct Piece<'a, 'b, R> {
    product: &'a Product<'b, R>,
    first: usize,
    panels: Range<usize>,
    out: Out<'a>,
}

impl<R: Rows> WithSimd for Piece<'_, '_, R> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { product, first, panels, mut out } = self;
        let packed = product.packed;
        let width = packed.width();
        for (number, depth) in depths(packed).into_iter().enumerate() {
            for panel in panels.clone() {
                let begin = panel * width;
                let columns = begin..packed.outputs().min(begin + width);
                let mut tile = Tile {
                    product,
                    panel: packed.panel(panel),
                    depth: &depth,
                    columns,
                    begins: number == 0,
                    out: &mut out,
                };
                let (step, count) = (rows_at_once::<S>(), tile.out.rows.len());
                for at in (0..count).step_by(step) {
                    counted!(step.min(count - at), COUNT => tile.sum::<S, COUNT>(simd, first + at, at));
                }
            }
        }
    }
}

/// A run of inputs of one tap.
#[derive(Debug, Clone)]
struct Run {
    tap: usize,
    inputs: Range<usize>,
}

/// All inputs of all taps, in groups of about [`DEPTH`].
fn depths(packed: &Packed) -> Vec<Vec<Run>> {
    let mut depths = Vec::new();
    let mut group = Vec::new();
    let mut taken = 0;
    for tap in 0..packed.taps() {
        let mut start = 0;
        while start < packed.inputs() {
            let end = packed.inputs().min(start + DEPTH - taken);
            group.push(Run { tap, inputs: start..end });
            taken += end - start;
            start = end;
            if taken == DEPTH {
                depths.push(std::mem::take(&mut group));
                taken = 0;
            }
        }
    }
    depths.push(group);
    depths.retain(|group| !group.is_empty());
    if depths.is_empty() {
        // A sum over nothing is what it starts with.
        depths.push(Vec::new());
    }
    depths
}

struct Tile<'a, 'b, 'c, R> {
    product: &'a Product<'b, R>,
    panel: &'a [f32],
    depth: &'a [Run],
    columns: Range<usize>,
    begins: bool,
    out: &'a mut Out<'c>,
}

impl<R: Rows> Tile<'_, '_, '_, R> {
    /// Adds to rows `row..row + COUNT`, which are those from `at` on in `out`.
    #[inline(always)]
    fn sum<S: Simd, const COUNT: usize>(&mut self, simd: S, row: usize, at: usize) {
        let Self { product, panel, depth, columns, begins, out } = self;
        let Product { rows, packed, start, count } = product;
        let outputs = packed.outputs();
        let place = columns.start - out.first..columns.end - out.first;
        let mut sums = [[simd.splat_f32s(0.0); VECTORS]; COUNT];
        for (index, sums) in sums.iter_mut().enumerate() {
            *sums = match *begins {
                true => {
                    let bias = start.bias_of(row + index, *count, outputs).map(|bias| &bias[columns.clone()]);
                    let around =
                        start.around.map(|around| &around[(row + index) * outputs..][columns.clone()]);
                    begin(simd, bias, around)
                }
                false => load(simd, &out.rows[at + index][place.clone()]),
            };
        }
        let (inputs, width) = (packed.inputs(), packed.width());
        for Run { tap, inputs: run } in depth.iter() {
            let weights = &panel[(tap * inputs + run.start) * width..][..run.len() * width];
            let rows: [&[f32]; COUNT] =
                std::array::from_fn(|index| &rows.row(row + index, *tap)[run.clone()]);
            accumulate(simd, rows, weights, &mut sums);
        }
        for (index, sums) in sums.into_iter().enumerate() {
            store(simd, &mut out.rows[at + index][place.clone()], sums);
        }
    }
}

/// The sum of those that there are.
#[inline(always)]
fn begin<S: Simd, const VECTORS: usize>(
    simd: S,
    bias: Option<&[f32]>,
    around: Option<&[f32]>,
) -> [S::f32s; VECTORS] {
    let mut sums = [simd.splat_f32s(0.0); VECTORS];
    for values in [bias, around].into_iter().flatten() {
        let values = load::<S, VECTORS>(simd, values);
        for (sum, value) in sums.iter_mut().zip(values) {
            *sum = simd.add_f32s(*sum, value);
        }
    }
    sums
}

/// `sums[row][column] += Σ rows[row][input] · weights[input][column]`, with `weights` as wide as [`VECTORS`] vectors.
///
/// All rows are equally long, and `weights` has a vector group for each of their numbers.
#[inline(always)]
pub(super) fn accumulate<S: Simd, const COUNT: usize, const VECTORS: usize>(
    simd: S,
    rows: [&[f32]; COUNT],
    weights: &[f32],
    sums: &mut [[S::f32s; VECTORS]; COUNT],
) {
    let (weights, _) = S::as_simd_f32s(weights);
    let (weights, _) = weights.as_chunks::<VECTORS>();
    let rows = rows.map(|row| &row[..weights.len()]);
    let mut own = *sums;
    for (input, weights) in weights.iter().enumerate() {
        for index in 0..COUNT {
            let value = simd.splat_f32s(rows[index][input]);
            for vector in 0..VECTORS {
                own[index][vector] = simd.mul_add_e_f32s(value, weights[vector], own[index][vector]);
            }
        }
    }
    *sums = own;
}

/// As many numbers as there are, at most `VECTORS` vectors of them, and zeros.
#[inline(always)]
pub(super) fn load<S: Simd, const VECTORS: usize>(simd: S, values: &[f32]) -> [S::f32s; VECTORS] {
    let (whole, rest) = S::as_simd_f32s(values);
    if let Ok(whole) = <[S::f32s; VECTORS]>::try_from(whole) {
        return whole;
    }
    let mut vectors = [simd.splat_f32s(0.0); VECTORS];
    for (vector, values) in vectors.iter_mut().zip(whole) {
        *vector = *values;
    }
    if let Some(vector) = vectors.get_mut(whole.len()) {
        *vector = simd.partial_load_f32s(rest);
    }
    vectors
}

/// The inverse of [`load`].
#[inline(always)]
pub(super) fn store<S: Simd, const VECTORS: usize>(simd: S, values: &mut [f32], vectors: [S::f32s; VECTORS]) {
    let (whole, rest) = S::as_mut_simd_f32s(values);
    for (values, vector) in whole.iter_mut().zip(vectors) {
        *values = vector;
    }
    if let Some(vector) = vectors.get(whole.len()) {
        simd.partial_store_f32s(rest, *vector);
    }
}
