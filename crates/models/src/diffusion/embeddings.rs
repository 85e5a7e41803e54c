//! Prompts that have been encoded already.

use std::cell::RefCell;

use candle_core::Tensor;

use super::text::Encoded;
use crate::error::Error;
use crate::lora::LoraSet;

/// Most bytes of the device's memory that encoded prompts may take. The longest prompt of the largest family
/// takes 8 MiB in f32.
const MAX_BYTES: usize = 64 << 20;

/// The encoded prompts that were used last. A prompt and its negative prompt are the same for all pictures of a
/// job, and often for many jobs.
pub(super) struct Embeddings {
    max_bytes: usize,
    /// The most recently used last.
    entries: RefCell<Vec<(Key, Encoded)>>,
}

/// What decides how a prompt is encoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) prompt: String,
    /// What changes the text encoders.
    pub(super) loras: LoraSet,
}

impl Default for Embeddings {
    fn default() -> Self {
        Self { max_bytes: MAX_BYTES, entries: RefCell::default() }
    }
}

impl Embeddings {
    /// What is remembered for `key`, or else what `encode` makes of it.
    pub(super) fn get_or(
        &self,
        key: Key,
        encode: impl FnOnce() -> Result<Encoded, Error>,
    ) -> Result<Encoded, Error> {
        let position = self.entries.borrow().iter().position(|(other, _)| *other == key);
        let (key, encoded) = match position {
            Some(position) => self.entries.borrow_mut().remove(position),
            None => (key, encode()?),
        };
        let mut entries = self.entries.borrow_mut();
        entries.push((key, encoded.clone()));
        let mut bytes = entries.iter().map(|(_, encoded)| bytes(encoded)).sum::<usize>();
        while bytes > self.max_bytes {
            bytes -= self::bytes(&entries.remove(0).1);
        }
        Ok(encoded)
    }
}

fn bytes(encoded: &Encoded) -> usize {
    let size = |tensor: &Tensor| tensor.elem_count() * tensor.dtype().size_in_bytes();
    size(&encoded.states) + encoded.pooled.as_ref().map_or(0, size)
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    fn ask(embeddings: &Embeddings, prompt: &str) -> bool {
        let mut encoded = false;
        let encode = || {
            encoded = true;
            let states = Tensor::new(&[[[1f32, 2.0]]], &Device::Cpu)?;
            Ok(Encoded { states, pooled: None })
        };
        let key = Key { prompt: prompt.to_owned(), loras: LoraSet::default() };
        embeddings.get_or(key, encode).unwrap();
        encoded
    }

    #[test]
    fn the_least_recently_used_prompts_are_forgotten_when_they_take_too_much() {
        let embeddings = Embeddings { max_bytes: 16, ..Embeddings::default() };
        assert!(ask(&embeddings, "a") && ask(&embeddings, "b"));
        assert!(!ask(&embeddings, "a") && !ask(&embeddings, "b") && !ask(&embeddings, "a"));
        assert!(ask(&embeddings, "c"));
        assert!(!ask(&embeddings, "a") && ask(&embeddings, "b"));
    }

    #[test]
    fn a_prompt_larger_than_the_bound_is_encoded_and_not_kept() {
        let embeddings = Embeddings { max_bytes: 4, ..Embeddings::default() };
        assert!(ask(&embeddings, "a") && ask(&embeddings, "a"));
    }
}
