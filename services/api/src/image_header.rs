//! What a file is, by its first bytes: signature and dimensions of PNG, JPEG, WebP and GIF.
//!
//! The header is read from the stream as it passes by. Only JPEG has it at an unknown place, behind
//! metadata of any length, which is skipped and not kept.

mod jpeg;

/// Longest side of a picture. Decoders allocate by the header's word.
const MAX_SIDE: u32 = 16_384;
/// Most pixels of a picture: 64 megapixels, 256 MB once decoded.
const MAX_PIXELS: u64 = 64_000_000;
/// Bytes that decide for everything but JPEG: VP8X has its dimensions at offset 24 to 30.
const PREFIX_BYTES: usize = 30;

/// A picture that can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ImageHeader {
    pub(crate) content_type: &'static str,
    pub(crate) width: u32,
    pub(crate) height: u32,
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
    pub(crate) fn code(self) -> &'static str {
        match self {
            Self::Unsupported => "unsupported_image",
            Self::Dimensions { .. } => "image_dimensions",
        }
    }
}

/// Reads the header out of a passing file.
#[derive(Debug, Default)]
pub(crate) struct HeaderScan {
    prefix: Vec<u8>,
    jpeg: Option<jpeg::Scan>,
}

impl HeaderScan {
    /// Takes the next piece of the file.
    pub(crate) fn push(&mut self, mut bytes: &[u8]) {
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

    /// What the file is, once all of it has passed.
    pub(crate) fn finish(self) -> Result<ImageHeader, Unusable> {
        let (content_type, dimensions) = match &self.jpeg {
            Some(scan) => ("image/jpeg", scan.dimensions()),
            None => by_signature(&self.prefix).ok_or(Unusable::Unsupported)?,
        };
        let usable = dimensions.filter(|(width, height)| *width > 0 && *height > 0);
        let (width, height) = usable.ok_or(Unusable::Unsupported)?;
        if width.max(height) > MAX_SIDE || u64::from(width) * u64::from(height) > MAX_PIXELS {
            return Err(Unusable::Dimensions { width, height });
        }
        Ok(ImageHeader { content_type, width, height })
    }
}

type Dimensions = (u32, u32);

fn by_signature(bytes: &[u8]) -> Option<(&'static str, Option<Dimensions>)> {
    if bytes.starts_with(b"\x89PNG\r\n\x1a\n") {
        return Some(("image/png", png(bytes)));
    }
    if bytes.starts_with(b"GIF87a") || bytes.starts_with(b"GIF89a") {
        return Some(("image/gif", gif(bytes)));
    }
    let webp = bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WEBP");
    webp.then(|| ("image/webp", self::webp(bytes)))
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

/// The first chunk: lossy (RFC 6386 §9.1), lossless (RFC 9649 §3.4) or extended (§2.7).
fn webp(bytes: &[u8]) -> Option<Dimensions> {
    match bytes.get(12..16)? {
        b"VP8 " => {
            (bytes.get(23..26)? == [0x9d, 0x01, 0x2a]).then_some(())?;
            Some((u16_le(bytes, 26)? & 0x3fff, u16_le(bytes, 28)? & 0x3fff))
        }
        b"VP8L" => {
            (*bytes.get(20)? == 0x2f).then_some(())?;
            let bits = u32::from_le_bytes(bytes.get(21..25)?.try_into().ok()?);
            Some(((bits & 0x3fff) + 1, (bits >> 14 & 0x3fff) + 1))
        }
        b"VP8X" => Some((u24_le(bytes, 24)? + 1, u24_le(bytes, 27)? + 1)),
        _ => None,
    }
}

fn u16_le(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?)))
}

fn u24_le(bytes: &[u8], at: usize) -> Option<u32> {
    let [low, middle, high] = bytes.get(at..at + 3)?.try_into().ok()?;
    Some(u32::from_le_bytes([low, middle, high, 0]))
}

#[cfg(test)]
mod tests;
