//! From a folder to a model.

use std::num::NonZeroU32;
use std::path::Path;

use darkroom_jobs::Pipeline;
use serde::Deserialize;

use crate::blip::{self, Blip};
use crate::device::{DType, Device};
use crate::diffusion::{self, LatentDiffusion};
use crate::error::Error;
use crate::folder::{Folder, MODEL_INDEX, ModelFolder};
use crate::model::Model;

/// What a folder of transformers begins with.
const CONFIG: &str = "config.json";

/// How to load.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LoadOptions {
    /// Precision of weights and arithmetic; `None` for the device's usual one (f32 on the CPU, f16 on a GPU).
    pub dtype: Option<DType>,
    /// Leaves out the safety checker that the folder lists or that is among its components. Without this, a
    /// folder that lists one and does not have its files is an error.
    pub without_safety_checker: bool,
    /// How many bytes of weights that LoRAs have changed a model may keep, on its device and beside its own, for
    /// requests that name the same LoRAs again; `None` for as many as its denoiser has.
    pub lora_cache_bytes: Option<u64>,
    /// How many steps of a picture share what the deeper layers of a U-Net make (DeepCache, Ma et al. 2024): only the
    /// first of so many runs them. Faster, and another picture. 1 and `None` are no sharing.
    pub deep_cache: Option<NonZeroU32>,
}

/// Reads a folder in Hugging Face layout. Takes seconds; touches only files in `folder`.
///
/// `pipeline` is what the catalog says the model is for; the folder must agree.
///
/// # Errors
/// [`Error::Unsupported`] when the folder is of another pipeline or of an architecture that is not
/// implemented, [`Error::Load`] and [`Error::InvalidConfig`] when a file is missing or not what it should be.
pub fn load(
    folder: &ModelFolder,
    pipeline: Pipeline,
    device: &Device,
    options: &LoadOptions,
) -> Result<Box<dyn Model>, Error> {
    match Family::of(folder, pipeline)? {
        Family::Diffusion(family) => Ok(Box::new(LatentDiffusion::load_as(family, folder, device, options)?)),
        Family::Blip => Ok(Box::new(Blip::load(folder, device, options)?)),
    }
}

/// Bytes of weights in the device's memory that [`load`] with the same arguments would take.
///
/// Reads only configurations and the headers of the weights.
///
/// # Errors
/// As [`load`].
pub fn weights_bytes(
    folder: &ModelFolder,
    pipeline: Pipeline,
    device: &Device,
    options: &LoadOptions,
) -> Result<u64, Error> {
    let dtype = device.compute_dtype(options.dtype)?;
    match Family::of(folder, pipeline)? {
        Family::Diffusion(family) => diffusion::weights_bytes(folder, family, dtype, options),
        Family::Blip => blip::weights_bytes(folder, dtype),
    }
}

/// The family of a folder of diffusers.
pub(crate) fn diffusion_family(folder: &ModelFolder) -> Result<diffusion::Family, Error> {
    match Family::of(folder, Pipeline::TextToImage)? {
        Family::Diffusion(family) => Ok(family),
        Family::Blip => Err(Error::Unsupported("the model makes captions, not pictures".to_owned())),
    }
}

/// The model families that are implemented.
enum Family {
    Diffusion(diffusion::Family),
    Blip,
}

#[derive(Deserialize)]
struct ModelIndex {
    #[serde(rename = "_class_name")]
    class: String,
}

#[derive(Deserialize)]
struct Architectures {
    #[serde(default)]
    architectures: Vec<String>,
}

impl Family {
    /// The family of a folder by the class it names, which must serve `pipeline`.
    fn of(model: &ModelFolder, pipeline: Pipeline) -> Result<Self, Error> {
        let folder = Folder::new(model);
        let class = match folder.json_if_present::<ModelIndex>(MODEL_INDEX)? {
            Some(index) => index.class,
            None => match folder.json_if_present::<Architectures>(CONFIG)? {
                Some(config) => config.architectures.into_iter().next().unwrap_or_default(),
                None => return Err(neither(&model.path)),
            },
        };
        let family = match class.as_str() {
            "BlipForConditionalGeneration" => Some((Self::Blip, Pipeline::ImageToText)),
            class => diffusion::Family::of_class(class)
                .map(|family| (Self::Diffusion(family), Pipeline::TextToImage)),
        };
        match family {
            Some((family, serves)) if serves == pipeline => Ok(family),
            Some(_) => Err(Error::Unsupported(format!(
                "the model is a {class}, which does not serve the pipeline {pipeline}"
            ))),
            None => Err(Error::Unsupported(format!("models of class {class:?} are not implemented"))),
        }
    }
}

fn neither(folder: &Path) -> Error {
    Error::Load {
        file: folder.to_owned(),
        tensor: None,
        expected: format!("{MODEL_INDEX} or {CONFIG}"),
        found: if folder.is_dir() { "neither" } else { "no such folder" }.to_owned(),
        source: None,
    }
}
