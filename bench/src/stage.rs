//! One stage of a model in a process of its own, so that what it takes of time and memory is its own.
//!
//! The same in PyTorch is `bench/reference/stage.py`; both read and print the same.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use candle_core::{Device as Candle, Tensor, safetensors};
use clap::{Parser, ValueEnum};
use darkroom_jobs::ImageSize;
use darkroom_models::{Blip, Conditioning, Device, LatentDiffusion, LoadOptions, ModelFolder, Product};
use serde::{Deserialize, Serialize};

use crate::{models, report};

/// The first argument of the process.
pub(crate) const ROLE: &str = "stage";

/// Between the first step and the last one.
const TIMESTEP: f32 = 500.0;
const GUIDANCE: f64 = 7.5;
/// Of the picture, in pixels.
const SIDE: u32 = 512;
/// A stage is run again until it has been for as long, or as often.
const LONG_ENOUGH: f64 = 10.0;
const MOST_RUNS: usize = 3;
/// Side of the matrices of a product.
const MATRIX: usize = 2048;
/// Multiplications and additions of a product.
pub(crate) const PRODUCT_OPERATIONS: f64 = 2.0 * (MATRIX * MATRIX * MATRIX) as f64;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Stage {
    #[value(name = "sd15-unet-1")]
    UnetOnce,
    #[value(name = "sd15-unet-2")]
    UnetTwice,
    #[value(name = "sd15-vae")]
    Vae,
    #[value(name = "sdxl-unet-1")]
    Xl,
    #[value(name = "blip-caption")]
    Caption,
    #[value(name = "product")]
    Product,
    /// By candle, and so by the crate gemm
    #[value(name = "product-candle")]
    CandleProduct,
}

/// What a run of the process tells.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Told {
    /// Of each run but the first.
    pub(crate) seconds: Vec<f64>,
    /// The most memory the process had resident.
    pub(crate) peak_bytes: u64,
    /// Of a caption.
    pub(crate) ids: Option<Vec<u32>>,
}

#[derive(Debug, Parser)]
struct Arguments {
    #[arg(value_parser = [ROLE])]
    role: String,
    stage: Stage,
    models: PathBuf,
    /// A safetensors file to write
    output: PathBuf,
}

/// Has `command`, ours or PyTorch's, run a stage and write what comes out into `output`.
pub(crate) fn told(mut command: Command, stage: Stage, output: &Path) -> Result<Told> {
    let name = stage.name();
    command.arg(&name).arg(models::folder()?).arg(output).stderr(Stdio::inherit());
    let done = command.output().with_context(|| format!("failed to start {name}"))?;
    ensure!(done.status.success(), "{name} failed: {}", done.status);
    serde_json::from_slice(&done.stdout).with_context(|| format!("{name} told nothing"))
}

/// What came out of a run.
pub(crate) enum Outcome {
    Tensor(Tensor),
    Ids(Vec<u32>),
}

/// Runs the stage that the arguments of the process name, and prints [`Told`].
pub(crate) fn run() -> Result<()> {
    let Arguments { stage, models, output, .. } = Arguments::parse();
    let once = stage.load(&models)?;
    let mut outcome = once()?;
    let mut seconds = Vec::new();
    while seconds.len() < MOST_RUNS && seconds.iter().sum::<f64>() < LONG_ENOUGH {
        let started = Instant::now();
        outcome = once()?;
        seconds.push(started.elapsed().as_secs_f64());
    }
    let peak_bytes = peak_bytes()?;
    let ids = match outcome {
        Outcome::Tensor(tensor) => {
            safetensors::save(&HashMap::from([("out", tensor)]), &output)?;
            None
        }
        Outcome::Ids(ids) => Some(ids),
    };
    report::print(serde_json::to_string(&Told { seconds, peak_bytes, ids })?);
    Ok(())
}

impl Stage {
    pub(crate) fn name(self) -> String {
        self.to_possible_value().expect("no stage is hidden").get_name().to_owned()
    }

    pub(crate) fn load(self, models: &Path) -> Result<Box<dyn Fn() -> Result<Outcome>>> {
        match self {
            Self::UnetOnce => unet(&models.join("sd15"), 1),
            Self::UnetTwice => unet(&models.join("sd15"), 2),
            Self::Xl => unet(&models.join("sdxl"), 1),
            Self::Vae => vae(&models.join("sd15")),
            Self::Caption => caption(&models.join("blip")),
            Self::Product => product(),
            Self::CandleProduct => candle_product(),
        }
    }
}

fn unet(folder: &Path, batch: usize) -> Result<Box<dyn Fn() -> Result<Outcome>>> {
    let model = with_component(folder, "unet")?;
    let inputs = inputs(folder)?;
    let last = |name: &str| inputs.get(name).map(|tensor| tensor.narrow(0, 2 - batch, batch)).transpose();
    let states = last("states")?.context("there are no states")?;
    let size = ImageSize::new(SIDE, SIDE).context("there are no such pictures")?;
    let conditioning = Conditioning::of_encoded(states, last("pooled")?, size, GUIDANCE);
    let latents = inputs["latents"].clone();
    Ok(Box::new(move || Ok(Outcome::Tensor(model.predict(&latents, TIMESTEP, &conditioning)?))))
}

fn vae(folder: &Path) -> Result<Box<dyn Fn() -> Result<Outcome>>> {
    let model = with_component(folder, "vae")?;
    let latents = inputs(folder)?["latents"].clone();
    Ok(Box::new(move || Ok(Outcome::Tensor(model.decode(&latents)?))))
}

fn caption(folder: &Path) -> Result<Box<dyn Fn() -> Result<Outcome>>> {
    let model = Blip::load(&folder.into(), &Device::cpu(), &LoadOptions::default())?;
    let pixels = inputs(folder)?["pixels"].clone();
    let prefix = model.prefix("")?;
    Ok(Box::new(move || Ok(Outcome::Ids(model.generate(&pixels, &prefix, &mut |_| Ok(()))?))))
}

fn product() -> Result<Box<dyn Fn() -> Result<Outcome>>> {
    let numbers = numbers();
    let halves: Vec<f32> = numbers.iter().map(|number| number / 2.0).collect();
    let product = Product::new(&halves, MATRIX, MATRIX);
    Ok(Box::new(move || {
        let out = Tensor::from_vec(product.of(&numbers), (MATRIX, MATRIX), &Candle::Cpu)?;
        Ok(Outcome::Tensor(out))
    }))
}

fn candle_product() -> Result<Box<dyn Fn() -> Result<Outcome>>> {
    let numbers = Tensor::from_vec(numbers(), (MATRIX, MATRIX), &Candle::Cpu)?;
    let halves = (&numbers / 2.0)?;
    Ok(Box::new(move || Ok(Outcome::Tensor(numbers.matmul(&halves.t()?)?))))
}

/// In [-1, 1), the same on both sides.
fn numbers() -> Vec<f32> {
    let number = |index: usize| f64::from((index as u32).wrapping_mul(2_654_435_761)) / f64::from(1u32 << 31);
    (0..MATRIX * MATRIX).map(|index| (number(index) - 1.0) as f32).collect()
}

/// The pipeline `small` with the large component `name`.
fn with_component(folder: &Path, name: &str) -> Result<LatentDiffusion> {
    let mut small = ModelFolder::from(folder.join("small"));
    small.components.insert(name.to_owned(), folder.join(name));
    Ok(LatentDiffusion::load(&small, &Device::cpu(), &LoadOptions::default())?)
}

fn inputs(folder: &Path) -> Result<HashMap<String, Tensor>> {
    Ok(safetensors::load(folder.join("inputs.safetensors"), &Candle::Cpu)?)
}

fn peak_bytes() -> Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    parse_peak(&status).context("the system does not tell how much memory was resident")
}

fn parse_peak(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peak_is_read_in_bytes() {
        let status = "Name:\tbench\nVmPeak:\t  99 kB\nVmHWM:\t     12 kB\nVmRSS:\t 8 kB\n";
        assert_eq!(parse_peak(status), Some(12 * 1024));
        assert_eq!(parse_peak("Name:\tbench\n"), None);
    }
}
