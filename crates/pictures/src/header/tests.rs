use std::io::Cursor;

use image::{DynamicImage, ImageFormat};

use super::*;

fn encoded(format: ImageFormat, width: u32, height: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    DynamicImage::new_rgb8(width, height).write_to(&mut Cursor::new(&mut bytes), format).unwrap();
    bytes
}

fn scan(bytes: &[u8], piece: usize) -> Result<ImageHeader, Unusable> {
    let mut scan = HeaderScan::default();
    bytes.chunks(piece).for_each(|piece| scan.push(piece));
    scan.finish()
}

#[test]
fn every_format_is_known_by_content_in_pieces_of_any_size() {
    let formats = [
        (ImageFormat::Png, Format::Png),
        (ImageFormat::Jpeg, Format::Jpeg),
        (ImageFormat::WebP, Format::WebP),
        (ImageFormat::Gif, Format::Gif),
    ];
    for (encoder, format) in formats {
        let bytes = encoded(encoder, 33, 20);
        for piece in [1, 2, 29, 30, 31, 10_000] {
            let header = ImageHeader { format, width: 33, height: 20 };
            assert_eq!(scan(&bytes, piece), Ok(header), "{format:?} by {piece}");
        }
    }
}

#[test]
fn webp_dimensions_are_read_in_all_three_layouts() {
    let chunk = |name: &[u8], data: &[u8]| [b"RIFF\0\0\0\0WEBP", name, b"\0\0\0\0", data].concat();
    let lossy = chunk(b"VP8 ", &[0, 0, 0, 0x9d, 0x01, 0x2a, 33, 0x40, 20, 0x80]);
    let extended = chunk(b"VP8X", &[0, 0, 0, 0, 32, 0, 0, 19, 0, 0]);
    let header = ImageHeader { format: Format::WebP, width: 33, height: 20 };
    assert_eq!(scan(&lossy, 7), Ok(header));
    assert_eq!(scan(&extended, 7), Ok(header));
}

#[test]
fn jpeg_is_found_behind_megabytes_of_metadata() {
    let jpeg = encoded(ImageFormat::Jpeg, 33, 20);
    let segment = [&[0xff, 0xe1, 0xff, 0xff][..], &[0xff; 65_533]].concat();
    let bytes = [&jpeg[..2], &segment.repeat(40), &jpeg[2..]].concat();
    let header = ImageHeader { format: Format::Jpeg, width: 33, height: 20 };
    assert_eq!(scan(&bytes, 4_096), Ok(header));
}

#[test]
fn over_large_dimensions_are_refused() {
    let png = |width: u32, height: u32| {
        [b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", &width.to_be_bytes()[..], &height.to_be_bytes()[..], &[0; 8]]
            .concat()
    };
    assert!(scan(&png(8_000, 8_000), 64).is_ok());
    assert!(scan(&png(16_384, 1), 64).is_ok());
    assert!(scan(&png(1, 1), 64).is_ok());
    assert_eq!(scan(&png(20_000, 20_000), 64), Err(Unusable::Dimensions { width: 20_000, height: 20_000 }));
    assert_eq!(scan(&png(16_385, 1), 64), Err(Unusable::Dimensions { width: 16_385, height: 1 }));
    assert_eq!(scan(&png(8_001, 8_000), 64), Err(Unusable::Dimensions { width: 8_001, height: 8_000 }));
    assert!(matches!(scan(&png(u32::MAX, u32::MAX), 64), Err(Unusable::Dimensions { .. })));
    assert_eq!(scan(&png(0, 8), 64), Err(Unusable::Unsupported));
}

#[test]
fn unusual_pictures_have_their_header_read() {
    let dimensions = |name: &str| {
        let path = format!("{}/tests/images/{name}", env!("CARGO_MANIFEST_DIR"));
        scan(&std::fs::read(path).unwrap(), 64).map(|header| (header.width, header.height))
    };
    for name in [
        "cmyk.jpg",
        "progressive.jpg",
        "grey-alpha.png",
        "palette-transparent.png",
        "animated.webp",
        "animated.gif",
    ] {
        assert_eq!(dimensions(name), Ok((12, 8)), "{name}");
    }
    assert_eq!(dimensions("rgb16.png"), Ok((8, 8)));
    // As it lies in the file: the worker turns it.
    for extension in ["jpg", "png", "webp"] {
        assert_eq!(dimensions(&format!("orientation-6.{extension}")), Ok((8, 12)), "{extension}");
    }
}

#[test]
fn what_is_damaged_or_something_else_is_refused() {
    for format in [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::WebP, ImageFormat::Gif] {
        let bytes = encoded(format, 33, 20);
        for length in 0..8 {
            assert_eq!(scan(&bytes[..length], 3), Err(Unusable::Unsupported), "{format:?} of {length}");
        }
    }
    let others: [&[u8]; 6] = [
        b"plain text that is long enough to be mistaken for a header",
        b"\x89PNG\r\n\x1a\n\0\0\0\rIEND\0\0\0\x01\0\0\0\x01",
        b"RIFF\0\0\0\0WEBPVP8?\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
        b"\xff\xd8\xff\xd9\0\0\0\0",
        b"\xff\xd8\xff\xe0\0\x01\0\0\0",
        b"\xff\xd8\xff\xe0\0\x04ab\0",
    ];
    for bytes in others {
        assert_eq!(scan(bytes, 5), Err(Unusable::Unsupported), "{bytes:?}");
    }
}
