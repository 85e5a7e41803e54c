//! Operations that are left out, by the choice of a caller or of the catalog: a generation with each beside one
//! without.

mod demo;
mod full_size;

use anyhow::{Context as _, Result, bail};
use darkroom_jobs::{Task, TextToImage};
use serde_json::json;

use crate::figure::Figure;
use crate::samples::Samples;

/// How far pictures follow their prompts.
const GUIDANCE: f64 = 4.0;

const CASES: [&str; 2] = ["demo", "sd15"];

/// `only`: the names of the cases to measure; all when there are none.
pub(crate) fn measure(rounds: u32, only: &[String]) -> Result<Vec<Figure>> {
    if let Some(name) = only.iter().find(|name| !CASES.contains(&name.as_str())) {
        bail!("there is no {name:?} here, but {}", CASES.join(", "));
    }
    let mut figures = Vec::new();
    for case in CASES.into_iter().filter(|case| only.is_empty() || only.iter().any(|name| name == case)) {
        figures.extend(match case {
            "demo" => demo::measure(rounds)?,
            _ => full_size::measure(rounds)?,
        });
    }
    Ok(figures)
}

/// One picture with guidance.
fn task(prompt: &str, (side, steps): (u32, u32)) -> Result<TextToImage> {
    let input = json!({
        "pipeline": "text-to-image", "prompt": prompt, "width": side, "height": side, "steps": steps,
        "guidance_scale": GUIDANCE, "seed": 7, "images": 1, "scheduler": "ddim", "safety_check": false,
    });
    match serde_json::from_value(input).context("there is no such task")? {
        Task::TextToImage(task) => Ok(task),
        Task::ImageToText(_) => bail!("the task is another one"),
    }
}

/// Seconds with a shortcut, and without it, which `reference` names.
fn time(name: String, ours: Samples, reference: (&str, Samples)) -> Figure {
    let reference = Some((reference.0.to_owned(), reference.1));
    Figure { name, unit: "s", ours, reference, target: None }
}
