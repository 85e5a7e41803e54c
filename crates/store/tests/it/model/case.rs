//! One case on the store under test: takes the model's steps, and answers in the model's words.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use darkroom_jobs::{Failure, FailureClass, JobId, Lane, Retry, RetryPolicy, Task};
use darkroom_store::{Accepted, Beat, Lease, LeaseRequest, LeasedJob, NewJob, NewWorker, Outcome, Settled};
use rust_decimal::Decimal;

use super::attempts::{JITTER, PRICE_OF_ONE};
use super::clock;
use super::rows::Millis;
use super::step::{
    Answer, Ending, Granted, Held, JobNo, Publication, Reaped, Request, Step, Submitted, Tenant, Worker,
};
use super::system::System;
use crate::builder::{lane, new_job, picture, token};

/// More than there ever are.
const ALL: i64 = 1000;

pub(super) struct Case<'s> {
    system: &'s System,
    now: Millis,
    jobs: BTreeMap<JobNo, JobId>,
    requests: BTreeMap<JobNo, Request>,
    leases: HashMap<Held, (Worker, LeasedJob)>,
}

impl<'s> Case<'s> {
    pub(super) fn new(system: &'s System) -> Self {
        Self { system, now: 0, jobs: BTreeMap::new(), requests: BTreeMap::new(), leases: HashMap::new() }
    }

    /// Takes a step.
    pub(super) async fn take(&mut self, step: &Step) -> Answer {
        let store = &self.system.store;
        match step {
            Step::Submit(no, request) => Answer::Submitted(self.submit(*no, request).await),
            Step::Seen(worker) => {
                store
                    .worker_seen(&new_worker(*worker), &lanes(worker.loaded()), &BTreeMap::new())
                    .await
                    .unwrap();
                Answer::Nothing
            }
            Step::Lease(worker) => Answer::Leased(self.lease(*worker).await),
            Step::FindLease(held) => {
                let found = store.find_lease(self.lease_of(*held).token).await.unwrap();
                Answer::Leased(found.map(|leased| self.granted(&leased)))
            }
            Step::Beat(beats) => {
                let beat = |&held: &Held| Beat { lease: self.lease_of(held), progress: None };
                let beats: Vec<Beat> = beats.iter().map(beat).collect();
                let pulses = store.heartbeat(&beats).await.unwrap();
                Answer::Pulses(pulses.into_iter().map(|(_, pulse)| pulse).collect())
            }
            Step::Record(held, index) => {
                let lease = self.lease_of(*held);
                Answer::Recorded(store.record_artifact(&lease, &picture(&lease, *index)).await.unwrap())
            }
            Step::Settle(held, ending) => Answer::Settled(self.settle(*held, *ending).await),
            Step::Cancel(tenant, no) => {
                Answer::Canceled(store.cancel(tenant.id(), self.jobs[no]).await.unwrap())
            }
            Step::Delete(tenant, no) => {
                Answer::Deleted(store.delete(tenant.id(), self.jobs[no]).await.unwrap())
            }
            Step::Reap => Answer::Reaped(self.reap().await),
            Step::Expire => Answer::Expired(self.expire().await),
            Step::Relay(publication) => Answer::Claimed(self.relay(*publication).await),
            Step::Pause(model) => {
                self.system.pause(&lane(model)).await;
                Answer::Nothing
            }
            Step::Resume(model) => {
                self.system.resume(&lane(model)).await;
                Answer::Nothing
            }
            Step::Wait(time) => {
                self.now += time;
                clock::set(&self.system.tables, self.now).await;
                Answer::Nothing
            }
        }
    }

    async fn submit(&mut self, no: JobNo, request: &Request) -> Submitted {
        let job = job_of(request);
        match self.system.store.accept(&job).await.unwrap() {
            Accepted::Created(made) => {
                self.jobs.insert(no, made.id);
                self.requests.insert(no, request.clone());
                Submitted::Created(no)
            }
            Accepted::Replayed(earlier) => Submitted::Replayed(self.no(earlier.id)),
            Accepted::KeyReused => Submitted::KeyReused,
            Accepted::Deleted => Submitted::Deleted,
            Accepted::FileGone => unreachable!("no job of the model names a file"),
        }
    }

    async fn lease(&mut self, worker: Worker) -> Option<Granted> {
        let (lanes, loaded) = (lanes(worker.models()), lanes(worker.loaded()));
        let request = LeaseRequest { worker: worker.id(), token: token(), lanes: &lanes, loaded: &loaded };
        let leased = self.system.store.lease(&request).await.unwrap()?;
        let granted = self.granted(&leased);
        self.leases.insert(granted.held, (worker, leased));
        Some(granted)
    }

    async fn settle(&self, held: Held, ending: Ending) -> Settled {
        let (worker, leased) = &self.leases[&held];
        let outcome = match ending {
            Ending::Succeeded => Outcome::Succeeded { timings: BTreeMap::new() },
            Ending::Released => Outcome::Released,
            Ending::Failed(class) => {
                let failure = Failure::new(class, "it failed");
                let policy = RetryPolicy { max_attempts: leased.max_attempts };
                let retry = policy.decide(&failure, leased.failures + 1, JITTER);
                let elsewhere = class == FailureClass::OutOfMemory && matches!(retry, Retry::After(_));
                Outcome::Failed { failure, retry, avoid: elsewhere.then_some(worker.id()) }
            }
        };
        let images = self.requests[&held.job].images;
        self.system.store.settle(&leased.lease, &outcome, images).await.unwrap()
    }

    async fn reap(&self) -> Vec<Reaped> {
        let reaped = self.system.store.reap(ALL, JITTER).await.unwrap();
        let mut reaped: Vec<Reaped> = reaped
            .into_iter()
            .map(|reaped| Reaped {
                held: Held { job: self.no(reaped.lease.job), attempt: reaped.lease.attempt },
                worker: Worker::from(reaped.worker.as_uuid()),
                worker_died: reaped.worker_died,
                requeued: reaped.requeued,
            })
            .collect();
        reaped.sort();
        reaped
    }

    async fn expire(&self) -> Vec<JobNo> {
        let expired = self.system.store.expire(ALL).await.unwrap();
        let mut expired: Vec<JobNo> = expired.into_iter().map(|id| self.no(id)).collect();
        expired.sort();
        expired
    }

    async fn relay(&self, publication: Publication) -> Vec<String> {
        let claimed = self.system.store.claim_outbox(ALL).await.unwrap();
        if publication == Publication::Confirmed {
            let ids: Vec<i64> = claimed.iter().map(|row| row.id).collect();
            self.system.store.delete_outbox(&ids).await.unwrap();
        }
        let mut lanes: Vec<String> = claimed.into_iter().map(|row| row.lane.to_string()).collect();
        lanes.sort();
        lanes
    }

    /// The job with this id, in the model's words.
    pub(super) fn no(&self, id: JobId) -> JobNo {
        *self.jobs.iter().find(|(_, known)| **known == id).unwrap().0
    }

    fn lease_of(&self, held: Held) -> Lease {
        self.leases[&held].1.lease
    }

    fn granted(&self, leased: &LeasedJob) -> Granted {
        Granted {
            held: Held { job: self.no(leased.lease.job), attempt: leased.lease.attempt },
            tenant: Tenant::from(leased.tenant.as_uuid()),
            model: leased.lane.model().to_owned(),
            failures: leased.failures,
            max_attempts: leased.max_attempts,
            done: leased.done.clone(),
        }
    }
}

fn lanes(models: &[&str]) -> Vec<Lane> {
    models.iter().copied().map(lane).collect()
}

fn new_worker(worker: Worker) -> NewWorker {
    NewWorker { id: worker.id(), host: "test".into(), device: "cpu".into(), lanes: lanes(worker.models()) }
}

fn job_of(request: &Request) -> NewJob {
    let mut job = new_job(request.tenant.id());
    let Task::TextToImage(task) = &mut job.submission.task else { unreachable!() };
    task.images = request.images;
    job.submission.lane = lane(request.model);
    job.submission.options.priority = request.priority;
    job.submission.options.deadline = request.deadline_s.map(|s| Duration::from_secs(s.into()));
    job.max_attempts = request.max_attempts;
    job.price = PRICE_OF_ONE * Decimal::from(request.images);
    job.idempotency_key = request.key.map(|key| format!("key {key}"));
    job.request_hash = [request.body; 32];
    job
}
