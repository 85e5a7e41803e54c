//! The safety checker against `tests/reference/safety`: what diffusers makes of pictures of many shapes with a
//! tiny one (`make_safety.py`).

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use candle_core::{DType as CandleDType, Tensor};
use darkroom_jobs::{Pipeline, TextToImage};
use darkroom_models::{
    Device, Error, LatentDiffusion, LoadOptions, Model, ModelFolder, Output, Request, weights_bytes,
};
use image::RgbImage;
use tempfile::TempDir;

use crate::parity::report;
use crate::support::{
    copy_folder, copy_of, edit_json, edit_weights, largest_difference, reference_folder, run, task,
};

const WEIGHTS: &str = "safety_checker/model.safetensors";

/// A level of an 8-bit picture after normalisation, at the smallest of the three deviations.
const LEVEL: f32 = 1.0 / 255.0 / 0.261;

fn recorded() -> HashMap<String, Tensor> {
    let file = reference_folder("safety").join("reference.safetensors");
    candle_core::safetensors::load(file, &candle_core::Device::Cpu).unwrap()
}

fn picture(index: usize) -> RgbImage {
    image::open(reference_folder("safety").join(format!("{index}.png"))).unwrap().into_rgb8()
}

/// The verdicts of the reference on the pictures, in their order.
fn verdicts() -> Vec<bool> {
    let flags = recorded()["flagged"].to_dtype(CandleDType::U8).unwrap().to_vec1::<u8>().unwrap();
    flags.into_iter().map(|flag| flag == 1).collect()
}

/// A model that lists no checker, and one from elsewhere.
fn with_checker(elsewhere: PathBuf) -> ModelFolder {
    let components = [("safety_checker".to_owned(), elsewhere)].into();
    ModelFolder { components, ..reference_folder("sd15").into() }
}

/// A model that comes with a checker, as published ones do.
fn published() -> TempDir {
    let copy = copy_of(&reference_folder("sd15"));
    for component in ["safety_checker", "feature_extractor"] {
        copy_folder(&reference_folder("safety").join(component), &copy.path().join(component));
    }
    edit_json(&copy.path().join("model_index.json"), |index| {
        index["safety_checker"] = vec!["stable_diffusion", "StableDiffusionSafetyChecker"].into();
        index["feature_extractor"] = vec!["transformers", "CLIPFeatureExtractor"].into();
    });
    copy
}

fn load(folder: &ModelFolder) -> Result<LatentDiffusion, Error> {
    LatentDiffusion::load(folder, &Device::cpu(), &LoadOptions::default())
}

#[track_caller]
fn message(folder: &Path) -> String {
    match load(&folder.into()) {
        Ok(_) => panic!("the folder loads"),
        Err(error) => error.to_string().replace(&folder.display().to_string(), "FOLDER"),
    }
}

fn draw(model: &mut LatentDiffusion, task: TextToImage) -> Vec<(RgbImage, bool)> {
    let told = run(model, &Request::TextToImage { task, loras: vec![], done: vec![] });
    told.result.unwrap();
    let picture = |output| match output {
        Output::Image { image, nsfw, .. } => (image, nsfw),
        Output::Text(text) => panic!("{text:?} is no picture"),
    };
    told.outputs.into_iter().map(picture).collect()
}

#[test]
fn pictures_of_any_shape_are_prepared_within_a_level_of_the_reference() {
    let model = load(&with_checker(reference_folder("safety"))).unwrap();
    let (checker, recorded) = (model.safety_checker().unwrap(), recorded());
    for index in 0..verdicts().len() {
        let found = checker.pixel_values(&picture(index)).unwrap();
        let levels = largest_difference(&found, &recorded[&format!("pixel_values.{index}")]) / LEVEL;
        report("safety checker", &format!("pixels, picture {index}"), &format!("{levels:.2} of 255 levels"));
        assert!(levels < 1.01, "picture {index}: {levels} levels");
    }
}

#[test]
fn similarities_and_verdicts_are_those_of_the_reference() {
    let model = load(&with_checker(reference_folder("safety"))).unwrap();
    let (checker, recorded) = (model.safety_checker().unwrap(), recorded());
    for (index, verdict) in verdicts().into_iter().enumerate() {
        let row = |name: &str| recorded[name].get(index).unwrap().to_vec1::<f32>().unwrap();
        let found = checker.similarities(&recorded[&format!("pixel_values.{index}")]).unwrap();
        let expected = [row("concepts"), row("special_care")].concat();
        let found_all = [&found.concepts[..], &found.special_care].concat();
        assert_eq!(found_all.len(), expected.len());
        let pairs = found_all.iter().zip(&expected);
        let difference = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        report("safety checker", &format!("similarities, picture {index}"), &format!("{difference:.1e}"));
        assert!(difference <= 1e-4, "picture {index}: {difference}");
        assert_eq!(checker.objects(&found).unwrap(), verdict, "picture {index}");
        let own = checker.similarities(&checker.pixel_values(&picture(index)).unwrap()).unwrap();
        assert_eq!(checker.objects(&own).unwrap(), verdict, "picture {index}, prepared here");
    }
}

/// The pictures cover what the verdict depends on; without this the two tests above would say little.
#[test]
fn special_care_and_rounding_decide_over_recorded_pictures() {
    let model = load(&with_checker(reference_folder("safety"))).unwrap();
    let checker = model.safety_checker().unwrap();
    let mut by_care = checker.similarities(&recorded()["pixel_values.3"]).unwrap();
    assert!(checker.objects(&by_care).unwrap());
    by_care.special_care = vec![-1.0; 3];
    assert!(!checker.objects(&by_care).unwrap());
    let mut rounded_away = checker.similarities(&recorded()["pixel_values.4"]).unwrap();
    assert!(!checker.objects(&rounded_away).unwrap());
    rounded_away.concepts[11] += 0.0003;
    assert!(checker.objects(&rounded_away).unwrap());
}

#[test]
fn a_flagged_picture_is_marked_and_not_changed() {
    let folder = published();
    edit_weights(&folder.path().join(WEIGHTS), |tensors| {
        // Every picture is alike enough to one concept.
        let thresholds = tensors.get_mut("concept_embeds_weights").unwrap();
        *thresholds = (thresholds.ones_like().unwrap() * -1.5).unwrap();
    });
    let mut model = load(&folder.path().into()).unwrap();
    assert!(model.has_safety_checker());
    let task = TextToImage { images: 2, ..task("a red circle") };
    let checked = draw(&mut model, TextToImage { safety_check: true, ..task.clone() });
    let unchecked = draw(&mut model, TextToImage { safety_check: false, ..task.clone() });
    assert!(checked.iter().all(|(_, nsfw)| *nsfw) && unchecked.iter().all(|(_, nsfw)| !*nsfw));
    let mut without = load(&reference_folder("sd15").into()).unwrap();
    assert!(!without.has_safety_checker());
    let plain = draw(&mut without, TextToImage { safety_check: true, ..task });
    assert!(plain.iter().all(|(_, nsfw)| !*nsfw));
    for ((checked, unchecked), plain) in checked.iter().zip(&unchecked).zip(&plain) {
        assert!(checked.0 == unchecked.0 && checked.0 == plain.0);
    }
}

#[test]
fn a_model_passes_pictures_that_its_checker_does_not_object_to() {
    let folder = published();
    edit_weights(&folder.path().join(WEIGHTS), |tensors| {
        let thresholds = tensors.get_mut("concept_embeds_weights").unwrap();
        *thresholds = (thresholds.ones_like().unwrap() * 1.5).unwrap();
    });
    let mut model = load(&folder.path().into()).unwrap();
    let drawn = draw(&mut model, TextToImage { safety_check: true, ..task("a red circle") });
    assert!(!drawn[0].1);
}

#[test]
fn a_checker_comes_from_any_layout() {
    // One folder with the checker and its image processor, as the checker's own repository is.
    let own = tempfile::tempdir().unwrap();
    copy_folder(&reference_folder("safety").join("safety_checker"), own.path());
    copy_folder(&reference_folder("safety").join("feature_extractor"), own.path());
    // The names of transformers 5, its configuration without the old second copy, weights in half precision.
    let newer = copy_of(&reference_folder("safety"));
    edit_weights(&newer.path().join(WEIGHTS), |tensors| {
        let rename = |(name, tensor): (String, Tensor)| {
            let tensor =
                if tensor.dtype().is_float() { tensor.to_dtype(CandleDType::F16).unwrap() } else { tensor };
            (name.replacen("vision_model.vision_model.", "vision_model.", 1), tensor)
        };
        *tensors = tensors.drain().map(rename).collect();
    });
    fs::rename(newer.path().join(WEIGHTS), newer.path().join("safety_checker/model.fp16.safetensors"))
        .unwrap();
    edit_json(&newer.path().join("safety_checker/config.json"), |config| {
        config["vision_config"] = config["vision_config_dict"].take();
        config.as_object_mut().unwrap().retain(|name, _| !name.ends_with("_dict") && name != "text_config");
    });
    edit_json(&newer.path().join("feature_extractor/preprocessor_config.json"), |config| {
        config["size"] = serde_json::json!({"shortest_edge": 28});
        config["crop_size"] = serde_json::json!({"height": 28, "width": 28});
        config["rescale_factor"] = (1.0 / 255.0).into();
        // The defaults of the reference.
        config.as_object_mut().unwrap().retain(|name, _| !name.starts_with("image_"));
    });
    let published = published();
    let folders = [
        with_checker(own.path().to_owned()),
        with_checker(newer.path().to_owned()),
        with_checker(newer.path().join("safety_checker")),
        with_checker(published.path().to_owned()),
        published.path().into(),
    ];
    for folder in folders {
        let model = load(&folder).unwrap();
        let checker = model.safety_checker().unwrap();
        for (index, verdict) in verdicts().into_iter().enumerate() {
            let found = checker.similarities(&checker.pixel_values(&picture(index)).unwrap()).unwrap();
            assert_eq!(checker.objects(&found).unwrap(), verdict, "picture {index}, {folder:?}");
        }
    }
}

#[test]
fn the_checker_counts_as_weights_and_can_be_left_out() {
    let folder = ModelFolder::from(published().keep());
    let announced = |folder: &ModelFolder, options: &LoadOptions| {
        weights_bytes(folder, Pipeline::TextToImage, &Device::cpu(), options).unwrap()
    };
    let (with, without) =
        (LoadOptions::default(), LoadOptions { without_safety_checker: true, ..LoadOptions::default() });
    assert_eq!(load(&folder).unwrap().memory_bytes(), announced(&folder, &with));
    let plain = LatentDiffusion::load(&folder, &Device::cpu(), &without).unwrap();
    assert!(!plain.has_safety_checker());
    assert_eq!(plain.memory_bytes(), announced(&folder, &without));
    let checker = announced(&folder, &with) - announced(&folder, &without);
    let stored =
        candle_core::safetensors::load(reference_folder("safety").join(WEIGHTS), &candle_core::Device::Cpu);
    let floats = stored.unwrap().into_values().filter(|tensor| tensor.dtype().is_float());
    assert_eq!(checker, floats.map(|tensor| 4 * tensor.elem_count() as u64).sum::<u64>());
    fs::remove_dir_all(folder.path).unwrap();
}

#[test]
fn a_listed_checker_that_cannot_be_run_is_an_error() {
    let folder = published();
    fs::rename(folder.path().join(WEIGHTS), folder.path().join("safety_checker/pytorch_model.bin")).unwrap();
    assert!(message(folder.path()).ends_with("found pytorch_model.bin"), "{}", message(folder.path()));
    let folder = published();
    fs::remove_dir_all(folder.path().join("safety_checker")).unwrap();
    assert_eq!(
        message(folder.path()),
        "failed to load FOLDER/safety_checker/config.json: expected a file, found none"
    );
    let folder = published();
    fs::remove_dir_all(folder.path().join("feature_extractor")).unwrap();
    assert_eq!(
        message(folder.path()),
        "failed to load FOLDER/feature_extractor/preprocessor_config.json: expected a file, found none"
    );
    let folder = published();
    edit_weights(&folder.path().join(WEIGHTS), |tensors| {
        let fewer = tensors["concept_embeds"].narrow(0, 0, 16).unwrap().contiguous().unwrap();
        tensors.insert("concept_embeds".to_owned(), fewer);
    });
    assert!(message(folder.path()).ends_with("expected shape [17, 24], found shape [16, 24]"));
    let folder = published();
    edit_json(&folder.path().join("model_index.json"), |index| {
        index["safety_checker"] = vec!["elsewhere", "OtherChecker"].into();
    });
    assert_eq!(
        message(folder.path()),
        "the model's safety_checker is a OtherChecker, which is not implemented"
    );
}

#[test]
fn configurations_of_a_checker_that_cannot_be_used_are_named() {
    type Edit = fn(&mut serde_json::Value);
    let edits: [(&str, Edit, &str); 6] = [
        (
            "feature_extractor/preprocessor_config.json",
            |config| config["size"] = 224.into(),
            "size is 224, and the vision model's image_size is 28",
        ),
        (
            "feature_extractor/preprocessor_config.json",
            |config| config["do_center_crop"] = false.into(),
            "size is 28, and the vision model's image_size is 28",
        ),
        (
            "feature_extractor/preprocessor_config.json",
            |config| config["resample"] = 2.into(),
            "resample to a value that is not implemented",
        ),
        (
            "safety_checker/config.json",
            |config| config["vision_config_dict"]["num_attention_heads"] = 5.into(),
            "vision_config: hidden_size is not a multiple of num_attention_heads",
        ),
        (
            "safety_checker/config.json",
            |config| config["vision_config_dict"]["patch_size"] = 0.into(),
            "patch_size is 0",
        ),
        (
            "safety_checker/config.json",
            |config| config["vision_config_dict"]["hidden_act"] = "relu".into(),
            "unknown variant `relu`",
        ),
    ];
    for (file, edit, expected) in edits {
        let folder = published();
        edit_json(&folder.path().join(file), edit);
        let message = message(folder.path());
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn a_checker_that_computes_nothing_finite_ends_the_run() {
    for tensor in ["concept_embeds_weights", "special_care_embeds", "visual_projection.weight"] {
        let folder = published();
        edit_weights(&folder.path().join(WEIGHTS), |tensors| {
            let broken = tensors.get_mut(tensor).unwrap();
            *broken = (broken.ones_like().unwrap() * f64::NAN).unwrap();
        });
        let mut model = load(&folder.path().into()).unwrap();
        let task = TextToImage { safety_check: true, ..task("a red circle") };
        let told = run(&mut model, &Request::TextToImage { task, loras: vec![], done: vec![] });
        let Err(Error::NotFinite(message)) = told.result else { panic!("{tensor}: {:?}", told.result) };
        assert!(message.contains("safety checker"), "{message}");
        assert!(told.outputs.is_empty());
    }
}
