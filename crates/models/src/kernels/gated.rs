//! Products half of which gates the other half.

use tracing::trace_span;

use super::buffer::zeros;
use super::packed::Packed;
use super::pointwise::gated_gelu;
use super::product::{Start, multiply};

/// Numbers of a product that wait for their gates: with all of them a U-Net would take the most memory here.
const WAITING: usize = 1 << 21;

/// `value · gelu(gate)` of `x · weightᵀ + bias`, of which each row is values and then gates: `(rows, inputs)` to
/// `(rows, outputs / 2)`. The GELU is by the error function (GEGLU, Shazeer 2020).
pub(crate) fn multiply_gated(x: &[f32], packed: &Packed, bias: Option<&[f32]>) -> Vec<f32> {
    let _span = trace_span!("gates of linear layers").entered();
    let (inputs, outputs) = (packed.inputs().max(1), packed.outputs().max(2));
    let mut out = zeros(x.len() / inputs * (outputs / 2));
    let rows = (WAITING / outputs).max(1);
    for (x, out) in x.chunks(rows * inputs).zip(out.chunks_mut(rows * (outputs / 2))) {
        gated_gelu(&multiply(x, packed, Start { bias, around: None }), outputs / 2, out);
    }
    out
}
