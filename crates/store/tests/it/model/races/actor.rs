//! Somebody who does one thing after the other, and remembers what the store said.

use std::collections::BTreeMap;

use darkroom_jobs::{
    AttemptState, Failure, FailureClass, JobId, JobState, Lane, Retry, RetryPolicy, WorkerId,
};
use darkroom_store::{
    Accepted, Beat, Canceled, Error, Lease, LeaseRequest, LeasedJob, Outcome, Pulse, Recorded, Settled, Store,
};
use proptest::prelude::*;
use sqlx::PgPool;

use super::act::{Act, Order};
use crate::builder::{lane, new_job, picture, token};
use crate::model::attempts::JITTER;
use crate::model::step::{Ending, Tenant, Worker};
use crate::model::system::System;

/// Something that the store said, and that has to be true for ever.
#[derive(Debug, Clone)]
pub(super) enum Claim {
    Attempt(Lease, AttemptState),
    /// The attempt is over, and did not end like this.
    NotAttempt(Lease, AttemptState),
    /// The attempt is over.
    Over(Lease),
    Recorded(JobId, u32),
    Job(JobId, JobState),
    /// The job is canceled, or has expired.
    Ended(JobId),
    /// The job that the shared key stands for.
    Key(JobId),
}

pub(super) struct Actor {
    store: Store,
    tables: PgPool,
    worker: WorkerId,
    jobs: Vec<JobId>,
    lanes: [Lane; 1],
    held: Vec<LeasedJob>,
    pub(super) claims: Vec<Claim>,
}

impl Actor {
    pub(super) fn new(system: &System, worker: Worker, jobs: &[JobId]) -> Self {
        Self {
            store: system.store.clone(),
            tables: system.tables.clone(),
            worker: worker.id(),
            jobs: jobs.to_vec(),
            lanes: [lane("m")],
            held: Vec::new(),
            claims: Vec::new(),
        }
    }

    /// Performs an act.
    ///
    /// # Errors
    /// When the store refuses a statement: none may wait for another without end.
    pub(super) async fn perform(&mut self, act: &Act) -> Result<(), TestCaseError> {
        let done = self.call(act).await;
        done.map_err(|error| TestCaseError::fail(format!("{act:?}: {error:?}")))
    }

    async fn call(&mut self, act: &Act) -> Result<(), Error> {
        match act {
            Act::Submit => self.submit().await,
            Act::Lease => self.lease().await,
            Act::Reap => self.reap().await,
            Act::Expire => {
                let expired = self.store.expire(100).await?;
                self.claims.extend(expired.into_iter().map(|job| Claim::Job(job, JobState::Expired)));
                Ok(())
            }
            Act::Cancel(job) => self.cancel(pick(&self.jobs, *job)).await,
            Act::LeaseEnds(job) => self.update(ENDED_LEASE, pick(&self.jobs, *job)).await,
            Act::BackoffEnds(job) => self.update(ENDED_BACKOFF, pick(&self.jobs, *job)).await,
            Act::DeadlinePasses(job) => self.update(PASSED_DEADLINE, pick(&self.jobs, *job)).await,
            Act::Beat(_) | Act::Record(_) | Act::Settle(..) if self.held.is_empty() => Ok(()),
            Act::Beat(order) => self.beat(*order).await,
            Act::Record(lease) => self.record(pick(&self.held, *lease).lease).await,
            Act::Settle(lease, ending) => self.settle(&pick(&self.held, *lease), *ending).await,
        }
    }

    async fn submit(&mut self) -> Result<(), Error> {
        let mut job = new_job(Tenant(1).id());
        job.idempotency_key = Some("shared".into());
        match self.store.accept(&job).await? {
            Accepted::Created(made) | Accepted::Replayed(made) => {
                self.claims.push(Claim::Key(made.id));
                self.jobs.push(made.id);
                Ok(())
            }
            refused => panic!("nobody has deleted it or used its key otherwise: {refused:?}"),
        }
    }

    async fn lease(&mut self) -> Result<(), Error> {
        let request =
            LeaseRequest { worker: self.worker, token: token(), lanes: &self.lanes, loaded: &self.lanes };
        self.held.extend(self.store.lease(&request).await?);
        Ok(())
    }

    async fn beat(&mut self, order: Order) -> Result<(), Error> {
        let mut beats: Vec<Beat> =
            self.held.iter().map(|leased| Beat { lease: leased.lease, progress: None }).collect();
        if order == Order::Newest {
            beats.reverse();
        }
        for (lease, pulse) in self.store.heartbeat(&beats).await? {
            match pulse {
                Pulse::Held => {}
                Pulse::Ended => self.claims.extend([Claim::Over(lease), Claim::Ended(lease.job)]),
                Pulse::Lost => self.claims.push(Claim::Over(lease)),
            }
        }
        Ok(())
    }

    async fn record(&mut self, lease: Lease) -> Result<(), Error> {
        self.claims.push(match self.store.record_artifact(&lease, &picture(&lease, 0)).await? {
            Recorded::Stored => Claim::Recorded(lease.job, 0),
            Recorded::LeaseGone => Claim::Over(lease),
        });
        Ok(())
    }

    async fn settle(&mut self, leased: &LeasedJob, ending: Ending) -> Result<(), Error> {
        let (outcome, state) = match ending {
            Ending::Succeeded => (Outcome::Succeeded { timings: BTreeMap::new() }, AttemptState::Succeeded),
            Ending::Released => (Outcome::Released, AttemptState::Released),
            Ending::Failed(class) => (self.failed(leased, class), AttemptState::Failed),
        };
        match self.store.settle(&leased.lease, &outcome, 1).await? {
            Settled::Done => self.claims.push(Claim::Attempt(leased.lease, state)),
            Settled::LeaseGone => self.claims.push(Claim::NotAttempt(leased.lease, state)),
            Settled::Incomplete => assert_eq!(ending, Ending::Succeeded),
        }
        Ok(())
    }

    fn failed(&self, leased: &LeasedJob, class: FailureClass) -> Outcome {
        let failure = Failure::new(class, "it failed");
        let policy = RetryPolicy { max_attempts: leased.max_attempts };
        let retry = policy.decide(&failure, leased.failures + 1, JITTER);
        let elsewhere = class == FailureClass::OutOfMemory && matches!(retry, Retry::After(_));
        Outcome::Failed { failure, retry, avoid: elsewhere.then_some(self.worker) }
    }

    async fn cancel(&mut self, job: JobId) -> Result<(), Error> {
        for tenant in Tenant::ALL {
            if self.store.cancel(tenant.id(), job).await? == Canceled::Done {
                self.claims.push(Claim::Job(job, JobState::Canceled));
            }
        }
        Ok(())
    }

    async fn reap(&mut self) -> Result<(), Error> {
        let reaped = self.store.reap(100, JITTER).await?;
        self.claims.extend(reaped.iter().map(|reaped| Claim::Attempt(reaped.lease, AttemptState::Lost)));
        Ok(())
    }

    async fn update(&self, sql: &'static str, job: JobId) -> Result<(), Error> {
        sqlx::query(sql).bind(job.as_uuid()).execute(&self.tables).await?;
        Ok(())
    }
}

fn pick<T: Clone>(those: &[T], number: usize) -> T {
    those[number % those.len()].clone()
}

const ENDED_LEASE: &str = "update attempts set lease_expires_at = now() - interval '1 second'
    where job_id = $1 and state = 'running'";
const ENDED_BACKOFF: &str =
    "update jobs set available_at = now(), avoid_until = now() where id = $1 and state = 'queued'";
const PASSED_DEADLINE: &str = "update jobs set deadline = now() where id = $1";
