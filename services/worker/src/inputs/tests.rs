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

#[test]
fn orientation_is_applied() {
    // A JPEG with an Exif segment that says: rotate by 90 degrees.
    let tiff = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0";
    let mut segment = vec![0xff, 0xe1];
    segment.extend(u16::try_from(2 + 6 + tiff.len()).unwrap().to_be_bytes());
    segment.extend(b"Exif\0\0");
    segment.extend(tiff);
    let mut bytes = encoded(&picture().into(), ImageFormat::Jpeg).to_vec();
    bytes.splice(2..2, segment);
    assert_eq!(decode(bytes.into()).unwrap().dimensions(), (1, 2));
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

    let wide = encoded(&RgbImage::new(16_385, 1).into(), ImageFormat::Png);
    assert_eq!(refusal(wide), "the image is too large");
}
