//! CLIP (Radford et al. 2021): its text transformer with its tokenizer, and its vision transformer.

mod layer;
mod special;
mod text;
mod tokenizer;
mod vision;

pub(crate) use self::text::{ClipConfig, ClipTextModel};
pub(crate) use self::tokenizer::{ClipIds, ClipTokenizer};
pub(crate) use self::vision::{ClipVisionConfig, ClipVisionModel};
