//! The safety checker of Stable Diffusion: CLIP's view of a picture, compared with concepts that nobody asked
//! for; diffusers `StableDiffusionSafetyChecker`.

use candle_core::{DType, Tensor};
use image::RgbImage;
use serde::Deserialize;

use crate::clip::{ClipVisionConfig, ClipVisionModel};
use crate::device::Device;
use crate::error::Error;
use crate::folder::Folder;
use crate::layers::{Linear, linear_no_bias};
use crate::preprocess::{PREPROCESSOR_CONFIG, Preprocessor};
use crate::weights::{Checkpoint, Weights};

/// Name of the component, and of the folder it is in.
pub(crate) const COMPONENT: &str = "safety_checker";

/// Its class.
pub(crate) const CLASS: &str = "StableDiffusionSafetyChecker";

/// Name of its image processor's component.
const FEATURE_EXTRACTOR: &str = "feature_extractor";

const CONFIG: &str = "config.json";
const WEIGHTS: &str = "model";

/// Concepts that are refused.
const CONCEPTS: usize = 17;

/// Concepts that lower the thresholds of the others.
const SPECIAL_CARE: usize = 3;

/// By how much they do.
const ADJUSTMENT: f32 = 0.01;

/// Decides whether a picture is objectionable. It never changes one.
///
/// It computes on the model's device in the model's dtype, as the reference does; the comparison with the
/// concepts is in f32 everywhere.
pub struct SafetyChecker {
    preprocessor: Preprocessor,
    network: Network,
    dtype: DType,
    device: Device,
}

/// How alike a picture is to the concepts: cosines, in [-1, 1].
#[derive(Debug, Clone, PartialEq)]
pub struct Similarities {
    /// To the 17 concepts that are refused.
    pub concepts: Vec<f32>,
    /// To the 3 concepts that lower the thresholds of the others.
    pub special_care: Vec<f32>,
}

impl SafetyChecker {
    /// What the vision model sees of a picture: f32 `(1, 3, image_size, image_size)`, normalised.
    ///
    /// # Errors
    /// When the picture cannot be resized.
    pub fn pixel_values(&self, image: &RgbImage) -> Result<Tensor, Error> {
        self.preprocessor.apply(image, self.device.candle())
    }

    /// Compares what [`Self::pixel_values`] made of a picture with the concepts.
    ///
    /// # Errors
    /// Failures of the device.
    pub fn similarities(&self, pixel_values: &Tensor) -> Result<Similarities, Error> {
        let Network { vision, projection, concepts, special_care } = &self.network;
        let pooled = vision.pooled(&pixel_values.to_dtype(self.dtype)?)?;
        let image = normalize(&projection.forward(&pooled)?.to_dtype(DType::F32)?)?;
        Ok(Similarities { concepts: concepts.compare(&image)?, special_care: special_care.compare(&image)? })
    }

    /// Whether a picture that is so alike to the concepts is objectionable: whether one similarity is above its
    /// threshold by 0.001 or more, after rounding to three places.
    ///
    /// # Errors
    /// [`Error::NotFinite`] when a similarity or a threshold is not, since nothing can be said then.
    pub fn objects(&self, similarities: &Similarities) -> Result<bool, Error> {
        let Network { concepts, special_care, .. } = &self.network;
        let mut adjustment = 0.0;
        for above in special_care.above(&similarities.special_care)? {
            if rounded(above + adjustment) > 0.0 {
                adjustment = ADJUSTMENT;
            }
        }
        let above = concepts.above(&similarities.concepts)?;
        Ok(above.into_iter().any(|above| rounded(above + adjustment) > 0.0))
    }

    /// Whether `image` is objectionable.
    ///
    /// # Errors
    /// As [`Self::objects`] and [`Self::similarities`].
    pub(crate) fn check(&self, image: &RgbImage) -> Result<bool, Error> {
        self.objects(&self.similarities(&self.pixel_values(image)?)?)
    }
}

/// To three places, as numpy rounds an f32.
fn rounded(value: f32) -> f32 {
    (value * 1000.0).round_ties_even() / 1000.0
}

/// f32 rows `(…, size)` to rows of length one.
fn normalize(rows: &Tensor) -> Result<Tensor, Error> {
    let length = rows.sqr()?.sum_keepdim(1)?.sqrt()?.maximum(1e-12)?;
    Ok(rows.broadcast_div(&length)?)
}

/// Everything that has weights.
struct Network {
    vision: ClipVisionModel,
    projection: Linear,
    concepts: Concepts,
    special_care: Concepts,
}

impl Network {
    fn load(config: &SafetyConfig, weights: &Weights<'_>) -> Result<Self, Error> {
        let size = config.projection_dim;
        // Published files have the name twice, those that transformers 5 writes have it once.
        let vision = weights.pp("vision_model");
        let twice = vision.pp("vision_model");
        let vision = if twice.has("embeddings.class_embedding") { twice } else { vision };
        Ok(Self {
            vision: ClipVisionModel::load(&config.vision, &vision)?,
            projection: linear_no_bias(config.vision.hidden_size, size, &weights.pp("visual_projection"))?,
            concepts: Concepts::load("concept_embeds", (CONCEPTS, size), weights)?,
            special_care: Concepts::load("special_care_embeds", (SPECIAL_CARE, size), weights)?,
        })
    }
}

/// Directions in CLIP's space, each with the cosine above which a picture counts as showing it.
struct Concepts {
    /// f32 `(count, projection_dim)`, of length one.
    embeddings: Tensor,
    thresholds: Vec<f32>,
}

impl Concepts {
    fn load(name: &str, shape: (usize, usize), weights: &Weights<'_>) -> Result<Self, Error> {
        let thresholds = weights.get(&format!("{name}_weights"), shape.0)?;
        Ok(Self {
            embeddings: normalize(&weights.get(name, shape)?.to_dtype(DType::F32)?)?,
            thresholds: thresholds.to_dtype(DType::F32)?.to_vec1()?,
        })
    }

    /// The cosines to `image`, f32 `(1, projection_dim)` of length one.
    fn compare(&self, image: &Tensor) -> Result<Vec<f32>, Error> {
        Ok(image.matmul(&self.embeddings.t()?)?.flatten_all()?.to_vec1()?)
    }

    /// By how much each cosine is above its threshold.
    fn above(&self, similarities: &[f32]) -> Result<Vec<f32>, Error> {
        let pairs = similarities.iter().zip(&self.thresholds);
        let above = pairs.map(|(similarity, threshold)| similarity - threshold).collect::<Vec<_>>();
        if above.iter().all(|value| value.is_finite()) {
            Ok(above)
        } else {
            Err(Error::NotFinite("what the safety checker says of the picture is not finite".to_owned()))
        }
    }
}

/// `safety_checker/config.json`.
#[derive(Deserialize)]
struct RawConfig {
    #[serde(default = "default_projection")]
    projection_dim: usize,
    #[serde(default)]
    vision_config: Option<ClipVisionConfig>,
    /// What files before transformers 4.26 have beside the former, and what counts.
    #[serde(default)]
    vision_config_dict: Option<ClipVisionConfig>,
}

fn default_projection() -> usize {
    512
}

struct SafetyConfig {
    vision: ClipVisionConfig,
    projection_dim: usize,
}

/// The files of a safety checker, of which the configurations are read.
pub(crate) struct SafetyFiles {
    config: SafetyConfig,
    preprocessor: Preprocessor,
    checkpoint: Checkpoint,
    dtype: DType,
}

impl SafetyFiles {
    /// Opens the component of the model in `folder`, or what stands in for it.
    ///
    /// # Errors
    /// [`Error::Load`] and [`Error::InvalidConfig`] when a file is missing or not what it should be.
    pub(crate) fn open(folder: &Folder, dtype: DType) -> Result<Self, Error> {
        let checker = folder.component(COMPONENT);
        let raw: RawConfig = checker.json(CONFIG)?;
        let vision = raw.vision_config_dict.or(raw.vision_config).unwrap_or_default();
        vision.check().map_err(|reason| checker.invalid(CONFIG, format!("vision_config: {reason}")))?;
        let extractor = match (folder.overrides(FEATURE_EXTRACTOR), checker.has(PREPROCESSOR_CONFIG)) {
            (true, _) => folder.component(FEATURE_EXTRACTOR),
            (false, true) => checker.clone(),
            (false, false) => checker.sibling(FEATURE_EXTRACTOR),
        };
        Ok(Self {
            preprocessor: Preprocessor::clip(&extractor, vision.image_size)?,
            checkpoint: Checkpoint::open(checker.weights(WEIGHTS, dtype)?)?,
            config: SafetyConfig { vision, projection_dim: raw.projection_dim },
            dtype,
        })
    }

    /// Compares names and shapes with the configuration, without allocating anything, and returns how many
    /// bytes the weights will take.
    pub(crate) fn check(&self) -> Result<u64, Error> {
        Network::load(&self.config, &self.checkpoint.check(self.dtype))?;
        self.checkpoint.warn_unread(|_| true);
        Ok(self.checkpoint.take_bytes())
    }

    /// Copies the weights to the device.
    pub(crate) fn load(self, device: &Device) -> Result<SafetyChecker, Error> {
        let network = Network::load(&self.config, &self.checkpoint.root(device.candle(), self.dtype))?;
        let Self { preprocessor, dtype, .. } = self;
        Ok(SafetyChecker { preprocessor, network, dtype, device: device.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_are_rounded_to_three_places_half_to_even() {
        for (value, expected) in
            [(0.0004, 0.0), (0.0005, 0.0), (0.000_51, 0.001), (-0.0004, 0.0), (0.0015, 0.002)]
        {
            assert_eq!(rounded(value), expected, "{value}");
        }
    }
}
