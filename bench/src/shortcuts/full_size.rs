//! Stable Diffusion 1.5 at full size: times alone, since its weights are random.

use std::num::NonZeroU32;
use std::time::Instant;

use anyhow::Result;
use darkroom_jobs::{Prompt, TextToImage};
use darkroom_models::{Conditioning, Device, LatentDiffusion, LoadOptions, Noise};

use super::{task, time};
use crate::figure::Figure;
use crate::models::{self, Name};
use crate::report;
use crate::samples::{self, Samples};

const SIDE: u32 = 512;
/// More than these would take long.
const MOST_ROUNDS: u32 = 3;
/// Between the first step and the last one.
const TIMESTEP: f32 = 500.0;

pub(super) fn measure(rounds: u32) -> Result<Vec<Figure>> {
    let folder = models::ensure(Name::Sd15)?;
    // Each whole step is followed by one that shares.
    let options = LoadOptions { deep_cache: NonZeroU32::new(2), ..LoadOptions::default() };
    let model = LatentDiffusion::load(&folder.into(), &Device::cpu(), &options)?;
    let task = task("a large red circle on a blue background", (SIDE, 2))?;
    let prompts = known_prompts(&model, &task, rounds)?;

    let guided = model.condition(&task)?;
    let unguided = model.condition(&TextToImage { guidance_scale: 1.0, ..task.clone() })?;
    let start = model.noise(task.seed, task.size)?;
    // Weights are brought into the order of the kernels at their first use.
    model.predict(&start, TIMESTEP, &unguided)?;
    let (mut whole, mut shared, mut single) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds.min(MOST_ROUNDS) {
        let [first, second] = two_steps(&model, &task, &guided)?;
        let started = Instant::now();
        model.predict(&start, TIMESTEP, &unguided)?;
        let third = started.elapsed().as_secs_f64();
        report::note(format!("sd15: {first:.2} s, shared {second:.2} s, unguided {third:.2} s"));
        whole.push(first);
        shared.push(second);
        single.push(third);
    }
    let whole = Samples::new(whole);
    Ok(vec![
        prompts,
        time("SD 1.5, guidance 1: a step".to_owned(), Samples::new(single), ("guidance 4", whole.clone())),
        time(
            "SD 1.5, deep_cache: a step that shares".to_owned(),
            Samples::new(shared),
            ("a whole step", whole),
        ),
    ])
}

/// Seconds of a whole step and of one that shares, with guidance.
fn two_steps(model: &LatentDiffusion, task: &TextToImage, guided: &Conditioning) -> Result<[f64; 2]> {
    let start = model.noise(task.seed, task.size)?;
    let noise = Noise { start: &start, of_step: &|step| model.step_noise(task.seed, step, task.size) };
    let mut seconds = [0.0; 2];
    let mut started = Instant::now();
    let mut on_step = |step: usize, _: &_| {
        seconds[step - 1] = started.elapsed().as_secs_f64();
        started = Instant::now();
        Ok(())
    };
    model.denoise(&noise, guided, model.scheduler(task)?, &mut on_step)?;
    Ok(seconds)
}

/// Seconds for a prompt and a negative prompt.
fn known_prompts(model: &LatentDiffusion, task: &TextToImage, rounds: u32) -> Result<Figure> {
    let seconds = |task: &TextToImage| {
        let started = Instant::now();
        model.condition(task)?;
        Ok(started.elapsed().as_secs_f64())
    };
    seconds(task)?;
    let mut count = 0;
    let new = || {
        count += 1;
        let negative_prompt = Some(format!("new {count}"));
        let prompt = Prompt::new(format!("{}, new {count}", task.prompt.as_str()))?;
        seconds(&TextToImage { prompt, negative_prompt, ..task.clone() })
    };
    let (known, new) = samples::in_turns(rounds, || seconds(task), new)?;
    Ok(time("SD 1.5, known prompts: encoding".to_owned(), known, ("new ones", new)))
}
