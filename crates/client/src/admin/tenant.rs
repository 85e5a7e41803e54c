//! Tenants and their limits.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Every tenant.
#[derive(Debug, Deserialize)]
pub(super) struct List {
    pub(super) tenants: Vec<Tenant>,
}

/// Owner of API keys, jobs, limits and usage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tenant {
    /// Its id.
    pub id: Uuid,
    /// Name operators use.
    pub name: String,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// What it may have at once.
    pub limits: TenantLimits,
    /// How many of its jobs are not final; `None` in lists.
    pub unfinished: Option<Unfinished>,
}

/// Limits of a tenant; `None` for no limit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TenantLimits {
    /// Most queued jobs at once.
    pub max_queued: Option<u32>,
    /// Most running jobs at once.
    pub max_running: Option<u32>,
    /// Most that the jobs of one UTC day may cost, a decimal number.
    pub max_daily_cost: Option<String>,
    /// Most requests a minute to one API process.
    pub requests_per_minute: Option<u32>,
}

/// Jobs of a tenant that are not final.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unfinished {
    /// Those that wait.
    pub queued: u64,
    /// Those that run.
    pub running: u64,
}

/// A tenant to be made.
#[derive(Debug, Clone, Default, Serialize)]
pub struct NewTenant {
    /// Its name.
    pub name: String,
    /// Its limits.
    #[serde(flatten)]
    pub limits: LimitChanges,
}

/// Limits to be changed: of each, `None` leaves it, `Some(None)` lifts it.
#[derive(Debug, Clone, Default, Serialize)]
pub struct LimitChanges {
    /// Most queued jobs at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_queued: Option<Option<u32>>,
    /// Most running jobs at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_running: Option<Option<u32>>,
    /// Most that the jobs of one UTC day may cost, a decimal number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_daily_cost: Option<Option<String>>,
    /// Most requests a minute to one API process, at least 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_per_minute: Option<Option<u32>>,
}
