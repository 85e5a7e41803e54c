//! Files for comparing a run with another implementation's.

use std::collections::HashMap;
use std::path::PathBuf;

use candle_core::{DType, Device, Tensor};

use crate::error::Error;
use crate::weights::Checkpoint;

/// Name of the tensor of initial noise.
const NOISE: &str = "noise";

/// What a run takes from a file, and what it leaves in one.
#[derive(Debug, Clone, Default)]
pub struct Exchange {
    /// A safetensors file whose tensor `noise`, `(images, latent_channels, height / scale, width / scale)` of
    /// floating point, is the initial noise in place of what the seed decides.
    pub noise: Option<PathBuf>,
    /// A safetensors file to write, with f32 `latents` as they are before the VAE, `(images, latent_channels,
    /// height / scale, width / scale)`, and `image`, `(images, 3, height, width)` in about [-1, 1].
    pub dump: Option<PathBuf>,
}

/// The tensors of a run that has files to exchange.
pub(super) struct Exchanged<'a> {
    files: &'a Exchange,
    noise: Option<Tensor>,
    /// Of each picture.
    latents: Vec<Tensor>,
    images: Vec<Tensor>,
}

impl<'a> Exchanged<'a> {
    /// Reads the noise, which must be of `shape`.
    pub(super) fn begin(files: &'a Exchange, shape: (usize, usize, usize, usize)) -> Result<Self, Error> {
        let read = |file: &PathBuf| {
            let checkpoint = Checkpoint::open(vec![file.clone()])?;
            checkpoint.root(&Device::Cpu, DType::F32).get(NOISE, shape)
        };
        let noise = files.noise.as_ref().map(read).transpose()?;
        Ok(Self { files, noise, latents: Vec::new(), images: Vec::new() })
    }

    /// The noise of a picture, if it comes from a file: f32 on the CPU.
    pub(super) fn noise(&self, index: u32) -> Result<Option<Tensor>, Error> {
        Ok(self.noise.as_ref().map(|noise| noise.narrow(0, index as usize, 1)).transpose()?)
    }

    /// Remembers what became of a picture, where it is to be written.
    pub(super) fn keep(&mut self, latents: &Tensor, image: &Tensor) -> Result<(), Error> {
        if self.files.dump.is_some() {
            self.latents.push(latents.to_device(&Device::Cpu)?);
            self.images.push(image.to_device(&Device::Cpu)?);
        }
        Ok(())
    }

    /// Writes what was remembered.
    pub(super) fn finish(self) -> Result<(), Error> {
        let Some(file) = &self.files.dump else { return Ok(()) };
        if self.latents.is_empty() {
            return Ok(());
        }
        let tensors = HashMap::from([
            ("latents", Tensor::cat(&self.latents, 0)?),
            ("image", Tensor::cat(&self.images, 0)?),
        ]);
        Ok(candle_core::safetensors::save(&tensors, file)?)
    }
}
