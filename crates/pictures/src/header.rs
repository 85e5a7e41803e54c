//! What a file is, by its first bytes: signature and dimensions of PNG, JPEG, WebP and GIF.
//!
//! The header is read from the stream as it passes by. Only JPEG has it at an unknown place, behind
//! metadata of any length, which is skipped and not kept.

mod jpeg;

/// Longest side of a picture. Decoders allocate by the header's word.
pub const MAX_SIDE: u32 = 16_384;
/// Most pixels of a picture: 64 megapixels, 192 MB once decoded.
pub const MAX_PIXELS: u64 = 64_000_000;
/// Bytes that decide for everything but JPEG: VP8X has its dimensions at offset 24 to 30.
const PREFIX_BYTES: usize = 30;

/// The kinds of files that are pictures here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// PNG, the default picture of an animated one.
    Png,
    /// JPEG.
    Jpeg,
    /// WebP, the first frame of an animated one.
    WebP,
    /// GIF, the first frame.
    Gif,
}

impl Format {
    /// The media type.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Png => "image/png",
            Self::Jpeg => "image/jpeg",
            Self::WebP => "image/webp",
            Self::Gif => "image/gif",
        }
    }

    /// The format with this media type.
    pub fn of_content_type(content_type: &str) -> Option<Self> {
        let formats = [Self::Png, Self::Jpeg, Self::WebP, Self::Gif];
        formats.into_iter().find(|format| format.content_type() == content_type)
    }
}

/// A picture that can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageHeader {
    /// What kind of file it is.
    pub format: Format,
    /// Width in pixels, as it lies in the file.
    pub width: u32,
    /// Height in pixels, as it lies in the file.
    pub height: u32,
}

/// Why a file is no picture that can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// None of the four formats, or damaged at its beginning.
    #[error("the file is no PNG, JPEG, WebP or GIF image")]
    Unsupported,
    /// Too large to decode.
    #[error("the image has {width} x {height} pixels: at most {MAX_SIDE} a side and {MAX_PIXELS} in all")]
    Dimensions {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
    },
}

impl Unusable {
    /// Stable word for the kind of refusal.
    pub fn code(self) -> &'static str {
        match self {
            Self::Unsupported => "unsupported_image",
            Self::Dimensions { .. } => "image_dimensions",
        }
    }
}

/// Reads the header out of a passing file.
#[derive(Debug, Default)]
pub struct HeaderScan {
    prefix: Vec<u8>,
    jpeg: Option<jpeg::Scan>,
}

impl HeaderScan {
    /// Takes the next piece of the file.
    pub fn push(&mut self, mut bytes: &[u8]) {
        let wanted = PREFIX_BYTES.saturating_sub(self.prefix.len()).min(bytes.len());
        self.prefix.extend_from_slice(&bytes[..wanted]);
        if self.jpeg.is_none() && self.prefix.starts_with(&jpeg::START) {
            let mut scan = jpeg::Scan::default();
            scan.push(&self.prefix[jpeg::START.len()..]);
            self.jpeg = Some(scan);
            bytes = &bytes[wanted..];
        }
        if let Some(scan) = &mut self.jpeg {
            scan.push(bytes);
        }
    }

    /// What the file is, once all of it, or enough, has passed.
    ///
    /// # Errors
    /// [`Unusable`] when it is no picture, or one that is too large.
    pub fn finish(self) -> Result<ImageHeader, Unusable> {
        let (format, dimensions) = match &self.jpeg {
            Some(scan) => (Format::Jpeg, scan.dimensions()),
            None => by_signature(&self.prefix).ok_or(Unusable::Unsupported)?,
        };
        let usable = dimensions.filter(|(width, height)| *width > 0 && *height > 0);
        let (width, height) = usable.ok_or(Unusable::Unsupported)?;
        if width.max(height) > MAX_SIDE || u64::from(width) * u64::from(height) > MAX_PIXELS {
            return Err(Unusable::Dimensions { width, height });
        }
        Ok(ImageHeader { format, width, height })
    }
}

pub(crate) type Dimensions = (u32, u32);

fn by_signature(bytes: &[u8]) -> Option<(Format, Option<Dimensions>)> {
    if bytes.starts_with(b"\x89PNG\r\n\x1a\n") {
        return Some((Format::Png, png(bytes)));
    }
    if bytes.starts_with(b"GIF87a") || bytes.starts_with(b"GIF89a") {
        return Some((Format::Gif, gif(bytes)));
    }
    let webp = bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WEBP");
    webp.then(|| (Format::WebP, self::webp(bytes)))
}

/// IHDR is the first chunk by the specification.
fn png(bytes: &[u8]) -> Option<Dimensions> {
    let side = |at: usize| Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    (bytes.get(12..16)? == b"IHDR").then_some(())?;
    Some((side(16)?, side(20)?))
}

/// The logical screen, which every frame lies on.
fn gif(bytes: &[u8]) -> Option<Dimensions> {
    Some((u16_le(bytes, 6)?, u16_le(bytes, 8)?))
}

/// What the first chunk says.
fn webp(bytes: &[u8]) -> Option<Dimensions> {
    webp_chunk(bytes.get(12..16)?, bytes.get(20..)?)
}

/// What a chunk with pixels says, lossy (RFC 6386 §9.1) or lossless (RFC 9649 §3.4), or that with the canvas (§2.7).
pub(crate) fn webp_chunk(name: &[u8], data: &[u8]) -> Option<Dimensions> {
    match name {
        b"VP8 " => {
            (data.get(3..6)? == [0x9d, 0x01, 0x2a]).then_some(())?;
            Some((u16_le(data, 6)? & 0x3fff, u16_le(data, 8)? & 0x3fff))
        }
        b"VP8L" => {
            (*data.first()? == 0x2f).then_some(())?;
            let bits = u32::from_le_bytes(data.get(1..5)?.try_into().ok()?);
            Some(((bits & 0x3fff) + 1, (bits >> 14 & 0x3fff) + 1))
        }
        b"VP8X" => Some((u24_le(data, 4)? + 1, u24_le(data, 7)? + 1)),
        _ => None,
    }
}

fn u16_le(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?)))
}

pub(crate) fn u24_le(bytes: &[u8], at: usize) -> Option<u32> {
    let [low, middle, high] = bytes.get(at..at + 3)?.try_into().ok()?;
    Some(u32::from_le_bytes([low, middle, high, 0]))
}

#[cfg(test)]
mod tests;
