use image::{ImageBuffer, ImageFormat, Rgb, Rgba};

use super::*;

/// Two pixels wide, one high: red, then blue.
fn picture() -> RgbImage {
    let mut picture = ImageBuffer::from_pixel(2, 1, Rgb([255, 0, 0]));
    picture.put_pixel(1, 0, Rgb([0, 0, 255]));
    picture
}

fn encoded(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

fn refusal(bytes: &[u8]) -> String {
    decode(bytes).expect_err("refused").to_string()
}

#[test]
fn formats_are_told_by_content() {
    for format in [ImageFormat::Png, ImageFormat::WebP, ImageFormat::Gif] {
        let decoded = decode(&encoded(&picture().into(), format)).unwrap();
        assert_eq!(decoded, picture(), "{format:?}");
    }
    let decoded = decode(&encoded(&picture().into(), ImageFormat::Jpeg)).unwrap();
    assert_eq!(decoded.dimensions(), (2, 1));
}

#[test]
fn transparency_is_dropped() {
    let glass = ImageBuffer::from_pixel(1, 1, Rgba([10, 20, 30, 0]));
    let decoded = decode(&encoded(&DynamicImage::ImageRgba8(glass), ImageFormat::Png)).unwrap();
    assert_eq!(decoded.get_pixel(0, 0), &Rgb([10, 20, 30]));
}

/// A file of `tests/images`, whose `make_images.py` says what each of them is.
fn file(name: &str) -> Vec<u8> {
    let path = format!("{}/tests/images/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The largest difference between a decoded file and an expected picture.
fn difference(name: &str, expected: &str) -> u8 {
    let found = decode(&file(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
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
        // Not progressive, and the components lie in separate scans: read by another decoder.
        ("separate-420.jpg", 3),
        ("separate-444.jpg", 3),
        ("grey-alpha.png", 0),
        ("palette-transparent.png", 0),
        ("pixel.png", 0),
        ("rgb16.png", 0),
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
    let decoded = decode(&encoded(&DynamicImage::ImageLuma16(grey), ImageFormat::Png)).unwrap();
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
        ("orientation-1.webp", &[35, 50]),
    ];
    for (name, percents) in cases {
        let whole = file(name);
        for percent in percents {
            let message = refusal(&whole[..whole.len() * percent / 100]);
            assert!(message.starts_with("the image cannot be decoded"), "{name} to {percent} %: {message}");
        }
    }
}

#[test]
fn broken_pictures_are_refused() {
    for format in [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::WebP, ImageFormat::Gif] {
        let whole = encoded(&picture().into(), format);
        let message = refusal(&whole[..whole.len() / 2]);
        assert!(message.starts_with("the image cannot be decoded"), "{format:?}: {message}");
    }
}
