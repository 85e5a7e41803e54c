//! 3 × 3 convolutions by minimal filtering, F(4 × 4, 3 × 3): 36 products for 16 results instead of 144 (Lavin and
//! Gray 2016).
//!
//! The points of interpolation are 0, ±√½, ±√2 and ∞, whose transforms have smaller entries than those of the usual
//! 0, ±1, ±2 and ∞, and so a smaller error. Weights are transformed when they are used, a few at a time: kept
//! transformed they would take four times the memory, and cost more to read than to compute.

use std::ops::Range;

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::arch::arch;
use super::buffer::zeros;
use super::convolution::Convolution;
use super::lanes::VECTORS;
use super::packed::Packed;
use super::product::{Start, accumulate, counted, load, rows_at_once, store};

/// Side of a tile of results.
const TILE: usize = 4;
/// Side of the patch of pixels that it depends on.
const PATCH: usize = 6;
const POINTS: usize = PATCH * PATCH;

/// Tiles of a piece of work, about.
const TILES: usize = 64;
/// Inputs whose transformed weights are in work at once: they and the sums stay in the second cache.
const DEPTH: usize = 64;

const SQRT_2: f32 = std::f32::consts::SQRT_2;
const SQRT_HALF: f32 = std::f32::consts::FRAC_1_SQRT_2;

/// Whether it is faster than the plain way, and possible.
pub(super) fn pays(shape: &Convolution, packed: &Packed) -> bool {
    let lanes = packed.width() / VECTORS;
    lanes > 1
        && packed.inputs().is_multiple_of(lanes)
        && packed.inputs() >= 2 * lanes
        && packed.outputs() >= packed.width()
        && shape.height >= 2 * TILE
        && shape.width >= 2 * TILE
}

/// Tiles of all images, row by row.
#[derive(Debug, Clone, Copy)]
struct Grid {
    images: usize,
    height: usize,
    width: usize,
    rows: usize,
    columns: usize,
}

/// Of feature maps `(images, height, width, inputs)`, keeping the size.
pub(super) fn convolve(
    x: &[f32],
    (height, width): (usize, usize),
    packed: &Packed,
    start: Start<'_>,
) -> Vec<f32> {
    let (inputs, outputs) = (packed.inputs(), packed.outputs());
    let images = x.len() / (height * width * inputs);
    let grid = Grid { images, height, width, rows: height.div_ceil(TILE), columns: width.div_ceil(TILE) };
    let filter = Filter { x, grid, packed, start };
    let mut out = zeros(images * height * width * outputs);
    let threads = rayon::current_num_threads();
    let rows = (TILES / grid.columns).clamp(1, grid.rows);
    if images * grid.rows.div_ceil(rows) >= 2 * threads || threads == 1 {
        let image = height * width * outputs;
        let piece = TILE * rows * width * outputs;
        let pieces = out.par_chunks_mut(image).enumerate().flat_map(|(image, out)| {
            out.par_chunks_mut(piece).enumerate().map(move |(piece, out)| (image, piece, out))
        });
        pieces.for_each_init(Scratch::default, |scratch, (image, piece, out)| {
            let tiles = grid.tiles(image, piece * rows..grid.rows.min((piece + 1) * rows));
            let pixels = out.chunks_exact_mut(outputs).collect();
            filter.compute(tiles, 0..packed.panels(), pixels, scratch);
        });
        return out;
    }
    // Few tiles: panels are shared out.
    let panels = packed.panels().div_ceil(2 * threads);
    let shares = packed.panels().div_ceil(panels);
    let mut parts: Vec<_> = (0..shares).map(|_| Vec::new()).collect();
    for pixel in out.chunks_exact_mut(outputs) {
        for (part, channels) in parts.iter_mut().zip(pixel.chunks_mut(panels * packed.width())) {
            part.push(channels);
        }
    }
    parts.into_par_iter().enumerate().for_each(|(share, pixels)| {
        let panels = share * panels..packed.panels().min((share + 1) * panels);
        filter.compute(0..images * grid.rows * grid.columns, panels, pixels, &mut Scratch::default());
    });
    out
}

impl Grid {
    fn tiles(&self, image: usize, rows: Range<usize>) -> Range<usize> {
        let first = image * self.rows;
        (first + rows.start) * self.columns..(first + rows.end) * self.columns
    }

    /// Image, and first row and column of its results.
    fn place(&self, tile: usize) -> (usize, usize, usize) {
        let (row, column) = (tile / self.columns, tile % self.columns);
        (row / self.rows, row % self.rows * TILE, column * TILE)
    }
}

struct Filter<'a> {
    x: &'a [f32],
    grid: Grid,
    packed: &'a Packed,
    start: Start<'a>,
}

impl Filter<'_> {
    /// `out`: the pixels of the tiles, from the first tile's row on, with the channels of the panels.
    fn compute(
        &self,
        tiles: Range<usize>,
        panels: Range<usize>,
        out: Vec<&mut [f32]>,
        scratch: &mut Scratch,
    ) {
        arch().dispatch(Piece { filter: self, tiles, panels, out, scratch });
    }
}

/// Memory for what is in work, which one piece of work leaves to the next.
#[derive(Default)]
struct Scratch {
    patches: Vec<f32>,
    weights: Vec<f32>,
    sums: Vec<f32>,
}

/// So many of the numbers, whatever they are.
fn first(numbers: &mut Vec<f32>, count: usize) -> &mut [f32] {
    if numbers.len() < count {
        *numbers = zeros(count);
    }
    &mut numbers[..count]
}

struct Piece<'a, 'b> {
    filter: &'a Filter<'b>,
    tiles: Range<usize>,
    panels: Range<usize>,
    out: Vec<&'a mut [f32]>,
    scratch: &'a mut Scratch,
}

impl WithSimd for Piece<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { filter, tiles, panels, mut out, scratch } = self;
        let Filter { packed, .. } = filter;
        let (inputs, width, count) = (packed.inputs(), packed.width(), tiles.len());
        let depth = DEPTH.min(inputs);
        let patches = first(&mut scratch.patches, POINTS * count * depth);
        let weights = first(&mut scratch.weights, POINTS * depth * width);
        let sums = first(&mut scratch.sums, panels.len() * POINTS * count * width);
        for begin in (0..inputs).step_by(depth) {
            let run = begin..inputs.min(begin + depth);
            let length = run.len();
            let tiles = tiles.clone();
            simd.vectorize(Patches { simd, filter, tiles, run: run.clone(), patches: &mut *patches });
            for (panel, sums) in panels.clone().zip(sums.chunks_exact_mut(POINTS * count * width)) {
                let panel = packed.panel(panel);
                simd.vectorize(Weights { simd, panel, inputs, run: run.clone(), weights: &mut *weights });
                let patches = patches.chunks_exact(count * length);
                let weights = weights.chunks_exact(length * width);
                let points = patches.zip(weights).zip(sums.chunks_exact_mut(count * width));
                for ((patches, weights), sums) in points {
                    let begins = begin == 0;
                    simd.vectorize(Product { simd, patches, weights, begins, sums });
                }
            }
        }
        let first = panels.start * width;
        for (panel, sums) in panels.zip(sums.chunks_exact(POINTS * count * width)) {
            let columns = panel * width..packed.outputs().min((panel + 1) * width);
            let (begin, tiles) = (columns.start - first, tiles.clone());
            simd.vectorize(Results { simd, filter, tiles, sums, columns, begin, out: &mut out });
        }
    }
}

/// `Bᵀ d B` of each tile's patch `d`, for a few inputs: `(points, tiles, inputs)`.
struct Patches<'a, 'b, S> {
    simd: S,
    filter: &'a Filter<'b>,
    tiles: Range<usize>,
    run: Range<usize>,
    patches: &'a mut [f32],
}

impl<S: Simd> pulp::NullaryFnOnce for Patches<'_, '_, S> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Self { simd, filter, tiles, run, patches } = self;
        let Filter { x, grid, packed, .. } = filter;
        let (inputs, lanes, count) = (packed.inputs(), S::F32_LANES, tiles.len());
        let zero = simd.splat_f32s(0.0);
        for (number, tile) in tiles.enumerate() {
            let (image, top, left) = grid.place(tile);
            let pixels: [[Option<&[S::f32s]>; PATCH]; PATCH] = std::array::from_fn(|row| {
                std::array::from_fn(|column| {
                    let (y, x_) = ((top + row).wrapping_sub(1), (left + column).wrapping_sub(1));
                    let inside = y < grid.height && x_ < grid.width;
                    inside.then(|| {
                        let pixel = (image * grid.height + y) * grid.width + x_;
                        S::as_simd_f32s(&x[pixel * inputs..][run.clone()]).0
                    })
                })
            });
            for vector in 0..run.len() / lanes {
                let mut rows = [[zero; PATCH]; PATCH];
                for (row, pixels) in rows.iter_mut().zip(&pixels) {
                    for (value, pixel) in row.iter_mut().zip(pixels) {
                        if let Some(pixel) = pixel {
                            *value = pixel[vector];
                        }
                    }
                    *row = interpolate(simd, *row);
                }
                for column in 0..PATCH {
                    let transformed = interpolate(simd, nth(&rows, column));
                    for (row, value) in transformed.into_iter().enumerate() {
                        let point = row * PATCH + column;
                        let place = (point * count + number) * run.len() + vector * lanes;
                        store(simd, &mut patches[place..][..lanes], [value]);
                    }
                }
            }
        }
    }
}

/// `Bᵀ d`.
#[inline(always)]
fn interpolate<S: Simd>(simd: S, d: [S::f32s; PATCH]) -> [S::f32s; PATCH] {
    // Even and odd parts of the polynomials of ±p.
    let even_2 = scaled_and(simd, d[2], -2.0, d[4]);
    let even_half = scaled_and(simd, d[2], -0.5, d[4]);
    let odd_2 = scaled_and(simd, d[1], -SQRT_2, scaled(simd, d[3], SQRT_HALF));
    let odd_half = scaled_and(simd, d[1], -SQRT_HALF, scaled(simd, d[3], SQRT_2));
    [
        scaled_and(simd, d[2], -2.5, simd.add_f32s(d[0], d[4])),
        simd.add_f32s(even_2, odd_2),
        simd.sub_f32s(even_2, odd_2),
        simd.add_f32s(even_half, odd_half),
        simd.sub_f32s(even_half, odd_half),
        scaled_and(simd, d[3], -2.5, simd.add_f32s(d[1], d[5])),
    ]
}

/// `G g Gᵀ` of the weights `g` of a few inputs and all outputs of a panel.
struct Weights<'a, S> {
    simd: S,
    panel: &'a [f32],
    inputs: usize,
    run: Range<usize>,
    weights: &'a mut [f32],
}

impl<S: Simd> pulp::NullaryFnOnce for Weights<'_, S> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Self { simd, panel, inputs, run, weights } = self;
        let lanes = S::F32_LANES;
        let width = VECTORS * lanes;
        let depth = run.len();
        let zero = simd.splat_f32s(0.0);
        for (number, input) in run.enumerate() {
            for vector in 0..VECTORS {
                let mut rows = [[zero; PATCH]; 3];
                for (row, values) in rows.iter_mut().enumerate() {
                    let mut weights = [zero; 3];
                    for (column, value) in weights.iter_mut().enumerate() {
                        let place = ((row * 3 + column) * inputs + input) * width + vector * lanes;
                        *value = load::<S, 1>(simd, &panel[place..][..lanes])[0];
                    }
                    *values = evaluate(simd, weights);
                }
                for column in 0..PATCH {
                    let transformed = evaluate(simd, nth(&rows, column));
                    for (row, value) in transformed.into_iter().enumerate() {
                        let point = row * PATCH + column;
                        let place = (point * depth + number) * width + vector * lanes;
                        store(simd, &mut weights[place..][..lanes], [value]);
                    }
                }
            }
        }
    }
}

/// `G g`.
#[inline(always)]
fn evaluate<S: Simd>(simd: S, g: [S::f32s; 3]) -> [S::f32s; PATCH] {
    let even_half = scaled_and(simd, g[0], -2.0 / 3.0, scaled(simd, g[2], -1.0 / 3.0));
    let odd_half = scaled(simd, g[1], -SQRT_2 / 3.0);
    let even_2 = scaled_and(simd, g[0], 1.0 / 6.0, scaled(simd, g[2], 1.0 / 3.0));
    let odd_2 = scaled(simd, g[1], SQRT_2 / 6.0);
    [
        g[0],
        simd.add_f32s(even_half, odd_half),
        simd.sub_f32s(even_half, odd_half),
        simd.add_f32s(even_2, odd_2),
        simd.sub_f32s(even_2, odd_2),
        g[2],
    ]
}

/// The product of all tiles at one point, added to the sums of the inputs before.
struct Product<'a, S> {
    simd: S,
    /// `(tiles, inputs)`.
    patches: &'a [f32],
    /// `(inputs, width)`.
    weights: &'a [f32],
    /// Whether there are no inputs before.
    begins: bool,
    /// `(tiles, width)`.
    sums: &'a mut [f32],
}

impl<S: Simd> pulp::NullaryFnOnce for Product<'_, S> {
    type Output = ();

    #[inline(always)]
    fn call(mut self) {
        let count = self.sums.len() / (VECTORS * S::F32_LANES);
        let step = rows_at_once::<S>();
        for tile in (0..count).step_by(step) {
            counted!(step.min(count - tile), COUNT => self.sum::<COUNT>(tile));
        }
    }
}

impl<S: Simd> Product<'_, S> {
    #[inline(always)]
    fn sum<const COUNT: usize>(&mut self, tile: usize) {
        let (simd, width) = (self.simd, VECTORS * S::F32_LANES);
        let length = self.weights.len() / width;
        let patches = &self.patches[tile * length..][..COUNT * length];
        let sums = &mut self.sums[tile * width..][..COUNT * width];
        // Counted, as everywhere around these sums: only a loop of known length is unrolled in time to keep them
        // in registers.
        let mut rows: [&[f32]; COUNT] = [&[]; COUNT];
        let mut own = [[simd.splat_f32s(0.0); VECTORS]; COUNT];
        for index in 0..COUNT {
            rows[index] = &patches[index * length..][..length];
            if !self.begins {
                own[index] = load(simd, &sums[index * width..][..width]);
            }
        }
        accumulate(simd, rows, self.weights, &mut own);
        for index in 0..COUNT {
            store(simd, &mut sums[index * width..][..width], own[index]);
        }
    }
}

/// `Aᵀ m A` of the sums `m` of each tile: its pixels.
struct Results<'a, 'b, 'c, S> {
    simd: S,
    filter: &'a Filter<'b>,
    tiles: Range<usize>,
    sums: &'a [f32],
    columns: Range<usize>,
    /// Where the columns begin in a pixel of `out`.
    begin: usize,
    out: &'a mut [&'c mut [f32]],
}

impl<S: Simd> pulp::NullaryFnOnce for Results<'_, '_, '_, S> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Self { simd, filter, tiles, sums, columns, begin, out } = self;
        let Filter { grid, packed, start, .. } = filter;
        let (lanes, count, outputs) = (S::F32_LANES, tiles.len(), packed.outputs());
        let width = VECTORS * lanes;
        let zero = simd.splat_f32s(0.0);
        let (first_image, first_row, _) = grid.place(tiles.start);
        let first = (first_image * grid.height + first_row) * grid.width;
        for (number, tile) in tiles.enumerate() {
            let (image, top, left) = grid.place(tile);
            for vector in 0..VECTORS {
                let columns =
                    columns.start + vector * lanes..columns.end.min(columns.start + (vector + 1) * lanes);
                if columns.is_empty() {
                    continue;
                }
                let mut rows = [[zero; TILE]; PATCH];
                for (row, results) in rows.iter_mut().enumerate() {
                    let mut m = [zero; PATCH];
                    for (column, value) in m.iter_mut().enumerate() {
                        let point = row * PATCH + column;
                        let place = (point * count + number) * width + vector * lanes;
                        *value = load::<S, 1>(simd, &sums[place..][..lanes])[0];
                    }
                    *results = gather(simd, m);
                }
                let mut bias = zero;
                if let Some(all) = start.bias_of(image, grid.images, outputs) {
                    bias = load::<S, 1>(simd, &all[columns.clone()])[0];
                }
                for column in 0..TILE.min(grid.width - left) {
                    let results = gather(simd, nth(&rows, column));
                    for (row, result) in results.into_iter().enumerate().take(grid.height - top) {
                        let pixel = (image * grid.height + top + row) * grid.width + left + column;
                        let mut result = simd.add_f32s(result, bias);
                        if let Some(around) = start.around {
                            let around = &around[pixel * outputs..][columns.clone()];
                            result = simd.add_f32s(result, load::<S, 1>(simd, around)[0]);
                        }
                        let place = begin + vector * lanes;
                        store(simd, &mut out[pixel - first][place..][..columns.len()], [result]);
                    }
                }
            }
        }
    }
}

/// `Aᵀ m`.
#[inline(always)]
fn gather<S: Simd>(simd: S, m: [S::f32s; PATCH]) -> [S::f32s; TILE] {
    let (even_half, odd_half) = (simd.add_f32s(m[1], m[2]), simd.sub_f32s(m[1], m[2]));
    let (even_2, odd_2) = (simd.add_f32s(m[3], m[4]), simd.sub_f32s(m[3], m[4]));
    [
        simd.add_f32s(m[0], simd.add_f32s(even_half, even_2)),
        scaled_and(simd, odd_half, SQRT_HALF, scaled(simd, odd_2, SQRT_2)),
        scaled_and(simd, even_half, 0.5, scaled(simd, even_2, 2.0)),
        scaled_and(simd, odd_half, SQRT_2 / 4.0, scaled_and(simd, odd_2, 2.0 * SQRT_2, m[5])),
    ]
}

/// A column.
#[inline(always)]
fn nth<T: Copy, const ROWS: usize, const COLUMNS: usize>(
    rows: &[[T; COLUMNS]; ROWS],
    column: usize,
) -> [T; ROWS] {
    let mut values = [rows[0][column]; ROWS];
    for (value, row) in values.iter_mut().zip(rows) {
        *value = row[column];
    }
    values
}

/// `a · factor`.
#[inline(always)]
fn scaled<S: Simd>(simd: S, a: S::f32s, factor: f32) -> S::f32s {
    simd.mul_f32s(a, simd.splat_f32s(factor))
}

/// `a · factor + b`.
#[inline(always)]
fn scaled_and<S: Simd>(simd: S, a: S::f32s, factor: f32, b: S::f32s) -> S::f32s {
    simd.mul_add_e_f32s(a, simd.splat_f32s(factor), b)
}
