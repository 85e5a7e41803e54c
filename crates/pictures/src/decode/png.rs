//! PNG.
//!
//! Read with the codec itself: text and colour profiles, which unpack to any size, are left out, and 16 bits
//! become 8 on the way.

use std::io::Cursor;

use image::metadata::Orientation;
use image::{DynamicImage, ImageBuffer, RgbImage};
use png::{ColorType, Decoder, DecodingError, Limits, Transformations};

use super::{DecodeError, MAX_BUFFER_BYTES, upright};

impl From<DecodingError> for DecodeError {
    fn from(error: DecodingError) -> Self {
        Self::broken(error)
    }
}

pub(super) fn decode(bytes: &[u8]) -> Result<RgbImage, DecodeError> {
    let limits = Limits { bytes: usize::try_from(MAX_BUFFER_BYTES).unwrap_or(usize::MAX) };
    let mut decoder = Decoder::new_with_limits(Cursor::new(bytes), limits);
    decoder.set_ignore_text_chunk(true);
    decoder.set_ignore_iccp_chunk(true);
    decoder.set_transformations(Transformations::EXPAND | Transformations::STRIP_16);
    let mut reader = decoder.read_info()?;
    let orientation = reader.info().exif_metadata.as_deref().and_then(Orientation::from_exif_chunk);
    // The codec takes three bytes at a time, to whose end it does not look.
    if reader.info().palette.as_ref().is_some_and(|palette| palette.len() % 3 != 0) {
        return Err(DecodeError::broken("a colour of its palette is cut short"));
    }
    let (width, height) = reader.info().size();
    let (color, _) = reader.output_color_type();
    let size = reader.output_buffer_size().ok_or_else(|| DecodeError::broken("its rows are too long"))?;
    let mut samples = vec![0; size];
    reader.next_frame(&mut samples)?;
    drop(reader);
    let image = match color {
        ColorType::Grayscale => ImageBuffer::from_raw(width, height, samples).map(DynamicImage::ImageLuma8),
        ColorType::GrayscaleAlpha => {
            ImageBuffer::from_raw(width, height, samples).map(DynamicImage::ImageLumaA8)
        }
        ColorType::Rgb => ImageBuffer::from_raw(width, height, samples).map(DynamicImage::ImageRgb8),
        ColorType::Rgba => ImageBuffer::from_raw(width, height, samples).map(DynamicImage::ImageRgba8),
        // Expanded.
        ColorType::Indexed => None,
    };
    let image = image.ok_or_else(|| DecodeError::broken("its colours are of an unknown kind"))?;
    Ok(upright(image, orientation.unwrap_or(Orientation::NoTransforms)))
}
