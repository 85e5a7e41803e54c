//! What can be done to the store, and what it answers.

use darkroom_jobs::{FailureClass, Priority, TenantId, WorkerId};
use darkroom_store::{Canceled, Deleted, Pulse, Recorded, Settled};
use serde::Deserialize;
use uuid::Uuid;

use super::rows::Millis;

/// One call of the store, or time that passes.
#[derive(Debug, Clone)]
pub(super) enum Step {
    /// Submits a job that is called by this number from then on, unless its key finds an earlier one.
    Submit(JobNo, Request),
    /// A worker says that it lives.
    Seen(Worker),
    /// A worker asks for a job.
    Lease(Worker),
    /// A worker that got no answer asks what it was given.
    FindLease(Held),
    Beat(Vec<Held>),
    /// Records the result with this index.
    Record(Held, u32),
    Settle(Held, Ending),
    Cancel(Tenant, JobNo),
    Delete(Tenant, JobNo),
    Reap,
    Expire,
    Relay(Publication),
    Pause(&'static str),
    Resume(&'static str),
    /// So many milliseconds pass.
    Wait(Millis),
}

/// The name of a job in a test case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct JobNo(pub(super) u8);

/// An attempt that was leased once, whether or not its lease still holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Held {
    pub(super) job: JobNo,
    pub(super) attempt: i32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) tenant: Tenant,
    pub(super) model: &'static str,
    pub(super) priority: Priority,
    pub(super) images: u32,
    pub(super) max_attempts: u16,
    pub(super) deadline_s: Option<u16>,
    /// Idempotency key.
    pub(super) key: Option<u8>,
    /// Stands for the body: the same key with another body is refused.
    pub(super) body: u8,
}

/// How a worker says that an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    Succeeded,
    Failed(FailureClass),
    Released,
}

/// What becomes of the outbox rows that a relay has claimed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Publication {
    Confirmed,
    /// The relay dies, or the broker is away.
    Lost,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Tenant(pub(super) u8);

impl Tenant {
    pub(super) const ALL: [Self; 3] = [Self(1), Self(2), Self(3)];

    pub(super) fn id(self) -> TenantId {
        TenantId::from_uuid(Uuid::from_u128(self.0.into()))
    }

    /// Most jobs of it that may run at once.
    pub(super) fn max_running(self) -> Option<usize> {
        (self.0 == 3).then_some(1)
    }

    /// Whether it has a webhook for everything that happens to jobs.
    pub(super) fn has_webhook(self) -> bool {
        self.0 != 2
    }
}

impl From<Uuid> for Tenant {
    fn from(id: Uuid) -> Self {
        Self(last_byte(id))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(from = "Uuid")]
pub(super) struct Worker(pub(super) u8);

impl Worker {
    pub(super) const ALL: [Self; 3] = [Self(1), Self(2), Self(3)];

    pub(super) fn id(self) -> WorkerId {
        WorkerId::from_uuid(Uuid::from_u128(self.0.into()))
    }

    /// Models it serves.
    pub(super) fn models(self) -> &'static [&'static str] {
        if self.0 == 3 { &["b"] } else { &["a", "b"] }
    }

    /// Models it has in memory.
    pub(super) fn loaded(self) -> &'static [&'static str] {
        match self.0 {
            1 => &["a"],
            2 => &[],
            _ => &["b"],
        }
    }
}

impl From<Uuid> for Worker {
    fn from(id: Uuid) -> Self {
        Self(last_byte(id))
    }
}

fn last_byte(id: Uuid) -> u8 {
    id.as_bytes()[15]
}

/// What the store answers to a step.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Answer {
    Nothing,
    Submitted(Submitted),
    Leased(Option<Granted>),
    Pulses(Vec<Pulse>),
    Recorded(Recorded),
    Settled(Settled),
    Canceled(Canceled),
    Deleted(Deleted),
    Reaped(Vec<Reaped>),
    Expired(Vec<JobNo>),
    /// Lanes of the rows that were claimed.
    Claimed(Vec<String>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Submitted {
    Created(JobNo),
    Replayed(JobNo),
    KeyReused,
    Deleted,
}

/// A leased job as its worker sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Granted {
    pub(super) held: Held,
    pub(super) tenant: Tenant,
    pub(super) model: String,
    pub(super) failures: u16,
    pub(super) max_attempts: u16,
    pub(super) done: Vec<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Reaped {
    pub(super) held: Held,
    pub(super) worker: Worker,
    pub(super) worker_died: bool,
    pub(super) requeued: bool,
}
