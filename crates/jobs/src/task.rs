//! Tasks: the typed, validated parameters of a job, as they are stored and as a worker runs them.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::state::UnknownWord;
use crate::{Loras, PictureOutput};

/// The kind of work a job asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pipeline {
    /// A picture made from a prompt.
    TextToImage,
    /// A caption made from a picture.
    ImageToText,
}

impl Pipeline {
    /// Every pipeline, in the order in which they are listed to callers.
    pub const ALL: [Self; 2] = [Self::TextToImage, Self::ImageToText];

    /// The name used in the API, in the catalog and in lanes.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TextToImage => "text-to-image",
            Self::ImageToText => "image-to-text",
        }
    }
}

impl fmt::Display for Pipeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for Pipeline {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|pipeline| pipeline.as_str() == word).ok_or_else(|| UnknownWord {
            what: "pipeline",
            word: word.to_owned(),
            allowed: "text-to-image, image-to-text",
        })
    }
}

/// What a worker runs: everything that decides the result, with every default already filled in.
///
/// The same task on the same kind of device gives the same bytes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "pipeline", rename_all = "kebab-case")]
pub enum Task {
    /// See [`TextToImage`].
    TextToImage(TextToImage),
    /// See [`ImageToText`].
    ImageToText(ImageToText),
}

impl Task {
    /// The pipeline this task belongs to.
    pub fn pipeline(&self) -> Pipeline {
        match self {
            Self::TextToImage(_) => Pipeline::TextToImage,
            Self::ImageToText(_) => Pipeline::ImageToText,
        }
    }

    /// How many artifacts a finished job of this task has.
    pub fn artifacts(&self) -> u32 {
        match self {
            Self::TextToImage(task) => task.images,
            Self::ImageToText(_) => 1,
        }
    }

    /// The pixels that are billed: output pixels of all pictures, or input pixels of the captioned one.
    pub fn pixels(&self) -> u64 {
        match self {
            Self::TextToImage(task) => task.size.pixels() * u64::from(task.images),
            Self::ImageToText(task) => task.image.size_pixels(),
        }
    }
}

/// Parameters of a `text-to-image` job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TextToImage {
    /// What the picture should show.
    pub prompt: Prompt,
    /// What it should not show. Ignored while `guidance_scale` is at most 1. Left out and empty are different
    /// things to some models: Stable Diffusion XL sees zeros for the first, the encoded empty text for the second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub negative_prompt: Option<String>,
    /// Size of every picture.
    #[serde(flatten)]
    pub size: ImageSize,
    /// Denoising steps, 1 to 150.
    pub steps: u32,
    /// Weight of classifier-free guidance; at most 1 means none.
    pub guidance_scale: f64,
    /// Seed of picture 0; picture `i` uses `seed + i`. At most 2^53 - 1 for every picture.
    pub seed: u64,
    /// How many pictures.
    pub images: u32,
    /// Scheduler to use instead of the one the model names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduler: Option<SchedulerKind>,
    /// LoRAs to merge into the model.
    #[serde(default, skip_serializing_if = "Loras::is_empty")]
    pub loras: Loras,
    /// Whether pictures go through the model's safety checker.
    pub safety_check: bool,
    /// How pictures are written.
    #[serde(flatten)]
    pub output: PictureOutput,
}

/// Parameters of an `image-to-text` job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ImageToText {
    /// Prefix that the caption starts with; empty for none.
    pub prompt: String,
    /// The picture to describe.
    pub image: InputImage,
}

/// A picture a caller sent, as it lies in the blob store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputImage {
    /// Object key.
    pub key: String,
    /// Media type by content: `image/png`, `image/jpeg`, `image/webp` or `image/gif`.
    pub content_type: String,
    /// Size of the object.
    pub size_bytes: u64,
    /// SHA-256 of the object, in lower-case hexadecimal.
    pub sha256: String,
    /// Width in pixels, from the header.
    pub width: u32,
    /// Height in pixels, from the header.
    pub height: u32,
}

impl InputImage {
    fn size_pixels(&self) -> u64 {
        u64::from(self.width) * u64::from(self.height)
    }
}

/// Width and height of a picture to make, in pixels; both are multiples of 8 and above 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "RawImageSize")]
pub struct ImageSize {
    width: u32,
    height: u32,
}

#[derive(Deserialize)]
struct RawImageSize {
    width: u32,
    height: u32,
}

impl TryFrom<RawImageSize> for ImageSize {
    type Error = String;

    fn try_from(raw: RawImageSize) -> Result<Self, Self::Error> {
        Self::new(raw.width, raw.height)
            .ok_or_else(|| format!("{} x {} is not a size in multiples of 8", raw.width, raw.height))
    }
}

impl ImageSize {
    /// Both sides must divide by this: the VAE of every model family halves them three times.
    pub const MULTIPLE: u32 = 8;

    /// `None` unless both sides are above 0 and divide by [`Self::MULTIPLE`].
    pub fn new(width: u32, height: u32) -> Option<Self> {
        let fits = |side: u32| side > 0 && side.is_multiple_of(Self::MULTIPLE);
        (fits(width) && fits(height)).then_some(Self { width, height })
    }

    /// Width in pixels.
    pub fn width(self) -> u32 {
        self.width
    }

    /// Height in pixels.
    pub fn height(self) -> u32 {
        self.height
    }

    /// Width times height.
    pub fn pixels(self) -> u64 {
        u64::from(self.width) * u64::from(self.height)
    }
}

/// A prompt: not blank, at most [`Prompt::MAX_CHARS`] characters, without NUL.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Prompt(String);

impl Prompt {
    /// The most characters a prompt may have. Text encoders read far fewer.
    pub const MAX_CHARS: usize = 10_000;

    /// Checks a prompt.
    ///
    /// # Errors
    /// When it is blank, too long, or holds a NUL character (which Postgres cannot store).
    pub fn new(text: impl Into<String>) -> Result<Self, PromptError> {
        let text = text.into();
        if text.trim().is_empty() {
            return Err(PromptError::Blank);
        }
        check_text(&text)?;
        Ok(Self(text))
    }

    /// The text as it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The checks a prompt and every optional text share.
pub(crate) fn check_text(text: &str) -> Result<(), PromptError> {
    if text.contains('\0') {
        return Err(PromptError::Nul);
    }
    if text.chars().count() > Prompt::MAX_CHARS {
        return Err(PromptError::TooLong);
    }
    Ok(())
}

/// Prompts are callers' property and stay out of logs, so `Debug` shows only the length.
impl fmt::Debug for Prompt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Prompt({} characters)", self.0.chars().count())
    }
}

impl TryFrom<String> for Prompt {
    type Error = PromptError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::new(text)
    }
}

impl From<Prompt> for String {
    fn from(prompt: Prompt) -> Self {
        prompt.0
    }
}

/// Why a text is no prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PromptError {
    /// Nothing but white space.
    #[error("must not be empty")]
    Blank,
    /// Over [`Prompt::MAX_CHARS`].
    #[error("must have at most {} characters", Prompt::MAX_CHARS)]
    TooLong,
    /// U+0000 inside.
    #[error("must not contain the character U+0000")]
    Nul,
}

/// The schedulers a request or a catalog entry may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SchedulerKind {
    /// DDIM (Song et al. 2020), deterministic (eta 0).
    Ddim,
    /// PNDM (Liu et al. 2022), also known as PLMS.
    Pndm,
    /// Euler (Karras et al. 2022, algorithm 2 without churn).
    Euler,
    /// Euler with fresh noise after each step.
    EulerAncestral,
    /// DPM-Solver++ (Lu et al. 2022), multistep, of second order unless the model says otherwise.
    #[serde(rename = "dpmpp_2m")]
    Dpmpp2m,
    /// The same at the noise levels of Karras et al. 2022.
    #[serde(rename = "dpmpp_2m_karras")]
    Dpmpp2mKarras,
    /// Latent consistency (Luo et al. 2023), for models or LoRAs distilled for it.
    Lcm,
    /// UniPC (Zhao et al. 2023).
    Unipc,
    /// Euler for flow-matching models (Esser et al. 2024).
    FlowMatchEuler,
}

impl SchedulerKind {
    /// Every scheduler.
    pub const ALL: [Self; 9] = [
        Self::Ddim,
        Self::Pndm,
        Self::Euler,
        Self::EulerAncestral,
        Self::Dpmpp2m,
        Self::Dpmpp2mKarras,
        Self::Lcm,
        Self::Unipc,
        Self::FlowMatchEuler,
    ];

    /// The name used in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ddim => "ddim",
            Self::Pndm => "pndm",
            Self::Euler => "euler",
            Self::EulerAncestral => "euler_ancestral",
            Self::Dpmpp2m => "dpmpp_2m",
            Self::Dpmpp2mKarras => "dpmpp_2m_karras",
            Self::Lcm => "lcm",
            Self::Unipc => "unipc",
            Self::FlowMatchEuler => "flow_match_euler",
        }
    }
}

impl std::str::FromStr for SchedulerKind {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word).ok_or_else(|| UnknownWord {
            what: "scheduler",
            word: word.to_owned(),
            allowed: "ddim, pndm, euler, euler_ancestral, dpmpp_2m, dpmpp_2m_karras, lcm, unipc, flow_match_euler",
        })
    }
}
