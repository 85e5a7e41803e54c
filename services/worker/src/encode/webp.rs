//! Lossy WebP, with Exif and XMP in chunks of their own.

use darkroom_jobs::Quality;
use image::RgbImage;
use img_parts::ImageEXIF;
use img_parts::riff::{RiffChunk, RiffContent};
use img_parts::webp::{CHUNK_XMP, WebP};

use super::{EncodeError, XMP, exif};

pub(super) fn encode(
    image: &RgbImage,
    quality: Quality,
    parameters: Option<&str>,
) -> Result<Vec<u8>, EncodeError> {
    let encoder = webp::Encoder::from_rgb(image.as_raw(), image.width(), image.height());
    let encoded = encoder.encode_simple(false, quality.get().into());
    let bytes = encoded.map_err(|error| EncodeError::Webp(format!("{error:?}")))?.to_vec();
    let Some(text) = parameters else { return Ok(bytes) };
    let mut webp = WebP::from_bytes(bytes.into())?;
    let xmp = RiffContent::Data(XMP.as_bytes().into());
    webp.chunks_mut().push(RiffChunk::new(CHUNK_XMP, xmp));
    // Adds the VP8X chunk, too, which announces both.
    webp.set_exif(Some(exif::user_comment(text).into()));
    // Exif comes before XMP (RFC 9649, 2.7).
    let last = webp.chunks().len() - 1;
    webp.chunks_mut().swap(last - 1, last);
    Ok(webp.encoder().bytes().into())
}
