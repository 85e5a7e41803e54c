//! Deeper features of a U-Net that several steps share, against `tests/reference/deep_cache.safetensors`: what the
//! authors' package makes of it with diffusers 0.42 (`make_deep_cache.py`) in f32.

use std::num::NonZeroU32;

use darkroom_jobs::{ImageSize, Pipeline, SchedulerKind, TextToImage};
use darkroom_models::{Device, Error, LatentDiffusion, LoadOptions, Request, weights_bytes};
use image::RgbImage;

use crate::parity::same_picture;
use crate::support::{reference_file, reference_folder, run, task, walk_from};

fn options(interval: u32) -> LoadOptions {
    LoadOptions { deep_cache: NonZeroU32::new(interval), ..LoadOptions::default() }
}

fn load(folder: &str, interval: u32) -> LatentDiffusion {
    LatentDiffusion::load(&reference_folder(folder).into(), &Device::cpu(), &options(interval)).unwrap()
}

fn request() -> TextToImage {
    TextToImage {
        size: ImageSize::new(32, 24).unwrap(),
        steps: 20,
        guidance_scale: 3.0,
        scheduler: Some(SchedulerKind::Ddim),
        negative_prompt: Some("a blue star".to_owned()),
        ..task("a large red circle")
    }
}

#[test]
fn pictures_agree_with_the_reference() {
    let (recorded, start) =
        (reference_file("deep_cache.safetensors"), &reference_file("walks.safetensors")["start"]);
    for (folder, family) in [("sd15", "SD 1.5"), ("sd21", "SD 2.1"), ("sdxl", "SDXL")] {
        for interval in [2, 3, 5] {
            let model = load(folder, interval);
            let (conditioning, scheduler) =
                (model.condition(&request()).unwrap(), model.scheduler(&request()).unwrap());
            let latents =
                model.denoise(&walk_from(start), &conditioning, scheduler, &mut |_, _| Ok(())).unwrap();
            let image = model.decode(&latents).unwrap();
            let what = format!("ddim, 20 steps, deep layers every {interval}");
            same_picture(family, &what, &image, &recorded[&format!("{folder}.{interval}")]);
        }
    }
}

/// Two pictures, without those that are done.
fn pictures(model: &mut LatentDiffusion, done: Vec<u32>) -> Vec<RgbImage> {
    let task = TextToImage { images: 2, steps: 7, ..request() };
    let told = run(model, &Request::TextToImage { task, loras: vec![], done });
    told.result.as_ref().unwrap();
    told.pictures().into_iter().map(|(_, _, picture)| picture.clone()).collect()
}

#[test]
fn an_interval_of_one_is_none() {
    for folder in ["sd15", "sdxl"] {
        let mut plain =
            LatentDiffusion::load(&reference_folder(folder).into(), &Device::cpu(), &LoadOptions::default())
                .unwrap();
        let expected = pictures(&mut plain, vec![]);
        assert!(pictures(&mut load(folder, 1), vec![]) == expected);
        assert!(pictures(&mut load(folder, 2), vec![]) != expected);
    }
}

#[test]
fn pictures_share_nothing_with_one_another() {
    let mut model = load("sd15", 3);
    let both = pictures(&mut model, vec![]);
    assert!(both[0] != both[1]);
    assert!(pictures(&mut model, vec![0]) == both[1..]);
    assert!(pictures(&mut load("sd15", 3), vec![1]) == both[..1]);
}

#[test]
fn transformers_are_refused() {
    for folder in ["sd3", "flux-dev"] {
        let model = reference_folder(folder).into();
        let error = LatentDiffusion::load(&model, &Device::cpu(), &options(3)).err().unwrap();
        assert!(
            matches!(&error, Error::Unsupported(message)
                if message == "deep_cache is for models with a U-Net, and this one has a transformer"),
            "{error}"
        );
        weights_bytes(&model, Pipeline::TextToImage, &Device::cpu(), &options(3)).unwrap_err();
    }
}
