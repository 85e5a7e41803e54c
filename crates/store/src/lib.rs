//! Jobs, attempts, artifacts, usage, webhooks and the outbox in Postgres.
//!
//! Postgres decides: every change of a job's state is one short transaction here, and every write by a worker names
//! its lease token, so a worker whose lease is gone changes nothing. Rows are locked in one order, the job
//! before its attempt. Leases live on the database's clock.
//!
//! ```no_run
//! # async fn example(config: darkroom_store::StoreConfig) -> Result<(), darkroom_store::Error> {
//! let store = darkroom_store::Store::connect(&config, "darkroom-api").await?;
//! store.check_schema().await?;
//! # Ok(())
//! # }
//! ```

mod accept;
mod admission;
mod artifacts;
mod backlog;
mod batches;
mod blocked;
mod cancel;
mod changes;
mod config;
mod courier;
mod deliveries;
mod error;
mod failed;
mod files;
mod fleet;
mod heartbeat;
mod job_webhooks;
mod keys;
mod lanes;
mod lease;
mod outbox;
mod place;
mod pool;
mod previews;
mod reap;
mod replay;
mod rows;
mod schema;
mod settle;
mod store;
mod sweep;
mod tenants;
pub mod testing;
mod unanswered;
mod usage;
mod view;
mod warnings;
mod webhooks;
mod workers;

pub use accept::{Accepted, Idempotency, NewJob};
pub use admission::Spent;
pub use artifacts::{Artifact, ArtifactObject, NewArtifact, Recorded};
pub use backlog::{Backlog, LaneLoad, Limits, Tally};
pub use batches::{AcceptedBatch, Batch, NewBatch};
pub use blocked::Blocked;
pub use cancel::{Canceled, Deleted};
pub use changes::{Change, Changes};
pub use config::StoreConfig;
pub use courier::{DeliveryAttempt, DeliveryBacklog, DueDelivery, InFlight, Verdict};
pub use deliveries::{Delivery, DeliveryFilter, DeliveryState, Sending};
pub use error::Error;
pub use failed::{Attempt, FailedFilter, FailedJob, FailedPage, Standing};
pub use files::{File, NewFile};
pub use fleet::{RunningAttempt, WorkerDetail};
pub use heartbeat::{Beat, Pulse};
pub use job_webhooks::JobWebhookSecret;
pub use keys::{ApiKey, KeyState, ListedKey, NewApiKey, Owner, Rotated, Scope, Successor};
pub use lanes::LaneStatus;
pub use lease::{Lease, LeaseRequest, LeasedJob};
pub use outbox::OutboxRow;
pub use place::{Place, Queued};
pub use previews::{NewPreview, Preview};
pub use reap::Reaped;
pub use replay::{Bulk, Extent, Replayed};
pub use schema::MINIMUM_SCHEMA;
pub use settle::{Outcome, Settled};
pub use store::Store;
pub use sweep::ClosedAttempt;
pub use tenants::{LimitChanges, Tenant, TenantLimits, Unfinished};
pub use unanswered::Repeated;
pub use usage::{DailyUsage, RolledUp};
pub use view::{Job, JobFilter, JobVersion, Progress};
pub use webhooks::{DisabledReason, NewWebhook, Webhook, WebhookChange};
pub use workers::{FilesStatus, ModelStatus, NewWorker, Wish, Worker};
