//! One attempt, from the lease to its settlement.

use std::sync::OnceLock;
use std::time::Duration;

use darkroom_store::{LeasedJob, NewArtifact, Outcome, Settled};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::Instrument;

use crate::device::{Ran, Said, Trouble, Work};
use crate::failure::{self, Cause};
use crate::measure;
use crate::outputs::{self, Results};
use crate::running::{Registered, Stop, Watched};
use crate::slots::Slot;
use crate::stages::{Stage, Stages};
use crate::watchdog::{self, Limits};
use crate::worker::Worker;

/// Carries a leased job through, and gives the slot to another once the device has done its part. When this
/// returns, the attempt is settled, or nobody can settle it from here.
pub(crate) async fn run(worker: &Worker, leased: LeasedJob, slot: Slot) {
    let span = tracing::info_span!(
        "attempt",
        job = %leased.lease.job,
        attempt = leased.lease.attempt,
        lane = %leased.lane,
        tenant = %leased.tenant,
        traceparent = leased.traceparent,
    );
    let queued = Duration::try_from_secs_f64(leased.waited_s).unwrap_or_default();
    let stages = Stages::new(leased.lane.clone(), queued);
    let registered = worker.running.begin(leased.lease);
    let last = OnceLock::new();
    Attempt { worker, leased, registered, stages, last }.run(slot).instrument(span).await;
}

struct Attempt<'a> {
    worker: &'a Worker,
    leased: LeasedJob,
    registered: Registered<'a>,
    stages: Stages,
    /// The last result, stored and not recorded yet.
    last: OnceLock<NewArtifact>,
}

/// What is left to be said about an attempt that has ended.
enum Ending {
    /// This, to the database.
    Settle(Outcome),
    /// Nothing: the job has a final state, or the lease is another's.
    Gone(Stop),
}

impl Attempt<'_> {
    async fn run(self, slot: Slot) {
        measure::attempt_started(&self.leased.lane);
        darkroom_ops::crash_point("worker.leased");
        if self.leased.watched {
            self.registered.attempt().watch(Watched::Yes);
        }
        tracing::info!(queued_s = self.leased.waited_s, failures = self.leased.failures, "attempt started");
        if self.worker.shutdown.soft.is_cancelled() {
            // The lease was granted while the request to stop came in.
            self.stop(Stop::Draining);
        }
        // An attempt that fails keeps its slot until it is settled: why it failed decides what may be leased.
        let mut slot = Some(slot);
        let ended = self.perform(&mut slot).await;
        let hung = matches!(ended, Err(Cause::Stalled { hung: true, .. }));
        if hung {
            self.registered.silence();
        }
        self.conclude(self.judge(ended)).await;
        if hung {
            // In this order: the reason to end first, then the request to.
            self.worker.hung.cancel();
            self.worker.shutdown.soft.cancel();
        }
    }

    async fn perform(&self, slot: &mut Option<Slot>) -> Result<Option<Ran>, Cause> {
        if self.leased.done.len() as u64 >= u64::from(self.leased.task.artifacts()) {
            // An earlier attempt ended between its last result and its settlement.
            return Ok(None);
        }
        let request = self.stages.time(Stage::Fetch, self.worker.request(&self.leased));
        let request = self.unless_stopped(request).await??;
        let (said, results) = mpsc::channel(outputs::WAITING);
        let lane = self.leased.lane.clone();
        let work = Work { lane, request, attempt: self.registered.attempt().clone(), said };
        let submitted = Instant::now();
        let answer = self.unless_stopped(self.worker.device.submit(work)).await?;
        let limits = Limits { timeout: self.timeout(), stall: self.worker.stall };
        let device = async {
            let ran = watchdog::wait(answer, self.registered.attempt(), limits).await?;
            drop(slot.take());
            Ok(ran)
        };
        let (ran, stored) = tokio::join!(device, self.store(results));
        // A failed upload stops the device, so the device's own words come second.
        match (ran, stored) {
            (Err(Cause::Device(Trouble::Run(darkroom_models::Error::Canceled))), Err(cause)) => Err(cause),
            (Err(cause), _) | (Ok(_), Err(cause)) => Err(cause),
            (Ok(ran), Ok(())) => {
                self.note(submitted, &ran);
                Ok(Some(ran))
            }
        }
    }

    /// Stores results and warnings while the device makes more, and stops the device when that fails.
    async fn store(&self, results: mpsc::Receiver<Said>) -> Result<(), Cause> {
        let stored = self.unless_stopped(self.way_out().store_all(results)).await.and_then(|stored| stored);
        match &stored {
            Err(Cause::LeaseGone) => self.stop(Stop::Lost),
            Err(Cause::Stopped) | Ok(()) => {}
            Err(_) => self.stop(Stop::Failed),
        }
        stored
    }

    fn way_out(&self) -> Results<'_> {
        let Self { worker, leased, stages, last, .. } = self;
        Results { worker, leased, stages, last }
    }

    fn note(&self, submitted: Instant, ran: &Ran) {
        let busy = ran.ended.saturating_duration_since(ran.started);
        self.stages.add(Stage::Wait, ran.taken.saturating_duration_since(submitted));
        self.stages.add(Stage::Load, ran.started.saturating_duration_since(ran.taken));
        self.stages.add(Stage::Inference, busy.saturating_sub(ran.held_up));
        self.worker.note_load(&self.leased.lane, None);
    }

    fn judge(&self, ended: Result<Option<Ran>, Cause>) -> Ending {
        let cause = match ended {
            Ok(ran) => {
                return Ending::Settle(Outcome::Succeeded { timings: self.stages.timings(ran.as_ref()) });
            }
            Err(cause) => cause,
        };
        let hung = matches!(cause, Cause::Stalled { hung: true, .. });
        let cause = match self.registered.attempt().why() {
            Some(why @ (Stop::Ended | Stop::Lost)) => return Ending::Gone(why),
            Some(Stop::Draining) => return Ending::Settle(Outcome::Released),
            Some(Stop::TimedOut) => Cause::TimedOut(self.timeout()),
            Some(Stop::Stalled) => Cause::Stalled { stall: self.worker.stall, hung },
            Some(Stop::Failed) | None => cause,
        };
        if let Cause::Device(trouble @ Trouble::Load(_)) = &cause {
            self.worker.note_load(&self.leased.lane, Some(trouble));
        }
        let verdict = failure::classify(&cause);
        tracing::warn!(
            class = verdict.failure.class.as_str(),
            error = failure::chain(&cause),
            failures = self.leased.failures + 1,
            "attempt failed"
        );
        Ending::Settle(self.worker.failed(&self.leased, verdict))
    }

    async fn conclude(&self, ending: Ending) {
        let outcome = match ending {
            Ending::Settle(outcome) => outcome,
            Ending::Gone(why) => return self.ended(if why == Stop::Ended { "ended" } else { "lost" }),
        };
        let last = self.last.get();
        if let (Some(last), Outcome::Failed { .. } | Outcome::Released) = (last, &outcome) {
            // The next attempt need not make it again.
            if let Err(error) = self.way_out().record_artifact(last).await {
                tracing::debug!(error = failure::chain(&error), "a result is not recorded");
            }
        }
        darkroom_ops::crash_point("worker.recorded");
        let settled = self.stages.time(Stage::Settle, self.worker.settle(&self.leased, &outcome, last)).await;
        darkroom_ops::crash_point("worker.settled");
        match settled {
            Some(Settled::Done) => self.ended(word(&outcome)),
            Some(Settled::LeaseGone) => self.ended("lost"),
            Some(Settled::Incomplete) => {
                tracing::error!("the model did not make every result");
                let failed = self.worker.failed(&self.leased, failure::classify(&Cause::Incomplete));
                self.worker.settle(&self.leased, &failed, None).await;
                self.ended("failed");
            }
            None => self.ended("unsettled"),
        }
    }

    fn ended(&self, outcome: &'static str) {
        tracing::info!(outcome, "attempt ended");
        measure::attempt_ended(&self.leased.lane, outcome);
    }

    fn stop(&self, why: Stop) {
        self.registered.attempt().stop(why);
    }

    /// What comes of `work`, unless the attempt is stopped first.
    async fn unless_stopped<T>(&self, work: impl Future<Output = T>) -> Result<T, Cause> {
        tokio::select! {
            biased;
            () = self.registered.attempt().stopped() => Err(Cause::Stopped),
            done = work => Ok(done),
        }
    }

    fn timeout(&self) -> Duration {
        let model = self.worker.served.of(&self.leased.lane);
        model.map_or(darkroom_jobs::Catalog::DEFAULT_TIMEOUT, |model| model.timeout)
    }
}

fn word(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Succeeded { .. } => "succeeded",
        Outcome::Failed { .. } => "failed",
        Outcome::Released => "released",
    }
}
