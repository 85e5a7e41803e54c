//! Small pictures of latents in work.
//!
//! A VAE is close to linear in what it does to colours: a pixel's colour is nearly a weighted sum of the channels of its
//! latent. The weights are asked of the VAE itself, once, so that this fits every model.

use candle_core::{DType, Device as CandleDevice, Result as CandleResult, Tensor};
use image::imageops::{FilterType, resize};
use image::{Rgb, RgbImage};

use crate::vae::VaeDecoder;

/// Longest side of a preview in pixels.
const MAX_SIDE: u32 = 128;
/// Latents of a side that the VAE is asked about: more than its middle layers see at the edges.
const PROBE_SIDE: usize = 8;

/// Colours of latents.
pub(super) struct PreviewMap {
    /// Of each channel, what one unit adds to red, green and blue.
    weights: Vec<[f32; 3]>,
    /// The colour of zeros, in about [-1, 1].
    bias: [f32; 3],
}

impl PreviewMap {
    /// Asks the VAE: decodes `2 · channels + 1` pictures of a single colour each.
    pub(super) fn of(vae: &VaeDecoder, channels: usize, device: &CandleDevice) -> CandleResult<Self> {
        let colour = |channel: Option<usize>, value: f32| -> CandleResult<[f32; 3]> {
            let area = PROBE_SIDE * PROBE_SIDE;
            let mut latents = vec![0.0; channels * area];
            if let Some(channel) = channel {
                latents[channel * area..(channel + 1) * area].fill(value);
            }
            let latents = Tensor::from_vec(latents, (1, channels, PROBE_SIDE, PROBE_SIDE), device)?;
            let planes = vae.forward(&latents)?.to_dtype(DType::F32)?;
            let mean = planes.mean((2, 3))?.flatten_all()?.to_vec1::<f32>()?;
            Ok([mean[0], mean[1], mean[2]])
        };
        let bias = colour(None, 0.0)?;
        let weights = (0..channels).map(|channel| {
            let (more, less) = (colour(Some(channel), 1.0)?, colour(Some(channel), -1.0)?);
            Ok(std::array::from_fn(|plane| (more[plane] - less[plane]) / 2.0))
        });
        Ok(Self { weights: weights.collect::<CandleResult<_>>()?, bias })
    }

    /// A picture of latents f32 `(1, channels, height, width)`: a pixel for each, at most 128 of a side. Latents that
    /// are mostly noise yet, and larger than finished ones, are scaled to the size of those.
    pub(super) fn picture(&self, latents: &Tensor) -> CandleResult<RgbImage> {
        let (_, channels, height, width) = latents.dims4()?;
        let latents = latents.get(0)?.to_device(&CandleDevice::Cpu)?.to_dtype(DType::F32)?;
        let values = latents.flatten_all()?.to_vec1::<f32>()?;
        let area = height * width;
        let scale = 1.0 / spread(&values).max(1.0);
        let mut picture = RgbImage::new(width as u32, height as u32);
        for (at, pixel) in picture.pixels_mut().enumerate() {
            let mut colour = self.bias;
            for channel in 0..channels {
                let value = values[channel * area + at] * scale;
                for (sum, weight) in colour.iter_mut().zip(self.weights[channel]) {
                    *sum += weight * value;
                }
            }
            *pixel = Rgb(colour.map(|value| ((value + 1.0) * 127.5).clamp(0.0, 255.0).round() as u8));
        }
        Ok(shrunk(picture))
    }
}

/// Root of the mean square.
fn spread(values: &[f32]) -> f32 {
    let sum: f32 = values.iter().map(|value| value * value).sum();
    (sum / values.len().max(1) as f32).sqrt()
}

fn shrunk(picture: RgbImage) -> RgbImage {
    let (width, height) = picture.dimensions();
    let longest = width.max(height);
    if longest <= MAX_SIDE {
        return picture;
    }
    let side = |side: u32| (side * MAX_SIDE / longest).max(1);
    resize(&picture, side(width), side(height), FilterType::Triangle)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map() -> PreviewMap {
        PreviewMap { weights: vec![[1.0, 0.0, 0.0], [0.0, -0.5, 0.0]], bias: [0.0, 0.0, -1.0] }
    }

    #[test]
    fn a_pixel_is_the_weighted_sum_of_its_latent() {
        let latents = Tensor::from_vec(
            vec![1.0_f32, 0.0, -1.0, 0.0, 0.0, 1.0, 0.0, 0.0],
            (1, 2, 2, 2),
            &CandleDevice::Cpu,
        );
        let picture = map().picture(&latents.unwrap()).unwrap();
        assert_eq!(picture.get_pixel(0, 0).0, [255, 128, 0]);
        assert_eq!(picture.get_pixel(1, 0).0, [128, 64, 0]);
        assert_eq!(picture.get_pixel(0, 1).0, [0, 128, 0]);
    }

    #[test]
    fn noise_is_scaled_and_large_pictures_are_shrunk() {
        let latents = Tensor::full(14.0_f32, (1, 2, 64, 256), &CandleDevice::Cpu).unwrap();
        let picture = map().picture(&latents).unwrap();
        assert_eq!(picture.dimensions(), (128, 32));
        assert_eq!(picture.get_pixel(5, 5).0, [255, 64, 0]);
    }
}
