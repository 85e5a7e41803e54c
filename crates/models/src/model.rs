//! The contract between the program that serves requests and the models that run them: plain data, one
//! trait.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use darkroom_jobs::TextToImage;
use image::RgbImage;

use crate::error::Error;

/// A loaded model. It belongs to one thread at a time and runs one request at a time.
pub trait Model: Send {
    /// Bytes of weights it holds in the memory of its device as long as it is loaded.
    fn memory_bytes(&self) -> u64;

    /// Bytes it holds there beside them for the next request: weights that LoRAs have changed.
    fn kept_bytes(&self) -> u64 {
        0
    }

    /// Frees those.
    fn release_kept(&mut self) {}

    /// Whether it has a safety checker that looks at its pictures. `false` for models that make none.
    fn has_safety_checker(&self) -> bool;

    /// Runs `request` to its end, emitting each output through `run` as soon as it is ready.
    ///
    /// # Errors
    /// [`Error::Canceled`] before the next step once the flag is set; outputs emitted until then are whole
    /// and stay valid. Any other error also leaves the outputs emitted so far valid, and the model usable.
    fn run(&mut self, request: &Request, run: &mut Run<'_>) -> Result<(), Error>;
}

/// What to run.
#[derive(Debug, Clone, PartialEq)]
pub enum Request {
    /// Pictures from a prompt, one after another.
    TextToImage {
        /// The parameters.
        task: TextToImage,
        /// What changes the model for this request, at most 4; the order means nothing.
        loras: Vec<Lora>,
        /// Indices of pictures that exist already and are left out, so that a retry continues at the first
        /// missing one.
        done: Vec<u32>,
    },
    /// A caption of a picture.
    ImageToText {
        /// The picture, upright (orientation tags applied).
        image: RgbImage,
        /// What the caption starts with; empty for nothing.
        prompt: String,
    },
}

/// A low-rank change of a model's weights (Hu et al. 2021), for one request.
#[derive(Debug, Clone, PartialEq)]
pub struct Lora {
    /// What it is called in messages to the person who sent the request.
    pub id: String,
    /// A safetensors file in the layout of diffusers, PEFT or kohya's trainer.
    pub path: PathBuf,
    /// What its change is multiplied by: 1 is as trained, 0 is none. Finite.
    pub strength: f64,
}

/// How a run talks to its surroundings. The callbacks are called on the thread that runs the model and hold
/// it up until they return.
pub struct Run<'a> {
    /// Set from any thread to end the run before its next step.
    pub canceled: &'a AtomicBool,
    /// Called after each step.
    pub on_progress: &'a mut dyn FnMut(Progress),
    /// Called once for each output.
    pub on_output: &'a mut dyn FnMut(Output),
    /// Called for what the caller should know and the run does not fail for.
    pub on_warning: &'a mut dyn FnMut(Warning),
    /// Who looks on, if anybody does.
    pub previews: Option<Previews<'a>>,
}

/// Somebody who wants to see pictures that are not finished.
pub struct Previews<'a> {
    /// Asked after each step but the last, whether it is time for another one: each costs a little.
    pub wanted: &'a dyn Fn() -> bool,
    /// Called with it.
    pub show: &'a mut dyn FnMut(Preview),
}

/// A picture in work.
#[derive(Debug, Clone, PartialEq)]
pub struct Preview {
    /// Which of the job's pictures, from 0.
    pub index: u32,
    /// Steps done for it.
    pub step: u32,
    /// What it looks like by now: small, at most 128 pixels of a side, and in rough colours.
    pub picture: RgbImage,
}

impl Run<'_> {
    /// Shows the picture that `make` makes, if somebody wants to see it. One that cannot be made is left out: the run
    /// does not depend on it.
    pub(crate) fn preview(&mut self, index: u32, step: u32, make: impl FnOnce() -> Option<RgbImage>) {
        if let Some(previews) = &mut self.previews
            && (previews.wanted)()
            && let Some(picture) = make()
        {
            (previews.show)(Preview { index, step, picture });
        }
    }

    /// [`Error::Canceled`] if the flag is set.
    pub(crate) fn check_canceled(&self) -> Result<(), Error> {
        if self.canceled.load(Ordering::Relaxed) { Err(Error::Canceled) } else { Ok(()) }
    }
}

/// A step was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Index of the picture in work; 0 for a caption.
    pub image: u32,
    /// How many pictures the whole job has; 1 for a caption.
    pub images: u32,
    /// Steps done for this picture, from 1.
    pub step: u32,
    /// Steps one picture takes. A few more than the caller asked for with multistep schedulers; for a caption
    /// the most tokens it may have.
    pub steps: u32,
}

/// Something about a request that its caller should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Warning {
    /// A prompt is longer than a text encoder reads; its end was left out.
    PromptTruncated {
        /// Which text encoder, by its name in the model's folder.
        encoder: &'static str,
        /// The text that was left out.
        dropped: String,
        /// The most tokens it reads, those that mark begin and end among them.
        limit: u32,
    },
}

/// A result.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// A picture.
    Image {
        /// Which of the job's pictures, from 0.
        index: u32,
        /// The seed of this one.
        seed: u64,
        /// The pixels.
        image: RgbImage,
        /// Whether the model's safety checker objects to it, which changes nothing in the pixels. `false` where
        /// the model has none or the task does not ask for it.
        nsfw: bool,
    },
    /// A caption, which starts with the request's prompt.
    Text(String),
}
