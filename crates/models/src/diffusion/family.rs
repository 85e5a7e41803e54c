//! Which kinds of latent diffusion models there are.

/// A model family, by the pipeline class that `model_index.json` names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    /// Stable Diffusion 1.x and 2.x: one text encoder, a U-Net.
    StableDiffusion,
    /// Stable Diffusion XL (Podell et al. 2023): two text encoders, a U-Net that is also told sizes and crop.
    StableDiffusionXl,
    /// Stable Diffusion 3 and 3.5 (Esser et al. 2024): two CLIP text encoders and a T5, a transformer.
    StableDiffusion3,
    /// FLUX.1 (Black Forest Labs 2024): a CLIP text encoder and a T5, a transformer.
    Flux,
}

impl Family {
    pub(crate) fn of_class(class: &str) -> Option<Self> {
        match class {
            "StableDiffusionPipeline" => Some(Self::StableDiffusion),
            "StableDiffusionXLPipeline" => Some(Self::StableDiffusionXl),
            "StableDiffusion3Pipeline" => Some(Self::StableDiffusion3),
            "FluxPipeline" => Some(Self::Flux),
            _ => None,
        }
    }

    /// The CLIP text encoders.
    pub(super) fn clips(self) -> &'static [TextEncoder] {
        match self {
            Self::StableDiffusion | Self::Flux => &[TextEncoder::CLIP],
            Self::StableDiffusionXl => &[TextEncoder::CLIP, TextEncoder::PROJECTED_2],
            Self::StableDiffusion3 => &[TextEncoder::PROJECTED, TextEncoder::PROJECTED_2],
        }
    }

    /// The T5 text encoder.
    pub(super) fn t5(self) -> Option<T5> {
        match self {
            Self::StableDiffusion | Self::StableDiffusionXl => None,
            Self::StableDiffusion3 => Some(T5 { encoder: TextEncoder::T5_3, tokens: 256, is_optional: true }),
            Self::Flux => Some(T5 { encoder: TextEncoder::T5_2, tokens: 512, is_optional: false }),
        }
    }

    /// Whether guidance is the difference that a negative prompt makes. The denoiser of FLUX is told the scale
    /// instead, or was trained to do without.
    pub(super) fn guides_by_negative_prompt(self) -> bool {
        match self {
            Self::StableDiffusion | Self::StableDiffusionXl | Self::StableDiffusion3 => true,
            Self::Flux => false,
        }
    }

    /// Whether the denoiser is a U-Net; the others are transformers.
    pub(super) fn has_unet(self) -> bool {
        match self {
            Self::StableDiffusion | Self::StableDiffusionXl => true,
            Self::StableDiffusion3 | Self::Flux => false,
        }
    }

    /// The name and the class of the denoiser.
    pub(super) fn denoiser(self) -> (&'static str, &'static [&'static str]) {
        match self {
            Self::StableDiffusion | Self::StableDiffusionXl => ("unet", &["UNet2DConditionModel"]),
            Self::StableDiffusion3 => ("transformer", &["SD3Transformer2DModel"]),
            Self::Flux => ("transformer", &["FluxTransformer2DModel"]),
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
    const PROJECTED: Self = Self { classes: &["CLIPTextModelWithProjection"], ..Self::CLIP };
    const PROJECTED_2: Self = Self { model: "text_encoder_2", tokenizer: "tokenizer_2", ..Self::PROJECTED };
    const T5_2: Self = Self {
        model: "text_encoder_2",
        classes: &["T5EncoderModel"],
        tokenizer: "tokenizer_2",
        tokenizer_classes: &["T5Tokenizer", "T5TokenizerFast"],
    };
    const T5_3: Self = Self { model: "text_encoder_3", tokenizer: "tokenizer_3", ..Self::T5_2 };

    /// Whether its pooled states go through a projection.
    pub(super) fn projects(&self) -> bool {
        self.classes == Self::PROJECTED.classes
    }
}

/// How a family uses a T5.
#[derive(Debug, Clone, Copy)]
pub(super) struct T5 {
    pub(super) encoder: TextEncoder,
    /// How many tokens it is shown, with padding.
    pub(super) tokens: usize,
    /// Whether a folder may do without it: all that the denoiser then sees of it is zeros.
    pub(super) is_optional: bool,
}
