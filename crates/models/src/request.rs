//! Checks that every model makes of a request before it starts.

use darkroom_jobs::{Loras, TextToImage};
use image::RgbImage;

use crate::error::Error;
use crate::model::Lora;

/// Most denoising steps: the length of the training schedule of every family.
const MAX_STEPS: u32 = 1000;

/// Longest side. Beyond it a decode needs more memory than any device has, and on the CPU a failed
/// allocation ends the process.
const MAX_SIDE: u32 = 4096;

/// Refuses what would fail in the middle of a run.
pub(crate) fn check_text_to_image(task: &TextToImage) -> Result<(), Error> {
    let invalid = |message: String| Err(Error::InvalidInput(message));
    if task.steps == 0 || task.steps > MAX_STEPS {
        return invalid(format!("steps must be 1 to {MAX_STEPS}, not {}", task.steps));
    }
    if !task.guidance_scale.is_finite() {
        return invalid(format!("guidance_scale must be a finite number, not {}", task.guidance_scale));
    }
    let (width, height) = (task.size.width(), task.size.height());
    if width > MAX_SIDE || height > MAX_SIDE {
        return invalid(format!("width and height must be at most {MAX_SIDE}, not {width} x {height}"));
    }
    Ok(())
}

/// Refuses more LoRAs than are allowed, and strengths that are no numbers.
pub(crate) fn check_loras(loras: &[Lora]) -> Result<(), Error> {
    if loras.len() > Loras::MAX {
        let message = format!("a request may name at most {} LoRAs, not {}", Loras::MAX, loras.len());
        return Err(Error::InvalidInput(message));
    }
    match loras.iter().find(|lora| !lora.strength.is_finite()) {
        Some(Lora { id, strength, .. }) => {
            let message = format!("the strength of LoRA \"{id}\" must be a finite number, not {strength}");
            Err(Error::InvalidInput(message))
        }
        None => Ok(()),
    }
}

/// The seed of picture `index`.
pub(crate) fn seed_of(task: &TextToImage, index: u32) -> Result<u64, Error> {
    task.seed
        .checked_add(u64::from(index))
        .ok_or_else(|| Error::InvalidInput(format!("seed {} + {index} is too large", task.seed)))
}

/// Refuses pictures without pixels.
pub(crate) fn check_caption(image: &RgbImage) -> Result<(), Error> {
    if image.width() == 0 || image.height() == 0 {
        return Err(Error::InvalidInput("the image has no pixels".to_owned()));
    }
    Ok(())
}
