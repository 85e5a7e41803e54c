//! Which LoRAs a request names.

use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::time::SystemTime;

use crate::error::Error;
use crate::model::Lora;
use crate::request::check_loras;

/// LoRAs with their strengths, without those at strength 0 and in an order of their own: equal sets change a
/// model in the same way. The empty set is the base model.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct LoraSet(Vec<Member>);

/// A LoRA by what tells it from others, and from another state of its file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Member {
    pub(super) id: String,
    pub(super) path: PathBuf,
    size_bytes: u64,
    modified: Option<SystemTime>,
    strength_bits: u64,
}

impl LoraSet {
    /// # Errors
    /// [`Error::InvalidInput`] for more LoRAs than are allowed and for strengths that are not finite,
    /// [`Error::Load`] when there is no such file.
    pub(crate) fn of(loras: &[Lora]) -> Result<Self, Error> {
        check_loras(loras)?;
        let active = loras.iter().filter(|lora| lora.strength != 0.0);
        let mut members = active.map(Member::of).collect::<Result<Vec<_>, _>>()?;
        members.sort_unstable();
        Ok(Self(members))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn members(&self) -> &[Member] {
        &self.0
    }
}

impl Member {
    fn of(lora: &Lora) -> Result<Self, Error> {
        let file = fs::metadata(&lora.path).map_err(|error| Error::Load {
            file: lora.path.clone(),
            tensor: None,
            expected: "a whole safetensors file".to_owned(),
            found: match error.kind() {
                ErrorKind::NotFound => "none".to_owned(),
                _ => error.to_string(),
            },
            source: Some(Box::new(error)),
        })?;
        Ok(Self {
            id: lora.id.clone(),
            path: lora.path.clone(),
            size_bytes: file.len(),
            modified: file.modified().ok(),
            strength_bits: lora.strength.to_bits(),
        })
    }

    pub(super) fn strength(&self) -> f64 {
        f64::from_bits(self.strength_bits)
    }
}
