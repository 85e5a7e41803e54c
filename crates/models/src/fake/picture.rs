//! Small deterministic pictures and captions.

use darkroom_jobs::ImageSize;
use image::{Rgb, RgbImage};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use crate::model::Lora;

const DISCS: usize = 4;

/// What is drawn: the prompt, and the LoRAs that are not at rest, in any order.
pub(super) fn subject(prompt: &str, loras: &[Lora]) -> String {
    let active = loras.iter().filter(|lora| lora.strength != 0.0);
    let mut words = active.map(|lora| format!("\n{}={}", lora.id, lora.strength)).collect::<Vec<_>>();
    words.sort_unstable();
    format!("{prompt}{}", words.concat())
}

/// A grey that is lighter the more steps are done.
pub(super) fn preview(step: u32, steps: u32) -> RgbImage {
    let grey = (255 * step / steps.max(1)).min(255) as u8;
    RgbImage::from_pixel(16, 16, Rgb([grey; 3]))
}

/// A gradient with discs on it. Integer arithmetic only, so the bytes are the same everywhere.
pub(super) fn draw(subject: &str, seed: u64, size: ImageSize) -> RgbImage {
    let mut random = ChaCha8Rng::seed_from_u64(fnv1a(subject.as_bytes()) ^ seed.rotate_left(32));
    let (width, height) = (size.width(), size.height());
    let mut colour = || {
        let [red, green, blue, _] = random.next_u32().to_le_bytes();
        [red, green, blue]
    };
    let (top, bottom) = (colour(), colour());
    let colours: [[u8; 3]; DISCS] = std::array::from_fn(|_| colour());
    let discs = colours.map(|colour| Disc {
        x: i64::from(random.next_u32() % width),
        y: i64::from(random.next_u32() % height),
        radius: i64::from(width.min(height) / 8 + random.next_u32() % (width.min(height) / 4 + 1)),
        colour,
    });
    RgbImage::from_fn(width, height, |x, y| {
        let (px, py) = (i64::from(x), i64::from(y));
        match discs.iter().rev().find(|disc| disc.covers(px, py)) {
            Some(disc) => Rgb(disc.colour),
            None => Rgb(std::array::from_fn(|channel| blend(top[channel], bottom[channel], (y, height)))),
        }
    })
}

/// A sentence that starts with `prompt` and depends on every pixel.
pub(super) fn caption(image: &RgbImage, prompt: &str) -> String {
    let digest = fnv1a(image.as_raw()) ^ u64::from(image.width()).rotate_left(48);
    let subject = ["a lighthouse", "a bicycle", "a bowl of pears", "a sleeping fox", "a paper boat"];
    let place = ["at night", "in the snow", "by the sea", "under a bridge", "on a wooden table"];
    // Truncation is meant: the low halves pick the words.
    let pick = |words: [&'static str; 5], bits: u64| words[(bits % 5) as usize];
    let sentence = format!("{} {} ({:08x})", pick(subject, digest), pick(place, digest >> 8), digest as u32);
    if prompt.is_empty() { sentence } else { format!("{prompt} {sentence}") }
}

struct Disc {
    x: i64,
    y: i64,
    radius: i64,
    colour: [u8; 3],
}

impl Disc {
    fn covers(&self, x: i64, y: i64) -> bool {
        let (dx, dy) = (x - self.x, y - self.y);
        dx * dx + dy * dy <= self.radius * self.radius
    }
}

/// `top` at row 0, nearly `bottom` in the last row.
fn blend(top: u8, bottom: u8, (row, rows): (u32, u32)) -> u8 {
    let (top, bottom) = (u64::from(top), u64::from(bottom));
    let (row, rows) = (u64::from(row), u64::from(rows));
    ((top * (rows - row) + bottom * row) / rows) as u8
}

/// Fowler, Noll and Vo's hash, 64 bits: the same on every machine and in every release.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
