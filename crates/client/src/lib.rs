//! Typed client of the Darkroom API.
//!
//! Calls that the service asks to repeat later (429, 503) or that never reached it are repeated by the
//! client, a bounded number of times. Submissions carry an idempotency key, made up where the caller gives
//! none, so that a repeated one never makes a second job.
//!
//! ```no_run
//! # async fn example() -> Result<(), darkroom_client::Error> {
//! use std::time::Duration;
//!
//! use darkroom_client::{Client, TextToImageRequest};
//!
//! let client = Client::new("http://127.0.0.1:8080", "dk_…")?;
//! let job = client.submit_text_to_image(&TextToImageRequest::new("a red circle on white")).await?;
//! let job = client.wait(job.id, Duration::from_secs(120)).await?;
//! for artifact in &job.artifacts {
//!     let png = client.fetch(&artifact.url).await?;
//!     assert_eq!(png.len() as u64, artifact.size_bytes);
//! }
//! # Ok(())
//! # }
//! ```

pub mod admin;
mod batch;
mod client;
mod dry_run;
mod error;
mod events;
mod file;
mod job;
mod model;
mod request;
mod transport;
mod usage;
mod webhook;

pub use batch::{AcceptedBatch, Batch, BatchItem, BatchPage, Missteps};
pub use client::{Client, JobFilter};
pub use dry_run::DryRun;
pub use error::{Error, FieldError, Problem};
pub use events::{JobEvent, Preview, Previews};
pub use file::File;
pub use job::{Artifact, Failure, Job, JobPage, JobState, Links, Money, Progress, QueuePlace, Warning};
pub use model::{Download, Model, ModelList, ModelState};
pub use request::{CaptionRequest, JobOptions, TextToImageRequest};
pub use usage::{Usage, UsageCounts, UsageDay, UsageFilter, UsageTotal};
pub use webhook::{
    Delivery, DeliveryAttempt, DeliveryFilter, DeliveryPage, JobWebhook, Webhook, WebhookSecret,
    WebhookSettings,
};
