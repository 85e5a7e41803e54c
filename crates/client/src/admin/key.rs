//! API keys.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Keys.
#[derive(Debug, Deserialize)]
pub(super) struct List {
    pub(super) keys: Vec<ApiKey>,
}

/// A key; what it opens with is known to its owner alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiKey {
    /// Its id.
    pub id: Uuid,
    /// Owner; `None` for an operator's key.
    pub tenant_id: Option<Uuid>,
    /// Name of the owner.
    pub tenant: Option<String>,
    /// What it is for.
    pub name: String,
    /// Its visible start.
    pub prefix: String,
    /// What it may do.
    pub scopes: Vec<String>,
    /// `works`, `revoked` or `expired`.
    pub state: String,
    /// Most unfinished interactive jobs it may have at once.
    pub max_interactive: Option<u32>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it stops or stopped by itself.
    pub expires_at: Option<DateTime<Utc>>,
    /// When it was revoked.
    pub revoked_at: Option<DateTime<Utc>>,
}

/// A key to be made.
#[derive(Debug, Clone, Default, Serialize)]
pub struct NewApiKey {
    /// Id or name of its tenant; `None` for an operator's key.
    pub tenant: Option<String>,
    /// What it is for.
    pub name: String,
    /// What it may do.
    pub scopes: Vec<String>,
    /// How long it works; `None` for as long as nobody revokes it.
    pub lifetime_seconds: Option<u64>,
    /// Most unfinished interactive jobs it has at once; `None` for no limit.
    pub max_interactive: Option<u32>,
}

/// How a key is taken over from.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Rotation {
    /// How long the old key goes on working; `None` for a day.
    pub overlap_seconds: Option<u64>,
    /// How long the new key works; `None` for as long as nobody revokes it.
    pub lifetime_seconds: Option<u64>,
}

/// A new key.
#[derive(Clone, Serialize, Deserialize)]
pub struct MadeApiKey {
    /// Its id.
    pub id: Uuid,
    /// The key. It is shown this once.
    pub key: String,
    /// When the key that it takes over from stops working.
    pub old_expires_at: Option<DateTime<Utc>>,
}

impl std::fmt::Debug for MadeApiKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MadeApiKey").field("id", &self.id).finish_non_exhaustive()
    }
}
