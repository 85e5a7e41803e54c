//! What the random cases come across: a test that never meets a thing cannot tell whether it works.

use std::collections::BTreeSet;

use darkroom_jobs::{AttemptState, JobState};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngSeed, TestRunner};
use proptest_state_machine::ReferenceStateMachine;

use super::choice::Reference;
use super::reference::Model;
use super::step::{Answer, Step};
use super::{CASES, STEPS};

/// Answers that differ in what they mean, as [`answers`] writes them.
const ANSWERS: [&str; 31] = [
    "Submitted(Created)",
    "Submitted(Replayed)",
    "Submitted(KeyReused)",
    "Submitted(Deleted)",
    "Lease: a job",
    "Lease: none",
    "FindLease: a job",
    "FindLease: none",
    "Pulse Held",
    "Pulse Ended",
    "Pulse Lost",
    "Recorded(Stored)",
    "Recorded(LeaseGone)",
    "Succeeded: Done under a lease",
    "Succeeded: Incomplete under a lease",
    "Succeeded: Done again",
    "Succeeded: LeaseGone again",
    "Failed: Done under a lease",
    "Failed: Done again",
    "Failed: LeaseGone again",
    "Released: Done under a lease",
    "Released: Done again",
    "Released: LeaseGone again",
    "Canceled(Done)",
    "Canceled(AlreadyFinal)",
    "Canceled(NotFound)",
    "Deleted(Done)",
    "Deleted(NotFinal)",
    "Deleted(NotFound)",
    "Reaped from the living, requeued",
    "Reaped from the dead, failed",
];

#[test]
fn random_cases_come_across_every_change_and_answer() {
    let mut runner = TestRunner::new(Config { rng_seed: RngSeed::Fixed(1), ..Config::default() });
    let cases = Reference::sequential_strategy(STEPS);
    let mut met = BTreeSet::new();
    for _ in 0..2 * CASES {
        let (mut model, steps, _) = cases.new_tree(&mut runner).unwrap().current();
        for step in steps {
            let before = model.clone();
            model.take(&step);
            met.extend(changes(&before, &model));
            met.extend(answers(&before, &step, &model.answer));
        }
    }
    let mut wanted: BTreeSet<String> = ANSWERS.iter().copied().map(str::to_owned).collect();
    wanted.extend(pairs(JobState::ALL).filter(|(old, new)| old.may_become(*new)).map(change));
    wanted.extend(pairs(AttemptState::ALL).filter(|(old, new)| old.may_become(*new)).map(change));
    let missed: Vec<&String> = wanted.difference(&met).collect();
    assert!(missed.is_empty(), "never met: {missed:?}");
}

fn pairs<S: Copy>(states: &[S]) -> impl Iterator<Item = (S, S)> {
    states.iter().flat_map(move |&old| states.iter().map(move |&new| (old, new)))
}

fn change<S: std::fmt::Debug>((old, new): (S, S)) -> String {
    format!("{}: {old:?} to {new:?}", std::any::type_name::<S>())
}

fn changes(before: &Model, after: &Model) -> Vec<String> {
    let mut changes = Vec::new();
    for (no, old) in &before.jobs {
        let (old, new) = (&old.row, &after.job(*no).row);
        changes.push(change((old.state, new.state)));
        let attempts = old.attempts.iter().zip(&new.attempts);
        changes.extend(attempts.map(|(old, new)| change((old.state, new.state))));
    }
    changes
}

/// The answer in words, without the names of this case's jobs.
fn answers(before: &Model, step: &Step, answer: &Answer) -> Vec<String> {
    let kind = |debug: String| debug.split('(').next().unwrap().to_owned();
    match (step, answer) {
        (_, Answer::Submitted(submitted)) => {
            vec![format!("Submitted({})", kind(format!("{submitted:?}")))]
        }
        (step, Answer::Leased(granted)) => {
            let found = if granted.is_some() { "a job" } else { "none" };
            vec![format!("{}: {found}", kind(format!("{step:?}")))]
        }
        (Step::Settle(held, ending), Answer::Settled(settled)) => {
            let when = if before.holds(*held) { "under a lease" } else { "again" };
            vec![format!("{}: {settled:?} {when}", kind(format!("{ending:?}")))]
        }
        (_, Answer::Pulses(pulses)) => pulses.iter().map(|pulse| format!("Pulse {pulse:?}")).collect(),
        (_, Answer::Reaped(reaped)) => reaped
            .iter()
            .map(|reaped| {
                let from = if reaped.worker_died { "dead" } else { "living" };
                let to = if reaped.requeued { "requeued" } else { "failed" };
                format!("Reaped from the {from}, {to}")
            })
            .collect(),
        (_, answer) => vec![format!("{answer:?}")],
    }
}
