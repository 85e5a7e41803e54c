//! From a folder to a [`LatentDiffusion`].

use std::cell::OnceCell;
use std::collections::HashMap;
use std::num::NonZeroU32;

use candle_core::DType;
use serde_json::{Map, Value};

use super::denoiser::{Denoiser, DenoiserConfig};
use super::embeddings::Embeddings;
use super::family::Family;
use super::text::{TextConfigs, TextEncoders, TextModels, Tokenizers};
use super::{LatentDiffusion, Sides};
use crate::clip::ClipTextModel;
use crate::device::Device;
use crate::error::Error;
use crate::folder::{Folder, MODEL_INDEX, ModelFolder};
use crate::load::LoadOptions;
use crate::lora::{Component, Loras};
use crate::parameters::Parameters;
use crate::safety::{self, SafetyFiles};
use crate::scheduler::SchedulerConfig;
use crate::t5::T5Encoder;
use crate::vae::{VaeConfig, VaeDecoder};
use crate::weights::{Checkpoint, Weights};

const SCHEDULER_CONFIG: &str = "scheduler_config.json";

/// Stem of the weights of a component of transformers.
const TRANSFORMERS_WEIGHTS: &str = "model";

/// Stem of the weights of a component of diffusers.
const DIFFUSERS_WEIGHTS: &str = "diffusion_pytorch_model";

/// Dtype of the VAE, whatever the rest computes in: in f16 it overflows for some pictures.
const VAE_DTYPE: DType = DType::F32;

/// Configurations of the components, checked against one another.
struct Configs {
    family: Family,
    text: TextConfigs,
    denoiser: DenoiserConfig,
    vae: VaeConfig,
    scheduler: SchedulerConfig,
    /// The class of the safety checker that the index lists.
    safety_checker: Option<String>,
    zeros_for_no_negative_prompt: bool,
}

/// The weights of the components.
struct Checkpoints {
    clips: Vec<Checkpoint>,
    t5: Option<Checkpoint>,
    denoiser: Checkpoint,
    vae: Checkpoint,
}

/// The components that hold weights.
struct Parts {
    text: TextModels,
    denoiser: Denoiser,
    vae: VaeDecoder,
}

impl Configs {
    fn load(model: &ModelFolder, family: Family, options: &LoadOptions) -> Result<Self, Error> {
        let folder = &Folder::new(model);
        let index: HashMap<String, Value> = folder.json(MODEL_INDEX)?;
        check_classes(folder, family, &index)?;
        check_deep_cache(family, options)?;
        let configs = Self {
            family,
            text: TextConfigs::load(folder, family, |component| class_of(&index, component).is_some())?,
            denoiser: DenoiserConfig::load(family, &folder.component(family.denoiser().0))?,
            vae: VaeConfig::load(&folder.component("vae"))?,
            scheduler: scheduler_config(folder, model, family)?,
            safety_checker: class_of(&index, safety::COMPONENT).map(str::to_owned),
            zeros_for_no_negative_prompt: match index.get("force_zeros_for_empty_prompt") {
                Some(value) => *value == Value::Bool(true),
                None => family == Family::StableDiffusionXl,
            },
        };
        configs.check(folder)?;
        Ok(configs)
    }

    /// Refuses components that do not fit each other.
    fn check(&self, folder: &Folder) -> Result<(), Error> {
        let (fitting, latents) = (self.denoiser.fitting(), self.vae.latent_channels);
        if fitting.in_channels != latents || fitting.out_channels != latents {
            let message = format!(
                "the model's denoiser takes {} channels and gives {}, and its VAE has {latents}; only plain \
                 text-to-image models are implemented",
                fitting.in_channels, fitting.out_channels
            );
            return Err(Error::Unsupported(message));
        }
        let invalid =
            |reason: String| Err(folder.component(self.family.denoiser().0).invalid("config.json", reason));
        let (width, field) = (fitting.text_width, fitting.text_field);
        let clips = self.text.clips.iter().map(|clip| clip.hidden_size).sum::<usize>();
        match (self.family, &self.text.t5) {
            (Family::StableDiffusion | Family::StableDiffusionXl, _) if clips != width => {
                return invalid(format!(
                    "{field} is {width}, and the hidden_size of the text encoders is {clips}"
                ));
            }
            (Family::StableDiffusion3, _) if clips > width => {
                return invalid(format!(
                    "{field} is {width}, and the hidden_size of the text encoders is {clips}"
                ));
            }
            (_, Some(t5)) if t5.d_model != width => {
                return invalid(format!("{field} is {width}, and the d_model of the T5 is {}", t5.d_model));
            }
            _ => {}
        }
        let mut projections = self.text.clips.iter().map(|clip| clip.projection_dim);
        let pooled = match self.family {
            Family::StableDiffusion => None,
            Family::StableDiffusionXl => projections.next_back(),
            Family::StableDiffusion3 => Some(projections.sum()),
            Family::Flux => Some(clips),
        };
        if fitting.pooled_width != pooled {
            return invalid(format!(
                "the text as one vector has the width {:?} there, and that of the text encoders is {pooled:?}",
                fitting.pooled_width
            ));
        }
        Ok(())
    }
}

impl Checkpoints {
    fn open(folder: &Folder, configs: &Configs, dtype: DType) -> Result<Self, Error> {
        let family = configs.family;
        let open = |component: &str, stem: &str, dtype: DType| {
            Checkpoint::open(folder.component(component).weights(stem, dtype)?)
        };
        let clips = family.clips().iter();
        let t5 = family.t5().filter(|_| configs.text.t5.is_some());
        Ok(Self {
            clips: clips
                .map(|encoder| open(encoder.model, TRANSFORMERS_WEIGHTS, dtype))
                .collect::<Result<_, _>>()?,
            t5: t5.map(|t5| open(t5.encoder.model, TRANSFORMERS_WEIGHTS, dtype)).transpose()?,
            denoiser: open(family.denoiser().0, DIFFUSERS_WEIGHTS, dtype)?,
            vae: open("vae", DIFFUSERS_WEIGHTS, VAE_DTYPE)?,
        })
    }

    /// The components, of weights that `weights` makes of a checkpoint and a dtype.
    fn assemble<'a>(
        &'a self,
        configs: &Configs,
        dtype: DType,
        weights: impl Fn(&'a Checkpoint, DType) -> Weights<'a>,
    ) -> Result<Parts, Error> {
        let clips = configs.text.clips.iter().zip(&self.clips);
        let t5 = configs.text.t5.as_ref().zip(self.t5.as_ref());
        let text = TextModels {
            clips: clips
                .map(|(config, checkpoint)| ClipTextModel::load(config, &weights(checkpoint, dtype)))
                .collect::<Result<_, _>>()?,
            t5: t5
                .map(|(config, checkpoint)| T5Encoder::load(config, &weights(checkpoint, dtype)))
                .transpose()?,
        };
        Ok(Parts {
            text,
            denoiser: Denoiser::load(&configs.denoiser, &weights(&self.denoiser, dtype))?,
            vae: VaeDecoder::load(&configs.vae, &weights(&self.vae, VAE_DTYPE))?,
        })
    }

    /// Compares names and shapes with the configurations, without allocating anything, and returns how many
    /// bytes the weights will take.
    fn check(&self, configs: &Configs, dtype: DType) -> Result<u64, Error> {
        self.assemble(configs, dtype, Checkpoint::check)?;
        self.clips.iter().for_each(|checkpoint| checkpoint.warn_unread(|_| true));
        self.t5.iter().for_each(|checkpoint| checkpoint.warn_unread(T5Encoder::is_encoder));
        self.denoiser.warn_unread(|_| true);
        self.vae.warn_unread(VaeConfig::is_decoder);
        let all = self.clips.iter().chain(&self.t5).chain([&self.denoiser, &self.vae]);
        Ok(all.map(Checkpoint::take_bytes).sum())
    }

    /// The weights that LoRAs may change.
    fn into_parameters(self, family: Family) -> Vec<(Component, Parameters)> {
        let encoders = family.clips().iter().map(|encoder| encoder.model).zip(self.clips);
        let all = encoders.chain([(family.denoiser().0, self.denoiser)]);
        all.filter_map(|(name, weights)| Some((Component::of_name(name)?, weights.into_parameters())))
            .collect()
    }
}

/// Reads a folder of `family`. Names, shapes and dtypes of all tensors are checked before the first is copied
/// to the device.
pub(super) fn load(
    model: &ModelFolder,
    family: Family,
    device: &Device,
    options: &LoadOptions,
) -> Result<LatentDiffusion, Error> {
    let folder = Folder::new(model);
    let dtype = device.compute_dtype(options.dtype)?;
    let configs = Configs::load(model, family, options)?;
    let tokenizers = Tokenizers::load(&folder, family, &configs.text)?;
    let checkpoints = Checkpoints::open(&folder, &configs, dtype)?;
    let safety = safety_files(&folder, &configs, dtype, options)?;
    let memory_bytes = checkpoints.check(&configs, dtype)? + check_safety(safety.as_ref())?;
    let parts =
        checkpoints.assemble(&configs, dtype, |checkpoint, dtype| checkpoint.root(device.candle(), dtype))?;
    let loras = Loras::new(checkpoints.into_parameters(family), options.lora_cache_bytes);
    let fitting = configs.denoiser.fitting();
    Ok(LatentDiffusion {
        loras,
        text_encoders: TextEncoders {
            family,
            tokenizers,
            models: parts.text,
            width: fitting.text_width,
            dtype,
            device: device.candle().clone(),
        },
        embeddings: Embeddings::default(),
        denoiser: parts.denoiser,
        deep_cache: options.deep_cache.unwrap_or(NonZeroU32::MIN),
        vae: parts.vae,
        preview_map: OnceCell::new(),
        scheduler: configs.scheduler,
        safety_checker: safety.map(|files| files.load(device)).transpose()?,
        zeros_for_no_negative_prompt: configs.zeros_for_no_negative_prompt,
        latent_channels: configs.vae.latent_channels,
        sides: Sides {
            scale: configs.vae.scale(),
            patch_size: fitting.patch_size as u32,
            max_latents: fitting.max_side.map(|side| side as u32),
        },
        device: device.clone(),
        memory_bytes,
    })
}

/// Bytes that the tensors of the folder will take on the device, after the checks of [`load`].
pub(crate) fn weights_bytes(
    model: &ModelFolder,
    family: Family,
    dtype: DType,
    options: &LoadOptions,
) -> Result<u64, Error> {
    let configs = Configs::load(model, family, options)?;
    let folder = Folder::new(model);
    let safety = safety_files(&folder, &configs, dtype, options)?;
    Ok(Checkpoints::open(&folder, &configs, dtype)?.check(&configs, dtype)? + check_safety(safety.as_ref())?)
}

/// The files of the safety checker that the index lists or that was brought from elsewhere.
///
/// One that is listed must be there: a model that comes with a checker is not run without one unless
/// [`LoadOptions::without_safety_checker`] says so.
fn safety_files(
    folder: &Folder,
    configs: &Configs,
    dtype: DType,
    options: &LoadOptions,
) -> Result<Option<SafetyFiles>, Error> {
    if options.without_safety_checker {
        return Ok(None);
    }
    match configs.safety_checker.as_deref() {
        _ if folder.overrides(safety::COMPONENT) => SafetyFiles::open(folder, dtype).map(Some),
        None => Ok(None),
        Some(safety::CLASS) => SafetyFiles::open(folder, dtype).map(Some),
        Some(class) => {
            let message = format!("the model's safety_checker is a {class}, which is not implemented");
            Err(Error::Unsupported(message))
        }
    }
}

fn check_safety(files: Option<&SafetyFiles>) -> Result<u64, Error> {
    files.map_or(Ok(0), SafetyFiles::check)
}

fn scheduler_config(folder: &Folder, model: &ModelFolder, family: Family) -> Result<SchedulerConfig, Error> {
    let folder = folder.component("scheduler");
    let mut fields: Map<String, Value> = folder.json(SCHEDULER_CONFIG)?;
    fields.extend(model.scheduler.clone());
    let config: SchedulerConfig = serde_json::from_value(fields.into())
        .map_err(|error| folder.invalid(SCHEDULER_CONFIG, error.to_string()))?;
    Ok(match family {
        Family::StableDiffusion => config.with_stable_diffusion_corrections(),
        Family::StableDiffusionXl | Family::StableDiffusion3 => config,
        Family::Flux => config.with_pipeline_sigmas(),
    })
}

fn check_deep_cache(family: Family, options: &LoadOptions) -> Result<(), Error> {
    if options.deep_cache.is_none() || family.has_unet() {
        return Ok(());
    }
    let (denoiser, _) = family.denoiser();
    let message = format!("deep_cache is for models with a U-Net, and this one has a {denoiser}");
    Err(Error::Unsupported(message))
}

fn check_classes(folder: &Folder, family: Family, index: &HashMap<String, Value>) -> Result<(), Error> {
    let t5 = family.t5().filter(|t5| !t5.is_optional || class_of(index, t5.encoder.model).is_some());
    let mut wanted = vec![family.denoiser(), ("vae", &["AutoencoderKL"][..])];
    for encoder in family.clips().iter().copied().chain(t5.map(|t5| t5.encoder)) {
        wanted.push((encoder.model, encoder.classes));
        wanted.push((encoder.tokenizer, encoder.tokenizer_classes));
    }
    for (component, classes) in wanted {
        match class_of(index, component) {
            None => return Err(folder.invalid(MODEL_INDEX, format!("there is no {component}"))),
            Some(class) if classes.contains(&class) => {}
            Some(class) => {
                let message = format!("the model's {component} is a {class}, which is not implemented");
                return Err(Error::Unsupported(message));
            }
        }
    }
    Ok(())
}

/// The class of a component, which the index writes as `[library, class]`, or as nulls where there is none.
fn class_of<'a>(index: &'a HashMap<String, Value>, component: &str) -> Option<&'a str> {
    index.get(component)?.get(1)?.as_str()
}
