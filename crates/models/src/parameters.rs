//! Weights that can be exchanged while the model that uses them is loaded.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use candle_core::Tensor;

/// A weight of a layer. Clones are the same weight.
#[derive(Clone)]
pub(crate) struct Parameter(Arc<RwLock<Tensor>>);

/// The exchangeable weights of a component by their names in its checkpoint.
pub(crate) type Parameters = BTreeMap<String, Parameter>;

impl Parameter {
    pub(crate) fn new(tensor: Tensor) -> Self {
        Self(Arc::new(RwLock::new(tensor)))
    }

    /// The tensor in use.
    pub(crate) fn tensor(&self) -> Tensor {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts another tensor of the same shape, dtype and device in its place.
    pub(crate) fn set(&self, tensor: Tensor) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = tensor;
    }
}
