use std::io::Cursor;

use darkroom_jobs::Quality;
use image::{ImageDecoder, ImageFormat, ImageReader, Rgb};

use super::*;

/// Smooth, so that lossy formats keep it.
fn picture() -> RgbImage {
    RgbImage::from_fn(64, 32, |x, y| Rgb([2 * x as u8, 4 * y as u8, 200]))
}

fn formats() -> [PictureFormat; 3] {
    let quality = Quality::default();
    [PictureFormat::Png, PictureFormat::Jpeg(quality), PictureFormat::Webp(quality)]
}

fn written(format: PictureFormat, parameters: Option<&str>) -> Vec<u8> {
    encode(&picture(), format, parameters).unwrap()
}

/// Reads with decoders that share no code with what writes the metadata.
fn metadata(bytes: &[u8]) -> (Option<String>, Option<String>) {
    let mut decoder =
        ImageReader::new(Cursor::new(bytes)).with_guessed_format().unwrap().into_decoder().unwrap();
    let exif = decoder.exif_metadata().unwrap().map(|exif| comment(&exif));
    (exif, decoder.xmp_metadata().unwrap().map(|xmp| String::from_utf8(xmp).unwrap()))
}

/// The text of a structure that ends with it.
fn comment(exif: &[u8]) -> String {
    let at = exif.windows(8).position(|window| window == b"UNICODE\0").unwrap() + 8;
    let units = exif[at..].chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
    char::decode_utf16(units).map(Result::unwrap).collect()
}

fn png_text(bytes: &[u8]) -> Vec<String> {
    let decoder = ::png::Decoder::new(Cursor::new(bytes)).read_info().unwrap();
    let info = decoder.info();
    let plain = info.uncompressed_latin1_text.iter().map(|chunk| (&chunk.keyword, chunk.text.clone()));
    let wide = info.utf8_text.iter().map(|chunk| (&chunk.keyword, chunk.get_text().unwrap()));
    plain.chain(wide).filter(|(keyword, _)| *keyword == "parameters").map(|(_, text)| text).collect()
}

#[test]
fn files_are_what_their_type_says() {
    let expected = [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::WebP];
    for (format, expected) in formats().into_iter().zip(expected) {
        for parameters in [None, Some("x")] {
            let bytes = written(format, parameters);
            assert_eq!(image::guess_format(&bytes).unwrap(), expected);
            assert_eq!(image::load_from_memory(&bytes).unwrap().into_rgb8().dimensions(), (64, 32));
        }
        let (content_type, extension) = file_type(format);
        assert_eq!(content_type, expected.to_mime_type());
        assert!(expected.extensions_str().contains(&extension));
    }
}

#[test]
fn png_keeps_every_pixel_and_lossy_formats_keep_to_their_quality() {
    let difference = |format| {
        let read = image::load_from_memory(&written(format, None)).unwrap().into_rgb8();
        let pairs = picture().into_raw().into_iter().zip(read.into_raw());
        pairs.map(|(one, other)| one.abs_diff(other)).max().unwrap()
    };
    let quality = |quality| Quality::new(quality).unwrap();
    assert_eq!(difference(PictureFormat::Png), 0);
    for of in [PictureFormat::Jpeg, PictureFormat::Webp] {
        assert!(difference(of(quality(95))) <= 12, "{}", difference(of(quality(95))));
        let sizes = [5, 50, 95].map(|number| written(of(quality(number)), None).len());
        assert!(sizes[0] < sizes[1] && sizes[1] < sizes[2], "{sizes:?}");
    }
}

#[test]
fn parameters_and_origin_are_read_back_from_every_format() {
    for text in ["Käse, 5 £ off\nSteps: 4", "猫 🐈\nSteps: 4"] {
        for format in formats() {
            let bytes = written(format, Some(text));
            let (exif, xmp) = metadata(&bytes);
            match format {
                PictureFormat::Png => assert_eq!(png_text(&bytes), [text]),
                _ => assert_eq!(exif.as_deref(), Some(text), "{format:?}"),
            }
            assert_eq!(xmp.as_deref(), Some(XMP), "{format:?}");
        }
    }
}

#[test]
fn without_parameters_there_is_nothing_but_pixels() {
    for format in formats() {
        let bytes = written(format, None);
        assert_eq!(metadata(&bytes), (None, None), "{format:?}");
        let words: [&[u8]; 4] = [b"parameters", b"Exif", b"xap", b"VP8X"];
        for word in words {
            assert!(!bytes.windows(word.len()).any(|window| window == word), "{format:?}");
        }
    }
}

#[test]
fn same_picture_is_the_same_bytes() {
    for format in formats() {
        assert_eq!(written(format, Some("x")), written(format, Some("x")), "{format:?}");
    }
}

#[test]
fn a_text_that_no_segment_holds_is_cut() {
    let text = "🐈".repeat(20_000);
    for format in [PictureFormat::Jpeg(Quality::default()), PictureFormat::Webp(Quality::default())] {
        let bytes = written(format, Some(&text));
        let found = metadata(&bytes).0.unwrap();
        assert!(text.starts_with(&found), "{format:?}");
        assert_eq!(found.chars().count(), 32_731 / 2, "{format:?}");
        assert_eq!(image::load_from_memory(&bytes).unwrap().width(), 64);
    }
}

#[test]
fn nothing_of_a_file_that_came_in_but_its_pixels_goes_out() {
    let payload = b"<script>alert(1)</script>";
    let mut file = written(PictureFormat::Png, Some("payload <script>alert(1)</script>"));
    file.extend(payload);
    let picture = darkroom_pictures::decode(&file).unwrap();
    for format in formats() {
        let bytes = encode(&picture, format, None).unwrap();
        assert!(!bytes.windows(8).any(|window| window == &payload[..8]));
    }
}
