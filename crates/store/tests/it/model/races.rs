//! Everybody at once: workers, owners, reaper and expiry on a few jobs, and what has to hold when the dust has
//! settled, however their statements interleave.

mod act;
mod actor;
mod verdict;

use darkroom_jobs::JobId;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{TestError, TestRunner};
use tokio::task::JoinSet;

use self::act::{Act, act};
use self::actor::{Actor, Claim};
use super::step::{Tenant, Worker};
use super::system::System;
use crate::builder::{accept, new_job};
use crate::seed;

/// Rounds of a run, unless `PROPTEST_CASES` says otherwise.
const ROUNDS: u32 = 30;
const ACTORS: usize = 6;
const ACTS: usize = 25;
const JOBS: usize = 6;

/// Repeating a seed repeats what everybody does, not how it interleaves: more rounds find a race again.
#[test]
fn whatever_races_every_job_ends_once() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap();
    let system = runtime.block_on(System::start());
    runtime.block_on(verdict::witness(&system.tables));
    let (mut config, seed) = seed::config(ROUNDS);
    config.max_shrink_iters = 0;
    let plans = vec(vec(act(), ACTS), ACTORS);
    let outcome = TestRunner::new(config).run(&plans, |plans| runtime.block_on(round(&system, plans)));
    runtime.block_on(system.stop());
    match outcome {
        Ok(()) => {}
        Err(TestError::Fail(why, plans)) => {
            let plans: Vec<String> = plans.iter().map(|plan| format!("  {plan:?}\n")).collect();
            panic!("{why}\nwhen these ran at once:\n{}again with {seed}", plans.concat())
        }
        Err(TestError::Abort(why)) => panic!("{why}\nagain with {seed}"),
    }
}

async fn round(system: &System, plans: Vec<Vec<Act>>) -> Result<(), TestCaseError> {
    system.clear().await;
    let mut jobs: Vec<JobId> = Vec::new();
    for tenant in Tenant::ALL.into_iter().cycle().take(JOBS) {
        jobs.push(accept(&system.store, new_job(tenant.id())).await);
    }
    let mut running = JoinSet::new();
    for (plan, worker) in plans.into_iter().zip(Worker::ALL.into_iter().cycle()) {
        let mut actor = Actor::new(system, worker, &jobs);
        running.spawn(async move {
            for act in &plan {
                actor.perform(act).await?;
            }
            Ok::<_, TestCaseError>(actor.claims)
        });
    }
    let mut claims: Vec<Claim> = Vec::new();
    while let Some(done) = running.join_next().await {
        claims.extend(done.map_err(|panicked| TestCaseError::fail(panicked.to_string()))??);
    }
    verdict::finish(system).await?;
    verdict::check_jobs(&system.tables).await?;
    for claim in &claims {
        verdict::check_claim(&system.tables, claim).await?;
    }
    Ok(())
}
