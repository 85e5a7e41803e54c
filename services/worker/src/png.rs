//! Pictures as PNG, with what made them written inside.

use darkroom_jobs::{SchedulerKind, TextToImage};
use image::RgbImage;
use png::{BitDepth, ColorType, Compression, Encoder, EncodingError};

/// The keyword under which programs of the field look for generation parameters.
const KEYWORD: &str = "parameters";

/// Encodes a picture. The same pixels and text give the same bytes: there is no time stamp in it.
pub(crate) fn encode(image: &RgbImage, text: &str) -> Result<Vec<u8>, EncodingError> {
    let mut bytes = Vec::new();
    let mut encoder = Encoder::new(&mut bytes, image.width(), image.height());
    encoder.set_color(ColorType::Rgb);
    encoder.set_depth(BitDepth::Eight);
    encoder.set_compression(Compression::Balanced);
    // Plain text chunks are Latin-1; what does not fit goes into an international one.
    if text.chars().all(|char| u32::from(char) < 256) {
        encoder.add_text_chunk(KEYWORD.to_owned(), text.to_owned())?;
    } else {
        encoder.add_itxt_chunk(KEYWORD.to_owned(), text.to_owned())?;
    }
    let mut writer = encoder.write_header()?;
    writer.write_image_data(image.as_raw())?;
    writer.finish()?;
    Ok(bytes)
}

/// What made a picture, in the form AUTOMATIC1111's web UI writes and many programs read.
pub(crate) fn parameters(task: &TextToImage, seed: u64, model: &str) -> String {
    let mut text = task.prompt.as_str().to_owned();
    if !task.negative_prompt.is_empty() {
        text.push_str("\nNegative prompt: ");
        text.push_str(&task.negative_prompt);
    }
    let sampler = task.scheduler.map(|kind| format!("Sampler: {}, ", sampler(kind))).unwrap_or_default();
    let (steps, guidance, size) = (task.steps, task.guidance_scale, task.size);
    let (width, height) = (size.width(), size.height());
    text.push_str(&format!(
        "\nSteps: {steps}, {sampler}CFG scale: {guidance}, Seed: {seed}, Size: {width}x{height}, Model: {model}"
    ));
    text
}

/// The name under which the web UI knows a scheduler.
fn sampler(scheduler: SchedulerKind) -> &'static str {
    match scheduler {
        SchedulerKind::Ddim => "DDIM",
        SchedulerKind::Pndm => "PLMS",
        SchedulerKind::Euler | SchedulerKind::FlowMatchEuler => "Euler",
        SchedulerKind::EulerAncestral => "Euler a",
        SchedulerKind::Dpmpp2m => "DPM++ 2M",
        SchedulerKind::Dpmpp2mKarras => "DPM++ 2M Karras",
        SchedulerKind::Lcm => "LCM",
        SchedulerKind::Unipc => "UniPC",
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use darkroom_jobs::{ImageSize, Loras, PictureOutput, Prompt};
    use image::Rgb;

    use super::*;

    fn task(prompt: &str) -> TextToImage {
        TextToImage {
            prompt: Prompt::new(prompt).unwrap(),
            negative_prompt: "blurry".to_owned(),
            size: ImageSize::new(64, 32).unwrap(),
            steps: 20,
            guidance_scale: 7.5,
            seed: 7,
            images: 2,
            scheduler: Some(SchedulerKind::Euler),
            loras: Loras::default(),
            safety_check: false,
            output: PictureOutput::default(),
        }
    }

    fn read(bytes: &[u8]) -> (RgbImage, Vec<String>) {
        let decoder = png::Decoder::new(Cursor::new(bytes)).read_info().unwrap();
        let info = decoder.info();
        let plain = info.uncompressed_latin1_text.iter().map(|chunk| chunk.text.clone());
        let wide = info.utf8_text.iter().map(|chunk| chunk.get_text().unwrap());
        let text = plain.chain(wide).collect();
        (image::load_from_memory(bytes).unwrap().into_rgb8(), text)
    }

    #[test]
    fn parameters_name_all_that_made_the_picture() {
        assert_eq!(
            parameters(&task("a red circle"), 8, "a/b"),
            "a red circle\nNegative prompt: blurry\n\
             Steps: 20, Sampler: Euler, CFG scale: 7.5, Seed: 8, Size: 64x32, Model: a/b"
        );
        let plain = TextToImage { negative_prompt: String::new(), scheduler: None, ..task("x") };
        assert_eq!(
            parameters(&plain, 7, "a/b"),
            "x\nSteps: 20, CFG scale: 7.5, Seed: 7, Size: 64x32, Model: a/b"
        );
    }

    #[test]
    fn pixels_and_text_are_read_back() {
        let image = RgbImage::from_fn(64, 32, |x, y| Rgb([x as u8, y as u8, 200]));
        for text in ["Käse, 5 € off".replace('€', "£"), "猫".to_owned()] {
            let (pixels, found) = read(&encode(&image, &text).unwrap());
            assert_eq!(pixels, image);
            assert_eq!(found, [text]);
        }
    }

    #[test]
    fn same_picture_is_the_same_bytes() {
        let image = RgbImage::from_pixel(8, 8, Rgb([1, 2, 3]));
        assert_eq!(encode(&image, "x").unwrap(), encode(&image, "x").unwrap());
    }
}
