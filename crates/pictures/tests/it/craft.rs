//! Building files part by part, since no encoder makes them as bad as these have to be.

use std::io::{Cursor, Write as _};

use flate2::write::ZlibEncoder;
use flate2::{Compression, Crc};
use image::{DynamicImage, ImageFormat};

/// What an honest encoder makes of a red picture.
pub(crate) fn honest(format: ImageFormat, width: u32, height: u32) -> Vec<u8> {
    let red = image::RgbImage::from_pixel(width, height, image::Rgb([250, 10, 10]));
    let mut bytes = Cursor::new(Vec::new());
    DynamicImage::ImageRgb8(red).write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

/// A file of `tests/images`.
pub(crate) fn file(name: &str) -> Vec<u8> {
    std::fs::read(format!("{}/tests/images/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// `bytes` with other ones at `at`.
pub(crate) fn patched(mut bytes: Vec<u8>, at: usize, with: &[u8]) -> Vec<u8> {
    bytes[at..at + with.len()].copy_from_slice(with);
    bytes
}

/// A PNG of these chunks, with the checksums they need.
pub(crate) fn png(chunks: &[(&[u8; 4], Vec<u8>)]) -> Vec<u8> {
    let mut bytes = b"\x89PNG\r\n\x1a\n".to_vec();
    for (name, data) in chunks {
        bytes.extend(u32::try_from(data.len()).unwrap().to_be_bytes());
        bytes.extend(*name);
        bytes.extend(data);
        let mut crc = Crc::new();
        crc.update(*name);
        crc.update(data);
        bytes.extend(crc.sum().to_be_bytes());
    }
    bytes
}

/// Bits of a sample and kind of colour in a PNG.
pub(crate) type Color = [u8; 2];
pub(crate) const GREY: Color = [8, 0];
pub(crate) const INDEXED: Color = [8, 3];

/// The first chunk of a PNG.
pub(crate) fn ihdr(width: u32, height: u32, color: Color) -> (&'static [u8; 4], Vec<u8>) {
    (b"IHDR", [&width.to_be_bytes()[..], &height.to_be_bytes(), &color, &[0, 0, 0]].concat())
}

/// `length` zeros, compressed.
pub(crate) fn zeros(length: usize) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    let block = vec![0; 1 << 20];
    let mut left = length;
    while left > 0 {
        let piece = left.min(block.len());
        encoder.write_all(&block[..piece]).unwrap();
        left -= piece;
    }
    encoder.finish().unwrap()
}

/// The pixels of a black grey picture.
pub(crate) fn idat(width: usize, height: usize) -> (&'static [u8; 4], Vec<u8>) {
    (b"IDAT", zeros((width + 1) * height))
}

pub(crate) fn iend() -> (&'static [u8; 4], Vec<u8>) {
    (b"IEND", Vec::new())
}

/// A WebP of these chunks.
pub(crate) fn webp(chunks: &[(&[u8; 4], Vec<u8>)]) -> Vec<u8> {
    let body = riff_chunks(chunks);
    let length = u32::try_from(body.len() + 4).unwrap().to_le_bytes();
    [b"RIFF", &length[..], b"WEBP", &body].concat()
}

pub(crate) fn riff_chunks(chunks: &[(&[u8; 4], Vec<u8>)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, data) in chunks {
        bytes.extend(*name);
        bytes.extend(u32::try_from(data.len()).unwrap().to_le_bytes());
        bytes.extend(data);
        bytes.extend(vec![0; data.len() & 1]);
    }
    bytes
}

/// The canvas of an extended WebP. `flags`: 0x02 animated, 0x08 EXIF, 0x10 transparent.
pub(crate) fn vp8x(flags: u8, width: u32, height: u32) -> (&'static [u8; 4], Vec<u8>) {
    (b"VP8X", [&[flags, 0, 0, 0], &u24(width - 1)[..], &u24(height - 1)].concat())
}

/// Lossy pixels, of which only the beginning is true.
pub(crate) fn vp8(width: u16, height: u16) -> (&'static [u8; 4], Vec<u8>) {
    let start = [0x10, 0x02, 0x00, 0x9d, 0x01, 0x2a];
    (b"VP8 ", [&start[..], &width.to_le_bytes(), &height.to_le_bytes(), &[0; 200]].concat())
}

/// One frame of an animation.
pub(crate) fn anmf(width: u32, height: u32, chunks: &[(&[u8; 4], Vec<u8>)]) -> (&'static [u8; 4], Vec<u8>) {
    let header = [&[0; 6], &u24(width - 1)[..], &u24(height - 1), &[100, 0, 0, 0]].concat();
    (b"ANMF", [header, riff_chunks(chunks)].concat())
}

pub(crate) fn anim() -> (&'static [u8; 4], Vec<u8>) {
    (b"ANIM", vec![0; 6])
}

/// The chunk with the pixels of an honest, lossless WebP.
pub(crate) fn vp8l(width: u32, height: u32) -> (&'static [u8; 4], Vec<u8>) {
    let whole = honest(ImageFormat::WebP, width, height);
    let length = u32::from_le_bytes(whole[16..20].try_into().unwrap()) as usize;
    assert_eq!(&whole[12..16], b"VP8L");
    (b"VP8L", whole[20..20 + length].to_vec())
}

fn u24(value: u32) -> [u8; 3] {
    let [low, middle, high, _] = value.to_le_bytes();
    [low, middle, high]
}

/// Where a JPEG's first segment with this marker begins.
pub(crate) fn segment(jpeg: &[u8], marker: u8) -> usize {
    let mut at = 2;
    while jpeg[at + 1] != marker {
        at += 2 + usize::from(u16::from_be_bytes([jpeg[at + 2], jpeg[at + 3]]));
    }
    at
}

/// A JPEG whose frame says other dimensions.
pub(crate) fn resized(jpeg: Vec<u8>, marker: u8, width: u16, height: u16) -> Vec<u8> {
    let at = segment(&jpeg, marker);
    let sides = [height.to_be_bytes(), width.to_be_bytes()].concat();
    patched(jpeg, at + 5, &sides)
}

/// A JPEG with a segment behind its start.
pub(crate) fn with_segment(jpeg: &[u8], marker: u8, data: &[u8]) -> Vec<u8> {
    let length = u16::try_from(data.len() + 2).unwrap().to_be_bytes();
    [&jpeg[..2], &[0xff, marker][..], &length, data, &jpeg[2..]].concat()
}

/// A JPEG whose last scan is there `times` times more.
pub(crate) fn with_scans(jpeg: &[u8], times: usize) -> Vec<u8> {
    let last = jpeg.windows(2).rposition(|pair| pair == [0xff, 0xda]).unwrap();
    let end = jpeg.len() - 2;
    [&jpeg[..end], &jpeg[last..end].repeat(times), &jpeg[end..]].concat()
}

/// A progressive, grey JPEG whose every further scan says in a few bytes that there is nothing to add.
pub(crate) fn idle_scans(side: u16, count: usize) -> Vec<u8> {
    let part = |marker: u8, data: &[u8]| with_segment(&[0, 0], marker, data)[2..].to_vec();
    let quantization = part(0xdb, &[&[0][..], &[1; 64]].concat());
    let frame = part(0xc2, &[&[8][..], &side.to_be_bytes(), &side.to_be_bytes(), &[1, 1, 0x11, 0]].concat());
    // One code of one bit: of brightness "no difference", of the rest "the next 16,384 to 32,767 blocks end".
    let code = |class: u8, symbol: u8| part(0xc4, &[&[class, 1][..], &[0; 15], &[symbol]].concat());
    let blocks = usize::from(side).div_ceil(8).pow(2);
    let first = [part(0xda, &[1, 1, 0, 0, 0, 0]), vec![0; blocks.div_ceil(8)]].concat();
    // 0 and fourteen bits of length, over and over: 15 bytes are eight of them.
    let runs = blocks.div_ceil(16_384).div_ceil(8) * 15;
    let further = [part(0xda, &[1, 1, 0, 1, 63, 0]), vec![0; runs]].concat();
    let tables = [quantization, frame, code(0, 0), code(0x10, 0xe0)].concat();
    [&[0xff, 0xd8][..], &tables, &first, &further.repeat(count), &[0xff, 0xd9]].concat()
}
