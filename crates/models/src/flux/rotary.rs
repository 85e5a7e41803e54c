//! Where a token is, as a rotation of its queries and keys (Su et al. 2021); diffusers `FluxPosEmbed`.

use candle_core::{DType, Device, Result, Tensor};
use candle_nn::rotary_emb::rope_i;

/// The base of the wavelengths.
const THETA: f64 = 10_000.0;

/// The angle of each pair of values of each token.
pub(super) struct Rotary {
    /// f32 `(tokens, head_size / 2)`.
    cos: Tensor,
    /// f32 `(tokens, head_size / 2)`.
    sin: Tensor,
}

impl Rotary {
    /// For `text` tokens, which are all at the origin, and after them `rows` × `columns` patches, whose second
    /// and third coordinates are their row and column.
    pub(super) fn new(
        axes: [usize; 3],
        text: usize,
        (rows, columns): (usize, usize),
        device: &Device,
    ) -> Result<Self> {
        let pairs = axes.iter().sum::<usize>() / 2;
        let count = (text + rows * columns) * pairs;
        let origin = text * pairs;
        let (mut cos, mut sin) = (Vec::with_capacity(count), Vec::with_capacity(count));
        cos.resize(origin, 1.0);
        sin.resize(origin, 0.0);
        let still = [(1.0, 0.0)].repeat(axes[0] / 2);
        let by_column = (0..columns).map(|column| angles(axes[2], column)).collect::<Vec<_>>();
        for row in 0..rows {
            let by_row = angles(axes[1], row);
            for by_column in &by_column {
                let all = still.iter().chain(&by_row).chain(by_column);
                cos.extend(all.clone().map(|(cos, _)| cos));
                sin.extend(all.map(|(_, sin)| sin));
            }
        }
        let tensor = |values| Tensor::from_vec(values, (text + rows * columns, pairs), device);
        Ok(Self { cos: tensor(cos)?, sin: tensor(sin)? })
    }

    /// Cosines and sines, each f32 `(tokens, head_size / 2)`.
    #[cfg(test)]
    pub(super) fn tables(&self) -> (&Tensor, &Tensor) {
        (&self.cos, &self.sin)
    }

    /// Turns contiguous `(batch, heads, tokens, head_size)`, in f32 whatever its dtype.
    pub(super) fn turn(&self, x: &Tensor) -> Result<Tensor> {
        rope_i(&x.to_dtype(DType::F32)?, &self.cos, &self.sin)?.to_dtype(x.dtype())
    }
}

/// Cosine and sine of the `width / 2` angles of one coordinate, in f64 until they are done.
fn angles(width: usize, position: usize) -> Vec<(f32, f32)> {
    let angle = |pair: usize| position as f64 / libm::pow(THETA, (2 * pair) as f64 / width as f64);
    (0..width / 2).map(angle).map(|angle| (libm::cos(angle) as f32, libm::sin(angle) as f32)).collect()
}
