//! Weights in the order in which products read them.

use rayon::prelude::*;

use super::lanes::panel_width;

/// A cache line, and the widest vector.
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C, align(64))]
struct Line([f32; LINE]);

const LINE: usize = 16;

/// The weights of a linear layer or of a convolution.
///
/// Outputs stand in panels as wide as [`panel_width`]: `(panels, taps, inputs, width)`, with zeros beyond the last
/// output. A linear layer has one tap, a convolution one for each place of its kernel.
#[derive(Debug)]
pub(crate) struct Packed {
    lines: Vec<Line>,
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
    pub(crate) fn new(weight: &[f32], outputs: usize, inputs: usize, taps: usize) -> Self {
        assert_eq!(weight.len(), outputs * inputs * taps, "weights of another shape");
        let width = panel_width();
        let panel = (taps * inputs * width).next_multiple_of(LINE);
        let panels = outputs.div_ceil(width);
        let mut lines = vec![Line([0.0; LINE]); panels * panel / LINE];
        if panel > 0 {
            lines.par_chunks_mut(panel / LINE).enumerate().for_each(|(index, lines)| {
                let first = index * width;
                let packed: &mut [f32] = bytemuck::cast_slice_mut(lines);
                for column in 0..width.min(outputs - first) {
                    let row = &weight[(first + column) * inputs * taps..][..inputs * taps];
                    for (input, values) in row.chunks_exact(taps).enumerate() {
                        for (tap, value) in values.iter().enumerate() {
                            packed[(tap * inputs + input) * width + column] = *value;
                        }
                    }
                }
            });
        }
        Self { lines, outputs, inputs, taps, width }
    }

    /// The weights as they were given.
    pub(crate) fn unpack(&self) -> Vec<f32> {
        let (inputs, taps) = (self.inputs, self.taps);
        let mut weight = vec![0.0; self.outputs * inputs * taps];
        for (output, row) in weight.chunks_exact_mut((inputs * taps).max(1)).enumerate() {
            let (panel, column) = (self.panel(output / self.width), output % self.width);
            for input in 0..inputs {
                for tap in 0..taps {
                    row[input * taps + tap] = panel[(tap * inputs + input) * self.width + column];
                }
            }
        }
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
        let all: &[f32] = bytemuck::cast_slice(&self.lines);
        &all[index * size.next_multiple_of(LINE)..][..size]
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
