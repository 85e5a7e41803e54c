//! Tiny models with random weights in layouts unlike the bundled ones (`tests/reference`, written and run by
//! `make_sd.py`), against what diffusers 0.42 and transformers 5 make of them in f32.

use darkroom_jobs::{ImageSize, Pipeline, Prompt, TextToImage};
use darkroom_models::{Device, LatentDiffusion, LoadOptions, Model, weights_bytes};

use crate::parity::{same, same_picture};
use crate::support::{reference, reference_folder, task, walk_from};

#[track_caller]
fn stable_diffusion_agrees(variant: &str, family: &str, calls: usize) {
    let options = LoadOptions::default();
    let model = LatentDiffusion::load(&reference_folder(variant).into(), &Device::cpu(), &options).unwrap();
    let announced =
        weights_bytes(&reference_folder(variant).into(), Pipeline::TextToImage, &Device::cpu(), &options)
            .unwrap();
    assert_eq!(model.memory_bytes(), announced);
    let recorded = reference(variant);
    let task = TextToImage {
        prompt: Prompt::new("a large red circle").unwrap(),
        negative_prompt: Some("a blue star".to_owned()),
        // 9 x 12 latents: an odd side is halved up and doubled back to itself.
        size: ImageSize::new(72, 96).unwrap(),
        steps: 5,
        guidance_scale: 3.0,
        ..task("a prompt")
    };
    let scheduler = model.scheduler(&task).unwrap();
    assert_eq!(scheduler.timesteps().len(), calls);
    let conditioning = model.condition(&task).unwrap();
    let latents =
        model.denoise(&walk_from(&recorded["noise"]), &conditioning, scheduler, &mut |_, _| Ok(())).unwrap();
    same(family, "latents, guidance, 5 steps", &latents, &recorded["latents"]);
    same_picture(family, "guidance, 5 steps", &model.decode(&latents).unwrap(), &recorded["image"]);
}

#[test]
fn a_model_laid_out_as_stable_diffusion_1_5_agrees_with_the_reference() {
    stable_diffusion_agrees("sd15", "SD 1.5", 6);
}

#[test]
fn a_model_laid_out_as_stable_diffusion_2_1_agrees_with_the_reference() {
    stable_diffusion_agrees("sd21", "SD 2.1", 5);
}
