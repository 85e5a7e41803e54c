//! Between tensors and pictures.

use candle_core::{DType, Device, Tensor};
use image::RgbImage;

use crate::error::Error;

/// The first picture of `(batch, 3, height, width)` in about [-1, 1].
///
/// # Errors
/// [`Error::NotFinite`] when there is a NaN or an infinity in it, or nothing but black, which is what some
/// devices make of NaN.
pub(crate) fn image_from_planes(planes: &Tensor) -> Result<RgbImage, Error> {
    let (_, _, height, width) = planes.dims4()?;
    let planes = planes.get(0)?.to_device(&Device::Cpu)?.to_dtype(DType::F32)?;
    let values = planes.permute((1, 2, 0))?.flatten_all()?.to_vec1::<f32>()?;
    if values.iter().any(|value| !value.is_finite()) {
        return Err(Error::NotFinite("the decoded picture has values that are not finite".to_owned()));
    }
    let bytes = values.into_iter().map(byte).collect::<Vec<_>>();
    if bytes.iter().all(|byte| *byte == 0) {
        return Err(Error::NotFinite("the decoded picture is all black".to_owned()));
    }
    let (width, height) = (width as u32, height as u32);
    RgbImage::from_raw(width, height, bytes)
        .ok_or_else(|| Error::Device("the decoded picture has the wrong number of channels".into()))
}

/// -1 to 0 and 1 to 255, rounding half to even as numpy does.
fn byte(value: f32) -> u8 {
    ((value / 2.0 + 0.5).clamp(0.0, 1.0) * 255.0).round_ties_even() as u8
}

/// Whether every value is finite.
pub(crate) fn is_finite(tensor: &Tensor) -> Result<bool, Error> {
    // A sum of finite values of this size cannot overflow, and one NaN or infinity makes it one.
    Ok(tensor.to_dtype(DType::F32)?.abs()?.sum_all()?.to_scalar::<f32>()?.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planes(values: [f32; 6]) -> Tensor {
        Tensor::from_slice(&values, (1, 3, 1, 2), &Device::Cpu).unwrap()
    }

    #[test]
    fn planes_become_pixels_and_values_out_of_range_are_clamped() {
        let image = image_from_planes(&planes([-1.0, 1.0, 0.0, 2.0, -3.0, 0.5])).unwrap();
        assert_eq!(image.as_raw(), &[0, 128, 0, 255, 255, 191]);
    }

    #[test]
    fn pictures_that_are_not_finite_or_all_black_are_errors() {
        for values in [[f32::NAN; 6], [f32::INFINITY; 6], [-1.0; 6], [0.0, 0.0, 0.0, 0.0, 0.0, f32::NAN]] {
            let error = image_from_planes(&planes(values)).unwrap_err();
            assert!(matches!(error, Error::NotFinite(_)), "{values:?}");
        }
    }

    #[test]
    fn one_value_makes_a_tensor_not_finite() {
        assert!(is_finite(&planes([1e30; 6])).unwrap());
        assert!(!is_finite(&planes([1.0, f32::NEG_INFINITY, 1.0, 1.0, f32::INFINITY, 1.0])).unwrap());
    }
}
