//! Changed weights and pictures against what diffusers 0.42 and PEFT 0.21 make of the same files.

use std::collections::HashMap;

use candle_core::Tensor;
use darkroom_jobs::{ImageSize, Prompt, TextToImage};
use darkroom_models::{LatentDiffusion, LoadOptions, Lora};

use super::{load, lora};
use crate::parity::{report, same, same_picture};
use crate::support::{largest_difference, reference, reference_file, task, walk_from};

/// Every so many values of a changed weight are recorded (`EVERY` of `common.py`).
const EVERY: usize = 31;

/// A recorded case.
struct Case {
    /// In the names of its recorded tensors.
    name: &'static str,
    title: &'static str,
    folder: &'static str,
    steps: u32,
    guidance_scale: f64,
    loras: Vec<Lora>,
}

fn cases() -> Vec<Case> {
    let case = |(folder, steps, guidance_scale), name, title, loras| Case {
        name,
        title,
        folder,
        steps,
        guidance_scale,
        loras,
    };
    let (sd15, sdxl) = (("sd15", 5, 3.0), ("sdxl", 5, 3.0));
    let (sd3, sd35) = (("sd3", 3, 3.0), ("sd35", 3, 3.0));
    let (dev, schnell) = (("flux-dev", 3, 3.5), ("flux-schnell", 3, 0.0));
    let two = |one, strength, other, other_strength| vec![lora(one, strength), lora(other, other_strength)];
    vec![
        case(sd15, "peft", "SD 1.5, diffusers", vec![lora("peft", 0.8)]),
        case(sd15, "kohya", "SD 1.5, kohya", vec![lora("kohya", 1.3)]),
        case(sd15, "both", "SD 1.5, diffusers and kohya", two("peft", 0.7, "kohya", -0.6)),
        case(sdxl, "xl", "SDXL, kohya", vec![lora("kohya-xl", 0.9)]),
        case(sd3, "sd3-peft", "SD 3, diffusers", vec![lora("sd3-peft", 0.9)]),
        case(sd35, "sd35-both", "SD 3.5, diffusers and kohya", two("sd35-peft", 0.7, "sd35-kohya", -0.6)),
        case(dev, "flux-dev-peft", "FLUX.1 dev, diffusers", vec![lora("flux-peft", 0.8)]),
        case(dev, "flux-dev-kohya", "FLUX.1 dev, kohya", vec![lora("flux-kohya", 1.2)]),
        case(
            schnell,
            "flux-schnell-both",
            "FLUX.1 schnell, diffusers and XLabs",
            two("flux-peft", 0.6, "flux-xlabs", -0.7),
        ),
    ]
}

/// Of all cases.
fn recorded() -> HashMap<String, Tensor> {
    let mut all = reference("lora");
    all.extend(reference_file("lora/transformers.safetensors"));
    all
}

#[test]
fn changed_weights_agree_with_the_reference() {
    let recorded = recorded();
    let mut weights = 0;
    for Case { name, title, folder, loras, .. } in cases() {
        let prefix = format!("{name}.");
        let agree = |model: &LatentDiffusion| {
            let mut largest = 0f32;
            for (key, expected) in &recorded {
                let Some((component, layer)) = key.strip_prefix(&prefix).and_then(|key| key.split_once('.'))
                else {
                    continue;
                };
                let found = model.weight(component, layer).unwrap().flatten_all()?.to_vec1::<f32>()?;
                let found = found.into_iter().step_by(EVERY).collect::<Vec<_>>();
                let found = Tensor::new(found, expected.device())?;
                let scale = expected.abs()?.max_all()?.to_scalar::<f32>()?;
                let difference = largest_difference(&found, expected) / scale;
                assert!(difference <= 1e-5, "{key}: {difference:e}");
                largest = largest.max(difference);
                weights += 1;
            }
            report("LoRA", &format!("{title}: changed weights, relative"), &format!("{largest:.1e}"));
            Ok(())
        };
        load(folder, &LoadOptions::default()).with_loras(&loras, agree).unwrap();
    }
    // The others are latents and picture of each case.
    assert_eq!(weights, recorded.len() - 2 * cases().len());
}

/// The first rows and columns of a model's recorded noise.
fn noise(folder: &str, height: usize, width: usize) -> Tensor {
    let all = reference(folder);
    let noise = all.get("noise").unwrap_or_else(|| &all["size.0.noise"]);
    noise.narrow(2, 0, height).unwrap().narrow(3, 0, width).unwrap().contiguous().unwrap()
}

#[test]
fn pictures_with_loras_agree_with_the_reference() {
    let recorded = recorded();
    for Case { name, title, folder, steps, guidance_scale, loras } in cases() {
        let (latents, image) = (&recorded[&format!("{name}.latents")], &recorded[&format!("{name}.image")]);
        let (_, _, height, width) = latents.dims4().unwrap();
        let task = TextToImage {
            prompt: Prompt::new("a large red circle").unwrap(),
            negative_prompt: Some("a blue star".to_owned()),
            size: ImageSize::new(8 * width as u32, 8 * height as u32).unwrap(),
            steps,
            guidance_scale,
            ..task("a prompt")
        };
        let noise = noise(folder, height, width);
        let denoise = |model: &LatentDiffusion| {
            let conditioning = model.condition(&task)?;
            let scheduler = model.scheduler(&task)?;
            model.denoise(&walk_from(&noise), &conditioning, scheduler, &mut |_, _| Ok(()))
        };
        let mut model = load(folder, &LoadOptions::default());
        let found = model.with_loras(&loras, denoise).unwrap();
        same("LoRA", &format!("{title}: latents, {steps} steps"), &found, latents);
        same_picture("LoRA", &format!("{title}: {steps} steps"), &model.decode(&found).unwrap(), image);
        // Not the base model's, with prompts encoded for the base model.
        assert!(largest_difference(&model.with_loras(&[], denoise).unwrap(), latents) > 0.1);
        assert_eq!(largest_difference(&model.with_loras(&loras, denoise).unwrap(), &found), 0.0);
    }
}
