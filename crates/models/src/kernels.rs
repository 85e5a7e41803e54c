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
pub(crate) use self::normalize::{group_norm, layer_norm};
pub(crate) use self::packed::Packed;
pub(crate) use self::pointwise::{Pointwise, add, apply, concatenate, gated_gelu, upsample};
pub(crate) use self::product::{Start, multiply};
