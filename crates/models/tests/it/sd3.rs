//! Stable Diffusion 3 and 3.5 against `tests/reference/sd3` and `sd35`: tiny models with random weights, written
//! and run by diffusers 0.42 and transformers 5 (`make_sd3.py`) in f32.

use std::fs;
use std::path::Path;

use candle_core::Tensor;
use darkroom_jobs::{ImageSize, Pipeline, Prompt, TextToImage};
use darkroom_models::{
    Device, Error, LatentDiffusion, LoadOptions, Model, ModelFolder, Request, weights_bytes,
};
use serde_json::{Value, json};

use crate::parity::{same, same_picture};
use crate::support::{self, edit_json, edit_weights, reference, reference_folder, run, task, walk_from};

const PROMPT: &str = "a large red circle | a small cyan star | a blue heart on a white background, café 日本";
const AVOIDED: &str = "a blue star";
const VARIANTS: [(&str, &str); 2] = [("SD 3", "sd3"), ("SD 3.5", "sd35")];

/// Tokens of the CLIP encoders; those of T5 come after them.
const CLIP_TOKENS: usize = 77;
const T5_TOKENS: usize = 256;

fn load(folder: &ModelFolder) -> Result<LatentDiffusion, Error> {
    LatentDiffusion::load(folder, &Device::cpu(), &LoadOptions::default())
}

fn model(name: &str) -> LatentDiffusion {
    load(&reference_folder(name).into()).unwrap()
}

fn request(prompt: &str, guidance_scale: f64) -> TextToImage {
    TextToImage {
        prompt: Prompt::new(prompt).unwrap(),
        negative_prompt: Some(AVOIDED.to_owned()),
        size: ImageSize::new(96, 64).unwrap(),
        guidance_scale,
        ..task(prompt)
    }
}

/// A copy whose index says that there is no T5, and that has none.
fn without_t5(name: &str) -> tempfile::TempDir {
    let copy = copy_of(name);
    for component in ["text_encoder_3", "tokenizer_3"] {
        fs::remove_dir_all(copy.path().join(component)).unwrap();
        edit_json(&copy.path().join("model_index.json"), |index| index[component] = json!([null, null]));
    }
    copy
}

fn copy_of(name: &str) -> tempfile::TempDir {
    support::copy_of(&reference_folder(name))
}

#[test]
fn prompts_are_encoded_as_by_the_reference() {
    for (title, name) in VARIANTS {
        let (model, recorded) = (model(name), reference(name));
        let conditioning = model.condition(&request(PROMPT, 4.5)).unwrap();
        let states = (conditioning.states(), &recorded["prompts.states"]);
        for (what, start, count) in [("CLIP", 0, CLIP_TOKENS), ("T5", CLIP_TOKENS, T5_TOKENS)] {
            let part = |states: &Tensor| states.narrow(1, start, count).unwrap();
            same(title, &format!("states of {what}"), &part(states.0), &part(states.1));
        }
        same(title, "states of all encoders", states.0, states.1);
        same(title, "pooled text", conditioning.pooled().unwrap(), &recorded["prompts.pooled"]);
    }
}

#[test]
fn without_a_t5_its_states_are_zeros() {
    let recorded = reference("sd3");
    let copy = without_t5("sd3");
    let model = load(&copy.path().into()).unwrap();
    let conditioning = model.condition(&request("a large red circle | a small cyan star", 4.5)).unwrap();
    let part = |start, count| conditioning.states().narrow(1, start, count).unwrap();
    same("SD 3", "states without T5", &part(0, CLIP_TOKENS), &recorded["without_t5.states"]);
    let zeros = part(CLIP_TOKENS, T5_TOKENS).abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
    assert_eq!(zeros, 0.0);
    same("SD 3", "pooled text without T5", conditioning.pooled().unwrap(), &recorded["without_t5.pooled"]);
    let error = model.condition(&request(PROMPT, 4.5)).unwrap_err();
    assert!(matches!(&error, Error::InvalidInput(message) if message.contains("3 parts")), "{error}");
}

#[test]
fn denoiser_agrees_with_the_reference_and_two_at_once_are_each_alone() {
    for (title, name) in VARIANTS {
        let (model, recorded) = (model(name), reference(name));
        let noise = &recorded["noise"];
        for timestep in ["965.5", "31.25"] {
            let both = &recorded[&format!("transformer.{timestep}")];
            let at = timestep.parse().unwrap();
            let predict = |prompt: &str, guidance: f64| {
                let conditioning = model.condition(&request(prompt, guidance)).unwrap();
                model.predict(noise, at, &conditioning).unwrap()
            };
            let (avoided, shown) = (predict(AVOIDED, 1.0), predict(PROMPT, 1.0));
            let alone = Tensor::cat(&[&avoided, &shown], 0).unwrap();
            same(title, &format!("transformer at timestep {timestep}"), &alone, both);
            let together = ((&shown * 2.0).unwrap() - &avoided).unwrap();
            same(title, &format!("two at once at timestep {timestep}"), &predict(PROMPT, 2.0), &together);
        }
    }
}

#[test]
fn decoder_agrees_with_the_reference() {
    for (title, name) in VARIANTS {
        let recorded = reference(name);
        let image = model(name).decode(&recorded["guided.28.latents"]).unwrap();
        same(title, "decoder", &image, &recorded["guided.28.image"]);
    }
}

#[track_caller]
fn picture_agrees(model: &LatentDiffusion, (title, name): (&str, &str), case: &str, task: &TextToImage) {
    let recorded = reference(name);
    let conditioning = model.condition(task).unwrap();
    let scheduler = model.scheduler(task).unwrap();
    let walk = walk_from(&recorded["noise"]);
    let latents = model.denoise(&walk, &conditioning, scheduler, &mut |_, _| Ok(())).unwrap();
    let what = format!("{case}, {} steps", task.steps);
    let key = format!("{case}.{}", task.steps);
    same(title, &format!("latents, {what}"), &latents, &recorded[&format!("{key}.latents")]);
    same_picture(title, &what, &model.decode(&latents).unwrap(), &recorded[&format!("{key}.image")]);
}

#[test]
fn pictures_agree_with_the_reference() {
    for (title, name) in VARIANTS {
        let model = model(name);
        for steps in [4, 28] {
            picture_agrees(&model, (title, name), "guided", &TextToImage { steps, ..request(PROMPT, 4.5) });
        }
    }
    let copy = without_t5("sd3");
    let model = load(&copy.path().into()).unwrap();
    let task = TextToImage { steps: 4, ..request("a large red circle | a small cyan star", 4.5) };
    picture_agrees(&model, VARIANTS[0], "without_t5", &task);
}

#[test]
fn each_encoder_sees_its_part_of_the_prompt_padded_its_own_way() {
    let model = model("sd3");
    let ids = model.tokenize(PROMPT).unwrap();
    let ends = ids.iter().map(|ids| (ids.len(), *ids.last().unwrap())).collect::<Vec<_>>();
    // The end token, "!" and the padding token.
    assert_eq!(ends, [(CLIP_TOKENS, 712), (CLIP_TOKENS, 0), (T5_TOKENS, 0)]);
    let one = model.tokenize("a large red circle").unwrap();
    assert_eq!(one[0], ids[0]);
    assert!(one[1] != ids[1] && one[2] != ids[2]);
    let long = model.tokenize(&"red ".repeat(300)).unwrap().remove(2);
    assert_eq!((long.len(), long[255]), (T5_TOKENS, 1));
    assert!(!long[..255].contains(&0) && !long[..255].contains(&1));
}

#[test]
fn a_t5_vocabulary_of_sentencepiece_can_be_read_in_place_of_a_tokenizer() {
    let copy = copy_of("sd3");
    let folder = copy.path().join("tokenizer_3");
    fs::remove_file(folder.join("tokenizer.json")).unwrap();
    fs::copy(reference_folder("t5_vocabulary").join("spiece.model"), folder.join("spiece.model")).unwrap();
    // The real vocabulary is larger than that of the tiny model.
    assert!(message(copy.path()).ends_with("vocab_size is 256, and the tokenizer has the id 32003"));
}

#[test]
fn it_takes_the_memory_it_announces() {
    for (_, name) in VARIANTS {
        let (folder, device) = (reference_folder(name).into(), Device::cpu());
        let options = LoadOptions::default();
        let announced = weights_bytes(&folder, Pipeline::TextToImage, &device, &options).unwrap();
        assert_eq!(load(&folder).unwrap().memory_bytes(), announced);
    }
}

#[test]
fn sizes_that_do_not_fit_the_patches_or_the_positions_are_refused() {
    let mut model = model("sd3");
    let mut refusal = |width, height| {
        let task = TextToImage { size: ImageSize::new(width, height).unwrap(), ..request("a circle", 1.0) };
        let told = run(&mut model, &Request::TextToImage { task, done: vec![], loras: vec![] });
        match told.result {
            Err(Error::InvalidInput(message)) => message,
            other => panic!("{width} x {height}: {other:?}"),
        }
    };
    let expected = "width and height must be multiples of 16 for this model, not 96 x 72";
    assert_eq!(refusal(96, 72), expected);
    assert_eq!(refusal(208, 64), "width and height must be at most 192 for this model, not 208 x 64");
}

#[track_caller]
fn message(folder: &Path) -> String {
    match load(&folder.into()) {
        Ok(_) => panic!("the folder loads"),
        Err(error) => error.to_string().replace(&folder.display().to_string(), "FOLDER"),
    }
}

#[test]
fn configurations_that_cannot_be_right_are_refused() {
    let edits: [(&str, &str, Value, &str); 12] = [
        ("transformer", "num_layers", 0.into(), "num_layers is 0, and must be 1 to"),
        ("transformer", "patch_size", 1_000_000.into(), "patch_size is 1000000, and must be 1 to"),
        ("transformer", "pos_embed_max_size", Value::Null, "sets pos_embed_max_size to a value"),
        ("transformer", "qk_norm", "layer_norm".into(), "sets qk_norm to a value that is not implemented"),
        (
            "transformer",
            "caption_projection_dim",
            64.into(),
            "caption_projection_dim is 64, and num_attention",
        ),
        ("transformer", "dual_attention_layers", vec![3].into(), "dual_attention_layers has 3"),
        ("transformer", "joint_attention_dim", 40.into(), "joint_attention_dim is 40, and the hidden_size"),
        ("transformer", "joint_attention_dim", 64.into(), "joint_attention_dim is 64, and the d_model"),
        ("transformer", "pooled_projection_dim", 64.into(), "the text as one vector has the width Some(64)"),
        ("transformer", "in_channels", 33.into(), "takes 33 channels and gives 16, and its VAE has 16"),
        ("text_encoder_3", "feed_forward_proj", "relu".into(), "a feed-forward network of kind \"relu\""),
        ("text_encoder_3", "relative_attention_num_buckets", 2.into(), "are too small"),
    ];
    for (component, field, value, expected) in edits {
        let copy = copy_of("sd3");
        edit_json(&copy.path().join(component).join("config.json"), |config| config[field] = value);
        let message = message(copy.path());
        assert!(message.contains(expected), "{component}, {field}: {message}");
    }
}

#[test]
fn missing_and_misshapen_tensors_are_named() {
    let names = [
        ("transformer/diffusion_pytorch_model.safetensors", "pos_embed.pos_embed", "[1, 144, 32]"),
        (
            "transformer/diffusion_pytorch_model.safetensors",
            "transformer_blocks.2.norm1_context.linear.weight",
            "[64, 32]",
        ),
        ("text_encoder_3/model.safetensors", "encoder.block.2.layer.1.DenseReluDense.wo.weight", "[48, 64]"),
    ];
    for (file, tensor, shape) in names {
        let copy = copy_of("sd3");
        edit_weights(&copy.path().join(file), |tensors| {
            tensors.remove(tensor).unwrap();
        });
        let expected =
            format!("failed to load FOLDER/{file} (tensor {tensor}): expected shape {shape}, found ");
        assert_eq!(message(copy.path()), format!("{expected}no such tensor"));
        let copy = copy_of("sd3");
        edit_weights(&copy.path().join(file), |tensors| {
            let shorter = tensors[tensor].narrow(0, 0, 1).unwrap().unsqueeze(0).unwrap();
            tensors.insert(tensor.to_owned(), shorter);
        });
        let message = message(copy.path());
        assert!(message.starts_with(&expected), "{message}");
    }
}
