//! LoRAs: low-rank changes of weights (Hu et al. 2021), applied for one request and taken back after it.
//!
//! `W + strength · alpha / rank · B·A`, computed in f32 and rounded once, takes the place of a weight `W`; the
//! base tensors stay in memory and are put back as they were. Nothing of the model is read again.

mod cache;
mod fit;
mod keys;
mod merge;
mod metadata;
mod original;
mod set;
mod targets;

use std::sync::{Arc, PoisonError, RwLock};

use candle_core::Tensor;

use self::cache::Cache;
use self::fit::Fitted;
pub(crate) use self::keys::Component;
use self::keys::Place;
use self::merge::{Merged, Plan};
pub(crate) use self::set::LoraSet;
use self::targets::Targets;
use crate::error::Error;
use crate::parameters::{Parameter, Parameters, Value};

/// The weights of a model that LoRAs may change, and those changed before.
pub(crate) struct Loras {
    targets: Targets,
    cache: Cache,
    current: Arc<RwLock<LoraSet>>,
}

impl Loras {
    /// Keeps at most `capacity_bytes` of changed weights, or by default as many as the denoiser has.
    pub(crate) fn new(components: Vec<(Component, Parameters)>, capacity_bytes: Option<u64>) -> Self {
        let denoiser = components.iter().filter(|(component, _)| *component == Component::Denoiser);
        let default = denoiser.flat_map(|(_, all)| all.values()).map(Parameter::bytes).sum();
        Self {
            targets: Targets::new(components),
            cache: Cache::new(capacity_bytes.unwrap_or(default)),
            current: Arc::default(),
        }
    }

    /// Changes the weights until the result is dropped. Another set must not be activated before that.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] naming the LoRA and its first key that does not fit the model or is not finite,
    /// [`Error::Unsupported`] for what is no plain LoRA, and [`Error::Load`] for a file that cannot be read.
    pub(crate) fn activate(&mut self, set: &LoraSet) -> Result<Active, Error> {
        let mut active = Active { base: Vec::new(), current: self.current.clone() };
        if set.is_empty() {
            return Ok(active);
        }
        let merged = match self.cache.get(set) {
            Some(merged) => merged,
            None => self.merge(set)?,
        };
        active.name(set.clone());
        for (index, tensor) in &merged.tensors {
            active.put(self.targets.parameter(*index), tensor.clone());
        }
        Ok(active)
    }

    fn merge(&mut self, set: &LoraSet) -> Result<Arc<Merged>, Error> {
        let fitted = set.members().iter().map(|member| Fitted::load(member, &self.targets));
        let fitted = fitted.collect::<Result<Vec<_>, _>>()?;
        let plan = Plan::new(&fitted);
        // Before there is more, so that no more than the capacity and one set is ever held.
        self.cache.make_room(plan.bytes(&self.targets));
        let merged = Arc::new(plan.merge(&self.targets)?);
        self.cache.insert(set.clone(), merged.clone());
        Ok(merged)
    }

    /// The set that is active; the empty one most of the time.
    pub(crate) fn current(&self) -> LoraSet {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Bytes of changed weights that are kept.
    pub(crate) fn kept_bytes(&self) -> u64 {
        self.cache.bytes()
    }

    /// Keeps nothing.
    pub(crate) fn release(&mut self) {
        self.cache.clear();
    }

    /// The weight of a layer.
    pub(crate) fn parameter(&self, component: Component, layer: &str) -> Option<&Parameter> {
        match self.targets.parts(&Place::new(component, layer))? {
            [part] => Some(self.targets.parameter(part.index)),
            _ => None,
        }
    }

    /// The weight of a layer, as it is in use.
    pub(crate) fn weight(&self, component: Component, layer: &str) -> Option<Tensor> {
        self.parameter(component, layer)?.tensor().ok()
    }
}

/// Changed weights in use. Dropping it puts the base tensors back, however the run ended.
#[must_use = "the weights are changed as long as this is held"]
pub(crate) struct Active {
    base: Vec<(Parameter, Value)>,
    current: Arc<RwLock<LoraSet>>,
}

impl Active {
    fn put(&mut self, parameter: &Parameter, tensor: Tensor) {
        self.base.push((parameter.clone(), parameter.set(tensor)));
    }

    fn name(&self, set: LoraSet) {
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = set;
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        for (parameter, base) in self.base.drain(..) {
            parameter.put(base);
        }
        self.name(LoraSet::default());
    }
}

fn bytes(tensor: &Tensor) -> u64 {
    (tensor.elem_count() * tensor.dtype().size_in_bytes()) as u64
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use candle_core::{DType, Device};

    use super::*;
    use crate::model::Lora;

    fn tensor(shape: (usize, usize), first: f32) -> Tensor {
        let values = (0..shape.0 * shape.1).map(|index| first + index as f32 / 8.0).collect();
        Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
    }

    fn values(tensor: &Tensor) -> Vec<f32> {
        tensor.to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1().unwrap()
    }

    /// As kohya's trainer writes it for FLUX: one pair of factors for query, key and value.
    #[test]
    fn rows_of_a_fused_layer_go_to_its_parts() {
        let names = ["to_q", "to_k", "to_v"];
        let bases = [1.0, 2.0, 3.0].map(|first| tensor((2, 3), first).to_dtype(DType::F16).unwrap());
        let layer = |name: &str| format!("transformer_blocks.0.attn.{name}");
        let parameters = names.iter().zip(&bases).map(|(name, base)| {
            (format!("{}.weight", layer(name)), Parameter::new(Value::Plain(base.clone())))
        });
        let mut loras = Loras::new(vec![(Component::Denoiser, parameters.collect())], None);
        let (down, up) = (tensor((2, 3), -0.5), tensor((6, 2), 0.25));
        let key = |end: &str| format!("lora_unet_double_blocks_0_img_attn_qkv.{end}");
        let file = HashMap::from([
            (key("lora_down.weight"), down.clone()),
            (key("lora_up.weight"), up.clone()),
            (key("alpha"), Tensor::new(4i64, &Device::Cpu).unwrap()),
        ]);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lora.safetensors");
        candle_core::safetensors::save(&file, &path).unwrap();
        let set = LoraSet::of(&[Lora { id: "x".to_owned(), path, strength: 0.3 }]).unwrap();

        let product = up.matmul(&down).unwrap().affine(0.3 * 4.0 / 2.0, 0.0).unwrap();
        let active = loras.activate(&set).unwrap();
        assert_eq!(loras.current(), set);
        for (part, (name, base)) in names.iter().zip(&bases).enumerate() {
            let rows = product.narrow(0, 2 * part, 2).unwrap();
            let sum = (base.to_dtype(DType::F32).unwrap() + rows).unwrap();
            let found = loras.weight(Component::Denoiser, &layer(name)).unwrap();
            assert_eq!(found.dtype(), DType::F16);
            assert_eq!(values(&found), values(&sum.to_dtype(DType::F16).unwrap()), "{name}");
        }
        drop(active);
        assert_eq!(loras.current(), LoraSet::default());
        for (name, base) in names.iter().zip(&bases) {
            assert_eq!(values(&loras.weight(Component::Denoiser, &layer(name)).unwrap()), values(base));
        }
    }
}
