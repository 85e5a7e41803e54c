//! What made a picture, as text.

use darkroom_jobs::{SchedulerKind, TextToImage};

/// In the form AUTOMATIC1111's web UI writes and many programs read: the prompt with its LoRAs as
/// `<lora:id:strength>`, the negative prompt, the settings.
pub(crate) fn parameters(task: &TextToImage, seed: u64, model: &str) -> String {
    let mut text = task.prompt.as_str().to_owned();
    for (id, strength) in task.loras.iter() {
        text.push_str(&format!(" <lora:{id}:{strength}>"));
    }
    if let Some(negative_prompt) = task.negative_prompt.as_deref().filter(|prompt| !prompt.is_empty()) {
        text.push_str("\nNegative prompt: ");
        text.push_str(negative_prompt);
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
    use darkroom_jobs::{ImageSize, Loras, PictureOutput, Prompt};

    use super::*;

    fn task() -> TextToImage {
        TextToImage {
            prompt: Prompt::new("a red circle").unwrap(),
            negative_prompt: None,
            size: ImageSize::new(64, 32).unwrap(),
            steps: 20,
            guidance_scale: 7.5,
            seed: 7,
            images: 2,
            scheduler: None,
            loras: Loras::default(),
            safety_check: false,
            output: PictureOutput::default(),
        }
    }

    #[test]
    fn parameters_name_all_that_made_the_picture() {
        let loras = [("nerijs/pixel-art-xl".to_owned(), 0.8), ("a/b".to_owned(), -1.0)].into();
        let full = TextToImage {
            negative_prompt: Some("blurry".to_owned()),
            scheduler: Some(SchedulerKind::Euler),
            loras: Loras::new(loras).unwrap(),
            ..task()
        };
        assert_eq!(
            parameters(&full, 8, "a/b"),
            "a red circle <lora:a/b:-1> <lora:nerijs/pixel-art-xl:0.8>\nNegative prompt: blurry\n\
             Steps: 20, Sampler: Euler, CFG scale: 7.5, Seed: 8, Size: 64x32, Model: a/b"
        );
        assert_eq!(
            parameters(&task(), 7, "a/b"),
            "a red circle\nSteps: 20, CFG scale: 7.5, Seed: 7, Size: 64x32, Model: a/b"
        );
    }
}
