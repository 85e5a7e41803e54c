//! Lanes: where jobs wait.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::Pipeline;

/// One (pipeline, model) pair, written `text-to-image:owner/name`. Jobs of one lane wait in one queue.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Lane {
    pipeline: Pipeline,
    model: String,
}

impl Lane {
    /// The longest model id: a queue name, which holds the lane, has at most 255 bytes.
    pub const MAX_MODEL_BYTES: usize = 200;

    /// The lane of `model` in `pipeline`.
    ///
    /// # Errors
    /// When the model id is empty, too long, or has characters other than ASCII letters, digits and `/._-`.
    pub fn new(pipeline: Pipeline, model: impl Into<String>) -> Result<Self, LaneError> {
        let model = model.into();
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte);
        if model.is_empty() || model.len() > Self::MAX_MODEL_BYTES || !model.bytes().all(plain) {
            return Err(LaneError::Model(model));
        }
        Ok(Self { pipeline, model })
    }

    /// The pipeline.
    pub fn pipeline(&self) -> Pipeline {
        self.pipeline
    }

    /// The model's id in the catalog.
    pub fn model(&self) -> &str {
        &self.model
    }
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.pipeline, self.model)
    }
}

impl FromStr for Lane {
    type Err = LaneError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (pipeline, model) = text.split_once(':').ok_or_else(|| LaneError::Form(text.to_owned()))?;
        let pipeline = pipeline.parse().map_err(|_| LaneError::Form(text.to_owned()))?;
        Self::new(pipeline, model)
    }
}

impl TryFrom<String> for Lane {
    type Error = LaneError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Lane> for String {
    fn from(lane: Lane) -> Self {
        lane.to_string()
    }
}

/// Why a text names no lane.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LaneError {
    /// Not of the form `pipeline:model`.
    #[error("`{0}` is no lane: expected `pipeline:model`")]
    Form(String),
    /// A model id that could not stand in a queue name.
    #[error(
        "`{0}` is no model id: expected 1 to {max} ASCII letters, digits and `/._-`",
        max = Lane::MAX_MODEL_BYTES
    )]
    Model(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_back_what_it_writes() {
        let lane = Lane::new(Pipeline::ImageToText, "Salesforce/blip-image-captioning-large").unwrap();
        assert_eq!(lane.to_string(), "image-to-text:Salesforce/blip-image-captioning-large");
        assert_eq!(lane.to_string().parse(), Ok(lane));
    }

    #[test]
    fn refuses_what_a_queue_name_cannot_hold() {
        for model in ["", "a b", "ü", &"x".repeat(201)] {
            assert!(Lane::new(Pipeline::TextToImage, model).is_err(), "{model}");
        }
        assert!("text-to-image".parse::<Lane>().is_err());
        assert!("text-to-speech:x".parse::<Lane>().is_err());
    }
}
