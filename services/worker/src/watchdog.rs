//! Waiting for the device, but not for ever.

use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::device::{Ran, Trouble};
use crate::failure::Cause;
use crate::running::{Phase, RunningAttempt, Stop};

/// How often limits are looked at.
const PERIOD: Duration = Duration::from_millis(200);
/// How long a device may take to notice that it was told to stop.
const ANSWER: Duration = Duration::from_secs(10);

/// The limits of one attempt.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Of the whole attempt, from the moment the device begins with it.
    pub(crate) timeout: Duration,
    /// Of one step. Loading a model makes no steps; only `timeout` limits it.
    pub(crate) stall: Duration,
}

/// What to do about an attempt at some moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Measure {
    Wait,
    Stop(Stop),
    /// Leave it to the device to notice that nobody waits any more.
    LetGo,
    /// The device does not come back.
    GiveUp,
}

/// Waits for the device's answer, stops the attempt at its limits, and gives the device up when it neither
/// makes a step nor answers.
pub(crate) async fn wait(
    mut answer: oneshot::Receiver<Result<Ran, Trouble>>,
    attempt: &RunningAttempt,
    limits: Limits,
) -> Result<Ran, Cause> {
    let mut ticks = interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let stopped = attempt.why().is_some();
        tokio::select! {
            biased;
            answered = &mut answer => return Ok(answered.unwrap_or(Err(Trouble::Gone))?),
            () = attempt.stopped(), if !stopped => {}
            _ = ticks.tick() => {}
        }
        match measure(attempt, limits, Instant::now()) {
            Measure::Wait => {}
            Measure::Stop(why) => attempt.stop(why),
            Measure::LetGo => return Err(Cause::Stopped),
            Measure::GiveUp => return Err(Cause::Stalled { stall: limits.stall, hung: true }),
        }
    }
}

fn measure(attempt: &RunningAttempt, limits: Limits, now: Instant) -> Measure {
    let Limits { timeout, stall } = limits;
    let phase = attempt.phase();
    match attempt.why() {
        // Its lease is given back; whatever the device still makes is fenced off.
        Some(Stop::Draining) => return Measure::LetGo,
        Some(_) if phase == Phase::Away => return Measure::LetGo,
        _ => {}
    }
    let answer = ANSWER.min(stall);
    match phase {
        Phase::Stepping(last) if now - last > stall + answer => Measure::GiveUp,
        Phase::Stepping(last) if now - last > stall => Measure::Stop(Stop::Stalled),
        Phase::Loading(since) if now - since > timeout + stall + answer => Measure::GiveUp,
        _ if attempt.began().is_some_and(|began| now - began > timeout) => Measure::Stop(Stop::TimedOut),
        _ => Measure::Wait,
    }
}

#[cfg(test)]
mod tests {
    use darkroom_jobs::{JobId, LeaseToken};
    use darkroom_store::Lease;
    use uuid::Uuid;

    use super::*;
    use crate::running::{Registered, Running};

    const LIMITS: Limits = Limits { timeout: Duration::from_secs(600), stall: Duration::from_secs(180) };

    fn begin(running: &Running) -> Registered<'_> {
        running.begin(Lease {
            job: JobId::from_uuid(Uuid::nil()),
            attempt: 1,
            token: LeaseToken::from_uuid(Uuid::nil()),
        })
    }

    fn after(attempt: &RunningAttempt, start: Instant, seconds: u64) -> Measure {
        measure(attempt, LIMITS, start + Duration::from_secs(seconds))
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_for_the_device_has_no_limit_of_its_own() {
        let (running, start) = (Running::default(), Instant::now());
        let registered = begin(&running);
        let attempt = registered.attempt();
        assert_eq!(after(attempt, start, 10_000), Measure::Wait);
        attempt.stop(Stop::Ended);
        assert_eq!(after(attempt, start, 0), Measure::LetGo);
    }

    #[tokio::test(start_paused = true)]
    async fn device_without_a_step_is_stopped_and_then_given_up() {
        let (running, start) = (Running::default(), Instant::now());
        let registered = begin(&running);
        let attempt = registered.attempt();
        attempt.enter(Phase::Stepping(start));
        assert_eq!(after(attempt, start, 180), Measure::Wait);
        assert_eq!(after(attempt, start, 181), Measure::Stop(Stop::Stalled));
        attempt.stop(Stop::Ended);
        assert_eq!(after(attempt, start, 100), Measure::Wait, "a canceled step may take its time");
        assert_eq!(after(attempt, start, 191), Measure::GiveUp);
    }

    #[tokio::test(start_paused = true)]
    async fn loading_is_limited_by_the_timeout_alone() {
        let (running, start) = (Running::default(), Instant::now());
        let registered = begin(&running);
        let attempt = registered.attempt();
        attempt.enter(Phase::Loading(start));
        assert_eq!(after(attempt, start, 600), Measure::Wait);
        assert_eq!(after(attempt, start, 601), Measure::Stop(Stop::TimedOut));
        assert_eq!(after(attempt, start, 791), Measure::GiveUp);
    }

    #[tokio::test(start_paused = true)]
    async fn device_that_waits_for_an_upload_is_no_hang() {
        let (running, start) = (Running::default(), Instant::now());
        let registered = begin(&running);
        registered.attempt().enter(Phase::HandingOver);
        assert_eq!(after(registered.attempt(), start, 500), Measure::Wait);
        assert_eq!(after(registered.attempt(), start, 601), Measure::Stop(Stop::TimedOut));
    }

    #[tokio::test(start_paused = true)]
    async fn attempt_that_is_given_back_waits_for_nobody() {
        let (running, start) = (Running::default(), Instant::now());
        let registered = begin(&running);
        registered.attempt().enter(Phase::Stepping(start));
        running.close();
        assert_eq!(after(registered.attempt(), start, 0), Measure::LetGo);
    }
}
