//! Where a model runs and in which precision.

use std::error::Error as _;
use std::fmt;
use std::str::FromStr;

use candle_core::DeviceLocation;
use rayon::ThreadPoolBuilder;

use crate::error::Error;

/// Starts the threads that share the processor's arithmetic, unless they run, and says how many they are: one for
/// each processor this process may use, by its affinity and by its control group's quota, rounded down.
/// `RAYON_NUM_THREADS` in the environment sets another number. Without this call they start when they are needed.
///
/// # Errors
/// [`Error::Device`] when the operating system has no thread to give.
pub fn start_threads() -> Result<usize, Error> {
    match ThreadPoolBuilder::new().thread_name(|number| format!("compute-{number}")).build_global() {
        // Without a source, it is that they run.
        Err(error) if error.source().is_some() => Err(Error::Device(error.into())),
        Ok(()) | Err(_) => Ok(rayon::current_num_threads()),
    }
}

/// A device that holds weights and does the arithmetic. Clones are the same device.
#[derive(Clone)]
pub struct Device(candle_core::Device);

impl Device {
    /// The processor this program runs on.
    pub fn cpu() -> Self {
        Self(candle_core::Device::Cpu)
    }

    /// The NVIDIA GPU with this number.
    ///
    /// # Errors
    /// [`Error::Unsupported`] in a build without the feature `cuda`, [`Error::Device`] when there is no such
    /// GPU or its driver fails.
    pub fn cuda(ordinal: usize) -> Result<Self, Error> {
        if !cfg!(feature = "cuda") {
            return Err(Error::Unsupported(
                "this build has no CUDA support (cargo feature `cuda`)".to_owned(),
            ));
        }
        Ok(Self(candle_core::Device::new_cuda(ordinal)?))
    }

    pub(crate) fn candle(&self) -> &candle_core::Device {
        &self.0
    }

    /// The precision it computes in unless it is asked for another: f32 on the CPU, f16 on a GPU.
    pub fn usual_dtype(&self) -> DType {
        if self.0.is_cpu() { DType::F32 } else { DType::F16 }
    }

    /// The dtype to compute in: the asked one if this device can, else this device's usual one.
    pub(crate) fn compute_dtype(&self, asked: Option<DType>) -> Result<candle_core::DType, Error> {
        match (self.0.is_cpu(), asked) {
            (true, None | Some(DType::F32)) => Ok(candle_core::DType::F32),
            (true, Some(other)) => {
                Err(Error::Unsupported(format!("dtype {other} is not supported on {self}")))
            }
            (false, asked) => Ok(asked.unwrap_or(self.usual_dtype()).candle()),
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.location() {
            DeviceLocation::Cpu => f.write_str("cpu"),
            DeviceLocation::Cuda { gpu_id } => write!(f, "cuda:{gpu_id}"),
            DeviceLocation::Metal { gpu_id } => write!(f, "metal:{gpu_id}"),
        }
    }
}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Device({self})")
    }
}

/// Precision of weights and arithmetic. On the CPU only [`DType::F32`] is supported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DType {
    /// 32 bits: the reference.
    F32,
    /// 16 bits, IEEE half precision: the usual choice on a GPU.
    F16,
    /// 16 bits with the range of f32: for models that overflow in [`DType::F16`].
    BF16,
}

impl DType {
    /// The name used in the catalog.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::BF16 => "bf16",
        }
    }

    fn candle(self) -> candle_core::DType {
        match self {
            Self::F32 => candle_core::DType::F32,
            Self::F16 => candle_core::DType::F16,
            Self::BF16 => candle_core::DType::BF16,
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for DType {
    type Err = Error;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        [Self::F32, Self::F16, Self::BF16]
            .into_iter()
            .find(|dtype| dtype.as_str() == word)
            .ok_or_else(|| Error::Unsupported(format!("dtype {word:?} is not one of f32, f16, bf16")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dtypes_parse_from_their_names_only() {
        assert_eq!("bf16".parse::<DType>().unwrap(), DType::BF16);
        assert!("float16".parse::<DType>().is_err());
    }

    #[test]
    fn cpu_computes_in_f32_only() {
        assert_eq!(Device::cpu().compute_dtype(None).unwrap(), candle_core::DType::F32);
        let error = Device::cpu().compute_dtype(Some(DType::F16)).unwrap_err();
        assert_eq!(error.to_string(), "dtype f16 is not supported on cpu");
    }
}
