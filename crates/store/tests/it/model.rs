//! The store against a reference model: random steps, one at a time, and after each of them the same answer and the
//! same rows.

mod attempts;
mod case;
mod choice;
mod clock;
mod coverage;
mod order;
mod races;
mod reference;
mod rows;
mod step;
mod system;

use std::ops::RangeInclusive;
use std::sync::atomic::Ordering;

use darkroom_jobs::JobState;
use darkroom_store::JobFilter;
use proptest::prelude::*;
use proptest::test_runner::{TestError, TestRunner};
use proptest_state_machine::ReferenceStateMachine;

use self::case::Case;
use self::choice::Reference;
use self::reference::Model;
use self::rows::{JobRow, Rows};
use self::step::{Step, Tenant};
use self::system::System;
use crate::seed;

/// Cases of a run, unless `PROPTEST_CASES` says otherwise.
const CASES: u32 = 100;
const STEPS: RangeInclusive<usize> = 20..=60;

#[test]
fn the_store_does_what_the_reference_model_does() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let system = runtime.block_on(System::start());
    let (config, seed) = seed::config(CASES);
    let strategy = Reference::sequential_strategy(STEPS);
    let outcome = TestRunner::new(config).run(&strategy, |(model, steps, seen)| {
        let taken = || {
            if let Some(seen) = &seen {
                seen.fetch_add(1, Ordering::SeqCst);
            }
        };
        runtime.block_on(play(&system, model, &steps, taken))
    });
    runtime.block_on(system.stop());
    match outcome {
        Ok(()) => {}
        Err(TestError::Fail(why, (_, steps, _))) => {
            let steps: Vec<String> = steps.iter().map(|step| format!("  {step:?}\n")).collect();
            panic!("{why}\nin the last of these steps:\n{}again with {seed}", steps.concat());
        }
        Err(TestError::Abort(why)) => panic!("{why}\nagain with {seed}"),
    }
}

/// Takes the steps on both sides.
async fn play(
    system: &System,
    mut model: Model,
    steps: &[Step],
    taken: impl Fn(),
) -> Result<(), TestCaseError> {
    system.clear().await;
    let mut case = Case::new(system);
    let mut before = Rows::default();
    for step in steps {
        taken();
        model.take(step);
        let answer = case.take(step).await;
        prop_assert_eq!(&answer, &model.answer, "answer of the store, then of the model");
        let rows = Rows::read(&system.tables).await;
        check_rows(&rows, &model.rows())?;
        check_history(&before, &rows)?;
        before = rows;
    }
    check_views(system, &case, &model).await
}

fn check_rows(rows: &Rows, expected: &Rows) -> Result<(), TestCaseError> {
    for (row, expected) in rows.jobs.iter().zip(&expected.jobs) {
        prop_assert_eq!(row, expected, "a job in the tables, then in the model");
    }
    prop_assert_eq!(rows.jobs.len(), expected.jobs.len(), "how many jobs");
    prop_assert_eq!(&rows.outbox, &expected.outbox, "the outbox, then that of the model");
    Ok(())
}

/// What holds from one moment to the next, whatever the model says.
fn check_history(before: &Rows, after: &Rows) -> Result<(), TestCaseError> {
    for row in &after.jobs {
        prop_assert_eq!(row.cost.is_some(), row.state == JobState::Succeeded, "charged");
    }
    for (no, (old, new)) in before.jobs.iter().zip(&after.jobs).enumerate() {
        let (old_version, version) = (before.versions[no], after.versions[no]);
        prop_assert!(version >= old_version, "the version went from {old_version} to {version}");
        let visible = |row: &JobRow| (row.state, row.attempt, row.failures, row.artifacts.clone());
        prop_assert!(version > old_version || visible(old) == visible(new), "a change without a new version");
        if old.state.is_final() {
            let hidden = JobRow { deleted: new.deleted, ..old.clone() };
            prop_assert_eq!(&hidden, new, "a final job changed");
        }
    }
    Ok(())
}

/// What owners see at the end.
async fn check_views(system: &System, case: &Case<'_>, model: &Model) -> Result<(), TestCaseError> {
    for tenant in Tenant::ALL {
        let all = JobFilter { limit: 1000, ..JobFilter::default() };
        let listed = system.store.jobs(tenant.id(), &all).await.unwrap();
        let seen: Vec<_> = listed
            .iter()
            .rev()
            .map(|job| {
                let failure = job.failure.as_ref().map(|failure| failure.class);
                let artifacts: Vec<u32> = job.artifacts.iter().map(|artifact| artifact.index).collect();
                (case.no(job.id), job.state, job.attempts, job.failures, job.cost, failure, artifacts)
            })
            .collect();
        let expected: Vec<_> = model
            .jobs
            .iter()
            .filter(|(_, job)| job.request.tenant == tenant && !job.row.deleted)
            .map(|(&no, job)| {
                let row = &job.row;
                let artifacts: Vec<u32> = row.artifacts.iter().map(|artifact| artifact.index).collect();
                let failures = i16::try_from(row.failures).unwrap();
                (no, row.state, row.attempt, failures, row.cost, row.failure, artifacts)
            })
            .collect();
        prop_assert_eq!(seen, expected, "what {:?} sees, then what the model says", tenant);
    }
    Ok(())
}
