//! Comparisons with the reference. What they measure is printed in lines that `cargo xtask parity` makes the
//! table of `docs/models.md` from.

use candle_core::Tensor;

use crate::support::{largest_difference, psnr};

/// The most that an output of a module may differ in f32.
const MODULE: f32 = 1e-4;

/// The least quality of a finished picture.
const PICTURE_DB: f32 = 50.0;

/// Compares the output of a module: `subject` is the family or component, `what` the case.
#[track_caller]
pub(crate) fn same(subject: &str, what: &str, found: &Tensor, expected: &Tensor) {
    let difference = largest_difference(found, expected);
    report(subject, what, &format!("{difference:.1e}"));
    assert!(difference <= MODULE, "{subject}, {what}: differs by {difference:e}");
}

/// Compares a finished picture, `(1, 3, height, width)` in about [-1, 1].
#[track_caller]
pub(crate) fn same_picture(subject: &str, what: &str, found: &Tensor, expected: &Tensor) {
    let quality = psnr(found, expected);
    report(subject, what, &format!("{quality:.0} dB"));
    assert!(quality >= PICTURE_DB, "{subject}, {what}: {quality} dB");
}

#[expect(clippy::print_stdout, reason = "the output of tests is shown on demand only")]
pub(crate) fn report(subject: &str, what: &str, measured: &str) {
    println!("parity\t{subject}\t{what}\t{measured}");
}
