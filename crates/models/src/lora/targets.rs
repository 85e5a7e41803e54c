//! The weights of a model by all the names that LoRAs have for them.

use std::collections::HashMap;

use super::keys::{Component, Place};
use super::original::{Order, Original, Part};
use crate::parameters::{Parameter, Parameters};

/// What a weight is called in a checkpoint, after the name of its layer.
const WEIGHT: &str = ".weight";

pub(super) struct Targets {
    parameters: Vec<Parameter>,
    /// Which weights a name stands for: one, or several whose rows follow one another.
    parts: HashMap<Place, Vec<Part>>,
}

impl Targets {
    pub(super) fn new(components: Vec<(Component, Parameters)>) -> Self {
        let (mut parameters, mut parts) = (Vec::new(), HashMap::new());
        for (component, weights) in components {
            let layers = weights
                .into_iter()
                .filter_map(|(name, parameter)| Some((name.strip_suffix(WEIGHT)?.to_owned(), parameter)));
            let layers = layers.collect::<Vec<_>>();
            let first = parameters.len();
            if component == Component::Denoiser {
                let names = layers.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>();
                for (name, all) in Original::of(&names).layers(&names) {
                    let all = all.into_iter().map(|part| Part { index: first + part.index, ..part });
                    parts.insert(Place::new(component, &name), all.collect());
                }
            }
            for (index, (name, parameter)) in layers.into_iter().enumerate() {
                let part = Part { index: first + index, order: Order::Same };
                parts.insert(Place::new(component, &name), vec![part]);
                parameters.push(parameter);
            }
        }
        Self { parameters, parts }
    }

    /// Whether LoRAs may change anything of the component.
    pub(super) fn has(&self, component: Component) -> bool {
        self.parts.keys().any(|place| place.component == component)
    }

    /// The weights of a layer, by numbers for [`Self::parameter`].
    pub(super) fn parts(&self, place: &Place) -> Option<&[Part]> {
        self.parts.get(place).map(Vec::as_slice)
    }

    pub(super) fn parameter(&self, index: usize) -> &Parameter {
        &self.parameters[index]
    }

    /// The shape of a weight without a kernel of 1 × 1.
    pub(super) fn shape(&self, index: usize) -> Vec<usize> {
        without_point(self.parameters[index].shape().dims())
    }
}

/// A 1 × 1 convolution is a linear layer: files and models differ in how they write it.
pub(super) fn without_point(shape: &[usize]) -> Vec<usize> {
    match shape {
        [outputs, inputs, 1, 1] => vec![*outputs, *inputs],
        shape => shape.to_vec(),
    }
}
