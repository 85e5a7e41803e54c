//! Usage as the service reports it.

use chrono::NaiveDate;
use serde::{Deserialize, Serialize};

use crate::Money;

/// Which days to report on, in UTC and both included. The last 30 unless given; at most 366.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct UsageFilter {
    /// The first day; 29 days before the last unless given.
    pub from: Option<NaiveDate>,
    /// The last day; today unless given.
    pub to: Option<NaiveDate>,
}

/// What was used and what it cost. A job counts for the UTC day on which it ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// The first day.
    pub from: NaiveDate,
    /// The last day.
    pub to: NaiveDate,
    /// By date, pipeline, model and currency; where nothing ended there is no entry.
    pub days: Vec<UsageDay>,
    /// All of it together.
    pub total: UsageTotal,
}

/// What was used of one model on one day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageDay {
    /// The UTC day on which the jobs ended.
    pub date: NaiveDate,
    /// Their pipeline.
    pub pipeline: String,
    /// Id of their model.
    pub model: String,
    /// How many.
    #[serde(flatten)]
    pub counts: UsageCounts,
    /// What they cost.
    pub cost: Money,
}

/// What was used on all of the days.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageTotal {
    /// How many.
    #[serde(flatten)]
    pub counts: UsageCounts,
    /// What it cost: an amount for each currency.
    pub costs: Vec<Money>,
}

/// Jobs by how they ended, and what those that succeeded made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageCounts {
    /// Jobs that succeeded. Only they cost something.
    pub succeeded: u64,
    /// Jobs that failed.
    pub failed: u64,
    /// Jobs that were canceled.
    pub canceled: u64,
    /// Jobs that expired.
    pub expired: u64,
    /// Results of the jobs that succeeded.
    pub artifacts: u64,
    /// Pixels billed to the jobs that succeeded: output pixels of text-to-image, input pixels of image-to-text.
    pub units: u64,
}
