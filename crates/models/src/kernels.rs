//! Arithmetic on the CPU, in f32.
//!
//! Every kernel is one generic function over [`pulp::Simd`], compiled for AVX-512, AVX2 with FMA, NEON and no vectors
//! at all; which of them runs is found out at run time. Work is cut into pieces by shapes alone, and each number is
//! summed up in an order that only shapes and vectors decide: the number of threads changes no result.
//!
//! Feature maps are channels-last, `(batch, height, width, channels)`: a pixel's channels are what a product's inner
//! loop reads, and what every vector holds.

mod arch;
mod attention;
mod buffer;
mod convolution;
mod floats;
mod gated;
mod lanes;
mod normalize;
mod packed;
mod pointwise;
mod product;
#[cfg(test)]
mod tests;
mod winograd;

pub(crate) use self::attention::{Heads, attend};
pub(crate) use self::convolution::{Convolution, convolve};
pub(crate) use self::floats::{floats, has_floats, tensor};
pub(crate) use self::gated::multiply_gated;
pub(crate) use self::normalize::{group_norm, layer_norm};
pub(crate) use self::packed::Packed;
pub(crate) use self::pointwise::{Pointwise, add, apply, concatenate, upsample};
pub(crate) use self::product::{Start, multiply};

/// What a linear layer computes of f32 on the CPU, by itself: for measuring how fast that is.
#[derive(Debug)]
pub struct Product(Packed);

impl Product {
    /// With `weight`, `(outputs, inputs)`.
    ///
    /// # Panics
    /// When there are not that many numbers.
    pub fn new(weight: &[f32], outputs: usize, inputs: usize) -> Self {
        Self(Packed::new(weight, outputs, inputs, 1))
    }

    /// `(rows, inputs)` to `(rows, outputs)`.
    pub fn of(&self, x: &[f32]) -> Vec<f32> {
        multiply(x, &self.0, Start::default())
    }
}
