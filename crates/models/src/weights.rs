//! Memory-mapped safetensors, checked tensor by tensor.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use bytemuck::try_cast_slice;
use candle_core::safetensors::{Load as _, MmapedSafetensors};
use candle_core::{DType, Device, Shape, Tensor};
use half::{bf16, f16};

use crate::error::{BoxError, Error};
use crate::memory::forget_mapped;
use crate::parameters::{Parameter, Parameters, Value};

/// The weights of one component, mapped into memory from one file or several shards.
pub(crate) struct Checkpoint {
    shards: Vec<Shard>,
    /// The shard of each tensor.
    places: HashMap<String, usize>,
    /// Bytes of the tensors read since they were last asked for, in the dtype they were read to.
    bytes: Cell<u64>,
    /// Names of the tensors read so far.
    read: RefCell<HashSet<String>>,
    parameters: RefCell<Parameters>,
}

struct Shard {
    path: PathBuf,
    tensors: MmapedSafetensors,
}

impl Checkpoint {
    /// Maps the files, at least one, and reads their headers.
    pub(crate) fn open(paths: Vec<PathBuf>) -> Result<Self, Error> {
        let shards = paths.into_iter().map(Shard::open).collect::<Result<Vec<_>, _>>()?;
        let mut places = HashMap::new();
        for (index, shard) in shards.iter().enumerate() {
            places.extend(shard.tensors.tensors().into_iter().map(|(name, _)| (name, index)));
        }
        Ok(Self {
            shards,
            places,
            bytes: Cell::default(),
            read: RefCell::default(),
            parameters: RefCell::default(),
        })
    }

    /// A view of all tensors, which come out on `device` in `dtype`.
    pub(crate) fn root(&self, device: &Device, dtype: DType) -> Weights<'_> {
        Weights { checkpoint: self, prefix: String::new(), placement: Placement::Load(device.clone()), dtype }
    }

    /// A view of all tensors that checks names, shapes and dtypes and allocates nothing: what comes out is of
    /// the shape asked for and holds zeros.
    pub(crate) fn check(&self, dtype: DType) -> Weights<'_> {
        Weights { checkpoint: self, prefix: String::new(), placement: Placement::Check, dtype }
    }

    /// Bytes of the tensors read since this was last asked.
    pub(crate) fn take_bytes(&self) -> u64 {
        self.bytes.take()
    }

    /// Says in the log which floating point tensors that `wanted` accepts were not read: a configuration that
    /// does not belong to the weights loads without an error when it describes less than there is.
    pub(crate) fn warn_unread(&self, wanted: impl Fn(&str) -> bool) {
        let read = self.read.borrow();
        let mut unread = Vec::new();
        for shard in &self.shards {
            for (name, view) in shard.tensors.tensors() {
                if is_float(view.dtype().try_into()) && wanted(&name) && !read.contains(&name) {
                    unread.push(name);
                }
            }
        }
        if let Some(example) = unread.iter().min() {
            let (file, count) = (self.path().display(), unread.len());
            tracing::warn!(%file, count, example, "the configuration leaves tensors of the weights unused");
        }
    }

    /// The weights of the layers made from it.
    pub(crate) fn into_parameters(self) -> Parameters {
        self.parameters.into_inner()
    }

    /// Names and shapes of all tensors, in the order of the names.
    pub(crate) fn shapes(&self) -> BTreeMap<String, Vec<usize>> {
        let tensors = self.shards.iter().flat_map(|shard| shard.tensors.tensors());
        tensors.map(|(name, view)| (name, view.shape().to_vec())).collect()
    }

    /// The tensor `name` as f32 on `device`.
    ///
    /// # Errors
    /// [`Error::Load`] naming the tensor, when there is none or it does not hold numbers.
    pub(crate) fn tensor(&self, name: &str, device: &Device) -> Result<Tensor, Error> {
        let expected = "a tensor of numbers".to_owned();
        let Some(shard) = self.places.get(name).map(|index| &self.shards[*index]) else {
            return Err(mismatch(self.path(), name.to_owned(), expected, "no such tensor".to_owned()));
        };
        let view = shard.tensors.get(name)?;
        let dtype = view.dtype().try_into();
        if !is_float(dtype) && view.dtype().try_into().ok() != Some(DType::I64) {
            let found = format!("dtype {:?}", view.dtype());
            return Err(mismatch(&shard.path, name.to_owned(), expected, found));
        }
        Ok(view.load(device)?.to_dtype(DType::F32)?)
    }

    /// The file, or the first shard.
    fn path(&self) -> &Path {
        &self.shards[0].path
    }
}

impl Shard {
    fn open(path: PathBuf) -> Result<Self, Error> {
        #[expect(unsafe_code, reason = "weights are mapped, not copied: they can be larger than free memory")]
        // SAFETY: the mapping is only sound while nobody changes the file. Weights lie in the model store,
        // which writes a file under another name, renames it when it is whole, and never touches it again.
        let mapped = unsafe { MmapedSafetensors::new(&path) };
        match mapped {
            Ok(tensors) => Ok(Self { path, tensors }),
            Err(error) => Err(unreadable(path, error)),
        }
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

/// What becomes of a tensor that is asked for.
#[derive(Clone)]
enum Placement {
    /// It is checked.
    Check,
    /// It is checked and copied to the device.
    Load(Device),
}

/// The tensors of a checkpoint below a prefix, as its own tree of names.
#[derive(Clone)]
pub(crate) struct Weights<'a> {
    checkpoint: &'a Checkpoint,
    prefix: String,
    placement: Placement,
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
        self.checkpoint.places.contains_key(&format!("{}{name}", self.prefix))
    }

    /// How many dimensions the tensor `name` has, if there is one.
    pub(crate) fn rank(&self, name: &str) -> Option<usize> {
        let name = format!("{}{name}", self.prefix);
        let shard = &self.checkpoint.shards[*self.checkpoint.places.get(&name)?];
        Some(shard.tensors.get(&name).ok()?.shape().len())
    }

    /// Where tensors made beside the weights belong.
    pub(crate) fn device(&self) -> &Device {
        match &self.placement {
            Placement::Check => &Device::Cpu,
            Placement::Load(device) => device,
        }
    }

    pub(crate) fn dtype(&self) -> DType {
        self.dtype
    }

    /// The same tensors in another dtype.
    pub(crate) fn with_dtype(&self, dtype: DType) -> Self {
        Self { dtype, ..self.clone() }
    }

    /// The tensor `name` on the device in the dtype, which must have `shape` in the file.
    ///
    /// # Errors
    /// [`Error::Load`] naming the tensor, when it is missing, of another shape or not of floating point.
    pub(crate) fn get(&self, name: &str, shape: impl Into<Shape>) -> Result<Tensor, Error> {
        let (name, shape) = (format!("{}{name}", self.prefix), shape.into());
        let stored = self.stored(&name, &shape)?;
        let tensor = match &self.placement {
            Placement::Check => self.zeros(shape)?,
            Placement::Load(device) => stored.load(device, self.dtype)?.reshape(shape)?,
        };
        self.was_read(name, &stored);
        Ok(tensor)
    }

    /// The tensor with all of `name`, which must have `shape` in the file.
    fn stored(&self, name: &str, shape: &Shape) -> Result<Stored<'_>, Error> {
        let expected = format!("shape {:?}", shape.dims());
        let Some(shard) = self.checkpoint.places.get(name).map(|index| &self.checkpoint.shards[*index])
        else {
            let path = self.checkpoint.path();
            return Err(mismatch(path, name.to_owned(), expected, "no such tensor".to_owned()));
        };
        let view = shard.tensors.get(name)?;
        if view.shape() != shape.dims() {
            let found = format!("shape {:?}", view.shape());
            return Err(mismatch(&shard.path, name.to_owned(), expected, found));
        }
        match view.dtype().try_into() {
            Ok(dtype) if is_float(Ok(dtype)) => Ok(Stored { dtype, data: view.data() }),
            _ => {
                let found = format!("dtype {:?}", view.dtype());
                Err(mismatch(&shard.path, name.to_owned(), "a floating point tensor".to_owned(), found))
            }
        }
    }

    fn was_read(&self, name: String, stored: &Stored<'_>) {
        if let Placement::Load(_) = self.placement {
            // Else a model would take twice its memory while it is loaded.
            #[expect(unsafe_code, reason = "that it is a mapped file is known here")]
            // SAFETY: it lies in the mapping of its shard, whose file nobody changes; see `Shard::open`.
            unsafe {
                forget_mapped(stored.data);
            }
        }
        let count = stored.data.len() / stored.dtype.size_in_bytes();
        let bytes = (count * self.dtype.size_in_bytes()) as u64;
        self.checkpoint.bytes.set(self.checkpoint.bytes.get() + bytes);
        self.checkpoint.read.borrow_mut().insert(name);
    }

    /// Zeros of any shape in the memory of one.
    fn zeros(&self, shape: Shape) -> Result<Tensor, Error> {
        Ok(Tensor::zeros((), self.dtype, &Device::Cpu)?.broadcast_as(shape)?)
    }

    /// As [`Self::get`], for a weight that a LoRA may change.
    ///
    /// `used_as` is the shape it is used in, of as many elements.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub(crate) fn parameter(
        &self,
        name: &str,
        shape: impl Into<Shape>,
        used_as: impl Into<Shape>,
    ) -> Result<Parameter, Error> {
        let (name, used_as) = (format!("{}{name}", self.prefix), used_as.into());
        let stored = self.stored(&name, &shape.into())?;
        let value = match &self.placement {
            Placement::Check => Value::Plain(self.zeros(used_as)?),
            Placement::Load(Device::Cpu) if self.dtype == DType::F32 => stored.pack(used_as)?,
            Placement::Load(device) => Value::Plain(stored.load(device, self.dtype)?.reshape(used_as)?),
        };
        let parameter = Parameter::new(value);
        self.was_read(name.clone(), &stored);
        self.checkpoint.parameters.borrow_mut().insert(name, parameter.clone());
        Ok(parameter)
    }
}

/// Numbers in a file.
struct Stored<'a> {
    dtype: DType,
    data: &'a [u8],
}

impl Stored<'_> {
    /// All of them in a row, on `device` in `dtype`.
    fn load(&self, device: &Device, dtype: DType) -> candle_core::Result<Tensor> {
        let count = self.data.len() / self.dtype.size_in_bytes();
        // On the device first: half the bytes cross the bus, and the conversion is the device's work.
        Tensor::from_raw_buffer(self.data, self.dtype, &[count], device)?.to_dtype(dtype)
    }

    /// As kernels read a weight of that shape, straight from the file.
    fn pack(&self, shape: Shape) -> candle_core::Result<Value> {
        match self.dtype {
            DType::F32 if let Ok(numbers) = try_cast_slice::<_, f32>(self.data) => {
                Value::pack(numbers, shape)
            }
            DType::F16 if let Ok(numbers) = try_cast_slice::<_, f16>(self.data) => {
                Value::pack(numbers, shape)
            }
            DType::BF16 if let Ok(numbers) = try_cast_slice::<_, bf16>(self.data) => {
                Value::pack(numbers, shape)
            }
            // The kernels pack it when they use it.
            _ => Ok(Value::Plain(self.load(&Device::Cpu, DType::F32)?.reshape(shape)?)),
        }
    }
}

fn mismatch(file: &Path, tensor: String, expected: String, found: String) -> Error {
    let source: Option<BoxError> = None;
    Error::Load { file: file.to_owned(), tensor: Some(tensor), expected, found, source }
}
