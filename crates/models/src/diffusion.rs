//! Text to image by denoising latents (Rombach et al. 2022), from a folder in the layout of a pipeline of
//! diffusers.

mod components;
mod denoiser;
mod embeddings;
mod exchange;
mod family;
mod preview;
mod text;

use std::cell::OnceCell;
use std::num::NonZeroU32;

use candle_core::Tensor;
use darkroom_jobs::{ImageSize, TextToImage};
use image::RgbImage;

pub(crate) use self::components::weights_bytes;
use self::denoiser::Denoiser;
use self::embeddings::{Embeddings, Key};
pub use self::exchange::Exchange;
use self::exchange::Exchanged;
pub(crate) use self::family::Family;
use self::preview::PreviewMap;
use self::text::{Encoded, TextEncoders};
use crate::device::Device;
use crate::error::Error;
use crate::folder::ModelFolder;
use crate::load::LoadOptions;
use crate::lora::{Component, LoraSet, Loras};
use crate::model::{Lora, Model, Output, Progress, Request, Run};
use crate::request::{check_text_to_image, seed_of};
use crate::safety::SafetyChecker;
use crate::scheduler::{Scheduler, SchedulerConfig, Walk};
use crate::unet::{DeepFeatures, SIZE_NUMBERS};
use crate::vae::VaeDecoder;
use crate::{noise, pixels};

/// A loaded text-to-image model.
///
/// Through [`Model`] it serves requests. Its own methods are the stages of that, for those who want to look
/// at what is between them or bring noise of their own.
pub struct LatentDiffusion {
    text_encoders: TextEncoders,
    embeddings: Embeddings,
    denoiser: Denoiser,
    /// How many steps share deeper features.
    deep_cache: NonZeroU32,
    vae: VaeDecoder,
    /// Made when somebody first wants to see a picture in work.
    preview_map: OnceCell<PreviewMap>,
    loras: Loras,
    scheduler: SchedulerConfig,
    safety_checker: Option<SafetyChecker>,
    /// Whether a negative prompt that is left out is encoded as zeros, rather than as an empty text.
    zeros_for_no_negative_prompt: bool,
    latent_channels: usize,
    sides: Sides,
    device: Device,
    memory_bytes: u64,
}

/// Which sizes a model can make.
struct Sides {
    /// How many pixels a latent is wide and high.
    scale: u32,
    /// How many latents the denoiser takes together, each way.
    patch_size: u32,
    /// Most latents of a side.
    max_latents: Option<u32>,
}

/// What the denoiser is told about the picture.
#[derive(Debug, Clone)]
pub struct Conditioning {
    /// Hidden states in the compute dtype: `(2, tokens, width)`, first what to avoid, then what to show; or
    /// `(1, tokens, width)` without guidance.
    states: Tensor,
    /// The texts as one vector each, of families that use one.
    pooled: Option<Tensor>,
    /// In pixels: height and width of the original, top and left of the crop, height and width of the picture.
    sizes: [f32; SIZE_NUMBERS],
    /// How far to go from what to avoid to what to show.
    guidance: Option<f64>,
    /// The request's guidance scale, for a denoiser that is told it.
    guidance_scale: f64,
}

impl Conditioning {
    /// Of texts that were encoded elsewhere, for a picture of `size`: `states` and `pooled` as
    /// [`Self::states`] and [`Self::pooled`] give them. `guidance_scale` counts where there are two of each.
    pub fn of_encoded(states: Tensor, pooled: Option<Tensor>, size: ImageSize, guidance_scale: f64) -> Self {
        let guidance = (states.dims().first() == Some(&2)).then_some(guidance_scale);
        Self { states, pooled, sizes: sizes_of(size), guidance, guidance_scale }
    }

    /// The hidden states of the prompts in the compute dtype: `(2, tokens, width)`, first of the negative one,
    /// or `(1, tokens, width)` without guidance.
    pub fn states(&self) -> &Tensor {
        &self.states
    }

    /// The prompts as one vector each in the compute dtype, `(2 or 1, width)`, of families that use one.
    pub fn pooled(&self) -> Option<&Tensor> {
        self.pooled.as_ref()
    }
}

/// What a denoiser that is told sizes is told of a picture that is wholly shown.
fn sizes_of(size: ImageSize) -> [f32; SIZE_NUMBERS] {
    let (width, height) = (size.width() as f32, size.height() as f32);
    [height, width, 0.0, 0.0, height, width]
}

/// The noise of one picture, f32 `(1, latent_channels, height, width)` each.
pub struct Noise<'a> {
    /// What it is made from.
    pub start: &'a Tensor,
    /// What a stochastic scheduler adds after a step, from 0; asked for only where it does.
    pub of_step: &'a dyn Fn(usize) -> Result<Tensor, Error>,
}

impl LatentDiffusion {
    /// Reads a folder with a `model_index.json`. Weights are copied to the device.
    ///
    /// # Errors
    /// As [`crate::load`].
    pub fn load(folder: &ModelFolder, device: &Device, options: &LoadOptions) -> Result<Self, Error> {
        let family = crate::load::diffusion_family(folder)?;
        Self::load_as(family, folder, device, options)
    }

    pub(crate) fn load_as(
        family: Family,
        folder: &ModelFolder,
        device: &Device,
        options: &LoadOptions,
    ) -> Result<Self, Error> {
        components::load(folder, family, device, options)
    }

    /// Calls `with` while the weights are changed by `loras`, in any order. Afterwards they are the base model's,
    /// bit for bit, however `with` ended.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] for more than 4 LoRAs, for a strength that is not finite, and naming the LoRA and
    /// its first key that does not fit the model or is not finite; [`Error::Unsupported`] for what is no plain
    /// LoRA (DoRA, LoHa, LoKr, …); [`Error::Load`] and [`Error::InvalidConfig`] for files that cannot be read;
    /// and those of `with`.
    pub fn with_loras<T>(
        &mut self,
        loras: &[Lora],
        with: impl FnOnce(&Self) -> Result<T, Error>,
    ) -> Result<T, Error> {
        self.with_set(&LoraSet::of(loras)?, with)
    }

    fn with_set<T>(
        &mut self,
        set: &LoraSet,
        with: impl FnOnce(&Self) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let outcome = self.loras.activate(set).and_then(|_active| with(self));
        if matches!(outcome, Err(Error::OutOfMemory(_))) {
            self.loras.release();
        }
        outcome
    }

    /// The weight of a linear layer or a convolution as it is in use now, in the compute dtype; of 1 × 1
    /// convolutions in attention `(outputs, inputs)`.
    ///
    /// `component` is the name of its folder, `layer` the name of the layer there.
    pub fn weight(&self, component: &str, layer: &str) -> Option<Tensor> {
        self.loras.weight(Component::of_name(component)?, layer)
    }

    /// The ids that each text encoder sees of a prompt: always as many as it has positions; a longer text is
    /// cut.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] when the prompt has more parts than there are encoders.
    pub fn tokenize(&self, prompt: &str) -> Result<Vec<Vec<u32>>, Error> {
        Ok(self.text_encoders.tokenizers.encode(prompt)?.into_ids())
    }

    /// Encodes the prompts of `task`. Guidance of at most 1 is none, and leaves the negative prompt unread; so
    /// does a family whose denoiser is told the guidance scale, or has none (FLUX).
    ///
    /// # Errors
    /// [`Error::InvalidInput`] when a prompt has more parts than there are text encoders, [`Error::NotFinite`]
    /// when a text encoder overflows, and failures of the device.
    pub fn condition(&self, task: &TextToImage) -> Result<Conditioning, Error> {
        let shown = self.encode(task.prompt.as_str())?;
        let guidance_scale = task.guidance_scale;
        let guidance = self.reads_negative_prompt(task).then_some(guidance_scale);
        let (states, pooled) = match guidance {
            None => (shown.states, shown.pooled),
            Some(_) => {
                let avoided = match &task.negative_prompt {
                    None if self.zeros_for_no_negative_prompt => shown.zeros_like()?,
                    prompt => self.encode(prompt.as_deref().unwrap_or_default())?,
                };
                let pooled = match (&avoided.pooled, &shown.pooled) {
                    (Some(avoided), Some(shown)) => Some(Tensor::cat(&[avoided, shown], 0)?),
                    _ => None,
                };
                (Tensor::cat(&[&avoided.states, &shown.states], 0)?, pooled)
            }
        };
        Ok(Conditioning { states, pooled, sizes: sizes_of(task.size), guidance, guidance_scale })
    }

    fn reads_negative_prompt(&self, task: &TextToImage) -> bool {
        self.text_encoders.family.guides_by_negative_prompt() && task.guidance_scale > 1.0
    }

    fn encode(&self, prompt: &str) -> Result<Encoded, Error> {
        let ids = self.text_encoders.tokenizers.encode(prompt)?;
        let key = Key { prompt: prompt.to_owned(), loras: self.loras.current() };
        self.embeddings.get_or(key, || {
            let encoded = self.text_encoders.encode(&ids)?;
            for tensor in [Some(&encoded.states), encoded.pooled.as_ref()].into_iter().flatten() {
                if !pixels::is_finite(tensor)? {
                    return Err(Error::NotFinite("the encoded prompt is not finite".to_owned()));
                }
            }
            Ok(encoded)
        })
    }

    /// The scheduler that `task` names, or else the model's own, set up for the steps and the size of `task`.
    ///
    /// # Errors
    /// [`Error::Unsupported`] when the model's own is not implemented and none is named, and as
    /// [`Scheduler::new`].
    pub fn scheduler(&self, task: &TextToImage) -> Result<Scheduler, Error> {
        let algorithm = task.scheduler.map_or_else(|| self.scheduler.algorithm(), Ok)?;
        let walk = Walk { steps: task.steps as usize, image_tokens: self.sides.tokens(task.size) };
        Scheduler::new(&self.scheduler, algorithm, &walk)
    }

    /// The initial noise of a picture: f32 `(1, latent_channels, height / scale, width / scale)`, standard
    /// normal and wholly decided by `seed`.
    ///
    /// # Errors
    /// When the device fails.
    pub fn noise(&self, seed: u64, size: ImageSize) -> Result<Tensor, Error> {
        self.drawn(size, |count| noise::normal(seed, count))
    }

    /// The fresh noise of step `step` (from 0) for stochastic schedulers, as [`Self::noise`].
    ///
    /// # Errors
    /// When the device fails.
    pub fn step_noise(&self, seed: u64, step: usize, size: ImageSize) -> Result<Tensor, Error> {
        self.drawn(size, |count| noise::normal_of_step(seed, step, count))
    }

    fn drawn(&self, size: ImageSize, draw: impl Fn(usize) -> Vec<f32>) -> Result<Tensor, Error> {
        let (_, channels, height, width) = self.latents_shape(size);
        let values = draw(channels * height * width);
        Ok(Tensor::from_vec(values, (1, channels, height, width), self.device.candle())?)
    }

    /// Of one picture: `(1, latent_channels, height / scale, width / scale)`.
    fn latents_shape(&self, size: ImageSize) -> (usize, usize, usize, usize) {
        let scale = self.sides.scale;
        (1, self.latent_channels, (size.height() / scale) as usize, (size.width() / scale) as usize)
    }

    /// Turns noise into latents, both f32 `(1, latent_channels, height, width)`.
    ///
    /// `on_step` is called after each step with the number of steps done and the latents; an error of it ends
    /// the walk.
    ///
    /// # Errors
    /// [`Error::NotFinite`] as soon as the latents are not, what the callbacks return, and failures of the device.
    pub fn denoise(
        &self,
        noise: &Noise<'_>,
        conditioning: &Conditioning,
        mut scheduler: Scheduler,
        on_step: &mut dyn FnMut(usize, &Tensor) -> Result<(), Error>,
    ) -> Result<Tensor, Error> {
        let mut latents = noise.start.affine(scheduler.init_noise_sigma(), 0.0)?;
        let mut deep = DeepFeatures::every(self.deep_cache);
        for index in 0..scheduler.timesteps().len() {
            let timestep = scheduler.timesteps()[index];
            let input = scheduler.scale_model_input(index, &latents)?;
            let prediction = self.predict_after(&input, timestep, conditioning, &mut deep)?;
            let fresh = if scheduler.needs_noise(index) { Some((noise.of_step)(index)?) } else { None };
            latents = scheduler.step(index, &prediction, &latents, fresh.as_ref())?;
            if !pixels::is_finite(&latents)? {
                let message = format!("the latents are not finite after step {}", index + 1);
                return Err(Error::NotFinite(message));
            }
            on_step(index + 1, &latents)?;
        }
        Ok(latents)
    }

    /// The denoiser's output at one timestep, with guidance, for one picture, of a step that shares nothing with
    /// others: `input` and the result are f32 `(1, latent_channels, height, width)`.
    ///
    /// # Errors
    /// When the device fails.
    pub fn predict(
        &self,
        input: &Tensor,
        timestep: f32,
        conditioning: &Conditioning,
    ) -> Result<Tensor, Error> {
        self.predict_after(input, timestep, conditioning, &mut DeepFeatures::every(NonZeroU32::MIN))
    }

    /// As [`Self::predict`], of a step that takes from those before what it shares with them.
    fn predict_after(
        &self,
        input: &Tensor,
        timestep: f32,
        conditioning: &Conditioning,
        deep: &mut DeepFeatures,
    ) -> Result<Tensor, Error> {
        let Some(guidance) = conditioning.guidance else {
            return self.denoiser.forward(input, timestep, conditioning, deep);
        };
        let twice = Tensor::cat(&[input, input], 0)?;
        let both = self.denoiser.forward(&twice, timestep, conditioning, deep)?;
        let (avoided, shown) = (both.narrow(0, 0, 1)?, both.narrow(0, 1, 1)?);
        Ok((&avoided + ((shown - &avoided)? * guidance)?)?)
    }

    /// Latents `(1, latent_channels, height, width)` to a picture `(1, 3, height · scale, width · scale)` in
    /// about [-1, 1], both f32. Pictures of more than 1.5 Mi pixels are decoded in tiles.
    ///
    /// # Errors
    /// When the device fails.
    pub fn decode(&self, latents: &Tensor) -> Result<Tensor, Error> {
        Ok(self.vae.forward(latents)?)
    }

    /// As [`Self::decode`], in tiles whatever the size: less memory, and almost the same picture.
    ///
    /// # Errors
    /// When the device fails.
    pub fn decode_tiled(&self, latents: &Tensor) -> Result<Tensor, Error> {
        Ok(self.vae.forward_tiled(latents)?)
    }

    /// What looks at the pictures of a task that asks for it, if the model has one.
    pub fn safety_checker(&self) -> Option<&SafetyChecker> {
        self.safety_checker.as_ref()
    }

    /// Refuses before the first step what this model cannot do.
    fn check(&self, task: &TextToImage) -> Result<(), Error> {
        check_text_to_image(task)?;
        self.sides.check(task.size)
    }

    /// As [`Model::run`] for pictures, with files for comparing the run with another implementation's.
    ///
    /// # Errors
    /// As [`Model::run`], and [`Error::Load`] when the noise is not of the shape that the request needs.
    pub fn run_with(&mut self, request: &Request, files: &Exchange, run: &mut Run<'_>) -> Result<(), Error> {
        match request {
            Request::TextToImage { task, loras, done } => {
                self.check(task)?;
                run.check_canceled()?;
                self.with_set(&LoraSet::of(loras)?, |model| model.draw(task, done, files, run))
            }
            Request::ImageToText { .. } => {
                Err(Error::Unsupported("this model makes pictures, not captions".to_owned()))
            }
        }
    }

    /// Warns of what the text encoders do not read.
    fn warn_of_dropped(&self, task: &TextToImage, run: &mut Run<'_>) -> Result<(), Error> {
        let negative = task.negative_prompt.as_deref().filter(|_| self.reads_negative_prompt(task));
        for prompt in [Some(task.prompt.as_str()), negative].into_iter().flatten() {
            for warning in self.text_encoders.dropped(prompt)? {
                (run.on_warning)(warning);
            }
        }
        Ok(())
    }

    /// What latents f32 `(1, latent_channels, height, width)` in work look like, at most 128 pixels of a side.
    ///
    /// # Errors
    /// When the device fails.
    pub fn preview(&self, latents: &Tensor) -> Result<RgbImage, Error> {
        let map = match self.preview_map.get() {
            Some(map) => map,
            None => {
                let map = PreviewMap::of(&self.vae, self.latent_channels, self.device.candle())?;
                self.preview_map.get_or_init(|| map)
            }
        };
        Ok(map.picture(latents)?)
    }

    fn draw(
        &self,
        task: &TextToImage,
        done: &[u32],
        files: &Exchange,
        run: &mut Run<'_>,
    ) -> Result<(), Error> {
        let scheduler = self.scheduler(task)?;
        let (_, channels, height, width) = self.latents_shape(task.size);
        let shape = (task.images as usize, channels, height, width);
        let mut exchanged = Exchanged::begin(files, shape)?;
        self.warn_of_dropped(task, run)?;
        let conditioning = self.condition(task)?;
        // One after another, so that each can be stored while the next is in work, and so that no picture
        // depends on how many others were asked for.
        for index in (0..task.images).filter(|index| !done.contains(index)) {
            run.check_canceled()?;
            let seed = seed_of(task, index)?;
            let start = match exchanged.noise(index)? {
                Some(noise) => noise.to_device(self.device.candle())?,
                None => self.noise(seed, task.size)?,
            };
            let of_step = |step| self.step_noise(seed, step, task.size);
            let noise = Noise { start: &start, of_step: &of_step };
            let steps = scheduler.timesteps().len() as u32;
            let mut on_step = |step: usize, latents: &Tensor| {
                let step = step as u32;
                let progress = Progress { image: index, images: task.images, step, steps };
                (run.on_progress)(progress);
                if step < steps {
                    run.preview(index, step, || self.preview(latents).ok());
                }
                run.check_canceled()
            };
            let latents = self.denoise(&noise, &conditioning, scheduler.clone(), &mut on_step)?;
            let planes = self.decode(&latents)?;
            exchanged.keep(&latents, &planes)?;
            let image = pixels::image_from_planes(&planes)?;
            let nsfw = match &self.safety_checker {
                Some(checker) if task.safety_check => checker.check(&image)?,
                _ => false,
            };
            (run.on_output)(Output::Image { index, seed, image, nsfw });
        }
        exchanged.finish()
    }
}

impl Sides {
    /// How many patches the denoiser makes of a picture.
    fn tokens(&self, size: ImageSize) -> usize {
        let patch = self.scale * self.patch_size;
        (size.width() / patch) as usize * (size.height() / patch) as usize
    }

    fn check(&self, size: ImageSize) -> Result<(), Error> {
        let (width, height) = (size.width(), size.height());
        let multiple = self.scale * self.patch_size;
        if !width.is_multiple_of(multiple) || !height.is_multiple_of(multiple) {
            return Err(Error::InvalidInput(format!(
                "width and height must be multiples of {multiple} for this model, not {width} x {height}"
            )));
        }
        let max = self.max_latents.map_or(u32::MAX, |latents| latents.saturating_mul(self.scale));
        if width > max || height > max {
            return Err(Error::InvalidInput(format!(
                "width and height must be at most {max} for this model, not {width} x {height}"
            )));
        }
        Ok(())
    }
}

impl Model for LatentDiffusion {
    fn memory_bytes(&self) -> u64 {
        self.memory_bytes
    }

    fn kept_bytes(&self) -> u64 {
        self.loras.kept_bytes()
    }

    fn release_kept(&mut self) {
        self.loras.release();
    }

    fn has_safety_checker(&self) -> bool {
        self.safety_checker.is_some()
    }

    fn run(&mut self, request: &Request, run: &mut Run<'_>) -> Result<(), Error> {
        self.run_with(request, &Exchange::default(), run)
    }
}

#[cfg(test)]
mod tests;
