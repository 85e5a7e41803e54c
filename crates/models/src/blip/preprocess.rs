//! From a picture to what the vision model sees; transformers `BlipImageProcessor`.

use candle_core::{Device, Tensor};
use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use image::RgbImage;
use serde::Deserialize;

use crate::error::Error;
use crate::folder::Folder;

const CONFIG: &str = "preprocessor_config.json";

/// PIL's number for its bicubic filter.
const BICUBIC: u32 = 3;

/// `preprocessor_config.json`.
#[derive(Debug, Clone, Deserialize)]
struct RawConfig {
    do_resize: Option<bool>,
    do_center_crop: Option<bool>,
    do_rescale: Option<bool>,
    do_normalize: Option<bool>,
    size: Size,
    resample: Option<u32>,
    rescale_factor: Option<f64>,
    image_mean: [f64; 3],
    image_std: [f64; 3],
}

/// A side, in older files, or both.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(untagged)]
enum Size {
    Square(usize),
    Sides { height: usize, width: usize },
}

pub(super) struct Preprocessor {
    side: u32,
    rescale_factor: f64,
    mean: [f64; 3],
    std: [f64; 3],
}

impl Preprocessor {
    /// Reads the configuration, which must resize to squares of `image_size`.
    pub(super) fn load(folder: &Folder, image_size: usize) -> Result<Self, Error> {
        let raw: RawConfig = folder.json(CONFIG)?;
        let (height, width) = match raw.size {
            Size::Square(side) => (side, side),
            Size::Sides { height, width } => (height, width),
        };
        if (height, width) != (image_size, image_size) {
            let reason =
                format!("size is {width} x {height}, and the vision model's image_size is {image_size}");
            return Err(folder.invalid(CONFIG, reason));
        }
        if raw.image_std.contains(&0.0) {
            return Err(folder.invalid(CONFIG, "image_std has a 0"));
        }
        let unusual = [
            ("do_resize", raw.do_resize == Some(false)),
            ("do_center_crop", raw.do_center_crop == Some(true)),
            ("resample", raw.resample.is_some_and(|filter| filter != BICUBIC)),
        ];
        if let Some((field, _)) = unusual.into_iter().find(|(_, unusual)| *unusual) {
            let message = format!("the model's preprocessor sets {field} to a value that is not implemented");
            return Err(Error::Unsupported(message));
        }
        let rescale = raw.do_rescale.unwrap_or(true);
        let normalize = raw.do_normalize.unwrap_or(true);
        Ok(Self {
            side: image_size as u32,
            rescale_factor: if rescale { raw.rescale_factor.unwrap_or(1.0 / 255.0) } else { 1.0 },
            mean: if normalize { raw.image_mean } else { [0.0; 3] },
            std: if normalize { raw.image_std } else { [1.0; 3] },
        })
    }

    /// f32 `(1, 3, side, side)`.
    pub(super) fn apply(&self, image: &RgbImage, device: &Device) -> Result<Tensor, Error> {
        let bytes = resize(image, self.side)?;
        let side = self.side as usize;
        let mut values = Vec::with_capacity(3 * side * side);
        for channel in 0..3 {
            let (mean, std) = (self.mean[channel], self.std[channel]);
            let value = |byte: &u8| ((f64::from(*byte) * self.rescale_factor - mean) / std) as f32;
            values.extend(bytes.iter().skip(channel).step_by(3).map(value));
        }
        Ok(Tensor::from_vec(values, (1, 3, side, side), device)?)
    }
}

/// To `side` × `side` whatever the aspect, as PIL does: bicubic with a support that grows with the reduction,
/// in 8 bits.
fn resize(image: &RgbImage, side: u32) -> Result<Vec<u8>, Error> {
    if image.dimensions() == (side, side) {
        return Ok(image.as_raw().clone());
    }
    let failed = |error: String| Error::InvalidInput(format!("the image cannot be resized: {error}"));
    let source = ImageRef::new(image.width(), image.height(), image.as_raw(), PixelType::U8x3)
        .map_err(|error| failed(error.to_string()))?;
    let mut resized = Image::new(side, side, PixelType::U8x3);
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::CatmullRom));
    Resizer::new()
        .resize(&source, &mut resized, Some(&options))
        .map_err(|error| failed(error.to_string()))?;
    Ok(resized.into_vec())
}
