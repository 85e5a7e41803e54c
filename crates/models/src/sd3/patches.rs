//! Latents as a row of patches with positions, and back; diffusers `PatchEmbed` with a cropped table.

use candle_core::{Result as CandleResult, Tensor};

use super::config::Sd3Config;
use crate::error::Error;
use crate::planes::{Conv2d, Dims, Kernel, Planes, conv2d};
use crate::weights::Weights;

pub(super) struct PatchEmbed {
    proj: Conv2d,
    /// A vector for every position: `(max_patches, max_patches, width)`.
    positions: Tensor,
    patch_size: usize,
    max_patches: usize,
}

impl PatchEmbed {
    pub(super) fn load(config: &Sd3Config, weights: &Weights<'_>) -> Result<Self, Error> {
        let (width, max, size) = (config.width(), config.max_patches, config.patch_size);
        let kernel = Kernel::patch(size);
        let positions = weights.get("pos_embed", (1, max * max, width))?;
        Ok(Self {
            proj: conv2d(config.in_channels, width, kernel, &weights.pp("proj"))?,
            positions: positions.reshape((max, max, width))?,
            patch_size: size,
            max_patches: max,
        })
    }

    /// `(batch, channels, height, width)` to `(batch, patches, width of the model)`: rows of patches one after
    /// another, with positions from the middle of the table.
    pub(super) fn forward(&self, latents: &Tensor) -> CandleResult<Tensor> {
        let planes = self.proj.forward(&Planes::new(latents)?)?;
        let Dims { height, width, .. } = planes.dims()?;
        if height > self.max_patches || width > self.max_patches {
            candle_core::bail!("{height} x {width} patches, and positions for {} only", self.max_patches);
        }
        let (top, left) = ((self.max_patches - height) / 2, (self.max_patches - width) / 2);
        let positions = self.positions.narrow(0, top, height)?.narrow(1, left, width)?.flatten(0, 1)?;
        planes.tokens()?.broadcast_add(&positions)
    }

    /// `(batch, patches, patch_size · patch_size · channels)` to `(batch, channels, height, width)`.
    pub(super) fn unpatchify(&self, x: &Tensor, height: usize, width: usize) -> CandleResult<Tensor> {
        let (batch, _, outputs) = x.dims3()?;
        let size = self.patch_size;
        let channels = outputs / (size * size);
        let x = x.reshape(&[batch, height / size, width / size, size, size, channels])?;
        x.permute([0, 5, 1, 3, 2, 4])?.contiguous()?.reshape((batch, channels, height, width))
    }
}
