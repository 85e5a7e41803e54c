//! T5 (Raffel et al. 2019), version 1.1: its encoder and its tokenizer.

mod config;
mod encoder;
mod position;
mod sentencepiece;
mod tokenizer;

pub(crate) use self::config::T5Config;
pub(crate) use self::encoder::T5Encoder;
pub(crate) use self::tokenizer::{T5Ids, T5Tokenizer};
