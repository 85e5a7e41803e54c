//! Paths, tasks and comparisons.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use candle_core::{Device as CandleDevice, Tensor};
use darkroom_jobs::{ImageSize, Loras, PictureOutput, Prompt, TextToImage};
use darkroom_models::{
    Blip, Device, Error, Exchange, LatentDiffusion, LoadOptions, Model, Noise, Output, Progress, Request,
    Run, Warning,
};
use image::RgbImage;
use serde_json::Value;
use tempfile::TempDir;

/// The repository's `models/`.
pub(crate) fn models() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models")
}

pub(crate) fn shapes_sd() -> LatentDiffusion {
    LatentDiffusion::load(&models().join("shapes-sd").into(), &Device::cpu(), &LoadOptions::default())
        .unwrap()
}

pub(crate) fn shapes_blip() -> Blip {
    Blip::load(&models().join("shapes-blip").into(), &Device::cpu(), &LoadOptions::default()).unwrap()
}

/// A recorded file of tensors.
pub(crate) fn recorded(name: &str) -> HashMap<String, Tensor> {
    candle_core::safetensors::load(models().join("reference").join(name), &CandleDevice::Cpu).unwrap()
}

pub(crate) fn recorded_json(name: &str) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(models().join("reference").join(name)).unwrap()).unwrap()
}

pub(crate) fn recorded_image(name: &str) -> RgbImage {
    image::open(models().join("reference").join(name)).unwrap().into_rgb8()
}

/// A tiny repository with recorded outputs, in `tests/reference`.
pub(crate) fn reference_folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference").join(name)
}

/// What the reference makes of such a repository.
pub(crate) fn reference(name: &str) -> HashMap<String, Tensor> {
    reference_file(&format!("{name}/reference.safetensors"))
}

/// A file of tensors in `tests/reference`.
pub(crate) fn reference_file(name: &str) -> HashMap<String, Tensor> {
    candle_core::safetensors::load(reference_folder(name), &CandleDevice::Cpu).unwrap()
}

/// A copy of a folder that a test may damage.
pub(crate) fn copy_of(folder: &Path) -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    copy_folder(folder, copy.path());
    copy
}

pub(crate) fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

pub(crate) fn edit_json(file: &Path, edit: impl FnOnce(&mut Value)) {
    let mut value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
    edit(&mut value);
    fs::write(file, serde_json::to_vec(&value).unwrap()).unwrap();
}

pub(crate) fn edit_weights(file: &Path, edit: impl FnOnce(&mut HashMap<String, Tensor>)) {
    let mut tensors = candle_core::safetensors::load(file, &CandleDevice::Cpu).unwrap();
    edit(&mut tensors);
    candle_core::safetensors::save(&tensors, file).unwrap();
}

/// One small picture without guidance.
pub(crate) fn task(prompt: &str) -> TextToImage {
    TextToImage {
        prompt: Prompt::new(prompt).unwrap(),
        negative_prompt: None,
        size: ImageSize::new(64, 64).unwrap(),
        steps: 3,
        guidance_scale: 1.0,
        seed: 7,
        images: 1,
        scheduler: None,
        loras: Loras::default(),
        safety_check: false,
        output: PictureOutput::default(),
    }
}

/// Noise for schedulers that are not stochastic.
pub(crate) fn walk_from(start: &Tensor) -> Noise<'_> {
    Noise { start, of_step: &|step| panic!("step {step} asked for noise") }
}

/// Everything a run said.
pub(crate) struct Told {
    pub(crate) result: Result<(), Error>,
    pub(crate) progress: Vec<Progress>,
    pub(crate) outputs: Vec<Output>,
    pub(crate) warnings: Vec<Warning>,
}

impl Told {
    /// The pictures, with index and seed.
    pub(crate) fn pictures(&self) -> Vec<(u32, u64, &RgbImage)> {
        let picture = |output| match output {
            &Output::Image { index, seed, ref image, .. } => (index, seed, image),
            Output::Text(text) => panic!("{text:?} is no picture"),
        };
        self.outputs.iter().map(picture).collect()
    }
}

/// Runs to the end.
pub(crate) fn run(model: &mut dyn Model, request: &Request) -> Told {
    run_and_watch(model, request, &AtomicBool::new(false), |_| {})
}

/// Runs, calling `watch` after each step.
pub(crate) fn run_and_watch(
    model: &mut dyn Model,
    request: &Request,
    canceled: &AtomicBool,
    watch: impl Fn(Progress),
) -> Told {
    told(canceled, watch, |run| model.run(request, run))
}

/// Runs with files to exchange.
pub(crate) fn run_with(model: &mut LatentDiffusion, request: &Request, files: &Exchange) -> Told {
    told(&AtomicBool::new(false), |_| {}, |run| model.run_with(request, files, run))
}

/// What a run says.
fn told(
    canceled: &AtomicBool,
    watch: impl Fn(Progress),
    model: impl FnOnce(&mut Run<'_>) -> Result<(), Error>,
) -> Told {
    let (mut progress, mut outputs, mut warnings) = (Vec::new(), Vec::new(), Vec::new());
    let mut on_progress = |step| {
        progress.push(step);
        watch(step);
    };
    let mut on_output = |output| outputs.push(output);
    let mut run = Run {
        canceled,
        on_progress: &mut on_progress,
        on_output: &mut on_output,
        on_warning: &mut |warning| warnings.push(warning),
        previews: None,
    };
    let result = model(&mut run);
    Told { result, progress, outputs, warnings }
}

/// The largest difference of two tensors of the same shape.
#[track_caller]
pub(crate) fn largest_difference(found: &Tensor, expected: &Tensor) -> f32 {
    assert_eq!(found.dims(), expected.dims());
    let difference = (found - expected).unwrap().abs().unwrap();
    difference.flatten_all().unwrap().max(0).unwrap().to_scalar().unwrap()
}

/// Peak signal-to-noise ratio in decibels of two tensors in [-1, 1].
#[track_caller]
pub(crate) fn psnr(found: &Tensor, expected: &Tensor) -> f32 {
    assert_eq!(found.dims(), expected.dims());
    let error = (found - expected).unwrap().sqr().unwrap().mean_all().unwrap().to_scalar::<f32>().unwrap();
    10.0 * (4.0 / error).log10()
}
