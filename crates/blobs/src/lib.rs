//! Inputs and artifacts in S3-compatible storage.
//!
//! ```no_run
//! # async fn example(config: darkroom_blobs::BlobsConfig) -> Result<(), darkroom_blobs::Error> {
//! use darkroom_blobs::{Blobs, artifact_key};
//!
//! let blobs = Blobs::connect(&config);
//! let key = artifact_key("0190b6f2-8c3e-7d4a-9f10-3b1f5a2c7e01", 1, 0, "png");
//! let stored = blobs.put(&key, "not really a picture".into(), "image/png").await?;
//! assert_eq!(stored.size_bytes, 20);
//! # Ok(()) }
//! ```
//!
//! Invariants: a key names its job and attempt, so nobody ever overwrites another's object and storing the
//! same object twice is harmless; every call ends within a bound, whatever the store does; no presigned URL
//! is logged.

mod client;
mod config;
mod download;
mod error;
mod keys;
mod multipart;
mod objects;
mod presign;
mod upload;

pub use client::Blobs;
pub use config::BlobsConfig;
pub use download::{BodyStream, ByteRange, Download};
pub use error::{Error, UploadError};
pub use keys::{FILE_PREFIX, INPUT_PREFIX, artifact_key, attempt_prefix, file_key, input_key, job_prefix};
pub use objects::{ObjectHead, ObjectInfo, Stored};
pub use presign::Presign;
