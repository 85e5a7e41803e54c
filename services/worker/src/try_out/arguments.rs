//! What to run, and where the results go.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context as _, bail};
use clap::Args;
use darkroom_jobs::{
    FormatName, ImageSize, Limits, Loras, PictureFormat, PictureOutput, Prompt, SchedulerKind, TextToImage,
};
use darkroom_models::{DType, Device, Exchange, Lora, ModelFolder};

use crate::DeviceChoice;

/// Run one task on one model, without any service.
#[derive(Args, Debug)]
pub struct RunArguments {
    /// Folder of the model, in a Hugging Face layout.
    #[arg(long, value_name = "FOLDER")]
    model: PathBuf,

    /// A component from elsewhere: a safetensors file, a folder, or another model's folder.
    #[arg(long, value_name = "NAME=PATH")]
    component: Vec<Named>,

    /// What the picture should show, or what the caption starts with.
    #[arg(long, required_unless_present = "image")]
    pub(super) prompt: Option<String>,

    /// Describe this picture, instead of making one.
    #[arg(long, value_name = "FILE")]
    pub(super) image: Option<PathBuf>,

    /// What the picture should not show.
    #[arg(long)]
    negative_prompt: Option<String>,

    /// Width in pixels, a multiple of 8.
    #[arg(long, default_value_t = 512)]
    width: u32,

    /// Height in pixels, a multiple of 8.
    #[arg(long, default_value_t = 512)]
    height: u32,

    /// Denoising steps, 1 to 1000.
    #[arg(long, default_value_t = 30)]
    steps: u32,

    /// Weight of classifier-free guidance; at most 1 means none.
    #[arg(long, default_value_t = 7.5)]
    guidance: f64,

    /// Seed of the first picture; each further one has the next.
    #[arg(long, default_value_t = 0)]
    seed: u64,

    /// How many pictures.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=i64::from(Limits::IMAGES)))]
    images: u32,

    /// Scheduler to use instead of the one the model names.
    #[arg(long)]
    scheduler: Option<SchedulerKind>,

    /// How many steps share what the deeper layers of a U-Net make: faster, and another picture.
    #[arg(long, value_name = "STEPS", conflicts_with = "image")]
    pub(super) deep_cache: Option<NonZeroU32>,

    /// A LoRA to merge into the model, with a strength other than 1. Up to 4 times.
    #[arg(long, value_name = "FILE[=STRENGTH]")]
    lora: Vec<LoraFile>,

    /// Mark pictures that the model's safety checker objects to.
    #[arg(long)]
    safety_check: bool,

    /// Where the picture goes: .png, .jpg or .webp. Several pictures are numbered.
    #[arg(long, short, value_name = "FILE", conflicts_with = "image", required_unless_present = "image")]
    output: Option<PathBuf>,

    /// Leave the parameters out of the file.
    #[arg(long)]
    no_parameters: bool,

    /// Take the initial noise from the tensor `noise` of a safetensors file: images x channels x height/8 x
    /// width/8.
    #[arg(long, value_name = "FILE", conflicts_with = "image")]
    noise: Option<PathBuf>,

    /// Write `latents` and `image` to a safetensors file, for comparing with another implementation.
    #[arg(long, value_name = "FILE", conflicts_with = "image")]
    dump: Option<PathBuf>,

    /// Device to run on: `cpu`, `cuda` or `cuda:N`.
    #[arg(long, default_value = "cpu")]
    device: DeviceChoice,

    /// Precision: f32, f16 or bf16 [default: f32 on the CPU, f16 on a GPU].
    #[arg(long)]
    pub(super) dtype: Option<DType>,
}

/// A component and where it is.
#[derive(Debug, Clone)]
struct Named {
    name: String,
    path: PathBuf,
}

impl FromStr for Named {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('=') {
            Some((name, path)) if !name.is_empty() && !path.is_empty() => {
                Ok(Self { name: name.to_owned(), path: path.into() })
            }
            _ => Err("expected NAME=PATH"),
        }
    }
}

/// A LoRA and how strongly it is merged.
#[derive(Debug, Clone)]
struct LoraFile {
    path: String,
    strength: f64,
}

impl FromStr for LoraFile {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.rsplit_once('=') {
            None => Ok(Self { path: text.to_owned(), strength: 1.0 }),
            Some((path, strength)) => {
                let strength = strength.parse().map_err(|_| format!("{strength:?} is not a number"))?;
                Ok(Self { path: path.to_owned(), strength })
            }
        }
    }
}

impl RunArguments {
    pub(super) fn device(&self) -> Result<Device, darkroom_models::Error> {
        self.device.open()
    }

    pub(super) fn folder(&self) -> ModelFolder {
        let components = self.component.iter().map(|named| (named.name.clone(), named.path.clone()));
        ModelFolder { components: components.collect(), ..self.model.clone().into() }
    }

    /// The last part of the folder's path.
    pub(super) fn model_name(&self) -> String {
        self.model.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
    }

    pub(super) fn exchange(&self) -> Exchange {
        Exchange { noise: self.noise.clone(), dump: self.dump.clone() }
    }

    pub(super) fn loras(&self) -> Vec<Lora> {
        let lora = |file: &LoraFile| Lora {
            id: file.path.clone(),
            path: file.path.clone().into(),
            strength: file.strength,
        };
        self.lora.iter().map(lora).collect()
    }

    /// What to draw.
    pub(super) fn task(&self) -> anyhow::Result<TextToImage> {
        let size = ImageSize::new(self.width, self.height).with_context(|| {
            format!("--width and --height must be multiples of 8, not {} x {}", self.width, self.height)
        })?;
        let loras = self.lora.iter().map(|lora| (lora.path.clone(), lora.strength));
        Ok(TextToImage {
            prompt: Prompt::new(self.prompt.as_deref().unwrap_or_default()).context("--prompt")?,
            negative_prompt: self.negative_prompt.clone(),
            size,
            steps: self.steps,
            guidance_scale: self.guidance,
            seed: self.seed,
            images: self.images,
            scheduler: self.scheduler,
            loras: Loras::new(loras.collect::<BTreeMap<_, _>>()).context("--lora")?,
            safety_check: self.safety_check,
            output: PictureOutput { format: self.format()?, embed_parameters: !self.no_parameters },
        })
    }

    fn format(&self) -> anyhow::Result<PictureFormat> {
        let extension = self.output.as_deref().and_then(Path::extension).unwrap_or_default();
        let name = match extension.to_ascii_lowercase().to_str() {
            Some("png") => FormatName::Png,
            Some("jpg" | "jpeg") => FormatName::Jpeg,
            Some("webp") => FormatName::Webp,
            _ => bail!("--output must end in .png, .jpg or .webp"),
        };
        PictureFormat::new(name, None).context("--output names no format")
    }

    /// The file of each picture.
    pub(super) fn files(&self, task: &TextToImage) -> anyhow::Result<Vec<String>> {
        let output = self.output.as_deref().context("--output is missing")?;
        if task.images == 1 {
            return Ok(vec![output.display().to_string()]);
        }
        let (stem, extension) = (output.with_extension(""), output.extension().unwrap_or_default());
        let file = |index| format!("{}-{index}.{}", stem.display(), extension.display());
        Ok((0..task.images).map(file).collect())
    }
}
