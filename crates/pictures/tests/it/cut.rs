use darkroom_pictures::decode;
use image::ImageFormat::{Gif, Jpeg, Png, WebP};

use crate::craft::{file, honest};

/// Files that are a few hundred bytes long, of every kind.
fn samples() -> Vec<(String, Vec<u8>)> {
    let made = [Png, Jpeg, WebP, Gif].map(|format| (format!("{format:?}"), honest(format, 8, 8)));
    let names = [
        "animated.gif",
        "animated.webp",
        "cmyk.jpg",
        "grey-alpha16.png",
        "orientation-6.jpg",
        "orientation-6.png",
        "orientation-6.webp",
        "palette-transparent.png",
        "progressive.jpg",
        "separate-420.jpg",
    ];
    made.into_iter().chain(names.map(|name| (name.to_owned(), file(name)))).collect()
}

#[test]
fn a_file_may_end_at_any_byte() {
    for (name, whole) in samples() {
        decode(&whole).unwrap_or_else(|error| panic!("{name}: {error}"));
        // A panic would show as this refusal.
        for length in 0..whole.len() {
            if let Err(error) = decode(&whole[..length]) {
                let message = error.to_string();
                assert!(!message.contains("beyond recognition"), "{name} of {length} bytes: {message}");
            }
        }
        // Of the first two thirds, no decoder makes a picture.
        for length in 0..whole.len() * 2 / 3 {
            assert!(decode(&whole[..length]).is_err() || name.starts_with("animated"), "{name} of {length}");
        }
    }
}

#[test]
fn any_byte_of_a_file_may_be_another() {
    for (name, whole) in samples() {
        for at in 0..whole.len() {
            for value in [0x00, 0x01, 0x7f, 0x80, 0xff, whole[at] ^ 0x10] {
                let mut bytes = whole.clone();
                bytes[at] = value;
                if let Ok(picture) = decode(&bytes) {
                    let (width, height) = picture.dimensions();
                    let pixels = u64::from(width) * u64::from(height);
                    assert!(pixels <= darkroom_pictures::MAX_PIXELS, "{name}: {value} at {at}");
                }
            }
        }
    }
}
