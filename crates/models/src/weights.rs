//! Memory-mapped safetensors, checked tensor by tensor.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::io::ErrorKind;
use std::path::PathBuf;

use candle_core::safetensors::{Load as _, MmapedSafetensors};
use candle_core::{DType, Device, Shape, Tensor};

use crate::error::{BoxError, Error};

/// One weights file, mapped into memory.
pub(crate) struct WeightsFile {
    path: PathBuf,
    tensors: MmapedSafetensors,
    /// Bytes of the tensors read so far, in the dtype they were read to.
    bytes: Cell<u64>,
    /// Names of the tensors read so far.
    read: RefCell<HashSet<String>>,
}

impl WeightsFile {
    /// Maps the file and reads its header.
    pub(crate) fn open(path: PathBuf) -> Result<Self, Error> {
        #[expect(unsafe_code, reason = "weights are mapped, not copied: they can be larger than free memory")]
        // SAFETY: the mapping is only sound while nobody changes the file. Weights lie in the model store,
        // which writes a file under another name, renames it when it is whole, and never touches it again.
        let mapped = unsafe { MmapedSafetensors::new(&path) };
        match mapped {
            Ok(tensors) => Ok(Self { path, tensors, bytes: Cell::default(), read: RefCell::default() }),
            Err(error) => Err(unreadable(path, error)),
        }
    }

    /// A view of the whole file whose tensors come out on `device` in `dtype`.
    pub(crate) fn root(&self, device: &Device, dtype: DType) -> Weights<'_> {
        Weights { file: self, prefix: String::new(), device: device.clone(), dtype }
    }

    /// Bytes of the tensors read so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.get()
    }

    /// Says in the log which floating point tensors that `wanted` accepts were not read: a configuration that
    /// does not belong to the weights loads without an error when it describes less than there is.
    pub(crate) fn warn_unread(&self, wanted: impl Fn(&str) -> bool) {
        let read = self.read.borrow();
        let mut unread = Vec::new();
        for (name, view) in self.tensors.tensors() {
            if is_float(view.dtype().try_into()) && wanted(&name) && !read.contains(&name) {
                unread.push(name);
            }
        }
        if let Some(example) = unread.first() {
            let (file, count) = (self.path.display(), unread.len());
            tracing::warn!(%file, count, example, "the configuration leaves tensors of the weights unused");
        }
    }

    /// Bytes that all floating point tensors whose names `wanted` accepts would take in `dtype`.
    pub(crate) fn bytes_in(&self, dtype: DType, wanted: impl Fn(&str) -> bool) -> u64 {
        let elements = self
            .tensors
            .tensors()
            .iter()
            .filter(|(name, view)| wanted(name) && is_float(view.dtype().try_into()))
            .map(|(_, view)| view.shape().iter().map(|side| *side as u64).product::<u64>())
            .sum::<u64>();
        elements * dtype.size_in_bytes() as u64
    }
}

fn unreadable(file: PathBuf, error: candle_core::Error) -> Error {
    let found = match &error {
        candle_core::Error::WithPath { inner, .. } => match &**inner {
            candle_core::Error::Io(io) if io.kind() == ErrorKind::NotFound => "none".to_owned(),
            inner => inner.to_string(),
        },
        other => other.to_string(),
    };
    let expected = "a whole safetensors file".to_owned();
    Error::Load { file, tensor: None, expected, found, source: Some(Box::new(error)) }
}

fn is_float(dtype: candle_core::Result<DType>) -> bool {
    dtype.is_ok_and(|dtype| matches!(dtype, DType::F16 | DType::BF16 | DType::F32 | DType::F64))
}

/// The tensors of one file below a prefix, as a checkpoint's own tree of names.
#[derive(Clone)]
pub(crate) struct Weights<'a> {
    file: &'a WeightsFile,
    prefix: String,
    device: Device,
    dtype: DType,
}

impl Weights<'_> {
    /// The subtree below `name`.
    pub(crate) fn pp(&self, name: impl std::fmt::Display) -> Self {
        let prefix = format!("{}{name}.", self.prefix);
        Self { prefix, ..self.clone() }
    }

    /// Whether there is a tensor `name` here.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.file.tensors.get(&format!("{}{name}", self.prefix)).is_ok()
    }

    /// How many dimensions the tensor `name` has, if there is one.
    pub(crate) fn rank(&self, name: &str) -> Option<usize> {
        let view = self.file.tensors.get(&format!("{}{name}", self.prefix)).ok()?;
        Some(view.shape().len())
    }

    pub(crate) fn device(&self) -> &Device {
        &self.device
    }

    pub(crate) fn dtype(&self) -> DType {
        self.dtype
    }

    /// The tensor `name` on the device in the dtype, which must have `shape` in the file.
    ///
    /// # Errors
    /// [`Error::Load`] naming the tensor, when it is missing, of another shape or not of floating point.
    pub(crate) fn get(&self, name: &str, shape: impl Into<Shape>) -> Result<Tensor, Error> {
        let (name, shape) = (format!("{}{name}", self.prefix), shape.into());
        let expected = format!("shape {:?}", shape.dims());
        let Ok(view) = self.file.tensors.get(&name) else {
            return Err(self.mismatch(name, expected, "no such tensor".to_owned(), None));
        };
        if view.shape() != shape.dims() {
            let found = format!("shape {:?}", view.shape());
            return Err(self.mismatch(name, expected, found, None));
        }
        if !is_float(view.dtype().try_into()) {
            let found = format!("dtype {:?}", view.dtype());
            return Err(self.mismatch(name, "a floating point tensor".to_owned(), found, None));
        }
        // On the device first: half the bytes cross the bus, and the conversion is the device's work.
        let tensor = view.load(&self.device)?.to_dtype(self.dtype)?;
        let bytes = (tensor.elem_count() * self.dtype.size_in_bytes()) as u64;
        self.file.bytes.set(self.file.bytes.get() + bytes);
        self.file.read.borrow_mut().insert(name);
        Ok(tensor)
    }

    fn mismatch(&self, tensor: String, expected: String, found: String, source: Option<BoxError>) -> Error {
        Error::Load { file: self.file.path.clone(), tensor: Some(tensor), expected, found, source }
    }
}
