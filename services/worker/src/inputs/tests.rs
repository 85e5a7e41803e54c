use image::{ImageBuffer, Rgb, Rgba};

use super::*;

/// Two pixels wide, one high: red, then blue.
fn picture() -> RgbImage {
    let mut picture = ImageBuffer::from_pixel(2, 1, Rgb([255, 0, 0]));
    picture.put_pixel(1, 0, Rgb([0, 0, 255]));
    picture
}

fn encoded(image: &DynamicImage, format: ImageFormat) -> Bytes {
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, format).unwrap();
    bytes.into_inner().into()
}

fn refusal(bytes: impl Into<Bytes>) -> String {
    match decode(bytes.into()) {
        Err(InputError::Unusable(message)) => message,
        other => panic!("expected a refusal, got {other:?}"),
    }
}

#[test]
fn formats_are_told_by_content() {
    for format in [ImageFormat::Png, ImageFormat::WebP, ImageFormat::Gif] {
        let decoded = decode(encoded(&picture().into(), format)).unwrap();
        assert_eq!(decoded, picture(), "{format:?}");
    }
    let decoded = decode(encoded(&picture().into(), ImageFormat::Jpeg)).unwrap();
    assert_eq!(decoded.dimensions(), (2, 1));
}

#[test]
fn transparency_is_dropped() {
    let glass = ImageBuffer::from_pixel(1, 1, Rgba([10, 20, 30, 0]));
    let decoded = decode(encoded(&DynamicImage::ImageRgba8(glass), ImageFormat::Png)).unwrap();
    assert_eq!(decoded.get_pixel(0, 0), &Rgb([10, 20, 30]));
}

/// A file of `tests/images`, whose `make_images.py` says what each of them is.
fn file(name: &str) -> Bytes {
    let path = format!("{}/tests/images/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}")).into()
}

/// The largest difference between a decoded file and an expected picture.
fn difference(name: &str, expected: &str) -> u8 {
    let found = decode(file(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    let expected = image::load_from_memory(&file(expected)).unwrap().into_rgb8();
    assert_eq!(found.dimensions(), expected.dimensions(), "{name}");
    let pairs = found.into_raw().into_iter().zip(expected.into_raw());
    pairs.map(|(one, other)| one.abs_diff(other)).max().unwrap()
}

#[test]
fn unusual_pictures_are_read_as_the_reference_reads_them() {
    let cases = [
        // JPEG decoders round differently.
        ("cmyk.jpg", 1),
        ("grey.jpg", 1),
        ("progressive.jpg", 1),
        ("grey-alpha.png", 0),
        ("palette-transparent.png", 0),
        ("pixel.png", 0),
        // The reference drops the lower 8 bits, this rounds.
        ("rgb16.png", 1),
        ("grey-alpha16.png", 1),
        // The first frame.
        ("animated.webp", 0),
        ("animated.gif", 0),
    ];
    for (name, tolerance) in cases {
        let difference = difference(name, &format!("{name}.png"));
        assert!(difference <= tolerance, "{name}: {difference}");
    }
}

#[test]
fn photographs_are_turned_as_people_see_them() {
    for (extension, tolerance) in [("jpg", 4), ("png", 0), ("webp", 0)] {
        for orientation in 1..=8 {
            let name = format!("orientation-{orientation}.{extension}");
            let difference = difference(&name, "upright.png");
            assert!(difference <= tolerance, "{name}: {difference}");
        }
    }
}

#[test]
fn grey_of_16_bits_keeps_its_shades() {
    // Not as the reference: it takes every value over 255 for white.
    let grey = ImageBuffer::from_fn(256, 1, |x, _| image::Luma([x as u16 * 257]));
    let decoded = decode(encoded(&DynamicImage::ImageLuma16(grey), ImageFormat::Png)).unwrap();
    assert!((0..256).all(|x| decoded.get_pixel(x, 0) == &Rgb([x as u8; 3])));
}

#[test]
fn pictures_that_are_cut_short_are_refused() {
    let cases = [
        ("cmyk.jpg", &[50, 80, 95][..]),
        ("progressive.jpg", &[50, 80, 95]),
        ("orientation-6.jpg", &[50, 80, 95]),
        ("rgb16.png", &[50, 80, 95]),
        // Behind its pixels there is metadata.
        ("orientation-1.webp", &[20, 50]),
    ];
    for (name, percents) in cases {
        let whole = file(name);
        for percent in percents {
            let message = refusal(whole.slice(..whole.len() * percent / 100));
            assert!(message.starts_with("the image cannot be decoded"), "{name} to {percent} %: {message}");
        }
    }
}

#[test]
fn a_picture_that_unpacks_to_more_than_it_announces_takes_no_more_room() {
    // 8 x 8 pixels by its header, and 64 megabytes of them by its data: the decoder stops at the last row.
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, 8_192, 8_192);
    encoder.set_color(png::ColorType::Grayscale);
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(&vec![0; 8_192 * 8_192]).unwrap();
    writer.finish().unwrap();
    bytes[16..24].copy_from_slice(&[0, 0, 0, 8, 0, 0, 0, 8]);
    let crc = crc32(&bytes[12..29]);
    bytes[29..33].copy_from_slice(&crc.to_be_bytes());
    assert!(decode(bytes.into()).is_ok_and(|image| image.dimensions() == (8, 8)));
}

/// The checksum of a PNG chunk's name and data.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
    !bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}

#[test]
fn what_is_no_picture_is_refused() {
    assert_eq!(refusal(&b"hello"[..]), "the image is none of PNG, JPEG, WebP and GIF");
    assert_eq!(refusal(&b""[..]), "the image is none of PNG, JPEG, WebP and GIF");
    assert_eq!(refusal(&b"BM\0\0\0\0\0\0"[..]), "the image is none of PNG, JPEG, WebP and GIF");
}

#[test]
fn broken_pictures_are_refused() {
    for format in [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::WebP, ImageFormat::Gif] {
        let whole = encoded(&picture().into(), format);
        let message = refusal(whole.slice(..whole.len() / 2));
        assert!(message.starts_with("the image cannot be decoded"), "{format:?}: {message}");
    }
}

#[test]
fn over_large_dimensions_are_refused_before_decoding() {
    // Only a header: decoding would need 800 megabytes.
    let mut bytes = encoded(&picture().into(), ImageFormat::Gif).to_vec();
    bytes[6..10].copy_from_slice(&[0xff, 0xff, 0xff, 0xff]);
    let message = refusal(bytes);
    assert!(message.contains("too large") || message.contains("65535 x 65535"), "{message}");

    let mut bytes = encoded(&picture().into(), ImageFormat::Png).to_vec();
    bytes[16..24].copy_from_slice(&[0, 0, 0x4e, 0x20, 0, 0, 0x4e, 0x20]);
    let crc = crc32(&bytes[12..29]);
    bytes[29..33].copy_from_slice(&crc.to_be_bytes());
    let message = refusal(bytes);
    assert!(message.contains("16384"), "20,000 a side: {message}");

    let wide = encoded(&RgbImage::new(16_385, 1).into(), ImageFormat::Png);
    let message = refusal(wide);
    assert!(message.contains("at most 16384 and at most 64000000 pixels"), "{message}");
}

#[tokio::test(start_paused = true)]
async fn a_lora_that_is_not_fetched_in_time_fails_the_attempt() {
    let error = lora_in_time("a/b", std::future::pending()).await.unwrap_err();
    assert_eq!(error.to_string(), "the LoRA a/b was not fetched within 600s");
}
