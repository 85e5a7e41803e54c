//! What can go wrong, by what a caller can do about it.

use std::path::PathBuf;

/// A source error whose type is nobody's business.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Why a model could not be loaded or a request could not be run.
///
/// [`Error::InvalidInput`] and [`Error::Unsupported`] are written for the person who sent the request and
/// name no files. All others are for operators.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The cancel flag was seen. Nothing more is emitted for this request.
    #[error("the run was canceled")]
    Canceled,
    /// This request can never succeed on this model, on any machine.
    #[error("{0}")]
    InvalidInput(String),
    /// The model folder, the device or the request asks for something that is not implemented.
    #[error("{0}")]
    Unsupported(String),
    /// The device could not allocate. Dropping other models, or another device, may help.
    #[error("the device is out of memory")]
    OutOfMemory(#[source] BoxError),
    /// The arithmetic overflowed: no usable result. Another dtype may help.
    #[error("{0}")]
    NotFinite(String),
    /// A weights or tokenizer file is missing or is not what its configuration announces.
    #[error(
        "failed to load {}{}: expected {expected}, found {found}",
        file.display(),
        tensor.as_ref().map(|name| format!(" (tensor {name})")).unwrap_or_default()
    )]
    Load {
        /// The file, or the folder in which it was looked for.
        file: PathBuf,
        /// The tensor inside it, where one is at fault.
        tensor: Option<String>,
        /// What the configuration announces.
        expected: String,
        /// What is there instead.
        found: String,
        /// The reader's own error, if it had one.
        source: Option<BoxError>,
    },
    /// A configuration file cannot be understood or contradicts another one.
    #[error("invalid configuration {}: {reason}", file.display())]
    InvalidConfig {
        /// The configuration file.
        file: PathBuf,
        /// Which field, and why.
        reason: String,
        /// The parser's own error, if it had one.
        source: Option<BoxError>,
    },
    /// The device or the tensor library failed. Another try may succeed.
    #[error("the device failed")]
    Device(#[source] BoxError),
}

/// Allocation failures only differ from other device failures by their text: cudarc, cuBLAS and cuDNN each
/// have an error type of their own.
impl From<candle_core::Error> for Error {
    fn from(error: candle_core::Error) -> Self {
        let text = error.to_string().to_lowercase();
        let out_of_memory = ["out_of_memory", "out of memory", "alloc_failed"];
        if out_of_memory.iter().any(|words| text.contains(words)) {
            Self::OutOfMemory(Box::new(error))
        } else {
            Self::Device(Box::new(error))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn allocation_failures_are_told_apart_from_other_device_failures() {
        for text in ["DriverError(CUDA_ERROR_OUT_OF_MEMORY, \"out of memory\")", "CUDNN_STATUS_ALLOC_FAILED"]
        {
            let error = Error::from(candle_core::Error::Cuda(text.into()));
            assert!(matches!(error, Error::OutOfMemory(_)), "{text}");
        }
        let error = Error::from(candle_core::Error::Cuda("CUDA_ERROR_ILLEGAL_ADDRESS".into()));
        assert!(matches!(error, Error::Device(_)));
    }

    #[test]
    fn load_errors_name_file_tensor_expected_and_found() {
        let error = Error::Load {
            file: "unet/w.safetensors".into(),
            tensor: Some("conv_in.weight".into()),
            expected: "shape [4, 4]".into(),
            found: "shape [2, 4]".into(),
            source: None,
        };
        assert_eq!(
            error.to_string(),
            "failed to load unet/w.safetensors (tensor conv_in.weight): expected shape [4, 4], found shape [2, 4]"
        );
    }
}
