//! From a picture to what a vision model sees; transformers `BlipImageProcessor` and `CLIPImageProcessor`.

use candle_core::{Device, Tensor};
use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use image::RgbImage;
use image::imageops::crop_imm;
use serde::Deserialize;

use crate::error::Error;
use crate::folder::Folder;

pub(crate) const PREPROCESSOR_CONFIG: &str = "preprocessor_config.json";

/// PIL's number for its bicubic filter.
const BICUBIC: u32 = 3;

/// What CLIP was trained with, and the default of both processors.
const CLIP_MEAN: [f64; 3] = [0.481_454_66, 0.457_827_5, 0.408_210_73];
const CLIP_STD: [f64; 3] = [0.268_629_54, 0.261_302_58, 0.275_777_11];

/// `preprocessor_config.json`.
#[derive(Debug, Clone, Deserialize)]
struct RawConfig {
    do_resize: Option<bool>,
    do_center_crop: Option<bool>,
    do_rescale: Option<bool>,
    do_normalize: Option<bool>,
    size: Option<Size>,
    crop_size: Option<Size>,
    resample: Option<u32>,
    rescale_factor: Option<f64>,
    image_mean: Option<[f64; 3]>,
    image_std: Option<[f64; 3]>,
}

/// One number, in older files, or a name for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
enum Size {
    Number(usize),
    Sides { height: usize, width: usize },
    Shortest { shortest_edge: usize },
}

/// Makes a picture square.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// Whatever its aspect.
    Stretched,
    /// By its shorter side. Of the longer one the middle is kept.
    Cropped,
}

pub(crate) struct Preprocessor {
    shape: Shape,
    side: u32,
    rescale_factor: f64,
    mean: [f64; 3],
    std: [f64; 3],
}

impl Preprocessor {
    /// Reads the configuration of a `BlipImageProcessor`, which must make squares of `image_size`.
    pub(crate) fn blip(folder: &Folder, image_size: usize) -> Result<Self, Error> {
        let raw: RawConfig = folder.json(PREPROCESSOR_CONFIG)?;
        if raw.do_center_crop == Some(true) {
            return Err(unsupported("do_center_crop"));
        }
        let size = raw.size.unwrap_or(Size::Number(384));
        if !is_square(size, image_size) {
            return Err(other_size(folder, "size", size, image_size));
        }
        Self::new(folder, &raw, image_size, Shape::Stretched)
    }

    /// Reads the configuration of a `CLIPImageProcessor`, which must make squares of `image_size`.
    pub(crate) fn clip(folder: &Folder, image_size: usize) -> Result<Self, Error> {
        let raw: RawConfig = folder.json(PREPROCESSOR_CONFIG)?;
        let (size, crop) =
            (raw.size.unwrap_or(Size::Number(224)), raw.crop_size.unwrap_or(Size::Number(224)));
        let crops = raw.do_center_crop.unwrap_or(true);
        let shape = match size {
            Size::Sides { .. } if is_square(size, image_size) => Shape::Stretched,
            Size::Number(side) | Size::Shortest { shortest_edge: side } if crops && side == image_size => {
                Shape::Cropped
            }
            size => return Err(other_size(folder, "size", size, image_size)),
        };
        if crops && !is_square(crop, image_size) {
            return Err(other_size(folder, "crop_size", crop, image_size));
        }
        Self::new(folder, &raw, image_size, shape)
    }

    fn new(folder: &Folder, raw: &RawConfig, image_size: usize, shape: Shape) -> Result<Self, Error> {
        let (mean, std) = (raw.image_mean.unwrap_or(CLIP_MEAN), raw.image_std.unwrap_or(CLIP_STD));
        if std.contains(&0.0) {
            return Err(folder.invalid(PREPROCESSOR_CONFIG, "image_std has a 0"));
        }
        if raw.do_resize == Some(false) {
            return Err(unsupported("do_resize"));
        }
        if raw.resample.is_some_and(|filter| filter != BICUBIC) {
            return Err(unsupported("resample"));
        }
        let rescale = raw.do_rescale.unwrap_or(true);
        let normalize = raw.do_normalize.unwrap_or(true);
        Ok(Self {
            shape,
            side: image_size as u32,
            rescale_factor: if rescale { raw.rescale_factor.unwrap_or(1.0 / 255.0) } else { 1.0 },
            mean: if normalize { mean } else { [0.0; 3] },
            std: if normalize { std } else { [1.0; 3] },
        })
    }

    /// f32 `(1, 3, side, side)`.
    pub(crate) fn apply(&self, image: &RgbImage, device: &Device) -> Result<Tensor, Error> {
        let square = self.square(image)?;
        let side = self.side as usize;
        let mut values = Vec::with_capacity(3 * side * side);
        for channel in 0..3 {
            let (mean, std) = (self.mean[channel], self.std[channel]);
            let value = |byte: &u8| ((f64::from(*byte) * self.rescale_factor - mean) / std) as f32;
            values.extend(square.as_raw().iter().skip(channel).step_by(3).map(value));
        }
        Ok(Tensor::from_vec(values, (1, 3, side, side), device)?)
    }

    fn square(&self, image: &RgbImage) -> Result<RgbImage, Error> {
        let (side, (width, height)) = (self.side, image.dimensions());
        let longer = |long: u32, short: u32| {
            let longer = u64::from(side) * u64::from(long) / u64::from(short);
            u32::try_from(longer).unwrap_or(u32::MAX)
        };
        let (width, height) = match self.shape {
            Shape::Stretched => (side, side),
            Shape::Cropped if width <= height => (side, longer(height, width)),
            Shape::Cropped => (longer(width, height), side),
        };
        let resized = resize(image, width, height)?;
        match self.shape {
            Shape::Stretched => Ok(resized),
            Shape::Cropped => {
                Ok(crop_imm(&resized, (width - side) / 2, (height - side) / 2, side, side).to_image())
            }
        }
    }
}

fn is_square(size: Size, side: usize) -> bool {
    size == Size::Number(side) || size == Size::Sides { height: side, width: side }
}

fn other_size(folder: &Folder, field: &str, size: Size, image_size: usize) -> Error {
    let size = match size {
        Size::Number(side) => side.to_string(),
        Size::Sides { height, width } => format!("{width} x {height}"),
        Size::Shortest { shortest_edge } => format!("the shortest edge to {shortest_edge}"),
    };
    let reason = format!("{field} is {size}, and the vision model's image_size is {image_size}");
    folder.invalid(PREPROCESSOR_CONFIG, reason)
}

fn unsupported(field: &str) -> Error {
    Error::Unsupported(format!("the model's preprocessor sets {field} to a value that is not implemented"))
}

/// As PIL 13 does: bicubic with a support that grows with the reduction, first along one direction and then along
/// the other, each in 8 bits.
fn resize(image: &RgbImage, width: u32, height: u32) -> Result<RgbImage, Error> {
    let failed = |error: String| Error::InvalidInput(format!("the image cannot be resized: {error}"));
    let (from_width, from_height) = image.dimensions();
    let source = ImageRef::new(from_width, from_height, image.as_raw(), PixelType::U8x3)
        .map_err(|error| failed(error.to_string()))?;
    // The order is PIL's, not the resizer's: what the first pass cuts off at black and white shows. (PIL before 13
    // always begins with the rows.)
    let lost = |from: u32, to: u32| i64::from(from) - i64::from(to);
    let (lost_width, lost_height) = (lost(from_width, width), lost(from_height, height));
    let columns_first = lost_height > 0 && lost_height > 2 * lost_width;
    let (between_width, between_height) =
        if columns_first { (from_width, height) } else { (width, from_height) };
    let mut between = Image::new(between_width, between_height, PixelType::U8x3);
    let mut resized = Image::new(width, height, PixelType::U8x3);
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::CatmullRom));
    let mut resizer = Resizer::new();
    resizer
        .resize(&source, &mut between, Some(&options))
        .and_then(|()| resizer.resize(&between, &mut resized, Some(&options)))
        .map_err(|error| failed(error.to_string()))?;
    RgbImage::from_raw(width, height, resized.into_vec())
        .ok_or_else(|| failed("its size is too large".to_owned()))
}
