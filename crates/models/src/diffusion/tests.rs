use std::num::NonZeroU32;
use std::path::Path;

use candle_core::Tensor;
use darkroom_jobs::{ImageSize, Loras, PictureOutput, Prompt, SchedulerKind, TextToImage};

use super::{Conditioning, LatentDiffusion, Noise};
use crate::device::Device;
use crate::error::Error;
use crate::load::LoadOptions;
use crate::lora::Component;

fn load(name: &str, options: &LoadOptions) -> LatentDiffusion {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference").join(name);
    LatentDiffusion::load(&folder.into(), &Device::cpu(), options).unwrap()
}

fn task(prompt: &str) -> TextToImage {
    TextToImage {
        prompt: Prompt::new(prompt).unwrap(),
        negative_prompt: Some("a blue star".to_owned()),
        size: ImageSize::new(32, 24).unwrap(),
        steps: 12,
        guidance_scale: 3.0,
        seed: 7,
        images: 1,
        scheduler: Some(SchedulerKind::Ddim),
        loras: Loras::default(),
        safety_check: false,
        output: PictureOutput::default(),
    }
}

fn values(conditioning: &Conditioning) -> [Vec<f32>; 2] {
    [Some(conditioning.states()), conditioning.pooled()]
        .map(|tensor| tensor.unwrap().flatten_all().unwrap().to_vec1().unwrap())
}

#[test]
fn prompts_that_were_encoded_before_need_no_text_encoder() {
    let mut model = load("sdxl", &LoadOptions::default());
    let (first, second) = (task("a large red circle"), task("a small green heart"));
    let encoded = [&first, &second].map(|task| values(&model.condition(task).unwrap()));
    model.text_encoders.models.clips.clear();
    let remembered = [&first, &second].map(|task| values(&model.condition(task).unwrap()));
    assert!(remembered == encoded && encoded[0] != encoded[1]);
    // Its negative prompt is known, and it is not.
    assert!(model.condition(&task("a ring")).is_err());
    let avoided = TextToImage { negative_prompt: Some("a ring".to_owned()), ..first.clone() };
    assert!(model.condition(&avoided).is_err());
    // Without guidance that is not read.
    model.condition(&TextToImage { guidance_scale: 1.0, ..avoided }).unwrap();
}

/// The step after which the latents are not finite, when the middle of the U-Net is broken after step `after`.
fn breaks_at(interval: u32, after: usize) -> String {
    let options = LoadOptions { deep_cache: NonZeroU32::new(interval), ..LoadOptions::default() };
    let model = load("sd15", &options);
    let weight = model.loras.parameter(Component::Denoiser, "mid_block.resnets.0.conv1").unwrap();
    let task = task("a large red circle");
    let start = model.noise(task.seed, task.size).unwrap();
    let noise = Noise { start: &start, of_step: &|step| panic!("step {step} asked for noise") };
    let mut on_step = |step: usize, _: &Tensor| {
        if step == after {
            weight.set(Tensor::full(f32::NAN, weight.shape(), model.device.candle())?);
        }
        Ok(())
    };
    let (conditioning, scheduler) = (model.condition(&task).unwrap(), model.scheduler(&task).unwrap());
    match model.denoise(&noise, &conditioning, scheduler, &mut on_step) {
        Err(Error::NotFinite(message)) => message,
        other => panic!("{other:?}"),
    }
}

#[test]
fn deep_layers_run_at_the_first_step_of_each_interval() {
    for (interval, after, step) in
        [(1, 1, 2), (2, 1, 3), (3, 1, 4), (3, 4, 7), (3, 6, 7), (5, 1, 6), (5, 6, 11)]
    {
        let expected = format!("the latents are not finite after step {step}");
        assert_eq!(breaks_at(interval, after), expected, "every {interval}, after {after}");
    }
}
