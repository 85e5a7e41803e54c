//! Stable Diffusion XL against `tests/reference/sdxl`: a tiny model with random weights, written and run by
//! diffusers 0.42 (`make_sdxl.py`) in f32.

use darkroom_jobs::{ImageSize, Prompt, TextToImage};
use darkroom_models::{Device, Error, LatentDiffusion, LoadOptions, ModelFolder};
use serde_json::json;

use crate::parity::{same, same_picture};
use crate::support::{copy_of, edit_weights, reference, reference_folder, task, walk_from};

const PROMPT: &str = "a large red circle";
const TWO_PROMPTS: &str = "a large red circle | a small green heart on a white background";

fn sdxl() -> LatentDiffusion {
    load(&reference_folder("sdxl").into())
}

fn load(folder: &ModelFolder) -> LatentDiffusion {
    LatentDiffusion::load(folder, &Device::cpu(), &LoadOptions::default()).unwrap()
}

fn request(prompt: &str, negative_prompt: Option<&str>, guidance_scale: f64) -> TextToImage {
    TextToImage {
        prompt: Prompt::new(prompt).unwrap(),
        negative_prompt: negative_prompt.map(str::to_owned),
        size: ImageSize::new(72, 96).unwrap(),
        guidance_scale,
        ..task(prompt)
    }
}

#[test]
fn prompts_are_encoded_as_by_the_reference() {
    let (model, recorded) = (sdxl(), reference("sdxl"));
    // Each recording holds the negative prompt first.
    let cases =
        [("two", TWO_PROMPTS, Some("a blue star")), ("one", PROMPT, None), ("empty", PROMPT, Some(""))];
    for (name, prompt, negative_prompt) in cases {
        let conditioning = model.condition(&request(prompt, negative_prompt, 5.0)).unwrap();
        let (states, pooled) = (&recorded[&format!("{name}.states")], &recorded[&format!("{name}.pooled")]);
        same("SDXL", &format!("text encoders, {name}"), conditioning.states(), states);
        same("SDXL", &format!("pooled text, {name}"), conditioning.pooled().unwrap(), pooled);
    }
}

#[test]
fn denoiser_agrees_with_the_reference_at_each_timestep() {
    let (model, recorded) = (sdxl(), reference("sdxl"));
    let conditioning = model.condition(&request(TWO_PROMPTS, Some("a blue star"), 2.0)).unwrap();
    for timestep in [999, 21] {
        let both = &recorded[&format!("unet.{timestep}")];
        let (avoided, shown) = (both.narrow(0, 0, 1).unwrap(), both.narrow(0, 1, 1).unwrap());
        let expected = ((shown * 2.0).unwrap() - avoided).unwrap();
        let found = model.predict(&recorded["noise"], timestep as f32, &conditioning).unwrap();
        same("SDXL", &format!("U-Net at timestep {timestep}"), &found, &expected);
    }
}

#[track_caller]
fn agrees(model: &LatentDiffusion, what: &str, name: &str, task: &TextToImage) {
    let recorded = reference("sdxl");
    let scheduler = model.scheduler(task).unwrap();
    let conditioning = model.condition(task).unwrap();
    let latents =
        model.denoise(&walk_from(&recorded["noise"]), &conditioning, scheduler, &mut |_, _| Ok(())).unwrap();
    let image = model.decode(&latents).unwrap();
    same_picture("SDXL", what, &image, &recorded[&format!("{name}.image")]);
}

#[test]
fn pictures_agree_with_the_reference() {
    let model = sdxl();
    agrees(
        &model,
        "two prompts, guidance, 5 steps",
        "base",
        &TextToImage { steps: 5, ..request(TWO_PROMPTS, Some("a blue star"), 5.0) },
    );
    agrees(
        &model,
        "no negative prompt, 4 steps",
        "zeros",
        &TextToImage { steps: 4, ..request(PROMPT, None, 3.0) },
    );
}

/// As SDXL-Lightning is published: weights for the U-Net of another model, and another spacing of timesteps.
#[test]
fn few_step_weights_for_the_denoiser_agree_with_the_reference() {
    let folder = reference_folder("sdxl");
    let model = load(&ModelFolder {
        components: [("unet".to_owned(), folder.join("lightning_unet.safetensors"))].into(),
        scheduler: [("timestep_spacing".to_owned(), json!("trailing"))].into_iter().collect(),
        ..folder.into()
    });
    agrees(
        &model,
        "few-step U-Net, trailing, 4 steps",
        "lightning",
        &TextToImage { steps: 4, ..request(PROMPT, None, 0.0) },
    );
}

#[test]
fn an_encoder_that_projects_needs_its_projection() {
    let copy = copy_of(&reference_folder("sdxl"));
    edit_weights(&copy.path().join("text_encoder_2/model.safetensors"), |tensors| {
        tensors.remove("text_projection.weight").unwrap();
    });
    let folder = copy.path().to_owned().into();
    let error = LatentDiffusion::load(&folder, &Device::cpu(), &LoadOptions::default()).err().unwrap();
    assert!(error.to_string().contains("(tensor text_projection.weight)"), "{error}");
}

#[test]
fn a_prompt_with_more_parts_than_encoders_is_refused() {
    let error = sdxl().condition(&request("a | b | c", None, 1.0)).unwrap_err();
    assert!(matches!(&error, Error::InvalidInput(message) if message.contains("3 parts")), "{error}");
}
