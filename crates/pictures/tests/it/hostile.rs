use darkroom_pictures::{DecodeError, Unusable, decode};
use image::ImageFormat::{Gif, Jpeg, Png, WebP};

use crate::craft::{
    GREY, INDEXED, anim, anmf, file, honest, idat, idle_scans, iend, ihdr, patched, png, resized,
    riff_chunks, segment, vp8, vp8l, vp8x, webp, with_scans, with_segment, zeros,
};

/// Large enough that memory or time would show, had somebody believed it.
const BOMB: usize = 64 << 20;

#[track_caller]
fn shows(bytes: &[u8], width: u32, height: u32) {
    match decode(bytes) {
        Ok(picture) => assert_eq!(picture.dimensions(), (width, height)),
        Err(error) => panic!("refused: {error}"),
    }
}

#[track_caller]
fn broken(bytes: &[u8]) -> String {
    match decode(bytes) {
        Err(DecodeError::Broken(reason)) => reason,
        other => panic!("expected a broken picture, got {other:?}"),
    }
}

#[track_caller]
fn too_large(bytes: &[u8]) {
    let found = decode(bytes);
    assert!(matches!(found, Err(DecodeError::Unusable(Unusable::Dimensions { .. }))), "{found:?}");
}

#[track_caller]
fn no_picture(bytes: &[u8]) {
    assert_eq!(decode(bytes), Err(DecodeError::Unusable(Unusable::Unsupported)));
}

#[test]
fn dimensions_beyond_the_limits_are_refused_in_every_format() {
    for (width, height) in [(20_000, 20_000), (16_385, 1), (u32::MAX, u32::MAX), (8_001, 8_000)] {
        too_large(&png(&[ihdr(width, height, GREY), idat(1, 1), iend()]));
    }
    too_large(&resized(honest(Jpeg, 8, 8), 0xc0, 65_535, 65_535));
    too_large(&resized(file("progressive.jpg"), 0xc2, 65_535, 65_535));
    too_large(&webp(&[vp8x(0, 1 << 24, 1 << 24), vp8(8, 8)]));
    too_large(&webp(&[vp8(16_383, 16_383)]));
    too_large(&patched(honest(Gif, 8, 8), 6, &[0xff; 4]));
}

#[test]
fn pictures_without_pixels_are_refused_in_every_format() {
    no_picture(&png(&[ihdr(0, 8, GREY), idat(0, 8), iend()]));
    no_picture(&png(&[ihdr(8, 0, GREY), idat(8, 0), iend()]));
    no_picture(&resized(honest(Jpeg, 8, 8), 0xc0, 8, 0));
    no_picture(&webp(&[vp8(0, 8)]));
    no_picture(&patched(honest(Gif, 8, 8), 6, &[0; 4]));
    // Nothing but a header, too.
    broken(&png(&[ihdr(8, 8, GREY), iend()]));
    broken(&png(&[ihdr(8, 8, INDEXED), idat(8, 8), iend()]));
    let palette =
        png(&[ihdr(8, 8, INDEXED), (b"PLTE", vec![1; 4]), (b"tRNS", vec![1; 2]), idat(8, 8), iend()]);
    assert_eq!(broken(&palette), "a colour of its palette is cut short");
    broken(&webp(&[vp8x(0, 8, 8)]));
    broken(b"GIF89a\x08\0\x08\0\0\0\0;");
}

#[test]
fn nothing_in_a_png_is_unpacked_but_pixels() {
    let text = [b"Comment\0\0", &zeros(BOMB)[..]].concat();
    let profile = [b"icc\0\0", &zeros(BOMB)[..]].concat();
    let international = [b"Comment\0\x01\0\0\0", &zeros(BOMB)[..]].concat();
    for (name, data) in [(b"zTXt", text), (b"iCCP", profile), (b"iTXt", international)] {
        shows(&png(&[ihdr(8, 8, GREY), (name, data), idat(8, 8), iend()]), 8, 8);
    }
    // Of the pixels, as many as there are.
    shows(&png(&[ihdr(8, 8, GREY), (b"IDAT", zeros(BOMB)), iend()]), 8, 8);
}

#[test]
fn animated_png_shows_the_picture_that_everybody_sees() {
    let control = |frames: u32| (b"acTL", [frames.to_be_bytes(), [0; 4]].concat());
    let frame = |number: u32, width: u32, height: u32| {
        let numbers = [number, width, height, 0, 0].map(u32::to_be_bytes).concat();
        (b"fcTL", [&numbers[..], &[0, 1, 0, 10, 0, 0]].concat())
    };
    let data = |number: u32| (b"fdAT", [&number.to_be_bytes()[..], &idat(8, 8).1].concat());
    let whole = [ihdr(8, 8, GREY), control(2), frame(0, 8, 8), idat(8, 8), frame(1, 8, 8), data(2), iend()];
    shows(&png(&whole), 8, 8);
    // Frames that are not there, more of them than fit, and one that is larger than the picture.
    shows(&png(&[ihdr(8, 8, GREY), control(u32::MAX >> 1), frame(0, 8, 8), idat(8, 8), iend()]), 8, 8);
    broken(&png(&[ihdr(8, 8, GREY), control(1), frame(0, 60_000, 60_000), idat(8, 8), iend()]));
}

#[test]
fn a_jpeg_with_two_frames_is_no_larger_than_its_first() {
    let jpeg = honest(Jpeg, 8, 8);
    let at = segment(&jpeg, 0xc0);
    let length = 2 + usize::from(u16::from_be_bytes([jpeg[at + 2], jpeg[at + 3]]));
    let larger = resized(jpeg.clone(), 0xc0, 16_000, 16_000)[at..at + length].to_vec();
    broken(&[&jpeg[..at + length], &larger, &jpeg[at + length..]].concat());
}

#[test]
fn scans_are_not_repeated_for_ever() {
    // Each would go over every pixel again.
    shows(&idle_scans(2_000, 90), 2_000, 2_000);
    let reason = broken(&idle_scans(2_000, 10_000));
    assert!(reason.contains("Too many scans"), "{reason}");
    for name in ["separate-420.jpg", "separate-444.jpg"] {
        let reason = broken(&with_scans(&file(name), 100_000));
        assert_eq!(reason, "the scans of the JPEG do not have each component once");
    }
}

#[test]
fn metadata_of_a_jpeg_is_passed_over_whatever_is_in_it() {
    let jpeg = honest(Jpeg, 8, 8);
    let junk = [0xff, 0xd8, 0xff, 0xd9, 0xff, 0xda];
    let cases: [(u8, &[u8]); 7] = [
        // A profile in pieces that are not there, or none.
        (0xe2, b"ICC_PROFILE\0\x09\xff"),
        (0xe2, b"ICC_PROFILE\0\x00\x00junk"),
        // Tags that point at themselves, behind the end, or say there are more than fit.
        (0xe1, b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\xff\xff\xff\xff\x08\0\0\0\x08\0\0\0"),
        (0xe1, b"Exif\0\0MM\0*\xff\xff\xff\xff"),
        (0xe1, b"Exif\0\0"),
        (0xfe, b"<html><script>alert(1)</script></html>"),
        (0xed, &junk),
    ];
    for (marker, data) in cases {
        shows(&with_segment(&jpeg, marker, data), 8, 8);
    }
}

#[test]
fn an_orientation_that_there_is_none_of_turns_nothing() {
    for orientation in [0, 9, 255] {
        let tags = [b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0", &[orientation, 0, 0, 0][..], &[0; 4]];
        let chunk = (b"eXIf", tags.concat());
        shows(&png(&[ihdr(4, 8, GREY), chunk, idat(4, 8), iend()]), 4, 8);
    }
}

#[test]
fn the_parts_of_a_webp_are_no_larger_than_the_whole() {
    let reason = "its parts have other dimensions than the whole";
    assert_eq!(broken(&webp(&[vp8x(0, 1, 1), vp8(16_383, 16_383)])), reason);
    assert_eq!(broken(&webp(&[vp8x(0, 8, 8), vp8l(7, 8)])), reason);
    // The frame of an animation, the pixels of a frame, and those of one with transparency, by whose word the
    // decoder used to read behind its buffer.
    assert_eq!(broken(&webp(&[vp8x(2, 8, 8), anim(), anmf(16_383, 8, &[vp8(16_383, 8)])])), reason);
    assert_eq!(broken(&webp(&[vp8x(2, 8, 8), anim(), anmf(8, 8, &[vp8(16_383, 16_383)])])), reason);
    let alpha = (b"ALPH", [&[0; 1][..], &[0xff; 64]].concat());
    assert_eq!(broken(&webp(&[vp8x(0x12, 8, 8), anim(), anmf(8, 8, &[alpha, vp8(64, 64)])])), reason);
}

#[test]
fn chunks_of_a_webp_end_within_it() {
    // By its word 4 GB are set aside, and on a small machine the process ends.
    let exif = |length: u32| [b"EXIF", &length.to_le_bytes()[..], b"tags"].concat();
    for length in [u32::MAX, u32::MAX - 1, 5] {
        let body = [riff_chunks(&[vp8x(8, 8, 8), vp8l(8, 8)]), exif(length)].concat();
        let whole = [b"RIFF", &u32::MAX.to_le_bytes()[..], b"WEBP", &body].concat();
        assert_eq!(broken(&whole), "the WebP is cut short", "{length}");
        // The same inside of a frame.
        let frame = (b"ANMF", [anmf(8, 8, &[vp8l(8, 8)]).1, exif(length)].concat());
        assert_eq!(broken(&webp(&[vp8x(2, 8, 8), anim(), frame])), "the WebP is cut short", "{length}");
    }
}

#[test]
fn animations_of_any_length_cost_one_picture() {
    let frames: Vec<_> = (0..10_000).map(|_| anmf(8, 8, &[vp8l(8, 8)])).collect();
    shows(&webp(&[&[vp8x(2, 8, 8), anim()], &frames[..]].concat()), 8, 8);
    let gif = honest(Gif, 8, 8);
    // From the first frame to the end of it, behind header, screen and colours.
    let frame = gif.windows(2).position(|pair| pair == [0x21, 0xf9]).unwrap();
    shows(&[&gif[..frame], &gif[frame..gif.len() - 1].repeat(10_000), b";"].concat(), 8, 8);
}

#[test]
fn the_frame_of_a_gif_is_no_larger_than_a_picture_may_be() {
    let gif = honest(Gif, 8, 8);
    let frame = gif.windows(2).position(|pair| pair == [0x21, 0xf9]).unwrap() + 8;
    assert_eq!(gif[frame], b',');
    broken(&patched(gif.clone(), frame + 5, &[0xff; 4]));
    // Beside the screen there is nothing to see of it.
    shows(&patched(gif, frame + 1, &[0xff; 4]), 8, 8);
}

#[test]
fn what_lies_behind_a_picture_or_inside_does_not_matter() {
    let archive = b"PK\x03\x04\x14\0\0\0\0\0payload.classPK\x05\x06\0\0\0\0";
    for format in [Png, Jpeg, WebP, Gif] {
        shows(&[&honest(format, 8, 8), &archive[..]].concat(), 8, 8);
        shows(&[&honest(format, 8, 8), &b"<script>alert(1)</script>"[..]].concat(), 8, 8);
    }
    let page = (b"tEXt", b"Comment\0<script>alert(1)</script>".to_vec());
    shows(&png(&[ihdr(8, 8, GREY), page, idat(8, 8), iend()]), 8, 8);
}

#[test]
fn other_formats_are_refused_whatever_they_are_called() {
    let others: [&[u8]; 16] = [
        b"",
        b"\x89",
        b"<svg xmlns=\"http://www.w3.org/2000/svg\"><image href=\"file:///etc/passwd\"/></svg>",
        b"<?xml version=\"1.0\"?><!DOCTYPE svg [<!ENTITY a SYSTEM \"file:///etc/passwd\">]><svg>&a;</svg>",
        b"\0\0\0\x20ftypavif\0\0\0\0avifmif1miafMA1B",
        b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
        b"II*\0\x08\0\0\0\x01\0\0\x01\x03\0\x01\0\0\0\x08\0\0\0",
        b"MM\0*\0\0\0\x08\0\x01\x01\0\0\x03\0\0\0\x01\0\x08\0\0",
        b"BM\x46\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0\x08\0\0\0\x08\0\0\0\x01\0\x18\0",
        b"\0\0\x01\0\x01\0\x08\x08\0\0\x01\0\x18\0\0\0\0\0\x16\0\0\0",
        b"\xff\x0a\xfa\x1f\x01\x90\x03\x00JPEG XL",
        b"8BPS\0\x01\0\0\0\0\0\0\0\x03\0\0\0\x08\0\0\0\x08\0\x08\0\x03",
        b"%PDF-1.7 1 0 obj << /Type /Catalog >>",
        b"PK\x03\x04\x14\0\0\0\0\0 image.png inside of an archive",
        b"%!PS-Adobe-3.0 EPSF-3.0 (a shell in disguise)",
        b"push graphic-context viewbox 0 0 8 8 image over 0,0 0,0 'https://127.0.0.1/'",
    ];
    for bytes in others {
        no_picture(bytes);
    }
    // The beginning of one and the rest of another.
    let of = |format| honest(format, 8, 8);
    assert!(decode(&[&of(Png)[..8], &of(Jpeg)].concat()).is_err());
    assert!(decode(&[&of(Jpeg)[..3], &of(Png)].concat()).is_err());
    assert!(decode(&[&of(Gif)[..6], &of(WebP)].concat()).is_err());
}

#[test]
fn damaged_checksums_and_codes_are_refused() {
    let whole = png(&[ihdr(8, 8, GREY), idat(8, 8), iend()]);
    broken(&patched(whole.clone(), 29, &[0, 0, 0, 0]));
    broken(&png(&[ihdr(8, 8, GREY), (b"IDAT", b"\x78\x9cthis was never compressed".to_vec()), iend()]));
    // Twelve bits a sample, arithmetic coding, no loss: all allowed by the standard, and by nobody else.
    let jpeg = honest(Jpeg, 8, 8);
    let at = segment(&jpeg, 0xc0);
    broken(&patched(jpeg.clone(), at + 4, &[12]));
    for marker in [0xc3, 0xc9, 0xca] {
        broken(&patched(jpeg.clone(), at + 1, &[marker]));
    }
}
