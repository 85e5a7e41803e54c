//! Vectors: how many numbers one holds here, and functions of them.

use pulp::{Simd, WithSimd};

use super::arch::arch;

/// Vectors side by side in a panel of packed weights.
pub(super) const VECTORS: usize = 2;

/// How many outputs a panel of packed weights has on this machine.
pub(super) fn panel_width() -> usize {
    struct Lanes;
    impl WithSimd for Lanes {
        type Output = usize;
        #[inline(always)]
        fn with_simd<S: Simd>(self, _: S) -> usize {
            S::F32_LANES
        }
    }
    VECTORS * arch().dispatch(Lanes)
}

/// `e^x`, within 2 units in the last place; 0 below about -87, and the largest power of two above about 88.
///
/// Cody and Waite's reduction to `|r| ≤ ln 2 / 2` and the polynomial of Cephes' `expf`.
#[inline(always)]
pub(super) fn exp<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    /// Adding it rounds to a whole number, which is then in the lowest bits.
    const ROUNDING: f32 = 12_582_912.0;
    const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];
    const POLYNOMIAL: [f32; 6] =
        [1.987_569_1e-4, 1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5];
    let x = simd.min_f32s(x, simd.splat_f32s(88.3));
    let clamped = simd.max_f32s(x, simd.splat_f32s(-87.3));
    let shifted =
        simd.mul_add_e_f32s(clamped, simd.splat_f32s(std::f32::consts::LOG2_E), simd.splat_f32s(ROUNDING));
    let whole = simd.sub_f32s(shifted, simd.splat_f32s(ROUNDING));
    let rest = simd.mul_add_e_f32s(whole, simd.splat_f32s(-LN_2[0]), clamped);
    let rest = simd.mul_add_e_f32s(whole, simd.splat_f32s(-LN_2[1]), rest);
    let mut sum = simd.splat_f32s(POLYNOMIAL[0]);
    for coefficient in &POLYNOMIAL[1..] {
        sum = simd.mul_add_e_f32s(sum, rest, simd.splat_f32s(*coefficient));
    }
    let linear = simd.add_f32s(rest, simd.splat_f32s(1.0));
    let power = simd.mul_add_e_f32s(sum, simd.mul_f32s(rest, rest), linear);
    let exponent = simd.wrapping_dyn_shl_u32s(simd.transmute_u32s_f32s(shifted), simd.splat_u32s(23));
    let scaled = simd.transmute_f32s_u32s(simd.add_u32s(simd.transmute_u32s_f32s(power), exponent));
    let tiny = simd.less_than_f32s(x, simd.splat_f32s(-87.3));
    simd.select_f32s(tiny, simd.splat_f32s(0.0), scaled)
}

/// `x · σ(x)`.
#[inline(always)]
pub(super) fn silu<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    sigmoid_weighted(simd, x, simd.splat_f32s(-1.0))
}

/// `x · σ(1.702 x)`.
#[inline(always)]
pub(super) fn quick_gelu<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    sigmoid_weighted(simd, x, simd.splat_f32s(-1.702))
}

#[inline(always)]
fn sigmoid_weighted<S: Simd>(simd: S, x: S::f32s, factor: S::f32s) -> S::f32s {
    let power = exp(simd, simd.mul_f32s(x, factor));
    simd.div_f32s(x, simd.add_f32s(power, simd.splat_f32s(1.0)))
}

/// `x · Φ(x)`, with the error function to 1.5e-7 (Abramowitz and Stegun, 7.1.26).
#[inline(always)]
pub(super) fn gelu<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    const STEP: f32 = 0.327_591_1;
    const POLYNOMIAL: [f32; 5] = [1.061_405_4, -1.453_152, 1.421_413_8, -0.284_496_72, 0.254_829_6];
    let scaled = simd.mul_f32s(x, simd.splat_f32s(std::f32::consts::FRAC_1_SQRT_2));
    let magnitude = simd.abs_f32s(scaled);
    let one = simd.splat_f32s(1.0);
    let t = simd.div_f32s(one, simd.mul_add_e_f32s(magnitude, simd.splat_f32s(STEP), one));
    let mut sum = simd.splat_f32s(POLYNOMIAL[0]);
    for coefficient in &POLYNOMIAL[1..] {
        sum = simd.mul_add_e_f32s(sum, t, simd.splat_f32s(*coefficient));
    }
    let square = simd.mul_f32s(magnitude, magnitude);
    let tail = simd.mul_f32s(simd.mul_f32s(sum, t), exp(simd, simd.neg_f32s(square)));
    // Φ(x) is 1 - tail / 2 on the right, and tail / 2 on the left.
    let half_tail = simd.mul_f32s(tail, simd.splat_f32s(0.5));
    let negative = simd.less_than_f32s(x, simd.splat_f32s(0.0));
    simd.mul_f32s(x, simd.select_f32s(negative, half_tail, simd.sub_f32s(one, half_tail)))
}

/// `x · Φ(x)` by its tanh approximation (Hendrycks and Gimpel 2016).
#[inline(always)]
pub(super) fn gelu_tanh<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    // 0.5 (1 + tanh y) is σ(2 y).
    let cubic = simd.mul_f32s(simd.mul_f32s(x, x), simd.splat_f32s(0.044_715));
    let inner = simd.mul_add_e_f32s(cubic, x, x);
    let power = exp(simd, simd.mul_f32s(inner, simd.splat_f32s(-2.0 * 0.797_884_6)));
    simd.div_f32s(x, simd.add_f32s(power, simd.splat_f32s(1.0)))
}
