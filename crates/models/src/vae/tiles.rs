//! Decoding in overlapping tiles, so that memory is bounded; diffusers' `AutoencoderKL.tiled_decode`.

use candle_core::{DType, Device, Result as CandleResult, Tensor};

/// How large tiles are, and how far they overlap.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tiles {
    /// Side of a tile of latents.
    latents: usize,
    /// From one tile of latents to the next.
    stride: usize,
    /// Pixels over which a tile fades into its neighbour.
    fade: usize,
    /// Side of what is kept of a decoded tile.
    kept: usize,
}

impl Tiles {
    /// Tiles of about `side` pixels that overlap by a quarter, where a latent is `scale` pixels wide.
    pub(super) fn new(side: usize, scale: usize) -> Self {
        let latents = (side / scale).max(4);
        let stride = latents * 3 / 4;
        let fade = latents * scale / 4;
        Self { latents, stride, fade, kept: latents * scale - fade }
    }

    /// Puts together what `decode` makes of each tile of `latents`, `(batch, channels, height, width)`.
    pub(super) fn decode(
        &self,
        latents: &Tensor,
        decode: impl Fn(&Tensor) -> CandleResult<Tensor>,
    ) -> CandleResult<Tensor> {
        let (_, _, height, width) = latents.dims4()?;
        let mut rows = Vec::new();
        let mut above: Vec<Tensor> = Vec::new();
        for top in (0..height).step_by(self.stride) {
            let rows_here = self.latents.min(height - top);
            let mut tiles: Vec<Tensor> = Vec::new();
            let mut kept = Vec::new();
            for (column, left) in (0..width).step_by(self.stride).enumerate() {
                let columns = self.latents.min(width - left);
                let tile = latents.narrow(2, top, rows_here)?.narrow(3, left, columns)?.contiguous()?;
                let mut tile = decode(&tile)?;
                if let Some(above) = above.get(column) {
                    tile = self.blend(above, &tile, 2)?;
                }
                if let Some(before) = tiles.last() {
                    tile = self.blend(before, &tile, 3)?;
                }
                let (_, _, tile_height, tile_width) = tile.dims4()?;
                let part = tile.narrow(2, 0, self.kept.min(tile_height))?;
                kept.push(part.narrow(3, 0, self.kept.min(tile_width))?);
                tiles.push(tile);
            }
            rows.push(Tensor::cat(&kept, 3)?);
            above = tiles;
        }
        Tensor::cat(&rows, 2)
    }

    /// `tile` with its beginning along `dim` faded in from the end of the tile before.
    fn blend(&self, before: &Tensor, tile: &Tensor, dim: usize) -> CandleResult<Tensor> {
        let fade = self.fade.min(before.dim(dim)?).min(tile.dim(dim)?);
        let mut shape = [1; 4];
        shape[dim] = fade;
        let share = (0..fade).map(|pixel| pixel as f32 / fade as f32).collect::<Vec<_>>();
        let share = Tensor::from_vec(share, &shape, &Device::Cpu)?.to_device(tile.device())?;
        let share = share.to_dtype(DType::F32)?;
        let end = before.narrow(dim, before.dim(dim)? - fade, fade)?;
        let start = tile.narrow(dim, 0, fade)?;
        let blended = (end.broadcast_mul(&share.affine(-1.0, 1.0)?)? + start.broadcast_mul(&share)?)?;
        let rest = tile.dim(dim)? - fade;
        if rest == 0 {
            return Ok(blended);
        }
        Tensor::cat(&[&blended, &tile.narrow(dim, fade, rest)?], dim)
    }
}
