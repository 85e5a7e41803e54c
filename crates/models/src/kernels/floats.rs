//! The numbers of tensors that lie in this machine's memory.

use std::ops::{Deref, Range};

use candle_core::{CpuStorage, DType, Device, Result, Shape, Storage, Tensor};

/// Whether kernels compute with the tensor: it is f32 and on the CPU.
pub(crate) fn has_floats(tensor: &Tensor) -> bool {
    tensor.device().is_cpu() && tensor.dtype() == DType::F32
}

/// The numbers of a contiguous f32 tensor on the CPU, locked for as long as they are read.
///
/// # Errors
/// When it is no such tensor.
pub(crate) fn floats(tensor: &Tensor) -> Result<impl Deref<Target = [f32]>> {
    let (storage, layout) = tensor.storage_and_layout();
    let Some((start, end)) = layout.contiguous_offsets() else {
        candle_core::bail!("a kernel wants contiguous tensors, not strides {:?}", layout.stride())
    };
    match &*storage {
        Storage::Cpu(CpuStorage::F32(_)) => Ok(Floats { storage, range: start..end }),
        _ => candle_core::bail!("a kernel wants f32 in memory, not {:?}", tensor.dtype()),
    }
}

/// A new tensor on the CPU.
///
/// # Errors
/// When the shape has another number of elements.
pub(crate) fn tensor(values: Vec<f32>, shape: impl Into<Shape>) -> Result<Tensor> {
    Tensor::from_vec(values, shape.into(), &Device::Cpu)
}

struct Floats<Guard> {
    storage: Guard,
    range: Range<usize>,
}

impl<Guard: Deref<Target = Storage>> Deref for Floats<Guard> {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        match &*self.storage {
            Storage::Cpu(CpuStorage::F32(values)) => &values[self.range.clone()],
            _ => &[],
        }
    }
}
