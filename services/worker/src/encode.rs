//! Pictures as files, with what made them written inside.
//!
//! The same pixels and text give the same bytes: there is no time stamp and no version in them.

mod exif;
mod jpeg;
mod parameters;
mod png;
mod webp;

use darkroom_jobs::{PictureFormat, Quality};
use image::RgbImage;

pub(crate) use parameters::parameters;

/// Says that a picture was generated, in the words of the IPTC, and by what program.
const XMP: &str = concat!(
    "<?xpacket begin=\"\u{feff}\" id=\"W5M0MpCehiHzreSzNTczkc9d\"?>\n",
    "<x:xmpmeta xmlns:x=\"adobe:ns:meta/\">\n",
    "<rdf:RDF xmlns:rdf=\"http://www.w3.org/1999/02/22-rdf-syntax-ns#\">\n",
    "<rdf:Description rdf:about=\"\" xmlns:xmp=\"http://ns.adobe.com/xap/1.0/\" ",
    "xmlns:Iptc4xmpExt=\"http://iptc.org/std/Iptc4xmpExt/2008-02-29/\">\n",
    "<xmp:CreatorTool>Darkroom</xmp:CreatorTool>\n",
    "<Iptc4xmpExt:DigitalSourceType>",
    "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia",
    "</Iptc4xmpExt:DigitalSourceType>\n",
    "</rdf:Description>\n</rdf:RDF>\n</x:xmpmeta>\n",
    "<?xpacket end=\"r\"?>",
);

/// Why a picture could not be written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EncodeError {
    /// The PNG encoder failed.
    #[error("failed to write a PNG")]
    Png(#[from] ::png::EncodingError),
    /// The JPEG encoder failed.
    #[error("failed to write a JPEG")]
    Jpeg(#[from] image::ImageError),
    /// The WebP encoder failed; its error is none by trait.
    #[error("failed to write a WebP: {0}")]
    Webp(String),
    /// A file of our own could not be taken apart to put metadata in.
    #[error("failed to put metadata into a picture")]
    Container(#[from] img_parts::Error),
}

/// Writes a picture. With `parameters`, it carries them and [`XMP`]; without, nothing but pixels.
pub(crate) fn encode(
    image: &RgbImage,
    format: PictureFormat,
    parameters: Option<&str>,
) -> Result<Vec<u8>, EncodeError> {
    match format {
        PictureFormat::Png => png::encode(image, parameters),
        PictureFormat::Jpeg(quality) => jpeg::encode(image, quality, parameters),
        PictureFormat::Webp(quality) => webp::encode(image, quality, parameters),
    }
}

/// Writes a preview: a small WebP with nothing in it but pixels, of at most 16 KB at 128 pixels of a side.
pub(crate) fn preview(picture: &RgbImage) -> Result<Vec<u8>, EncodeError> {
    // Half the quality is enough for what is seen for a second.
    webp::encode(picture, Quality::new(50).unwrap_or_default(), None)
}

/// Media type and file name extension.
pub(crate) fn file_type(format: PictureFormat) -> (&'static str, &'static str) {
    match format {
        PictureFormat::Png => ("image/png", "png"),
        PictureFormat::Jpeg(_) => ("image/jpeg", "jpg"),
        PictureFormat::Webp(_) => ("image/webp", "webp"),
    }
}

#[cfg(test)]
mod tests;
