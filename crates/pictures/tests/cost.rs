//! What the worst pictures cost. The only test of its process, whose memory it measures.
#![expect(clippy::unwrap_used, reason = "tests")]

#[path = "it/craft.rs"]
#[expect(dead_code, reason = "the other tests use the rest")]
mod craft;

use std::fs;
use std::time::{Duration, Instant};

use craft::{
    Color, GREY, anim, anmf, file, honest, idat, idle_scans, iend, ihdr, png, resized, vp8l, vp8x, webp,
    zeros,
};
use darkroom_pictures::decode;
use image::ImageFormat;

const RGBA_OF_16_BITS: Color = [16, 6];
const MB: u64 = 1_000_000;
/// Far more than any of them takes alone, since a busy machine is no fault.
const BOUND: Duration = Duration::from_secs(60);

/// The most memory this process has held since it was last asked, in bytes (Linux, proc(5)).
fn peak_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    fs::write("/proc/self/clear_refs", "5").unwrap();
    line.trim().trim_end_matches("kB").trim().parse::<u64>().unwrap() * 1024
}

#[test]
fn no_picture_takes_more_time_or_memory_than_is_said() {
    let side = 8_000;
    let rgba16 = (b"IDAT", zeros((side * 8 + 1) * side));
    let progressive = resized(file("progressive.jpg"), 0xc2, 8_000, 8_000);
    let frame = anmf(8_000, 8_000, &[vp8l(8_000, 8_000)]);
    let animated = webp(&[vp8x(0x12, 8_000, 8_000), anim(), frame]);
    let texts: Vec<_> = (0..500_000).map(|_| (b"tEXt", b"a\0b".to_vec())).collect();
    let jpeg = honest(ImageFormat::Jpeg, 8, 8);
    let cases = [
        ("PNG of 64 megapixels of 16 bits", png(&[ihdr(8_000, 8_000, RGBA_OF_16_BITS), rgba16, iend()]), 460),
        ("progressive JPEG of 64 megapixels", progressive, 650),
        ("JPEG of 64 megapixels in a hundred scans", idle_scans(8_000, 95), 500),
        ("animated WebP of 64 megapixels", animated, 780),
        ("lossless WebP of 64 megapixels", honest(ImageFormat::WebP, 8_000, 8_000), 480),
        (
            "PNG with half a million texts",
            png(&[&[ihdr(8, 8, GREY)], &texts[..], &[idat(8, 8), iend()]].concat()),
            20,
        ),
        ("JPEG with four million segments", with_segments(&jpeg, 4_000_000), 60),
    ];
    for (name, bytes, most_mb) in cases {
        peak_bytes();
        let before = peak_bytes();
        let began = Instant::now();
        let outcome = decode(&bytes).map(|picture| picture.dimensions());
        let (took, peak) = (began.elapsed(), peak_bytes() - before);
        println!("{name}: {took:?}, {} MB for {} bytes, {outcome:?}", peak / MB, bytes.len());
        assert!(peak < most_mb * MB, "{name}: {} MB", peak / MB);
        assert!(took < BOUND, "{name}: {took:?}");
    }
}

fn with_segments(jpeg: &[u8], count: usize) -> Vec<u8> {
    let empty = [0xff, 0xe5, 0, 2];
    [&jpeg[..2], &empty.repeat(count), &jpeg[2..]].concat()
}
