//! Weights that can be exchanged while the model that uses them is loaded.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use candle_core::{DType, Result, Shape, Tensor};

use crate::kernels::{self, Packed, floats, has_floats};

/// A weight of a layer. Clones are the same weight.
#[derive(Clone)]
pub(crate) struct Parameter(Arc<RwLock<Value>>);

/// The exchangeable weights of a component by their names in its checkpoint.
pub(crate) type Parameters = BTreeMap<String, Parameter>;

/// What a weight is at a time.
#[derive(Clone)]
pub(crate) enum Value {
    /// As it was loaded.
    Plain(Tensor),
    /// As kernels on the CPU read it. It takes the tensor's place: both would take twice the memory.
    Packed(Arc<Packed>, Shape),
}

impl Value {
    /// `weight`, of `shape` `(outputs, inputs)` or `(outputs, inputs, height, width)`, as kernels read it.
    ///
    /// # Errors
    /// When it has another shape.
    pub(crate) fn pack<T: Copy + Into<f32> + Sync>(weight: &[T], shape: Shape) -> Result<Self> {
        let [outputs, inputs, kernel @ ..] = shape.dims() else {
            candle_core::bail!("a weight of shape {shape:?} is neither a linear layer's nor a convolution's")
        };
        let packed = Packed::new(weight, *outputs, *inputs, kernel.iter().product());
        Ok(Self::Packed(Arc::new(packed), shape))
    }

    fn tensor(&self) -> Result<Tensor> {
        match self {
            Self::Plain(tensor) => Ok(tensor.clone()),
            Self::Packed(packed, shape) => kernels::tensor(packed.unpack(), shape),
        }
    }
}

impl Parameter {
    pub(crate) fn new(value: Value) -> Self {
        Self(Arc::new(RwLock::new(value)))
    }

    /// The tensor in use.
    ///
    /// # Errors
    /// When there is no memory for it.
    pub(crate) fn tensor(&self) -> Result<Tensor> {
        self.value().tensor()
    }

    /// Its shape.
    pub(crate) fn shape(&self) -> Shape {
        match self.value() {
            Value::Plain(tensor) => tensor.shape().clone(),
            Value::Packed(_, shape) => shape,
        }
    }

    /// Bytes that it takes.
    pub(crate) fn bytes(&self) -> u64 {
        let (shape, dtype) = match self.value() {
            Value::Plain(tensor) => (tensor.shape().clone(), tensor.dtype()),
            Value::Packed(_, shape) => (shape, DType::F32),
        };
        (shape.elem_count() * dtype.size_in_bytes()) as u64
    }

    /// The weight as kernels read it, made at its first use; `None` where the device has kernels of its own.
    ///
    /// Of shape `(outputs, inputs)` or `(outputs, inputs, height, width)`.
    ///
    /// # Errors
    /// When it has another shape.
    pub(crate) fn packed(&self) -> Result<Option<Arc<Packed>>> {
        let tensor = match self.value() {
            Value::Packed(packed, _) => return Ok(Some(packed)),
            Value::Plain(tensor) => tensor,
        };
        if !has_floats(&tensor) {
            return Ok(None);
        }
        let tensor = tensor.contiguous()?;
        let value = Value::pack(&floats(&tensor)?, tensor.shape().clone())?;
        self.put(value.clone());
        Ok(match value {
            Value::Packed(packed, _) => Some(packed),
            Value::Plain(_) => None,
        })
    }

    /// Puts another tensor of the same shape, dtype and device in its place, and returns what was there.
    pub(crate) fn set(&self, tensor: Tensor) -> Value {
        self.put(Value::Plain(tensor))
    }

    /// Puts back what [`Self::set`] returned.
    pub(crate) fn put(&self, value: Value) -> Value {
        std::mem::replace(&mut *self.0.write().unwrap_or_else(PoisonError::into_inner), value)
    }

    fn value(&self) -> Value {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn packing_changes_neither_tensor_nor_size() {
        let values: Vec<f32> = (0..5 * 3 * 4).map(|value| value as f32).collect();
        let tensor = Tensor::from_vec(values.clone(), (5, 3, 2, 2), &Device::Cpu).unwrap();
        let parameter = Parameter::new(Value::Plain(tensor.clone()));
        assert!(parameter.packed().unwrap().is_some());
        assert_eq!(parameter.bytes(), 60 * 4);
        let back = parameter.tensor().unwrap();
        assert_eq!(back.dims(), tensor.dims());
        assert_eq!(back.flatten_all().unwrap().to_vec1::<f32>().unwrap(), values);
    }

    #[test]
    fn weight_that_was_exchanged_is_packed_anew_and_put_back() {
        let of = |value: f32| Tensor::from_vec(vec![value; 6], (2, 3), &Device::Cpu).unwrap();
        let parameter = Parameter::new(Value::Plain(of(1.0)));
        let first = |parameter: &Parameter| parameter.packed().unwrap().unwrap().unpack()[0];
        assert_eq!(first(&parameter), 1.0);
        let before = parameter.set(of(2.0));
        assert_eq!(first(&parameter), 2.0);
        parameter.put(before);
        assert_eq!(first(&parameter), 1.0);
    }
}
