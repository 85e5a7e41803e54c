//! JPEG.
//!
//! Most go to the decoder of `image`. It gets those wrong that are not progressive and have their components in
//! separate scans (with less colour than brightness, its rows are mixed up), so these go to another one.

mod outline;

use std::io::Cursor;

use image::codecs::jpeg::JpegDecoder;
use image::metadata::Orientation;
use image::{DynamicImage, RgbImage};
use jpeg_decoder::{Decoder, PixelFormat};

use self::outline::Outline;
use super::{DecodeError, MAX_BUFFER_BYTES, read, upright};
use crate::header::ImageHeader;

pub(super) fn decode(bytes: &[u8], header: ImageHeader) -> Result<RgbImage, DecodeError> {
    let outline = Outline::of(bytes).ok_or_else(|| DecodeError::broken("the JPEG is cut short"))?;
    if outline.is_progressive || outline.first_scan == outline.components {
        return read(JpegDecoder::new(Cursor::new(bytes))?, header);
    }
    // More would be decoded over and over, as often as a file has room for scans of no pixels.
    if outline.all_scans != u64::from(outline.components) {
        return Err(DecodeError::broken("the scans of the JPEG do not have each component once"));
    }
    read_separate(bytes)
}

/// Reads a picture whose components lie one after the other.
fn read_separate(bytes: &[u8]) -> Result<RgbImage, DecodeError> {
    let mut decoder = Decoder::new(bytes);
    decoder.set_max_decoding_buffer_size(usize::try_from(MAX_BUFFER_BYTES).unwrap_or(usize::MAX));
    let samples = decoder.decode().map_err(DecodeError::broken)?;
    let orientation = decoder.exif_data().and_then(Orientation::from_exif_chunk);
    let info = decoder.info().filter(|info| info.pixel_format == PixelFormat::RGB24);
    let image =
        info.and_then(|info| RgbImage::from_raw(u32::from(info.width), u32::from(info.height), samples));
    let image =
        image.ok_or_else(|| DecodeError::broken("the JPEG has separate scans of other colours than RGB"))?;
    Ok(upright(DynamicImage::ImageRgb8(image), orientation.unwrap_or(Orientation::NoTransforms)))
}
