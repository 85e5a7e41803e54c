//! Models as the service lists them.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Every model the deployment serves.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct ModelList {
    /// The models, in the order of the catalog.
    pub models: Vec<Model>,
}

/// A model the deployment serves.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Model {
    /// Its id.
    pub id: String,
    /// The pipeline it serves.
    pub pipeline: String,
    /// Other names for it.
    pub aliases: Vec<String>,
    /// Whether it serves requests that name no model.
    pub default: bool,
    /// Whether workers load it when they start.
    pub warm: bool,
    /// Whether a job would start now.
    pub state: ModelState,
    /// How far the download is, while [`ModelState::Downloading`].
    #[serde(default)]
    pub download: Option<Download>,
    /// Why its files could not be fetched, after [`ModelState::Failed`].
    #[serde(default)]
    pub failure: Option<String>,
    /// Whether a safety checker looks at its pictures; `None` while that is not known.
    #[serde(default)]
    pub safety_checker: Option<bool>,
    /// Workers that serve it.
    pub workers: u32,
    /// Workers that have it in memory.
    pub loaded: u32,
    /// Price per unit of pixels; `None` when free.
    pub price: Option<Value>,
    /// Values for parameters that a request leaves out.
    pub defaults: Option<Value>,
    /// Bounds for parameters.
    pub limits: Option<Value>,
}

/// How far a download is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Download {
    /// Bytes that are there.
    pub downloaded_bytes: u64,
    /// All bytes; 0 until that is known.
    pub total_bytes: u64,
}

/// Whether a job of a model would start now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ModelState {
    /// A worker has it in memory.
    Ready,
    /// A worker can load it.
    Available,
    /// A worker fetches its files; its jobs wait.
    Downloading,
    /// A worker could not fetch its files, and will try again; its jobs wait.
    Failed,
    /// A worker has yet to fetch its files; its jobs wait.
    Absent,
    /// No worker serves it at this moment; its jobs wait.
    Unavailable,
}
