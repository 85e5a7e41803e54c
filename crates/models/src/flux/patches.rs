//! Latents as a sequence of 2 × 2 patches.

use candle_core::{Result, Tensor};

/// `(batch, channels, height, width)`, both sides even, to contiguous
/// `(batch, height / 2 · width / 2, channels · 4)`, row by row.
pub(super) fn pack(latents: &Tensor) -> Result<Tensor> {
    let (batch, channels, height, width) = latents.dims4()?;
    let (rows, columns) = (height / 2, width / 2);
    let patches = latents.reshape(&[batch, channels, rows, 2, columns, 2])?.permute((0, 2, 4, 1, 3, 5))?;
    patches.reshape((batch, rows * columns, channels * 4))
}

/// The inverse of [`pack`], for planes of `height` × `width`.
pub(super) fn unpack(patches: &Tensor, height: usize, width: usize) -> Result<Tensor> {
    let (batch, _, values) = patches.dims3()?;
    let (rows, columns, channels) = (height / 2, width / 2, values / 4);
    let planes = patches.reshape(&[batch, rows, columns, channels, 2, 2])?.permute((0, 3, 1, 4, 2, 5))?;
    planes.reshape((batch, channels, height, width))
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::attention::largest_difference;

    #[test]
    fn unpacking_undoes_packing() {
        let values = (0..96u8).map(f32::from).collect::<Vec<_>>();
        let latents = Tensor::from_vec(values, (2, 3, 4, 4), &Device::Cpu).unwrap();
        let patches = pack(&latents).unwrap();
        let second = patches.get(0).unwrap().get(1).unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(second[..8], [2.0, 3.0, 6.0, 7.0, 18.0, 19.0, 22.0, 23.0]);
        assert_eq!(largest_difference(&unpack(&patches, 4, 4).unwrap(), &latents), 0.0);
    }
}
