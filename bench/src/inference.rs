//! Stages of models of full size, beside diffusers and transformers on PyTorch.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use candle_core::{Device, Tensor, safetensors};

use crate::figure::{Figure, Target};
use crate::models::{self, Name};
use crate::report;
use crate::samples::{self, Samples};
use crate::stage::{self, ROLE, Stage, Told};

/// More than these would take hours.
const MOST_ROUNDS: u32 = 3;

/// The most that a value may differ from PyTorch's, in standard deviations of PyTorch's values.
pub(crate) const TOLERANCE: f64 = 1e-3;

/// A stage to measure.
struct Case {
    stage: Stage,
    title: &'static str,
    model: Name,
    seconds: Target,
    bytes: Target,
}

const UNET: Case = Case {
    stage: Stage::UnetOnce,
    title: "SD 1.5 U-Net, batch 1",
    model: Name::Sd15,
    seconds: Target::RatioAtMost(1.5),
    bytes: Target::RatioAtMost(0.8),
};

const PICTURES: [Case; 4] = [
    UNET,
    Case { stage: Stage::UnetTwice, title: "SD 1.5 U-Net, batch 2", ..UNET },
    Case { stage: Stage::Vae, title: "SD 1.5 VAE decode", ..UNET },
    Case { stage: Stage::Xl, title: "SDXL U-Net, batch 1", model: Name::Sdxl, ..UNET },
];

const CAPTIONS: [Case; 1] = [Case {
    stage: Stage::Caption,
    title: "BLIP-large, one picture, 20 tokens",
    model: Name::Blip,
    seconds: Target::RatioAtMost(0.8),
    bytes: Target::RatioAtMost(0.8),
}];

/// Of the stages that make a picture. `only`: the names of those to measure; all when there are none.
///
/// The weights of SDXL are removed afterwards, unless they were asked for by name.
pub(crate) fn pictures(rounds: u32, only: &[String]) -> Result<Vec<Figure>> {
    let figures = measure(&PICTURES, rounds, only)?;
    if only.is_empty() {
        models::remove(Name::Sdxl)?;
    }
    Ok(figures)
}

/// Of a caption.
pub(crate) fn captions(rounds: u32, only: &[String]) -> Result<Vec<Figure>> {
    measure(&CAPTIONS, rounds, only)
}

fn measure(cases: &[Case], rounds: u32, only: &[String]) -> Result<Vec<Figure>> {
    let names = cases.iter().map(Case::name).collect::<Vec<_>>();
    if let Some(name) = only.iter().find(|name| !names.contains(name)) {
        bail!("there is no {name:?} here, but {}", names.join(", "));
    }
    let mut figures = Vec::new();
    for case in cases.iter().filter(|case| only.is_empty() || only.contains(&case.name())) {
        models::ensure(case.model)?;
        figures.extend(case.measure(rounds.min(MOST_ROUNDS))?);
    }
    Ok(figures)
}

impl Case {
    fn name(&self) -> String {
        self.stage.name()
    }

    fn measure(&self, rounds: u32) -> Result<Vec<Figure>> {
        let outputs = models::folder()?;
        let [output, expected] =
            ["ours", "reference"].map(|side| outputs.join(format!("{}-{side}.safetensors", self.name())));
        let (mut told, mut told_reference) = (Vec::new(), Vec::new());
        let (seconds, reference_seconds) = samples::in_turns(
            rounds,
            || self.side("Darkroom", models::ours(ROLE)?, &output, &mut told),
            || {
                self.side(
                    "PyTorch",
                    models::reference("bench/reference/stage.py")?,
                    &expected,
                    &mut told_reference,
                )
            },
        )?;
        let figure = |what: &str, unit, ours, reference, target| Figure {
            name: format!("{}: {what}", self.title),
            unit,
            ours,
            reference: Some(("PyTorch".to_owned(), reference)),
            target: Some(target),
        };
        let mut figures = vec![
            figure("time", "s", seconds, reference_seconds, self.seconds),
            figure("peak memory", "GB", peaks(&told), peaks(&told_reference), self.bytes),
        ];
        figures.extend(self.compare((&told, &output), (&told_reference, &expected))?);
        Ok(figures)
    }

    /// Median time of a process's runs.
    fn side(&self, side: &str, command: Command, output: &Path, told: &mut Vec<Told>) -> Result<f64> {
        let stage = self.name();
        let one = stage::told(command, self.stage, output).with_context(|| format!("{side} failed"))?;
        let seconds = Samples::new(one.seconds.clone()).median();
        report::note(format!("{stage}, {side}: {seconds:.2} s, {:.2} GB", one.peak_bytes as f64 / 1e9));
        told.push(one);
        Ok(seconds)
    }

    /// Fails unless what came out on both sides is the same, but for rounding.
    fn compare(&self, ours: (&[Told], &Path), reference: (&[Told], &Path)) -> Result<Option<Figure>> {
        let ids = |told: &[Told]| told.iter().map(|told| told.ids.clone()).collect::<Vec<_>>();
        if ours.0.iter().any(|told| told.ids.is_some()) {
            let (found, expected) = (ids(ours.0), ids(reference.0));
            ensure!(
                found == expected,
                "{}: other tokens than PyTorch's: {found:?}, {expected:?}",
                self.title
            );
            return Ok(None);
        }
        let difference = difference(&output(ours.1)?, &output(reference.1)?)?;
        let words = format!("{}: the largest difference is {difference:.1e} deviations", self.title);
        ensure!(difference <= TOLERANCE, "{words}, and may be {TOLERANCE:.0e}");
        Ok(Some(Figure {
            name: format!("{}: largest difference", self.title),
            unit: "σ",
            ours: Samples::new(vec![difference]),
            reference: None,
            target: Some(Target::AtMost(TOLERANCE)),
        }))
    }
}

fn peaks(told: &[Told]) -> Samples {
    Samples::new(told.iter().map(|told| told.peak_bytes as f64 / 1e9).collect())
}

/// What a stage wrote.
pub(crate) fn output(file: &Path) -> Result<Tensor> {
    let mut tensors = safetensors::load(file, &Device::Cpu)?;
    tensors.remove("out").with_context(|| format!("{} lacks `out`", file.display()))
}

/// The largest difference of two values, in standard deviations of what was expected.
pub(crate) fn difference(found: &Tensor, expected: &Tensor) -> Result<f64> {
    ensure!(found.dims() == expected.dims(), "{:?} is not {:?}", found.dims(), expected.dims());
    let (found, expected) = (values(found)?, values(expected)?);
    let count = expected.len() as f64;
    let mean = expected.iter().sum::<f64>() / count;
    let deviation = (expected.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count).sqrt();
    let largest = found.iter().zip(&expected).map(|(found, expected)| (found - expected).abs());
    ensure!(found.iter().all(|value| value.is_finite()), "what came out is not finite");
    Ok(largest.fold(0.0, f64::max) / deviation)
}

fn values(tensor: &Tensor) -> Result<Vec<f64>> {
    Ok(tensor.flatten_all()?.to_vec1::<f32>()?.into_iter().map(f64::from).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_in_deviations_of_what_was_expected() {
        let tensor = |values: &[f32]| Tensor::new(values, &Device::Cpu).unwrap();
        let expected = tensor(&[1.0, 5.0]);
        assert_eq!(difference(&tensor(&[1.0, 6.0]), &expected).unwrap(), 0.5);
        assert!(difference(&tensor(&[1.0, f32::NAN]), &expected).is_err());
        assert!(difference(&tensor(&[1.0]), &expected).is_err());
    }

    #[test]
    fn unknown_cases_are_named() {
        let error = pictures(1, &["sd16".to_owned()]).unwrap_err().to_string();
        assert!(error.starts_with("there is no \"sd16\" here, but sd15-unet-1, sd15-unet-2"), "{error}");
    }
}
