//! From a leased task to a request for a model: inputs are read, checked and decoded.

use std::path::PathBuf;
use std::time::Duration;

use darkroom_jobs::{Catalog, InputImage, Loras, Task};
use darkroom_models::{Lora, Request};
use darkroom_pictures::{DecodeError, decode};
use darkroom_store::LeasedJob;
use image::RgbImage;
use sha2::{Digest, Sha256};

use crate::model_store::{self, Progress};
use crate::worker::Worker;

/// Pictures decoded at a time: one of the largest takes up to 0.9 GB with its file (see `darkroom_pictures`).
pub(crate) const DECODERS: usize = 2;
/// The largest object read.
const MAX_BYTES: u64 = 64 << 20;

/// How long an attempt waits for the file of a LoRA.
const LORA_BOUND: Duration = Catalog::DEFAULT_TIMEOUT;

/// Why an input is not at hand.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InputError {
    /// The blob store does not give it.
    #[error(transparent)]
    Blobs(#[from] darkroom_blobs::Error),
    /// The object is not the one that was submitted.
    #[error("the object's digest is not that of the submission")]
    Changed,
    /// It cannot be used; in words for the caller.
    #[error("{0}")]
    Unusable(String),
    /// A LoRA's file cannot be had.
    #[error("failed to fetch the LoRA {id}")]
    Lora {
        /// The LoRA.
        id: String,
        /// Why.
        source: model_store::Error,
    },
    /// A LoRA's file is not here in time. The next attempt goes on where this one stopped.
    #[error("the LoRA {id} was not fetched within {LORA_BOUND:?}")]
    LoraSlow {
        /// The LoRA.
        id: String,
    },
    /// The decoder's thread ended abnormally.
    #[error("the decoder failed")]
    Decoder(#[source] tokio::task::JoinError),
}

impl Worker {
    /// The request for a leased task. Reads and decodes the picture it may come with.
    pub(crate) async fn request(&self, leased: &LeasedJob) -> Result<Request, InputError> {
        match &leased.task {
            Task::TextToImage(task) => {
                let loras = self.loras(&task.loras).await?;
                Ok(Request::TextToImage { task: task.clone(), loras, done: leased.done.clone() })
            }
            Task::ImageToText(task) => {
                let image = self.picture(&task.image).await?;
                Ok(Request::ImageToText { image, prompt: task.prompt.clone() })
            }
        }
    }

    /// The files of a request's LoRAs, fetched as far as they are not here.
    async fn loras(&self, strengths: &Loras) -> Result<Vec<Lora>, InputError> {
        let mut loras = Vec::new();
        for (id, strength) in strengths.iter() {
            let lora = self.served.lora(id);
            let lora = lora.ok_or_else(|| InputError::Unusable(format!("there is no LoRA `{id}`")))?;
            let path = match self.library.lora(id) {
                Some(path) => path,
                None => {
                    // Boxed, since it is as large as all of an attempt besides.
                    let progress = Progress::default();
                    let path = lora_in_time(id, Box::pin(self.model_store.lora(lora, &progress))).await?;
                    self.library.lora_arrived(id, &path);
                    path
                }
            };
            loras.push(Lora { id: id.to_owned(), path, strength });
        }
        Ok(loras)
    }

    async fn picture(&self, input: &InputImage) -> Result<RgbImage, InputError> {
        let bytes = self.blobs.get(&input.key, MAX_BYTES).await?;
        let sha256 = input.sha256.clone();
        // The permit is moved into the thread: a picture whose attempt was given up still takes memory.
        let permit = self.decoders.clone().acquire_owned().await;
        let decode = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            if format!("{:x}", HexDigest(Sha256::digest(&bytes).into())) != sha256 {
                return Err(InputError::Changed);
            }
            decode(&bytes).map_err(InputError::from)
        });
        decode.await.map_err(InputError::Decoder)?
    }
}

async fn lora_in_time(
    id: &str,
    fetch: impl Future<Output = Result<PathBuf, model_store::Error>>,
) -> Result<PathBuf, InputError> {
    let fetched = tokio::time::timeout(LORA_BOUND, fetch).await;
    let fetched = fetched.map_err(|_| InputError::LoraSlow { id: id.to_owned() })?;
    fetched.map_err(|source| InputError::Lora { id: id.to_owned(), source })
}

impl From<DecodeError> for InputError {
    fn from(error: DecodeError) -> Self {
        Self::Unusable(error.to_string())
    }
}

struct HexDigest([u8; 32]);

impl std::fmt::LowerHex for HexDigest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_lora_that_is_not_fetched_in_time_fails_the_attempt() {
        let error = lora_in_time("a/b", std::future::pending()).await.unwrap_err();
        assert_eq!(error.to_string(), "the LoRA a/b was not fetched within 600s");
    }
}
