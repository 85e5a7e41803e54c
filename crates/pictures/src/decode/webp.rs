//! WebP.
//!
//! The decoder allocates by the word of every part: a chunk's length, and the dimensions inside of the pixels. All
//! of it is compared with the file and its canvas first.

use std::io::Cursor;

use image::RgbImage;
use image::codecs::webp::WebPDecoder;

use super::{DecodeError, INCONSISTENT, read};
use crate::header::{Dimensions, ImageHeader, u24_le, webp_chunk};

/// `RIFF`, a length and `WEBP`.
const FILE_HEADER_BYTES: usize = 12;
/// A name and a length.
const CHUNK_HEADER_BYTES: usize = 8;
/// Place and size of a frame, its duration and flags.
const FRAME_HEADER_BYTES: usize = 16;

pub(super) fn decode(bytes: &[u8], header: ImageHeader) -> Result<RgbImage, DecodeError> {
    let bytes = without_trailer(bytes);
    check(bytes)?;
    read(WebPDecoder::new(Cursor::new(bytes))?, header)
}

/// The file as long as it says it is. What lies behind is not its own.
fn without_trailer(bytes: &[u8]) -> &[u8] {
    let announced = bytes.get(4..8).and_then(|length| length.try_into().ok()).map(u32::from_le_bytes);
    let length = announced.map_or(0, |length| (length as usize).saturating_add(8));
    &bytes[..length.min(bytes.len())]
}

fn check(bytes: &[u8]) -> Result<(), DecodeError> {
    let mut canvas = None;
    for chunk in Chunks(bytes.get(FILE_HEADER_BYTES..).unwrap_or_default()) {
        let Chunk { name, data } = chunk?;
        match name {
            b"VP8X" if canvas.is_none() => canvas = webp_chunk(name, data),
            b"ANMF" => check_frame(data, canvas)?,
            _ => fits(webp_chunk(name, data), canvas)?,
        }
    }
    Ok(())
}

/// A frame of an animation: chunks of its own behind a header (RFC 9649 §2.7.1.3).
fn check_frame(data: &[u8], canvas: Option<Dimensions>) -> Result<(), DecodeError> {
    let side = |at| u24_le(data, at).map(|side| side + 1);
    let frame = side(6).zip(side(9)).ok_or_else(cut_short)?;
    let larger = |(width, height): Dimensions| frame.0 > width || frame.1 > height;
    if canvas.is_none_or(larger) {
        return Err(inconsistent());
    }
    for chunk in Chunks(data.get(FRAME_HEADER_BYTES..).ok_or_else(cut_short)?) {
        let Chunk { name, data } = chunk?;
        fits(webp_chunk(name, data), Some(frame))?;
    }
    Ok(())
}

/// Whether pixels fill what they are for.
fn fits(pixels: Option<Dimensions>, place: Option<Dimensions>) -> Result<(), DecodeError> {
    match (pixels, place) {
        (Some(pixels), Some(place)) if pixels != place => Err(inconsistent()),
        _ => Ok(()),
    }
}

fn cut_short() -> DecodeError {
    DecodeError::broken("the WebP is cut short")
}

fn inconsistent() -> DecodeError {
    DecodeError::broken(INCONSISTENT)
}

struct Chunk<'a> {
    name: &'a [u8],
    data: &'a [u8],
}

/// Chunks one after the other. Ends with an error when one reaches beyond the end.
struct Chunks<'a>(&'a [u8]);

impl<'a> Iterator for Chunks<'a> {
    type Item = Result<Chunk<'a>, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        // Fewer bytes than a header has are padding.
        let (header, rest) = self.0.split_at_checked(CHUNK_HEADER_BYTES)?;
        let (name, length) = header.split_at(4);
        let length = u32::from_le_bytes(length.try_into().ok()?) as usize;
        let Some(data) = rest.get(..length) else {
            self.0 = &[];
            return Some(Err(cut_short()));
        };
        // Of odd length with a byte of padding, which the last one may lack.
        self.0 = rest.get(length + (length & 1)..).unwrap_or_default();
        Some(Ok(Chunk { name, data }))
    }
}
