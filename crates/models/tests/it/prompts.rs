//! Which prompts are encoded, and how often.

use candle_core::Tensor;
use darkroom_jobs::TextToImage;
use darkroom_models::{Device, Error, LatentDiffusion, LoadOptions, Lora};

use crate::support::{largest_difference, reference_folder, task};

fn load(folder: &str) -> LatentDiffusion {
    LatentDiffusion::load(&reference_folder(folder).into(), &Device::cpu(), &LoadOptions::default()).unwrap()
}

#[test]
fn guidance_of_at_most_one_is_none() {
    for folder in ["sd15", "sd21", "sdxl", "sd3", "sd35"] {
        let model = load(folder);
        // More parts than any model has text encoders for, so that nobody can have read it.
        let negative_prompt = Some("a | b | c | d".to_owned());
        let task = TextToImage { negative_prompt, ..task("a large red circle") };
        let input = model.noise(7, task.size).unwrap();
        for guidance_scale in [1.0, 0.5, 0.0] {
            let task = TextToImage { guidance_scale, ..task.clone() };
            let conditioning = model.condition(&task).unwrap();
            let pooled = conditioning.pooled().map(|pooled| pooled.dims()[0]);
            assert_eq!((conditioning.states().dims()[0], pooled.unwrap_or(1)), (1, 1), "{folder}");
            // The latents of a second picture would find no text.
            assert_eq!(model.predict(&input, 500.0, &conditioning).unwrap().dims(), input.dims());
        }
        let error = model.condition(&TextToImage { guidance_scale: 1.01, ..task }).unwrap_err();
        assert!(matches!(error, Error::InvalidInput(_)), "{folder}: {error}");
    }
}

/// The tensor that stands for a prompt, which is the same one while it is remembered.
fn states(model: &LatentDiffusion, prompt: &str) -> Tensor {
    model.condition(&task(prompt)).unwrap().states().clone()
}

#[test]
fn a_prompt_is_encoded_once() {
    for folder in ["sd15", "sdxl", "sd3", "flux-schnell"] {
        let model = load(folder);
        let first = states(&model, "a large red circle");
        assert_ne!(states(&model, "a blue star").id(), first.id());
        assert_eq!(states(&model, "a large red circle").id(), first.id());
        assert!(largest_difference(&first, &states(&load(folder), "a large red circle")) == 0.0);
    }
}

#[test]
fn a_lora_that_changes_the_text_encoder_has_prompts_of_its_own() {
    let all = candle_core::safetensors::load(
        reference_folder("lora").join("kohya.safetensors"),
        &candle_core::Device::Cpu,
    );
    let mut all = all.unwrap();
    all.retain(|key, _| key.starts_with("lora_te_"));
    assert!(!all.is_empty());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lora.safetensors");
    candle_core::safetensors::save(&all, &path).unwrap();
    let lora = |strength| [Lora { id: "text".to_owned(), path: path.clone(), strength }];
    let with = |model: &mut LatentDiffusion, strength: f64| {
        model.with_loras(&lora(strength), |model| Ok(states(model, "a large red circle"))).unwrap()
    };

    let mut model = load("sd15");
    let base = states(&model, "a large red circle");
    let (changed, more) = (with(&mut model, 0.5), with(&mut model, 1.0));
    assert!(largest_difference(&changed, &base) > 1e-3);
    assert!(largest_difference(&changed, &more) > 1e-3);
    assert!(largest_difference(&changed, &with(&mut load("sd15"), 0.5)) == 0.0);
    assert_eq!(with(&mut model, 0.5).id(), changed.id());
    assert_eq!(states(&model, "a large red circle").id(), base.id());
}
