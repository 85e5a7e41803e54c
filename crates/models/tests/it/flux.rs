//! FLUX.1 against `tests/reference/flux-schnell` and `flux-dev`: tiny models with random weights, written and run
//! by diffusers 0.42 and transformers 5 (`make_flux.py`) in f32.

use darkroom_jobs::{ImageSize, Pipeline, Prompt, TextToImage};
use darkroom_models::{Device, Error, LatentDiffusion, LoadOptions, Model, Request, weights_bytes};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::parity::{same, same_picture};
use crate::support::{
    copy_folder, edit_json, edit_weights, largest_difference, reference, reference_folder, run, task,
    walk_from,
};

/// What it is called, its folder, and the guidance scale of its recordings.
const VARIANTS: [(&str, &str, f64); 2] =
    [("FLUX.1 schnell", "flux-schnell", 0.0), ("FLUX.1 dev", "flux-dev", 3.5)];

/// One prompt for both encoders, and one for each.
const PROMPTS: [&str; 2] = ["a large red circle", "a small cyan star | a blue heart on a white background"];

/// Of the pictures of [`PROMPTS`].
const SIZES: [(u32, u32); 2] = [(64, 64), (48, 96)];

const CONFIG: &str = "transformer/config.json";
const WEIGHTS: &str = "transformer/diffusion_pytorch_model.safetensors";

fn model(name: &str) -> LatentDiffusion {
    LatentDiffusion::load(&reference_folder(name).into(), &Device::cpu(), &LoadOptions::default()).unwrap()
}

/// The request of a recording.
fn request(index: usize, steps: u32, guidance_scale: f64) -> TextToImage {
    let (width, height) = SIZES[index];
    let size = ImageSize::new(width, height).unwrap();
    TextToImage { size, steps, guidance_scale, ..task(PROMPTS[index]) }
}

#[test]
fn prompts_are_encoded_as_by_the_reference() {
    for (title, name, guidance) in VARIANTS {
        let (model, recorded) = (model(name), reference(name));
        for index in 0..PROMPTS.len() {
            let conditioning = model.condition(&request(index, 4, guidance)).unwrap();
            let (text, pooled) =
                (&recorded[&format!("prompt.{index}.text")], &recorded[&format!("prompt.{index}.pooled")]);
            same(title, &format!("states of T5, prompt {index}"), conditioning.states(), text);
            same(title, &format!("pooled text, prompt {index}"), conditioning.pooled().unwrap(), pooled);
        }
    }
}

#[test]
fn pictures_agree_with_the_reference() {
    for (title, name, guidance) in VARIANTS {
        let (model, recorded) = (model(name), reference(name));
        for (index, (width, height)) in SIZES.into_iter().enumerate() {
            for steps in [1, 4, 28] {
                let task = request(index, steps, guidance);
                let noise = walk_from(&recorded[&format!("size.{index}.noise")]);
                let (conditioning, scheduler) =
                    (model.condition(&task).unwrap(), model.scheduler(&task).unwrap());
                let latents = model.denoise(&noise, &conditioning, scheduler, &mut |_, _| Ok(())).unwrap();
                let key = format!("size.{index}.steps.{steps}");
                let what = format!("{width} x {height}, {steps} steps");
                same(title, &format!("latents, {what}"), &latents, &recorded[&format!("{key}.latents")]);
                if steps > 1 {
                    let image = model.decode(&latents).unwrap();
                    same_picture(title, &what, &image, &recorded[&format!("{key}.image")]);
                }
            }
        }
    }
}

#[test]
fn guidance_and_negative_prompt_are_read_by_nobody_but_the_guided_transformer() {
    for (_, name, guidance) in VARIANTS {
        let model = model(name);
        let predict = |negative_prompt: &str, guidance_scale: f64| {
            let task = TextToImage {
                negative_prompt: Some(negative_prompt.to_owned()),
                ..request(0, 4, guidance_scale)
            };
            let conditioning = model.condition(&task).unwrap();
            assert_eq!(conditioning.states().dims(), [1, 512, 32]);
            model.predict(&model.noise(7, task.size).unwrap(), 500.0, &conditioning).unwrap()
        };
        let (plain, avoiding, guided) = (predict("", 1.0), predict("a blue star", 1.0), predict("", 5.0));
        assert_eq!(largest_difference(&plain, &avoiding), 0.0, "{name}");
        assert_eq!(largest_difference(&plain, &guided) > 1e-3, guidance > 0.0, "{name}");
    }
}

#[test]
fn a_model_draws_what_it_is_asked_for_in_the_memory_it_announced() {
    for (_, name, guidance_scale) in VARIANTS {
        let (mut model, folder) = (model(name), reference_folder(name).into());
        let options = LoadOptions::default();
        let announced = weights_bytes(&folder, Pipeline::TextToImage, &Device::cpu(), &options).unwrap();
        assert_eq!(model.memory_bytes(), announced);
        let draw = |model: &mut LatentDiffusion, seed: u64, images: u32| {
            let task = TextToImage { seed, images, ..request(1, 2, guidance_scale) };
            let told = run(model, &Request::TextToImage { task, done: vec![], loras: vec![] });
            told.result.as_ref().unwrap();
            told.pictures().into_iter().map(|(_, _, image)| image.clone()).collect::<Vec<_>>()
        };
        let both = draw(&mut model, 7, 2);
        assert_eq!(both[0].dimensions(), (48, 96));
        assert_eq!(both, [draw(&mut model, 7, 1), draw(&mut model, 8, 1)].concat());
    }
}

#[test]
fn sizes_and_prompts_that_do_not_fit_are_refused() {
    let mut model = model("flux-schnell");
    let mut refusal = |task: TextToImage| {
        let error =
            run(&mut model, &Request::TextToImage { task, done: vec![], loras: vec![] }).result.unwrap_err();
        assert!(matches!(error, Error::InvalidInput(_)), "{error}");
        error.to_string()
    };
    let size = ImageSize::new(72, 64).unwrap();
    assert_eq!(
        refusal(TextToImage { size, ..request(0, 4, 0.0) }),
        "width and height must be multiples of 16 for this model, not 72 x 64"
    );
    let prompt = Prompt::new("a | b | c").unwrap();
    let message = refusal(TextToImage { prompt, ..request(0, 4, 0.0) });
    assert!(message.contains("3 parts"), "{message}");
}

/// A copy of `flux-dev` that a test may damage.
fn copy() -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    copy_folder(&reference_folder("flux-dev"), copy.path());
    copy
}

fn refusal(copy: &TempDir) -> Error {
    let folder = copy.path().into();
    match LatentDiffusion::load(&folder, &Device::cpu(), &LoadOptions::default()) {
        Ok(_) => panic!("the folder loads"),
        Err(error) => error,
    }
}

#[test]
fn contradictory_configurations_are_refused_by_name() {
    let edits: [(&str, Value, &str); 8] = [
        ("num_attention_heads", json!(0), "their product must be 1 to"),
        ("num_attention_heads", json!(u64::MAX), "their product must be 1 to"),
        ("in_channels", json!(66), "in_channels is 66, and must be a multiple of 4"),
        ("axes_dims_rope", json!([4, 6]), "axes_dims_rope must be three even numbers"),
        ("axes_dims_rope", json!([4, 5, 7]), "add up to attention_head_dim, 16"),
        ("axes_dims_rope", json!([2, u64::MAX, 6]), "add up to attention_head_dim, 16"),
        ("joint_attention_dim", json!(48), "joint_attention_dim is 48, and the d_model of the T5 is 32"),
        ("pooled_projection_dim", json!(16), "Some(16) there, and that of the text encoders is Some(24)"),
    ];
    for (field, value, expected) in edits {
        let copy = copy();
        edit_json(&copy.path().join(CONFIG), |config| config[field] = value);
        let error = refusal(&copy);
        assert!(matches!(error, Error::InvalidConfig { .. }), "{error}");
        let message = error.to_string();
        assert!(message.contains(CONFIG) && message.contains(expected), "{message}");
    }
}

#[test]
fn variants_that_are_not_implemented_are_refused() {
    for (field, value) in [("patch_size", 2), ("out_channels", 128), ("in_channels", 128)] {
        let copy = copy();
        edit_json(&copy.path().join(CONFIG), |config| config[field] = value.into());
        assert!(matches!(refusal(&copy), Error::Unsupported(_)), "{field}");
    }
    let copy = copy();
    edit_json(&copy.path().join("model_index.json"), |index| index["text_encoder_2"] = json!([null, null]));
    assert!(refusal(&copy).to_string().ends_with("there is no text_encoder_2"));
}

#[test]
fn tensors_that_do_not_fit_are_named() {
    let deeper = copy();
    edit_json(&deeper.path().join(CONFIG), |config| config["num_layers"] = 3.into());
    let message = refusal(&deeper).to_string();
    assert!(
        message.ends_with(
            "(tensor transformer_blocks.2.norm1_context.linear.bias): expected shape [192], found no such tensor"
        ),
        "{message}"
    );
    let misshapen = copy();
    edit_weights(&misshapen.path().join(WEIGHTS), |tensors| {
        let name = "single_transformer_blocks.1.proj_out.weight";
        let wrong = tensors[name].narrow(1, 0, 128).unwrap().contiguous().unwrap();
        tensors.insert(name.to_owned(), wrong);
    });
    let message = refusal(&misshapen).to_string();
    assert!(
        message.ends_with(
            "(tensor single_transformer_blocks.1.proj_out.weight): expected shape [32, 160], found shape \
             [32, 128]"
        ),
        "{message}"
    );
}
