//! From a leased task to a request for a model: inputs are read, checked and decoded.

use std::io::Cursor;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use darkroom_jobs::{Catalog, InputImage, Loras, Task};
use darkroom_models::{Lora, Request};
use darkroom_store::LeasedJob;
use image::{DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits, RgbImage};
use img_parts::jpeg::{Jpeg, JpegSegment};
use sha2::{Digest, Sha256};

use crate::model_store::{self, Progress};
use crate::worker::Worker;

/// Pictures decoded at a time. One of 64 megapixels takes up to half a gigabyte on its way to RGB.
pub(crate) const DECODERS: usize = 2;
/// The largest object read.
const MAX_BYTES: u64 = 64 << 20;
/// The longest side decoded.
const MAX_SIDE: u32 = 16_384;
/// The most pixels decoded.
const MAX_PIXELS: u64 = 64_000_000;
/// The most memory a decoder may take: 64 megapixels of four 16-bit channels.
const MAX_ALLOC: u64 = MAX_PIXELS * 8;

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
    /// It cannot be decoded, or is too large; in words for the caller.
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
            decode(bytes)
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

struct HexDigest([u8; 32]);

impl std::fmt::LowerHex for HexDigest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Decodes a PNG, JPEG, WebP or (first frame of a) GIF, told apart by content, and turns it upright.
pub(crate) fn decode(bytes: Bytes) -> Result<RgbImage, InputError> {
    let reader = ImageReader::new(Cursor::new(bytes.clone())).with_guessed_format();
    let mut reader = reader.map_err(|error| unusable(&error.into()))?;
    match reader.format() {
        Some(ImageFormat::Png | ImageFormat::Jpeg | ImageFormat::WebP | ImageFormat::Gif) => {}
        _ => return Err(InputError::Unusable("the image is none of PNG, JPEG, WebP and GIF".to_owned())),
    }
    if reader.format() == Some(ImageFormat::Jpeg) && !is_whole_jpeg(bytes) {
        return Err(InputError::Unusable("the image cannot be decoded: the JPEG is cut short".to_owned()));
    }
    reader.limits(limits());
    let mut decoder = reader.into_decoder().map_err(|error| unusable(&error))?;
    let (width, height) = decoder.dimensions();
    let pixels = u64::from(width) * u64::from(height);
    // Before a pixel is decoded: not every decoder keeps to the limits itself.
    if width > MAX_SIDE || height > MAX_SIDE || pixels > MAX_PIXELS {
        return Err(InputError::Unusable(format!(
            "the image has {width} x {height} pixels, expected sides of at most {MAX_SIDE} and at most {MAX_PIXELS} pixels"
        )));
    }
    // A picture with an unreadable tag is shown as it lies.
    let orientation = decoder.orientation().unwrap_or(image::metadata::Orientation::NoTransforms);
    let mut image = DynamicImage::from_decoder(decoder).map_err(|error| unusable(&error))?;
    image.apply_orientation(orientation);
    Ok(image.into_rgb8())
}

/// Whether the marker that ends a JPEG stands behind its header. The decoder fills what is missing with grey.
fn is_whole_jpeg(bytes: Bytes) -> bool {
    const END: [u8; 2] = [0xff, 0xd9];
    let Ok(jpeg) = Jpeg::from_bytes(bytes.clone()) else { return false };
    // Of the last segment, the pixels, only the header counts here: a thumbnail in a segment has an end, too.
    let header: usize = jpeg.segments().iter().map(JpegSegment::len).sum();
    bytes.get(END.len() + header..).is_some_and(|pixels| pixels.windows(END.len()).any(|pair| pair == END))
}

fn limits() -> Limits {
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    limits.max_alloc = Some(MAX_ALLOC);
    limits
}

fn unusable(error: &ImageError) -> InputError {
    InputError::Unusable(match error {
        ImageError::Limits(_) => format!(
            "the image is too large, expected sides of at most {MAX_SIDE} and at most {MAX_PIXELS} pixels"
        ),
        error => format!("the image cannot be decoded: {error}"),
    })
}

#[cfg(test)]
mod tests;
