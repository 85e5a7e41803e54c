//! Each stage of Stable Diffusion against `models/reference/sd.*`: diffusers 0.42 with the same weights and
//! noise, in f32.

use candle_core::{DType, Tensor};
use darkroom_jobs::{Prompt, SchedulerKind, TextToImage};
use darkroom_models::Conditioning;

use crate::parity::{same, same_picture};
use crate::support::{largest_difference, recorded, recorded_json, shapes_sd, task, walk_from};

const MODEL: &str = "SD 1.x, the demo model";

/// A recorded case: what was asked for, and the tensors at each stage.
pub(crate) struct Case {
    pub(crate) number: usize,
    pub(crate) task: TextToImage,
    pub(crate) noise: Tensor,
    first: Tensor,
    latents: Tensor,
    pub(crate) image: Tensor,
    ids: Vec<u32>,
    hidden: Tensor,
}

pub(crate) fn cases() -> Vec<Case> {
    let tensors = recorded("sd.safetensors");
    let cases = recorded_json("sd.json");
    let case = |(number, case): (usize, &serde_json::Value)| {
        let tensor = |name: &str| tensors[&format!("{number}.{name}")].clone();
        let ids = tensor("ids").to_dtype(DType::U32).unwrap().flatten_all().unwrap().to_vec1().unwrap();
        let task = TextToImage {
            prompt: Prompt::new(case["prompt"].as_str().unwrap()).unwrap(),
            negative_prompt: case["negative_prompt"].as_str().map(str::to_owned),
            steps: case["steps"].as_u64().unwrap() as u32,
            guidance_scale: case["guidance"].as_f64().unwrap(),
            scheduler: match case["scheduler"].as_str().unwrap() {
                "euler" => Some(SchedulerKind::Euler),
                _ => None,
            },
            ..task("a prompt")
        };
        Case {
            number,
            task,
            noise: tensor("noise"),
            first: tensor("first"),
            latents: tensor("latents"),
            image: tensor("image"),
            ids,
            hidden: tensor("hidden"),
        }
    };
    let cases = cases.as_array().unwrap().iter().enumerate().map(case).collect::<Vec<_>>();
    assert_eq!(cases.len(), 6);
    cases
}

#[test]
fn prompts_have_the_ids_of_the_reference() {
    let model = shapes_sd();
    for case in cases() {
        assert_eq!(model.tokenize(case.task.prompt.as_str()).unwrap(), [case.ids], "case {}", case.number);
    }
}

#[test]
fn long_and_empty_prompts_fill_the_positions_exactly() {
    let model = shapes_sd();
    let long = model.tokenize(&"red ".repeat(2000)).unwrap().remove(0);
    assert_eq!((long.len(), long[0], long[76]), (77, 711, 712));
    assert!(!long[1..76].contains(&712));
    let empty = model.tokenize("").unwrap().remove(0);
    assert_eq!((empty.len(), empty[0], &empty[1..]), (77, 711, &[712; 76][..]));
}

#[test]
fn text_encoder_agrees_with_the_reference() {
    let model = shapes_sd();
    for case in cases() {
        let unguided = TextToImage { guidance_scale: 1.0, ..case.task };
        let conditioning = model.condition(&unguided).unwrap();
        same(MODEL, &format!("text encoder, prompt {}", case.number), conditioning.states(), &case.hidden);
    }
}

#[test]
fn denoising_agrees_with_the_reference() {
    let model = shapes_sd();
    for case in cases() {
        let scheduler = model.scheduler(&case.task).unwrap();
        let conditioning = model.condition(&case.task).unwrap();
        let mut first = None;
        let mut on_step = |step: usize, latents: &Tensor| {
            if step == 1 {
                first = Some(latents.clone());
            }
            Ok(())
        };
        let latents = model.denoise(&walk_from(&case.noise), &conditioning, scheduler, &mut on_step).unwrap();
        let (number, steps) = (case.number, case.task.steps);
        same(MODEL, &format!("first step, prompt {number}"), &first.unwrap(), &case.first);
        let image = model.decode(&latents).unwrap();
        same_picture(MODEL, &format!("{steps} steps, prompt {number}"), &image, &case.image);
    }
}

#[test]
fn decoder_agrees_with_the_reference() {
    let model = shapes_sd();
    for case in cases() {
        let image = model.decode(&case.latents).unwrap();
        same(MODEL, &format!("decoder, prompt {}", case.number), &image, &case.image);
    }
}

#[test]
fn decoding_a_batch_is_decoding_each_alone() {
    let model = shapes_sd();
    let cases = cases();
    let latents = cases.iter().map(|case| &case.latents).collect::<Vec<_>>();
    let batch = model.decode(&Tensor::cat(&latents, 0).unwrap()).unwrap();
    for (index, latents) in latents.into_iter().enumerate() {
        let alone = model.decode(latents).unwrap();
        let difference = largest_difference(&batch.narrow(0, index, 1).unwrap(), &alone);
        assert!(difference <= 1e-5, "picture {index}: {difference}");
    }
}

/// Guidance puts two prompts into one batch: the other one must not leak into the prediction.
#[test]
fn guidance_of_a_prompt_against_itself_changes_nothing() {
    let model = shapes_sd();
    let case = cases().remove(0);
    let plain = TextToImage { guidance_scale: 1.0, ..case.task.clone() };
    let guided = TextToImage {
        guidance_scale: 5.0,
        negative_prompt: Some(case.task.prompt.as_str().to_owned()),
        ..case.task.clone()
    };
    let latents = |conditioning: &Conditioning| {
        let task = TextToImage { scheduler: None, steps: 3, ..case.task.clone() };
        let scheduler = model.scheduler(&task).unwrap();
        model.denoise(&walk_from(&case.noise), conditioning, scheduler, &mut |_, _| Ok(())).unwrap()
    };
    let plain = latents(&model.condition(&plain).unwrap());
    let guided = latents(&model.condition(&guided).unwrap());
    assert!(largest_difference(&plain, &guided) <= 1e-4);
}
