//! The bundled model: times, and how near pictures with a shortcut are to those without.

use std::fs;
use std::num::NonZeroU32;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};
use darkroom_jobs::{Prompt, TextToImage};
use darkroom_models::{Device, LatentDiffusion, LoadOptions, Model, Output, Request, Run};
use image::RgbImage;
use image::imageops::replace;

use super::{task, time};
use crate::figure::Figure;
use crate::report;
use crate::samples::{self, Samples};

const MODEL: &str = "models/shapes-sd";
const SIDE: u32 = 128;
const STEPS: u32 = 25;
const INTERVALS: [u32; 3] = [2, 3, 5];

const PROMPTS: [&str; 8] = [
    "a large red circle on a blue background",
    "a yellow star on a black background",
    "a large purple ring on an orange background",
    "a white heart on a green background",
    "a small green triangle on a white background",
    "a blue square on a yellow background",
    "a large pink diamond on a cyan background",
    "an orange cross on a purple background",
];

pub(super) fn measure(rounds: u32) -> Result<Vec<Figure>> {
    let tasks = PROMPTS.map(|prompt| task(prompt, (SIDE, STEPS)));
    let tasks = tasks.into_iter().collect::<Result<Vec<_>>>()?;
    let mut plain = load(None)?;
    let mut rows = vec![pictures(&mut plain, &tasks)?];
    ensure!(pictures(&mut plain, &tasks)? == rows[0], "prompts that are known make other pictures");
    let mut figures = vec![known_prompts(&mut plain, &tasks[0], rounds)?];

    let unguided = tasks.iter().map(|task| TextToImage { guidance_scale: 1.0, ..task.clone() });
    let unguided = unguided.collect::<Vec<_>>();
    let mut other = load(None)?;
    rows.push(pictures(&mut other, &unguided)?);
    let times = in_turns(rounds, (&mut other, &unguided[0]), (&mut plain, &tasks[0]))?;
    figures.extend(compare("guidance 1", times, ("guidance 4", &rows))?);

    for interval in INTERVALS {
        let mut shared = load(NonZeroU32::new(interval))?;
        rows.push(pictures(&mut shared, &tasks)?);
        let times = in_turns(rounds, (&mut shared, &tasks[0]), (&mut plain, &tasks[0]))?;
        figures.extend(compare(&format!("deep_cache {interval}"), times, ("none", &rows))?);
    }
    save(&rows)?;
    Ok(figures)
}

fn load(deep_cache: Option<NonZeroU32>) -> Result<LatentDiffusion> {
    let options = LoadOptions { deep_cache, ..LoadOptions::default() };
    let folder = std::env::current_dir()?.join(MODEL);
    Ok(LatentDiffusion::load(&folder.into(), &Device::cpu(), &options)?)
}

/// A picture and how many seconds it took.
fn draw(model: &mut LatentDiffusion, task: &TextToImage) -> Result<(RgbImage, f64)> {
    let request = Request::TextToImage { task: task.clone(), loras: vec![], done: vec![] };
    let mut drawn = None;
    let mut run = Run {
        canceled: &AtomicBool::new(false),
        on_progress: &mut |_| {},
        on_output: &mut |output| drawn = Some(output),
        on_warning: &mut |_| {},
        previews: None,
    };
    let started = Instant::now();
    model.run(&request, &mut run)?;
    let seconds = started.elapsed().as_secs_f64();
    match drawn {
        Some(Output::Image { image, .. }) => Ok((image, seconds)),
        _ => bail!("the model drew no picture"),
    }
}

fn pictures(model: &mut LatentDiffusion, tasks: &[TextToImage]) -> Result<Vec<RgbImage>> {
    tasks.iter().map(|task| Ok(draw(model, task)?.0)).collect()
}

fn in_turns(
    rounds: u32,
    ours: (&mut LatentDiffusion, &TextToImage),
    reference: (&mut LatentDiffusion, &TextToImage),
) -> Result<(Samples, Samples)> {
    samples::in_turns(rounds, || Ok(draw(ours.0, ours.1)?.1), || Ok(draw(reference.0, reference.1)?.1))
}

/// The same picture of a prompt that was encoded before, and of one that is new each time.
fn known_prompts(model: &mut LatentDiffusion, task: &TextToImage, rounds: u32) -> Result<Figure> {
    let mut other = load(None)?;
    let mut count = 0;
    let mut new = || {
        count += 1;
        let negative_prompt = Some(format!("new {count}"));
        let prompt = Prompt::new(format!("{}, new {count}", task.prompt.as_str()))?;
        Ok(draw(&mut other, &TextToImage { prompt, negative_prompt, ..task.clone() })?.1)
    };
    // Weights are brought into the order of the kernels at their first use.
    new()?;
    let (known, new) = samples::in_turns(rounds, || Ok(draw(model, task)?.1), new)?;
    Ok(time("demo, known prompts: a picture".to_owned(), known, ("new ones", new)))
}

/// Time and quality of the last of `rows` beside the first.
fn compare(
    name: &str,
    (ours, reference): (Samples, Samples),
    (without, rows): (&str, &[Vec<RgbImage>]),
) -> Result<[Figure; 2]> {
    let (first, last) = rows.first().zip(rows.last()).context("there are no pictures")?;
    let quality = first.iter().zip(last).map(|(first, last)| psnr(first, last)).collect::<Result<_>>()?;
    Ok([
        time(format!("demo, {name}: a picture"), ours, (without, reference)),
        Figure {
            name: format!("demo, {name}: likeness of {} pictures", PROMPTS.len()),
            unit: "dB",
            ours: Samples::new(quality),
            reference: None,
            target: None,
        },
    ])
}

/// Peak signal-to-noise ratio in decibels.
fn psnr(one: &RgbImage, other: &RgbImage) -> Result<f64> {
    ensure!(one.dimensions() == other.dimensions(), "the pictures are not of the same size");
    let bytes = one.as_raw().iter().zip(other.as_raw());
    let errors = bytes.map(|(one, other)| f64::from(one.abs_diff(*other)).powi(2));
    let mean = errors.sum::<f64>() / one.as_raw().len() as f64;
    ensure!(mean > 0.0, "the pictures are the same: nothing was left out");
    Ok(10.0 * (255.0_f64.powi(2) / mean).log10())
}

/// All pictures as one: a column for each prompt, a row for each way of drawing.
fn save(rows: &[Vec<RgbImage>]) -> Result<()> {
    let mut sheet = RgbImage::new(SIDE * PROMPTS.len() as u32, SIDE * rows.len() as u32);
    for (y, row) in rows.iter().enumerate() {
        for (x, picture) in row.iter().enumerate() {
            replace(&mut sheet, picture, i64::from(SIDE) * x as i64, i64::from(SIDE) * y as i64);
        }
    }
    let folder = std::env::current_dir()?.join("target/bench");
    fs::create_dir_all(&folder)?;
    let file = folder.join("shortcuts.png");
    sheet.save(&file).with_context(|| format!("failed to write {}", file.display()))?;
    report::note(format!("wrote {}", file.display()));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn likeness_is_in_decibels() {
        let picture = |value: u8| RgbImage::from_raw(1, 1, vec![value; 3]).unwrap();
        assert!((psnr(&picture(0), &picture(255)).unwrap()).abs() < 1e-9);
        assert!((psnr(&picture(100), &picture(101)).unwrap() - 48.13).abs() < 0.01);
        assert!(psnr(&picture(1), &picture(1)).is_err());
    }
}
