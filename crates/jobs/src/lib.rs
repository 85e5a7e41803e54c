//! The domain of Darkroom: what a job is, which states it goes through, what it costs, and what happens
//! when an attempt at it fails.
//!
//! Nothing here does I/O, reads a clock or draws a random number: every function is a pure function of its
//! arguments, so that each rule has one definition that the services, the SQL and the tests share.
//!
//! ```
//! use darkroom_jobs::{Failure, FailureClass, Retry, RetryPolicy};
//!
//! let policy = RetryPolicy { max_attempts: 4 };
//! let failure = Failure::new(FailureClass::InvalidInput, "the image cannot be decoded");
//! assert_eq!(policy.decide(&failure, 1, 0.5), Retry::Never);
//! ```

mod catalog;
mod event;
mod failure;
mod fields;
mod ids;
mod lane;
mod loras;
mod output;
mod price;
mod state;
mod submission;
mod task;
mod transition;
mod warning;
mod webhook;

pub use catalog::{
    Catalog, CatalogError, Defaults, Limits, Lora, Model, Repository, SafetyChecker, Source, is_commit,
};
pub use event::{Event, redelivery};
pub use failure::{Failure, FailureClass, Retry, RetryPolicy};
pub use fields::Fields;
pub use ids::{
    ArtifactId, BatchId, DeliveryId, FileId, IdError, JobId, LeaseToken, TenantId, WebhookId, WorkerId,
};
pub use lane::{Lane, LaneError};
pub use loras::{Loras, LorasError};
pub use output::{FormatName, PictureFormat, PictureOutput, Quality};
pub use price::Price;
pub use state::{AttemptState, JobState, Priority, UnknownWord};
pub use submission::{
    FieldError, Invalid, JobOptions, MAX_METADATA_ENTRIES, MAX_METADATA_KEY_CHARS, MAX_METADATA_VALUE_CHARS,
    Submission, is_metadata, parse_submission, parse_webhook,
};
pub use task::{
    ImageSize, ImageToText, InputImage, Pipeline, Prompt, PromptError, SchedulerKind, Task, TextToImage,
};
pub use transition::Transition;
pub use warning::Warning;
pub use webhook::{JobWebhook, WebhookForm};
