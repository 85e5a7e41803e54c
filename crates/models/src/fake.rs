//! A model without weights: fast and deterministic, for tests of everything around inference.

mod directives;
mod picture;

use std::time::Duration;

use darkroom_jobs::TextToImage;
use image::RgbImage;

use self::directives::{Directives, Outcome};
use crate::error::Error;
use crate::model::{Model, Output, Progress, Request, Run, Warning};
use crate::request::{check_caption, check_loras, check_text_to_image, seed_of};

/// Steps a caption takes.
const CAPTION_STEPS: u32 = 4;

/// Longest time without a look at the cancel flag.
const SLICE: Duration = Duration::from_millis(5);

/// How the fake behaves. Each default is what a fast test wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FakeOptions {
    /// How long a step takes. A prompt can say otherwise.
    pub step_time: Duration,
    /// How long `[fake:hang]` lasts, after which the run fails; bounded, so that no thread stays for ever.
    pub hang_time: Duration,
    /// What [`Model::memory_bytes`] says.
    pub memory_bytes: u64,
}

impl Default for FakeOptions {
    fn default() -> Self {
        Self { step_time: Duration::ZERO, hang_time: Duration::from_secs(600), memory_bytes: 0 }
    }
}

/// A model that serves both pipelines without any weights.
///
/// Its pictures depend on prompt, seed, size and the LoRAs' names and strengths, its captions on the pixels and the prompt, and on nothing
/// else. It checks requests, reports progress and sees the cancel flag as a real model does.
///
/// A prompt directs it, for tests of failures, by any of these words in it:
///
/// | directive | effect |
/// | --- | --- |
/// | `[fake:step_ms=200]` | each step takes 200 milliseconds |
/// | `[fake:warn]` | warns that the text behind it was left out |
/// | `[fake:nsfw]` | pictures are marked as objectionable, where the request asks for the safety check |
/// | `[fake:panic]` | panics in the first step |
/// | `[fake:out_of_memory]` | [`Error::OutOfMemory`] in the first step |
/// | `[fake:invalid_input]` | [`Error::InvalidInput`] in the first step |
/// | `[fake:not_finite]` | [`Error::NotFinite`] in the first step |
/// | `[fake:fail]` | [`Error::Device`] in the first step: a failure that another try may not meet |
/// | `[fake:hang]` | the first step never ends and ignores the cancel flag (for [`FakeOptions::hang_time`]) |
///
/// An effect `NAME@N` happens in picture `N` (from 0) instead of the first: `[fake:fail@2]`.
pub fn fake(options: FakeOptions) -> Box<dyn Model> {
    Box::new(Fake { options })
}

struct Fake {
    options: FakeOptions,
}

impl Model for Fake {
    fn memory_bytes(&self) -> u64 {
        self.options.memory_bytes
    }

    fn has_safety_checker(&self) -> bool {
        true
    }

    fn run(&mut self, request: &Request, run: &mut Run<'_>) -> Result<(), Error> {
        match request {
            Request::TextToImage { task, loras, done } => {
                check_loras(loras)?;
                self.draw(task, &picture::subject(task.prompt.as_str(), loras), done, run)
            }
            Request::ImageToText { image, prompt } => self.caption(image, prompt, run),
        }
    }
}

impl Fake {
    fn draw(&self, task: &TextToImage, subject: &str, done: &[u32], run: &mut Run<'_>) -> Result<(), Error> {
        check_text_to_image(task)?;
        let directives = Directives::parse(task.prompt.as_str())?;
        warn(task.prompt.as_str(), &directives, run);
        for index in (0..task.images).filter(|index| !done.contains(index)) {
            let seed = seed_of(task, index)?;
            let progress = Progress { image: index, images: task.images, step: 0, steps: task.steps };
            self.take_steps(progress, &directives, run)?;
            let image = picture::draw(subject, seed, task.size);
            (run.on_output)(Output::Image { index, seed, image, nsfw: directives.nsfw && task.safety_check });
        }
        Ok(())
    }

    fn caption(&self, image: &RgbImage, prompt: &str, run: &mut Run<'_>) -> Result<(), Error> {
        check_caption(image)?;
        let directives = Directives::parse(prompt)?;
        warn(prompt, &directives, run);
        let progress = Progress { image: 0, images: 1, step: 0, steps: CAPTION_STEPS };
        self.take_steps(progress, &directives, run)?;
        (run.on_output)(Output::Text(picture::caption(image, prompt)));
        Ok(())
    }

    /// The steps of one picture or caption.
    fn take_steps(&self, from: Progress, directives: &Directives, run: &mut Run<'_>) -> Result<(), Error> {
        for step in 1..=from.steps {
            run.check_canceled()?;
            if step == 1 && directives.image == from.image {
                self.perform(directives.outcome)?;
            }
            wait(directives.step_time.unwrap_or(self.options.step_time), || run.check_canceled())?;
            (run.on_progress)(Progress { step, ..from });
            if step < from.steps {
                run.preview(from.image, step, || Some(picture::preview(step, from.steps)));
            }
        }
        run.check_canceled()
    }

    fn perform(&self, outcome: Outcome) -> Result<(), Error> {
        match outcome {
            Outcome::Succeed => Ok(()),
            Outcome::Panic => panic!("the prompt directed the fake model to panic"),
            Outcome::OutOfMemory => Err(Error::OutOfMemory("directed by the prompt".into())),
            Outcome::InvalidInput => Err(Error::InvalidInput("the prompt asks to be refused".to_owned())),
            Outcome::NotFinite => Err(Error::NotFinite("the picture is not finite".to_owned())),
            Outcome::Fail => Err(Error::Device("directed by the prompt".into())),
            Outcome::Hang => {
                wait(self.options.hang_time, || Ok(()))?;
                Err(Error::Device("the directed hang is over".into()))
            }
        }
    }
}

fn warn(prompt: &str, directives: &Directives, run: &mut Run<'_>) {
    if let Some(at) = directives.warn_at {
        let dropped = prompt[at..].trim().to_owned();
        (run.on_warning)(Warning::PromptTruncated { encoder: "text_encoder", dropped, limit: 77 });
    }
}

/// Waits for `time`, asking `go_on` between slices.
fn wait(time: Duration, go_on: impl Fn() -> Result<(), Error>) -> Result<(), Error> {
    let mut left = time;
    while !left.is_zero() {
        let slice = left.min(SLICE);
        #[expect(
            clippy::disallowed_methods,
            reason = "a slice is short, and the flag is seen between slices"
        )]
        std::thread::sleep(slice);
        left -= slice;
        go_on()?;
    }
    Ok(())
}
