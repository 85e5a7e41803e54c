//! Weights in the order in which products read them.

use rayon::prelude::*;

use super::buffer::zeros;
use super::lanes::panel_width;

/// Numbers of a cache line, and of the widest vector.
const LINE: usize = 16;

/// Numbers of a panel that are put in their places before the next ones: their places stay in the first cache.
const BLOCK: usize = 1 << 12;

/// The weights of a linear layer or of a convolution.
///
/// Outputs stand in panels as wide as [`panel_width`]: `(panels, taps, inputs, width)`, with zeros beyond the last
/// output. A linear layer has one tap, a convolution one for each place of its kernel.
#[derive(Debug)]
pub(crate) struct Packed {
    /// Panels begin with cache lines, the first of them at `start`.
    values: Vec<f32>,
    start: usize,
    outputs: usize,
    inputs: usize,
    taps: usize,
    width: usize,
}

impl Packed {
    /// `weight`: `(outputs, inputs, taps)`, as a convolution stores it; a linear layer's has one tap.
    ///
    /// # Panics
    /// When there are not that many numbers.
    pub(crate) fn new<T>(weight: &[T], outputs: usize, inputs: usize, taps: usize) -> Self
    where
        T: Copy + Into<f32> + Sync,
    {
        assert_eq!(weight.len(), outputs * inputs * taps, "weights of another shape");
        let width = panel_width();
        let panels = outputs.div_ceil(width);
        let mut values = zeros(panels * stride(inputs * taps, width) + LINE);
        let start = values.as_ptr().align_offset(size_of::<[f32; LINE]>()).min(LINE);
        let rows = weight.par_chunks((width * inputs * taps).max(1));
        let panels = values[start..].par_chunks_mut(stride(inputs * taps, width).max(1));
        panels.zip(rows).for_each(|(panel, rows)| fill(panel, rows, (inputs, taps), width));
        Self { values, start, outputs, inputs, taps, width }
    }

    /// The weights as they were given.
    pub(crate) fn unpack(&self) -> Vec<f32> {
        let (inputs, taps) = (self.inputs, self.taps);
        let mut weight = zeros(self.outputs * inputs * taps);
        weight.par_chunks_exact_mut((inputs * taps).max(1)).enumerate().for_each(|(output, row)| {
            let (panel, column) = (self.panel(output / self.width), output % self.width);
            for (input, values) in row.chunks_exact_mut(taps).enumerate() {
                for (tap, value) in values.iter_mut().enumerate() {
                    *value = panel[(tap * inputs + input) * self.width + column];
                }
            }
        });
        weight
    }

    pub(crate) fn outputs(&self) -> usize {
        self.outputs
    }

    pub(crate) fn inputs(&self) -> usize {
        self.inputs
    }

    pub(super) fn taps(&self) -> usize {
        self.taps
    }

    /// Outputs of a panel.
    pub(super) fn width(&self) -> usize {
        self.width
    }

    pub(super) fn panels(&self) -> usize {
        self.outputs.div_ceil(self.width)
    }

    /// `(taps, inputs, width)` of one panel.
    pub(super) fn panel(&self, index: usize) -> &[f32] {
        let size = self.taps * self.inputs * self.width;
        let first = self.start + index * stride(self.taps * self.inputs, self.width);
        &self.values[first..][..size]
    }
}

/// Numbers from one panel to the next.
fn stride(rows: usize, width: usize) -> usize {
    (rows * width).next_multiple_of(LINE)
}

/// Makes the weights of a few outputs, one after another, columns of a panel.
fn fill<T: Copy + Into<f32>>(panel: &mut [f32], rows: &[T], (inputs, taps): (usize, usize), width: usize) {
    let block = (BLOCK / (taps * width)).max(1);
    for first in (0..inputs).step_by(block) {
        let last = inputs.min(first + block);
        for (column, row) in rows.chunks_exact(inputs * taps).enumerate() {
            let values = row[first * taps..last * taps].chunks_exact(taps);
            for (input, values) in (first..last).zip(values) {
                for (tap, value) in values.iter().enumerate() {
                    panel[(tap * inputs + input) * width + column] = (*value).into();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unpacking_undoes_packing() {
        for (outputs, inputs, taps) in [(1, 1, 1), (5, 3, 1), (33, 7, 9), (64, 16, 9), (70, 2, 4)] {
            let weight: Vec<f32> = (0..outputs * inputs * taps).map(|index| index as f32).collect();
            let packed = Packed::new(&weight, outputs, inputs, taps);
            assert_eq!(packed.unpack(), weight);
        }
    }
}
