//! Convolutions over channels-last feature maps.

use tracing::trace_span;

use super::packed::Packed;
use super::product::{Rows, Start, multiply_rows};
use super::winograd;

/// A convolution with a square kernel over feature maps `(images, height, width, inputs)`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Convolution {
    /// Side of the kernel.
    pub(crate) size: usize,
    pub(crate) stride: usize,
    /// Zeros around the map: before the first row and column, and after the last.
    pub(crate) padding: (usize, usize),
    pub(crate) height: usize,
    pub(crate) width: usize,
}

impl Convolution {
    /// Height and width of the result.
    pub(crate) fn result(&self) -> (usize, usize) {
        let side = |length: usize| {
            (length + self.padding.0 + self.padding.1)
                .checked_sub(self.size)
                .map_or(0, |rest| rest / self.stride + 1)
        };
        (side(self.height), side(self.width))
    }
}

/// `(images, height, width, inputs)` to `(images, …, outputs)`; `start` has a row for each pixel of the result.
///
/// 3 × 3 convolutions that keep the size go through Winograd's minimal filtering where that pays.
pub(crate) fn convolve(x: &[f32], shape: Convolution, packed: &Packed, start: Start<'_>) -> Vec<f32> {
    let span =
        if shape.size == 3 { trace_span!("3 × 3 convolutions") } else { trace_span!("other convolutions") };
    let _span = span.entered();
    let (height, width) = shape.result();
    let pixels = shape.height * shape.width * packed.inputs();
    let images = x.len() / pixels.max(1);
    if shape.size == 3 && shape.stride == 1 && shape.padding == (1, 1) && winograd::pays(&shape, packed) {
        return winograd::convolve(x, (shape.height, shape.width), packed, start);
    }
    let zeros = vec![0.0; packed.inputs()];
    let patches = Patches { x, shape, inputs: packed.inputs(), result: (height, width), zeros: &zeros };
    multiply_rows(&patches, images * height * width, packed, start)
}

/// The pixels under each place of the kernel, for each pixel of the result.
struct Patches<'a> {
    x: &'a [f32],
    shape: Convolution,
    inputs: usize,
    result: (usize, usize),
    zeros: &'a [f32],
}

impl Rows for Patches<'_> {
    #[inline(always)]
    fn row(&self, row: usize, tap: usize) -> &[f32] {
        let Self { shape, result: (height, width), .. } = self;
        let (line, column) = (row / width, row % width);
        let (image, line) = (line / height, line % height);
        // Wraps around before the first row or column, and is then beyond the last.
        let y = (line * shape.stride + tap / shape.size).wrapping_sub(shape.padding.0);
        let x = (column * shape.stride + tap % shape.size).wrapping_sub(shape.padding.0);
        if y >= shape.height || x >= shape.width {
            return self.zeros;
        }
        &self.x[((image * shape.height + y) * shape.width + x) * self.inputs..][..self.inputs]
    }
}
