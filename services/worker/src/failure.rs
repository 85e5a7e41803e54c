//! From what went wrong to the class of failure, which decides about retries. The only place that does.

use std::error::Error as StdError;
use std::time::Duration;

use darkroom_jobs::{Failure, FailureClass};
use darkroom_models::Error as ModelError;

use crate::database;
use crate::device::Trouble;
use crate::inputs::InputError;
use crate::models::LoadError;

/// Why an attempt did not succeed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Cause {
    /// The input could not be had or used.
    #[error("failed to prepare the input")]
    Input(#[from] InputError),
    /// The device did not do its part.
    #[error(transparent)]
    Device(#[from] Trouble),
    /// A result could not be encoded.
    #[error("failed to encode a result")]
    Encode(#[source] Box<dyn StdError + Send + Sync>),
    /// A result could not be stored.
    #[error("failed to store a result")]
    Upload(#[source] darkroom_blobs::Error),
    /// A result could not be recorded.
    #[error("failed to record a result")]
    Record(#[source] database::Error),
    /// The lease was gone when a result was to be recorded.
    #[error("the lease is gone")]
    LeaseGone,
    /// The model ended without having made every result.
    #[error("the model did not make every result")]
    Incomplete,
    /// The lane's time limit passed.
    #[error("over the time limit of {0:?}")]
    TimedOut(Duration),
    /// The device made no step for the stall limit, and did not answer either if `hung`.
    #[error("no step for {stall:?}, hung: {hung}")]
    Stalled {
        /// The limit.
        stall: Duration,
        /// Whether the device is beyond help.
        hung: bool,
    },
    /// Somebody else ended it; why is known to the attempt.
    #[error("stopped")]
    Stopped,
}

/// What a cause means for the job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// For the caller, and for the retry policy.
    pub(crate) failure: Failure,
    /// Whether the next attempt had better run on another worker.
    pub(crate) elsewhere: bool,
}

/// Classifies a cause. What is unknown is retried.
///
/// A model that cannot be loaded is a fault of this worker's installation, not of the job: another worker may
/// have better weights, so it is retried, elsewhere if possible. Only an architecture that this program does
/// not implement fails the job at once, since no worker of this version could do better.
pub(crate) fn classify(cause: &Cause) -> Verdict {
    match cause {
        Cause::Input(InputError::Unusable(message)) => here(FailureClass::InvalidInput, message),
        Cause::Input(InputError::Lora { source, .. }) => here(FailureClass::Infrastructure, source.reason()),
        Cause::Input(InputError::LoraSlow { .. }) => {
            here(FailureClass::Infrastructure, "a LoRA is still being fetched")
        }
        Cause::Input(_) => here(FailureClass::Infrastructure, "the input could not be read"),
        Cause::Device(trouble) => classify_trouble(trouble),
        Cause::Encode(_) => here(FailureClass::Infrastructure, "a result could not be encoded"),
        Cause::Upload(_) => here(FailureClass::Infrastructure, "a result could not be stored"),
        Cause::Record(_) => here(FailureClass::Infrastructure, "a result could not be recorded"),
        Cause::Incomplete => here(FailureClass::Infrastructure, "the model did not make every result"),
        Cause::TimedOut(limit) => {
            here(FailureClass::Timeout, &format!("the attempt took longer than {} s", limit.as_secs()))
        }
        Cause::Stalled { stall, .. } => {
            here(FailureClass::Timeout, &format!("no step was made for {} s", stall.as_secs()))
        }
        Cause::LeaseGone | Cause::Stopped => {
            here(FailureClass::Infrastructure, "the attempt was interrupted")
        }
    }
}

fn classify_trouble(trouble: &Trouble) -> Verdict {
    match trouble {
        Trouble::Load(LoadError::Model(ModelError::OutOfMemory(_)) | LoadError::TooLarge { .. }) => {
            elsewhere(FailureClass::OutOfMemory, "the model does not fit into the device's memory")
        }
        Trouble::Load(LoadError::Model(ModelError::Unsupported(message))) => {
            here(FailureClass::Unsupported, message)
        }
        Trouble::Load(_) => elsewhere(FailureClass::Infrastructure, "the model could not be loaded"),
        Trouble::Run(error) => classify_model(error),
        Trouble::Panicked(_) => here(FailureClass::Infrastructure, "the model failed unexpectedly"),
        Trouble::Gone => here(FailureClass::Infrastructure, "the device is not available"),
    }
}

fn classify_model(error: &ModelError) -> Verdict {
    match error {
        ModelError::InvalidInput(message) => here(FailureClass::InvalidInput, message),
        ModelError::Unsupported(message) => here(FailureClass::Unsupported, message),
        ModelError::OutOfMemory(_) => elsewhere(FailureClass::OutOfMemory, "the device ran out of memory"),
        ModelError::NotFinite(_) => here(FailureClass::Infrastructure, "the model's arithmetic overflowed"),
        _ => here(FailureClass::Infrastructure, "the device failed"),
    }
}

fn here(class: FailureClass, message: &str) -> Verdict {
    Verdict { failure: Failure::new(class, message), elsewhere: false }
}

fn elsewhere(class: FailureClass, message: &str) -> Verdict {
    Verdict { failure: Failure::new(class, message), elsewhere: true }
}

/// An error with its causes, for the log.
pub(crate) fn chain(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let cause = error.to_string();
        // A transparent error has the words of its source.
        if !text.ends_with(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
        source = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ran(error: ModelError) -> Cause {
        Cause::Device(Trouble::Run(error))
    }

    fn loaded(error: ModelError) -> Cause {
        Cause::Device(Trouble::Load(LoadError::Model(error)))
    }

    fn missing_file() -> ModelError {
        ModelError::Load {
            file: "/secret/place/model.safetensors".into(),
            tensor: None,
            expected: "a file".into(),
            found: "none".into(),
            source: None,
        }
    }

    #[test]
    fn every_cause_has_its_class() {
        let stalled = Cause::Stalled { stall: Duration::from_secs(180), hung: true };
        for (cause, class, elsewhere) in [
            (Cause::Input(InputError::Unusable("no image".into())), FailureClass::InvalidInput, false),
            (Cause::Input(InputError::Changed), FailureClass::Infrastructure, false),
            (Cause::Input(InputError::LoraSlow { id: "x".into() }), FailureClass::Infrastructure, false),
            (ran(ModelError::InvalidInput("x".into())), FailureClass::InvalidInput, false),
            (ran(ModelError::Unsupported("x".into())), FailureClass::Unsupported, false),
            (ran(ModelError::OutOfMemory("x".into())), FailureClass::OutOfMemory, true),
            (ran(ModelError::NotFinite("x".into())), FailureClass::Infrastructure, false),
            (ran(ModelError::Device("x".into())), FailureClass::Infrastructure, false),
            (loaded(ModelError::Unsupported("x".into())), FailureClass::Unsupported, false),
            (loaded(ModelError::OutOfMemory("x".into())), FailureClass::OutOfMemory, true),
            (loaded(missing_file()), FailureClass::Infrastructure, true),
            (Cause::Device(Trouble::Panicked("x".into())), FailureClass::Infrastructure, false),
            (Cause::Device(Trouble::Gone), FailureClass::Infrastructure, false),
            (Cause::Incomplete, FailureClass::Infrastructure, false),
            (Cause::TimedOut(Duration::from_secs(600)), FailureClass::Timeout, false),
            (stalled, FailureClass::Timeout, false),
        ] {
            let verdict = classify(&cause);
            assert_eq!((verdict.failure.class, verdict.elsewhere), (class, elsewhere), "{cause:?}");
        }
    }

    #[test]
    fn callers_see_no_internals() {
        for cause in [loaded(missing_file()), Cause::Device(Trouble::Panicked("at /src/unet.rs:7".into()))] {
            let message = classify(&cause).failure.message;
            assert!(!message.contains('/'), "{message}");
        }
    }

    #[test]
    fn operators_see_the_whole_chain_once() {
        let text = chain(&loaded(missing_file()));
        assert_eq!(
            text,
            "failed to load the model: failed to load /secret/place/model.safetensors: expected a file, found none"
        );
    }
}
