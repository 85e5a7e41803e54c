//! Whether a LoRA fits a model, from the names and shapes in its file.

use std::collections::{BTreeMap, BTreeSet};

use candle_core::{Device, Tensor};

use super::keys::{Component, Place, Role, parse};
use super::metadata::Adapters;
use super::original::Part;
use super::set::Member;
use super::targets::{Targets, without_point};
use crate::error::Error;
use crate::pixels;
use crate::weights::Checkpoint;

/// A LoRA that fits the model.
pub(super) struct Fitted {
    id: String,
    file: Checkpoint,
    pub(super) changes: Vec<Change>,
}

/// What it does to one layer: `scale · B·A` is added to the weight.
pub(super) struct Change {
    /// Key of `A`: f32 `(rank, inputs, …)`.
    down: String,
    /// Key of `B`: f32 `(outputs, rank, …)`.
    up: String,
    /// The strength and alpha / rank.
    pub(super) scale: f64,
    /// The weights that share the outputs, and the first row of each.
    pub(super) parts: Vec<(Part, usize)>,
}

/// What a file holds for one layer, by its keys.
#[derive(Default)]
struct Pair<'a> {
    down: Option<&'a str>,
    up: Option<&'a str>,
    alpha: Option<&'a str>,
}

/// A key that does not fit, and why.
type Misfit<'a> = (&'a str, String);

type Shapes = BTreeMap<String, Vec<usize>>;

impl Fitted {
    /// Opens the file and compares it with the model.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] naming the LoRA and its first key that does not fit, [`Error::Unsupported`] for
    /// what is no plain LoRA, [`Error::Load`] and [`Error::InvalidConfig`] for a file that cannot be read.
    pub(super) fn load(member: &Member, targets: &Targets) -> Result<Self, Error> {
        let id = member.id.clone();
        let file = Checkpoint::open(vec![member.path.clone()])?;
        let adapters = Adapters::read(&member.path)?;
        if adapters.uses_dora() {
            return Err(Error::Unsupported(format!(
                "LoRA \"{id}\" is trained by DoRA, which is not implemented"
            )));
        }
        let shapes = file.shapes();
        let (pairs, mut misfits) = pairs(&id, &shapes, targets)?;
        let mut changes = Vec::with_capacity(pairs.len());
        for (place, pair) in pairs {
            match pair.fit(&place, &shapes, targets) {
                Ok((change, rank)) => {
                    let scale = match pair.alpha {
                        Some(alpha) => Some(read_alpha(&id, &file, alpha)? / rank as f64),
                        None => adapters.scale(&place, rank),
                    };
                    changes.push(Change { scale: member.strength() * scale.unwrap_or(1.0), ..change });
                }
                Err(misfit) => {
                    misfits.insert(misfit);
                }
            }
        }
        if let Some((key, reason)) = misfits.first() {
            let message = format!("LoRA \"{id}\" does not fit the model: {key:?} {reason}");
            return Err(Error::InvalidInput(message));
        }
        if changes.is_empty() {
            return Err(Error::InvalidInput(format!("LoRA \"{id}\" holds no weights")));
        }
        Ok(Self { id, file, changes })
    }

    /// `A` of a change, f32 `(rank, all inputs)`.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] when it is not finite.
    pub(super) fn down(&self, change: &Change, device: &Device) -> Result<Tensor, Error> {
        self.factor(&change.down, device)
    }

    /// `B` of a change, f32 `(outputs, rank)`.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] when it is not finite.
    pub(super) fn up(&self, change: &Change, device: &Device) -> Result<Tensor, Error> {
        self.factor(&change.up, device)
    }

    fn factor(&self, key: &str, device: &Device) -> Result<Tensor, Error> {
        let factor = self.file.tensor(key, device)?.flatten_from(1)?;
        if pixels::is_finite(&factor)? { Ok(factor) } else { Err(not_finite(&self.id, key)) }
    }
}

/// What the file holds by layer, and the keys that belong to none.
fn pairs<'a>(
    lora: &str,
    shapes: &'a Shapes,
    targets: &Targets,
) -> Result<(BTreeMap<Place, Pair<'a>>, BTreeSet<Misfit<'a>>), Error> {
    let (mut pairs, mut misfits) = (BTreeMap::<Place, Pair<'_>>::new(), BTreeSet::new());
    for key in shapes.keys() {
        let Some((place, role)) = parse(lora, key)? else {
            misfits.insert((key.as_str(), "is no part of a LoRA".to_owned()));
            continue;
        };
        if targets.parts(&place).is_none() {
            let reason = match place.component {
                Component::TextEncoder(number) if !targets.has(place.component) => {
                    format!("is for text encoder {number}, which LoRAs cannot change in this model")
                }
                _ => "is for a layer that the model does not have".to_owned(),
            };
            misfits.insert((key.as_str(), reason));
            continue;
        }
        let pair = pairs.entry(place).or_default();
        let slot = match role {
            Role::Down => &mut pair.down,
            Role::Up => &mut pair.up,
            Role::Alpha => &mut pair.alpha,
        };
        if let Some(before) = slot.replace(key) {
            misfits.insert((before, format!("is for the same layer as {key:?}")));
        }
    }
    Ok((pairs, misfits))
}

impl<'a> Pair<'a> {
    /// The change, its scale still to be found, and its rank.
    fn fit(&self, place: &Place, shapes: &Shapes, targets: &Targets) -> Result<(Change, usize), Misfit<'a>> {
        let (down, up) = match (self.down, self.up) {
            (Some(down), Some(up)) => (down, up),
            (alone, other) => {
                let key = alone.or(other).or(self.alpha).unwrap_or_default();
                return Err((key, "is there without its counterpart".to_owned()));
            }
        };
        if let Some(alpha) = self.alpha.filter(|alpha| shapes[*alpha].iter().product::<usize>() != 1) {
            return Err((alpha, format!("is of shape {:?}, not one number", shapes[alpha])));
        }
        let (a, b) = (without_point(&shapes[down]), without_point(&shapes[up]));
        let (mut parts, mut outputs, mut inputs) = (Vec::new(), 0, Vec::new());
        for part in targets.parts(place).unwrap_or_default() {
            let weight = targets.shape(part.index);
            parts.push((*part, outputs));
            outputs += weight[0];
            inputs = weight[1..].to_vec();
        }
        let rank = a.first().copied().unwrap_or_default();
        if rank == 0 || a[1..] != inputs {
            let of = [vec![outputs], inputs].concat();
            return Err((down, format!("is of shape {:?}, and the layer's weight of {of:?}", shapes[down])));
        }
        if b != [outputs, rank] {
            let expected = [outputs, rank];
            return Err((up, format!("is of shape {:?}, where {expected:?} is expected", shapes[up])));
        }
        Ok((Change { down: down.to_owned(), up: up.to_owned(), scale: 1.0, parts }, rank))
    }
}

fn read_alpha(lora: &str, file: &Checkpoint, key: &str) -> Result<f64, Error> {
    let alpha = file.tensor(key, &Device::Cpu)?.flatten_all()?.get(0)?.to_scalar::<f32>()?;
    if alpha.is_finite() { Ok(f64::from(alpha)) } else { Err(not_finite(lora, key)) }
}

fn not_finite(lora: &str, key: &str) -> Error {
    Error::InvalidInput(format!("LoRA \"{lora}\" cannot be used: {key:?} has values that are not finite"))
}
