//! Image to text with BLIP (Li et al. 2022), from a folder in the layout of transformers'
//! `BlipForConditionalGeneration`.

mod config;
mod text;
mod tokenizer;
mod vision;

use candle_core::{DType, Tensor};
use image::RgbImage;

use self::config::BlipConfig;
use self::text::TextDecoder;
use self::tokenizer::BertTokenizer;
use self::vision::VisionModel;
use crate::device::Device;
use crate::error::Error;
use crate::folder::{Folder, ModelFolder};
use crate::load::LoadOptions;
use crate::model::{Model, Output, Progress, Request, Run};
use crate::preprocess::Preprocessor;
use crate::request::check_caption;
use crate::weights::{Checkpoint, Weights};

const WEIGHTS: &str = "model";

/// A loaded BLIP captioning model.
///
/// Through [`Model`] it serves requests. Its own methods are the stages of that, for those who want to look
/// at what is between them.
pub struct Blip {
    config: BlipConfig,
    preprocessor: Preprocessor,
    tokenizer: BertTokenizer,
    vision: VisionModel,
    text: TextDecoder,
    dtype: DType,
    device: Device,
    memory_bytes: u64,
}

impl Blip {
    /// Reads a folder with a `config.json`. Weights are copied to the device.
    ///
    /// # Errors
    /// As [`crate::load`].
    pub fn load(model: &ModelFolder, device: &Device, options: &LoadOptions) -> Result<Self, Error> {
        let folder = Folder::new(model);
        let dtype = device.compute_dtype(options.dtype)?;
        let config = BlipConfig::load(&folder)?;
        let preprocessor = Preprocessor::blip(&folder, config.vision.image_size)?;
        let tokenizer = BertTokenizer::load(&folder)?;
        let checkpoint = Checkpoint::open(folder.weights(WEIGHTS, dtype)?)?;
        let memory_bytes = check(&checkpoint, &config, dtype)?;
        let (vision, text) = assemble(&config, &checkpoint.root(device.candle(), dtype))?;
        Ok(Self {
            vision,
            text,
            config,
            preprocessor,
            tokenizer,
            dtype,
            device: device.clone(),
            memory_bytes,
        })
    }

    /// What the vision model sees of a picture: f32 `(1, 3, image_size, image_size)`, normalised.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] when the picture has no pixels.
    pub fn pixel_values(&self, image: &RgbImage) -> Result<Tensor, Error> {
        check_caption(image)?;
        self.preprocessor.apply(image, self.device.candle())
    }

    /// The ids that the caption starts with: the start of a text, and `prompt`.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] when `prompt` leaves no room for a caption.
    pub fn prefix(&self, prompt: &str) -> Result<Vec<u32>, Error> {
        let mut ids = vec![self.config.generation.bos];
        if !prompt.is_empty() {
            ids.extend(self.tokenizer.encode(prompt)?);
        }
        if self.config.longest(ids.len()) <= ids.len() {
            let message =
                format!("the prompt has {} tokens, which leaves no room for a caption", ids.len() - 1);
            return Err(Error::InvalidInput(message));
        }
        Ok(ids)
    }

    /// Continues `prefix` by the likeliest token until the end or the longest length, which the result
    /// includes.
    ///
    /// `on_token` is called after each new token with the number of them; an error of it ends the caption.
    ///
    /// # Errors
    /// [`Error::NotFinite`] when the scores of the tokens are not, what `on_token` returns, and failures of
    /// the device.
    pub fn generate(
        &self,
        pixel_values: &Tensor,
        prefix: &[u32],
        on_token: &mut dyn FnMut(usize) -> Result<(), Error>,
    ) -> Result<Vec<u32>, Error> {
        let longest = self.config.longest(prefix.len());
        let image = self.vision.forward(&pixel_values.to_dtype(self.dtype)?)?;
        let mut state = self.text.start(&image)?;
        let mut ids = prefix.to_vec();
        let mut fed = 0;
        while ids.len() < longest {
            let scores = self.text.forward(&ids[fed..], &mut state)?;
            fed = ids.len();
            let id = likeliest(&scores)?;
            ids.push(id);
            on_token(ids.len() - prefix.len())?;
            if id == self.config.generation.end {
                break;
            }
        }
        Ok(ids)
    }

    /// The words of `ids`, without special tokens.
    ///
    /// # Errors
    /// When the tokenizer fails.
    pub fn decode(&self, ids: &[u32]) -> Result<String, Error> {
        let generation = &self.config.generation;
        let special = |id: u32| id == generation.bos || id == generation.pad || id == generation.end;
        let words = ids.iter().copied().filter(|id| !special(*id)).collect::<Vec<_>>();
        self.tokenizer.decode(&words)
    }

    fn caption(&self, image: &RgbImage, prompt: &str, run: &mut Run<'_>) -> Result<(), Error> {
        check_caption(image)?;
        let prefix = self.prefix(prompt.trim())?;
        run.check_canceled()?;
        let pixel_values = self.pixel_values(image)?;
        let steps = (self.config.longest(prefix.len()) - prefix.len()) as u32;
        let mut on_token = |tokens: usize| {
            (run.on_progress)(Progress { image: 0, images: 1, step: tokens as u32, steps });
            run.check_canceled()
        };
        let ids = self.generate(&pixel_values, &prefix, &mut on_token)?;
        (run.on_output)(Output::Text(self.decode(&ids)?));
        Ok(())
    }
}

impl Model for Blip {
    fn memory_bytes(&self) -> u64 {
        self.memory_bytes
    }

    fn has_safety_checker(&self) -> bool {
        false
    }

    fn run(&mut self, request: &Request, run: &mut Run<'_>) -> Result<(), Error> {
        match request {
            Request::ImageToText { image, prompt } => self.caption(image, prompt, run),
            Request::TextToImage { .. } => {
                Err(Error::Unsupported("this model makes captions, not pictures".to_owned()))
            }
        }
    }
}

/// The first of the highest of f32 scores `(vocab_size)`.
fn likeliest(scores: &Tensor) -> Result<u32, Error> {
    let scores = scores.to_vec1::<f32>()?;
    let mut best = 0;
    for (id, score) in scores.iter().enumerate() {
        if score.is_nan() {
            return Err(Error::NotFinite("the scores of the next token are not finite".to_owned()));
        }
        if *score > scores[best] {
            best = id;
        }
    }
    Ok(best as u32)
}

/// Bytes that the tensors of the folder will take on the device, after the checks of [`Blip::load`].
pub(crate) fn weights_bytes(model: &ModelFolder, dtype: DType) -> Result<u64, Error> {
    let folder = Folder::new(model);
    let config = BlipConfig::load(&folder)?;
    check(&Checkpoint::open(folder.weights(WEIGHTS, dtype)?)?, &config, dtype)
}

/// Compares names and shapes with the configuration, without allocating anything, and returns how many bytes
/// the weights will take.
fn check(checkpoint: &Checkpoint, config: &BlipConfig, dtype: DType) -> Result<u64, Error> {
    assemble(config, &checkpoint.check(dtype))?;
    checkpoint.warn_unread(|name| name != text::UNREAD);
    Ok(checkpoint.take_bytes())
}

fn assemble(config: &BlipConfig, weights: &Weights<'_>) -> Result<(VisionModel, TextDecoder), Error> {
    let vision = VisionModel::load(&config.vision, &weights.pp("vision_model"))?;
    Ok((vision, TextDecoder::load(&config.text, &weights.pp("text_decoder"))?))
}
