//! PNG, with text chunks.

use image::RgbImage;
use png::{BitDepth, ColorType, Compression, Encoder};

use super::{EncodeError, XMP};

/// The keyword under which programs of the field look for generation parameters.
const PARAMETERS: &str = "parameters";
/// The keyword of an XMP packet (XMP specification, part 3, 1.1.5).
const XMP_KEYWORD: &str = "XML:com.adobe.xmp";

pub(super) fn encode(image: &RgbImage, parameters: Option<&str>) -> Result<Vec<u8>, EncodeError> {
    let mut bytes = Vec::new();
    let mut encoder = Encoder::new(&mut bytes, image.width(), image.height());
    encoder.set_color(ColorType::Rgb);
    encoder.set_depth(BitDepth::Eight);
    // 6 ms for a photograph of 1024 × 1024. `Balanced` takes 220 ms and saves up to a quarter of the bytes.
    encoder.set_compression(Compression::Fast);
    if let Some(text) = parameters {
        // Plain text chunks are Latin-1; what does not fit goes into an international one.
        if text.chars().all(|char| u32::from(char) < 256) {
            encoder.add_text_chunk(PARAMETERS.to_owned(), text.to_owned())?;
        } else {
            encoder.add_itxt_chunk(PARAMETERS.to_owned(), text.to_owned())?;
        }
        encoder.add_itxt_chunk(XMP_KEYWORD.to_owned(), XMP.to_owned())?;
    }
    let mut writer = encoder.write_header()?;
    writer.write_image_data(image.as_raw())?;
    writer.finish()?;
    Ok(bytes)
}
