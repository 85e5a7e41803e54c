//! Changed weights.

use std::collections::BTreeMap;

use candle_core::{DType, Tensor};

use super::bytes;
use super::fit::{Change, Fitted};
use super::original::{Order, Part};
use super::targets::Targets;
use crate::error::Error;
use crate::pixels;

/// The weights that a set of LoRAs changes, by their numbers.
pub(super) struct Merged {
    pub(super) tensors: Vec<(usize, Tensor)>,
}

impl Merged {
    pub(super) fn bytes(&self) -> u64 {
        self.tensors.iter().map(|(_, tensor)| bytes(tensor)).sum()
    }
}

/// What is to be done to each weight, in an order that the set decides.
pub(super) struct Plan<'a>(BTreeMap<usize, Vec<Step<'a>>>);

/// A part of a change.
struct Step<'a> {
    lora: &'a Fitted,
    change: &'a Change,
    /// The first row of `B` that is for the weight.
    row: usize,
    order: Order,
}

impl<'a> Plan<'a> {
    pub(super) fn new(loras: &'a [Fitted]) -> Self {
        let mut steps = BTreeMap::<usize, Vec<_>>::new();
        for lora in loras {
            for change in &lora.changes {
                for &(Part { index, order }, row) in &change.parts {
                    steps.entry(index).or_default().push(Step { lora, change, row, order });
                }
            }
        }
        Self(steps)
    }

    /// How many bytes the changed weights will take.
    pub(super) fn bytes(&self, targets: &Targets) -> u64 {
        self.0.keys().map(|index| targets.parameter(*index).bytes()).sum()
    }

    /// Computes them from the weights in use.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] for LoRAs that are not finite or too strong, and failures of the device.
    pub(super) fn merge(&self, targets: &Targets) -> Result<Merged, Error> {
        let weight = |(index, steps): (&usize, &Vec<Step<'_>>)| {
            Ok((*index, merge(&targets.parameter(*index).tensor()?, steps)?))
        };
        Ok(Merged { tensors: self.0.iter().map(weight).collect::<Result<_, Error>>()? })
    }
}

/// `base` and the changes: summed up in f32 and rounded once to the dtype of `base`.
fn merge(base: &Tensor, steps: &[Step<'_>]) -> Result<Tensor, Error> {
    let mut weight = base.to_dtype(DType::F32)?;
    for Step { lora, change, row, order } in steps {
        let down = lora.down(change, base.device())?;
        let rows = base.dim(0)?;
        let up = lora.up(change, base.device())?.narrow(0, *row, rows)?;
        let up = match order {
            Order::Same => up,
            Order::HalvesSwapped => up.roll(rows as i32 / 2, 0)?,
        };
        let product = up.contiguous()?.matmul(&down)?.reshape(base.shape())?;
        weight = (weight + product.affine(change.scale, 0.0)?)?;
    }
    let weight = weight.to_dtype(base.dtype())?;
    if pixels::is_finite(&weight)? {
        return Ok(weight);
    }
    let message = "the LoRAs are too strong: the weights they make are not finite";
    Err(Error::InvalidInput(message.to_owned()))
}
