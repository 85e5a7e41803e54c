//! Uploads whose form is not what it says.

use std::io::Cursor;

use image::{DynamicImage, ImageFormat};
use rand::Rng as _;
use rand::rngs::StdRng;

use super::requests::{Known, Request};
use super::targets::Target;
use super::{documents, headers};

/// A request as `multipart/form-data`, in one of many wrong ways or the right one.
pub(super) fn draw(rng: &mut StdRng, known: &Known, target: &Target) -> Request {
    let boundary = "b0undary";
    let mut body = Vec::new();
    for _ in 0..rng.random_range(1..4) {
        part(&mut body, boundary, rng, target);
    }
    match rng.random_range(0..8) {
        // Never ended.
        0 => {}
        1 => body.extend(b"--b0undar--\r\n"),
        _ => body.extend(b"--b0undary--\r\n"),
    }
    let announced = match rng.random_range(0..10) {
        0 => "multipart/form-data".to_owned(),
        1 => "multipart/form-data; boundary=".to_owned(),
        2 => "multipart/form-data; boundary=another".to_owned(),
        3 => format!("multipart/form-data; boundary={}", "x".repeat(300)),
        4 => "multipart/mixed; boundary=b0undary".to_owned(),
        _ => format!("multipart/form-data; boundary={boundary}"),
    };
    let (start, more) = (target.head(&known.key), headers::more(rng));
    let mut head = format!("{start}content-type: {announced}\r\n{more}");
    let length = body.len();
    match rng.random_range(0..12) {
        // Shorter and longer than it is. Those who wait for the rest give up before this does.
        0 => head.push_str(&format!("content-length: {}\r\n", length / 2)),
        1 => head.push_str(&format!("content-length: {}\r\n", 80_000_000)),
        2 => return headers::chunked(rng, head, &body),
        _ => head.push_str(&format!("content-length: {length}\r\n")),
    }
    head.push_str("connection: close\r\n\r\n");
    Request::new([head.into_bytes(), body].concat())
}

fn part(body: &mut Vec<u8>, boundary: &str, rng: &mut StdRng, target: &Target) {
    let names = ["file", "", "image\"; name=\"job", "\u{fc}"];
    let known = rng.random();
    let names = if known { target.parts } else { &names };
    let name = names[rng.random_range(0..names.len())];
    body.extend(format!("--{boundary}\r\n").as_bytes());
    match rng.random_range(0..12) {
        0 => {}
        1 => body.extend(b"content-disposition: attachment\r\n"),
        2 => body.extend(format!("x: {}\r\n", "y".repeat(20_000)).as_bytes()),
        _ => {
            let line =
                format!("content-disposition: form-data; name=\"{name}\"; filename=\"../../x.php\"\r\n");
            body.extend(line.as_bytes());
        }
    }
    body.extend(b"content-type: image/svg+xml\r\n\r\n");
    if name == "job" && rng.random_range(0..4) > 0 {
        let captions = br#"{"pipeline": "image-to-text", "input": {"prompt": "a photo of"}}"#.to_vec();
        let text = if rng.random() { captions } else { documents::draw(rng, target) };
        body.extend(text);
    } else {
        body.extend(picture(rng));
    }
    body.extend(b"\r\n");
}

fn picture(rng: &mut StdRng) -> Vec<u8> {
    let formats = [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::WebP, ImageFormat::Gif];
    let mut bytes = Cursor::new(Vec::new());
    let format = formats[rng.random_range(0..formats.len())];
    DynamicImage::new_rgb8(8, 8).write_to(&mut bytes, format).unwrap();
    let mut bytes = bytes.into_inner();
    match rng.random_range(0..8) {
        0 => bytes.truncate(rng.random_range(0..40)),
        // Dimensions are within the first bytes.
        1 => (0..4).for_each(|_| bytes[rng.random_range(0..40)] = rng.random()),
        2 => bytes = b"<svg xmlns=\"http://www.w3.org/2000/svg\"/>".to_vec(),
        3 => bytes.resize(rng.random_range(1..2_000_000), 0),
        4 => bytes.clear(),
        _ => {}
    }
    bytes
}
