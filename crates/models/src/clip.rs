//! CLIP (Radford et al. 2021): its text transformer and its tokenizer.

mod text;
mod tokenizer;

pub(crate) use self::text::{ClipConfig, ClipTextModel};
pub(crate) use self::tokenizer::{ClipIds, ClipTokenizer};
