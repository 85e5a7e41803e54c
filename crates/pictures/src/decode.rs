//! From a file to pixels.
//!
//! Costs at most, at 64 megapixels and beyond the file: 450 MB for PNG, 580 MB (four components: 710 MB) and a
//! copy of the file for a progressive JPEG, 450 MB (animated: 770 MB) for WebP, 700 MB for GIF. `tests/cost.rs` measures.

mod jpeg;
mod png;
mod webp;

use std::io::Cursor;
use std::panic::catch_unwind;

use image::codecs::gif::GifDecoder;
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageError, Limits, RgbImage};

use crate::header::{Format, HeaderScan, ImageHeader, MAX_PIXELS, MAX_SIDE, Unusable};

/// The most memory one buffer of a decoder takes: four channels of 8 bits.
const MAX_BUFFER_BYTES: u64 = MAX_PIXELS * 4;

const INCONSISTENT: &str = "its parts have other dimensions than the whole";

/// Why a file shows nothing, in words for whoever sent it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// It is none of the four formats, or too large.
    #[error(transparent)]
    Unusable(#[from] Unusable),
    /// It begins like a picture and is damaged, or of a kind that no decoder here knows.
    #[error("the image cannot be decoded: {0}")]
    Broken(String),
}

impl DecodeError {
    fn broken(reason: impl ToString) -> Self {
        Self::Broken(reason.to_string())
    }
}

impl From<ImageError> for DecodeError {
    fn from(error: ImageError) -> Self {
        match error {
            ImageError::Limits(_) => Self::broken(INCONSISTENT),
            error => Self::broken(error),
        }
    }
}

/// Decodes a PNG, JPEG, WebP or GIF, told apart by content, and turns it upright. Of an animation, the first
/// picture is taken; transparency is dropped, and 16 bits become 8.
///
/// Takes up to seconds, and memory as the head of this module says: not for a thread that serves others.
///
/// # Errors
/// [`DecodeError`] when there is no picture in the file, or one that is too large.
pub fn decode(bytes: &[u8]) -> Result<RgbImage, DecodeError> {
    let mut scan = HeaderScan::default();
    scan.push(bytes);
    let header = scan.finish()?;
    let decoded = catch_unwind(|| match header.format {
        Format::Png => png::decode(bytes),
        Format::Jpeg => jpeg::decode(bytes, header),
        Format::WebP => webp::decode(bytes, header),
        Format::Gif => read(GifDecoder::new(Cursor::new(bytes))?, header),
    });
    // Every decoder is other people's code, and what makes it panic is the file: no other try would help.
    decoded.unwrap_or_else(|_| Err(DecodeError::broken("it is damaged beyond recognition")))
}

/// Reads all of a picture, which is as large as its header says.
fn read(mut decoder: impl ImageDecoder, header: ImageHeader) -> Result<RgbImage, DecodeError> {
    if decoder.dimensions() != (header.width, header.height) {
        return Err(DecodeError::broken(INCONSISTENT));
    }
    decoder.set_limits(limits())?;
    // A picture with an unreadable tag is shown as it lies.
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    Ok(upright(DynamicImage::from_decoder(decoder)?, orientation))
}

fn limits() -> Limits {
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    limits.max_alloc = Some(MAX_BUFFER_BYTES);
    limits
}

/// The colours of a picture, the way people see it. Turned last, when it is smallest.
fn upright(image: DynamicImage, orientation: Orientation) -> RgbImage {
    let mut image = DynamicImage::ImageRgb8(image.into_rgb8());
    image.apply_orientation(orientation);
    image.into_rgb8()
}

#[cfg(test)]
mod tests;
