//! From a folder to a [`StableDiffusion`].

use std::collections::HashMap;
use std::path::Path;

use candle_core::DType;
use serde_json::Value;

use super::clip::{ClipConfig, ClipTextModel};
use super::tokenizer::ClipTokenizer;
use super::unet::{Unet, UnetConfig};
use super::vae::{VaeConfig, VaeDecoder};
use super::{StableDiffusion, VAE_DTYPE};
use crate::device::Device;
use crate::error::Error;
use crate::folder::Folder;
use crate::load::{LoadOptions, MODEL_INDEX};
use crate::scheduler::SchedulerConfig;
use crate::weights::WeightsFile;

const SCHEDULER_CONFIG: &str = "scheduler_config.json";

/// Components and the classes of them that are implemented.
const CLASSES: [(&str, &[&str]); 4] = [
    ("text_encoder", &["CLIPTextModel"]),
    ("tokenizer", &["CLIPTokenizer", "CLIPTokenizerFast"]),
    ("unet", &["UNet2DConditionModel"]),
    ("vae", &["AutoencoderKL"]),
];

/// Configurations of the components, checked against one another.
struct Configs {
    text_encoder: ClipConfig,
    unet: UnetConfig,
    vae: VaeConfig,
    scheduler: SchedulerConfig,
    has_safety_checker: bool,
}

/// Weights of the components.
struct Files {
    text_encoder: WeightsFile,
    unet: WeightsFile,
    vae: WeightsFile,
}

impl Configs {
    fn load(folder: &Folder) -> Result<Self, Error> {
        let index: HashMap<String, Value> = folder.json(MODEL_INDEX)?;
        check_classes(folder, &index)?;
        let configs = Self {
            text_encoder: ClipConfig::load(&folder.component("text_encoder"))?,
            unet: UnetConfig::load(&folder.component("unet"))?,
            vae: VaeConfig::load(&folder.component("vae"))?,
            scheduler: folder.component("scheduler").json(SCHEDULER_CONFIG)?,
            has_safety_checker: class_of(&index, "safety_checker").is_some(),
        };
        let (unet, latents) = (&configs.unet, configs.vae.latent_channels);
        if unet.in_channels != latents || unet.out_channels != latents {
            let message = format!(
                "the model's UNet takes {} channels and gives {}, and its VAE has {latents}; only plain \
                 text-to-image models are implemented",
                unet.in_channels, unet.out_channels
            );
            return Err(Error::Unsupported(message));
        }
        if unet.cross_attention_dim != configs.text_encoder.hidden_size {
            let reason = format!(
                "cross_attention_dim is {}, and the text encoder's hidden_size is {}",
                unet.cross_attention_dim, configs.text_encoder.hidden_size
            );
            return Err(folder.component("unet").invalid("config.json", reason));
        }
        Ok(configs)
    }
}

impl Files {
    fn open(folder: &Folder) -> Result<Self, Error> {
        let open =
            |component: &str, stem: &str| WeightsFile::open(folder.component(component).weights(stem)?);
        Ok(Self {
            text_encoder: open("text_encoder", "model")?,
            unet: open("unet", "diffusion_pytorch_model")?,
            vae: open("vae", "diffusion_pytorch_model")?,
        })
    }
}

pub(super) fn load(path: &Path, device: &Device, options: &LoadOptions) -> Result<StableDiffusion, Error> {
    let folder = Folder::new(path);
    let dtype = device.compute_dtype(options.dtype)?;
    let configs = Configs::load(&folder)?;
    let positions = configs.text_encoder.max_position_embeddings;
    let tokenizer = ClipTokenizer::load(&folder.component("tokenizer"), positions)?;
    let files = Files::open(&folder)?;
    let (on, text) = (device.candle(), &files.text_encoder);
    let text_encoder = ClipTextModel::load(&configs.text_encoder, &text.root(on, dtype))?;
    let unet = Unet::load(&configs.unet, &files.unet.root(on, dtype))?;
    let vae = VaeDecoder::load(&configs.vae, &files.vae.root(on, VAE_DTYPE))?;
    files.text_encoder.warn_unread(|_| true);
    files.unet.warn_unread(|_| true);
    files.vae.warn_unread(VaeConfig::is_decoder);
    let model = StableDiffusion {
        tokenizer,
        text_encoder,
        unet,
        vae,
        scheduler: configs.scheduler,
        has_safety_checker: configs.has_safety_checker,
        latent_channels: configs.vae.latent_channels,
        scale: configs.vae.scale(),
        device: device.clone(),
        memory_bytes: text.bytes() + files.unet.bytes() + files.vae.bytes(),
    };
    model.check_vocabulary(&folder, configs.text_encoder.vocab_size)?;
    Ok(model)
}

impl StableDiffusion {
    /// A tokenizer of another model would make ids that the text encoder has no vectors for.
    fn check_vocabulary(&self, folder: &Folder, vocab_size: usize) -> Result<(), Error> {
        let largest = self.tokenizer.largest_id();
        if (largest as usize) < vocab_size {
            return Ok(());
        }
        let reason = format!("vocab_size is {vocab_size}, and the tokenizer has the id {largest}");
        Err(folder.component("text_encoder").invalid("config.json", reason))
    }
}

/// Bytes that the tensors of the folder will take on the device.
pub(crate) fn weights_bytes(path: &Path, dtype: DType) -> Result<u64, Error> {
    let folder = Folder::new(path);
    Configs::load(&folder)?;
    let files = Files::open(&folder)?;
    Ok(files.text_encoder.bytes_in(dtype, |_| true)
        + files.unet.bytes_in(dtype, |_| true)
        + files.vae.bytes_in(VAE_DTYPE, VaeConfig::is_decoder))
}

fn check_classes(folder: &Folder, index: &HashMap<String, Value>) -> Result<(), Error> {
    for (component, classes) in CLASSES {
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
