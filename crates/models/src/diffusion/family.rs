//! Which kinds of latent diffusion models there are.

/// A model family, by the pipeline class that `model_index.json` names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    /// Stable Diffusion 1.x and 2.x: one text encoder, a U-Net.
    StableDiffusion,
    /// Stable Diffusion XL (Podell et al. 2023): two text encoders, a U-Net that is also told sizes and crop.
    StableDiffusionXl,
}

impl Family {
    pub(crate) fn of_class(class: &str) -> Option<Self> {
        match class {
            "StableDiffusionPipeline" => Some(Self::StableDiffusion),
            "StableDiffusionXLPipeline" => Some(Self::StableDiffusionXl),
            _ => None,
        }
    }

    /// The CLIP text encoders.
    pub(super) fn text_encoders(self) -> &'static [TextEncoder] {
        match self {
            Self::StableDiffusion => &[TextEncoder::CLIP],
            Self::StableDiffusionXl => &[TextEncoder::CLIP, TextEncoder::PROJECTED_2],
        }
    }

    /// The name and the class of the denoiser.
    pub(super) fn denoiser(self) -> (&'static str, &'static [&'static str]) {
        match self {
            Self::StableDiffusion | Self::StableDiffusionXl => ("unet", &["UNet2DConditionModel"]),
        }
    }
}

/// Where a text encoder is.
#[derive(Debug, Clone, Copy)]
pub(super) struct TextEncoder {
    /// Name of the component.
    pub(super) model: &'static str,
    /// Its class, by any of its names.
    pub(super) classes: &'static [&'static str],
    /// Name of its tokenizer's component.
    pub(super) tokenizer: &'static str,
    /// Classes of the tokenizer.
    pub(super) tokenizer_classes: &'static [&'static str],
}

impl TextEncoder {
    const CLIP: Self = Self {
        model: "text_encoder",
        classes: &["CLIPTextModel"],
        tokenizer: "tokenizer",
        tokenizer_classes: &["CLIPTokenizer", "CLIPTokenizerFast"],
    };
    const PROJECTED_2: Self = Self {
        model: "text_encoder_2",
        classes: &["CLIPTextModelWithProjection"],
        tokenizer: "tokenizer_2",
        ..Self::CLIP
    };
}
