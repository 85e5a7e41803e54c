//! Which step comes next: chosen so that leases are in use, go stale and run out, and that a case stays valid
//! when steps are taken out of it.

use darkroom_jobs::{AttemptState, FailureClass, Priority};
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::Union;
use proptest_state_machine::ReferenceStateMachine;

use super::reference::Model;
use super::step::{Ending, Held, JobNo, Publication, Request, Step, Tenant, Worker};

/// The reference model as a machine whose steps can be drawn.
pub(super) struct Reference;

impl ReferenceStateMachine for Reference {
    type State = Model;
    type Transition = Step;

    fn init_state() -> BoxedStrategy<Model> {
        Just(Model::new()).boxed()
    }

    fn transitions(model: &Model) -> BoxedStrategy<Step> {
        let mut steps = vec![
            (3, select(&Worker::ALL[..]).prop_map(Step::Seen).boxed()),
            (6, select(&Worker::ALL[..]).prop_map(Step::Lease).boxed()),
            (if model.expired_leases().is_empty() { 1 } else { 6 }, Just(Step::Reap).boxed()),
            (if model.overdue().is_empty() { 1 } else { 3 }, Just(Step::Expire).boxed()),
            (1, select(&[Publication::Confirmed, Publication::Lost][..]).prop_map(Step::Relay).boxed()),
            (5, select(model.turning_points()).prop_map(Step::Wait).boxed()),
            (1, select(&["a", "b"][..]).prop_map(Step::Resume).boxed()),
        ];
        let late: Vec<Worker> =
            model.expired_leases().into_iter().map(|held| model.attempt(held).worker).collect();
        if !late.is_empty() {
            steps.push((3, select(late).prop_map(Step::Seen).boxed()));
        }
        if model.paused.is_empty() {
            steps.push((1, select(&["a", "b"][..]).prop_map(Step::Pause).boxed()));
        }
        let next = model.jobs.keys().last().map_or(1, |last| last.0 + 1);
        if next <= MAX_JOBS {
            steps.push((4, request().prop_map(move |request| Step::Submit(JobNo(next), request)).boxed()));
        }
        let jobs: Vec<JobNo> = model.jobs.keys().copied().collect();
        if !jobs.is_empty() {
            steps.push((1, of_a_job(model, jobs.clone(), Step::Cancel)));
            let (ended, others): (Vec<JobNo>, Vec<JobNo>) =
                jobs.iter().partition(|&&no| model.job(no).row.state.is_final());
            for (weight, jobs) in [(3, ended), (1, others)] {
                if !jobs.is_empty() {
                    steps.push((weight, of_a_job(model, jobs, Step::Delete)));
                }
            }
        }
        let running = attempts(model, |state| state == AttemptState::Running);
        if !running.is_empty() {
            let (complete, incomplete): (Vec<Held>, Vec<Held>) =
                running.iter().partition(|held| model.is_complete(held.job));
            steps.extend([(2, settle(running.clone())), (1, beat(running))]);
            if !complete.is_empty() {
                steps.push((
                    3,
                    select(complete).prop_map(|held| Step::Settle(held, Ending::Succeeded)).boxed(),
                ));
            }
            if !incomplete.is_empty() {
                steps.push((5, record(model, &incomplete)));
            }
        }
        let closed = attempts(model, AttemptState::is_final);
        if !closed.is_empty() {
            steps.extend([(1, record(model, &closed)), (3, settle(closed))]);
        }
        let all = attempts(model, |_| true);
        if !all.is_empty() {
            steps.extend([(1, beat(all.clone())), (1, select(all).prop_map(Step::FindLease).boxed())]);
        }
        Union::new_weighted(steps).boxed()
    }

    fn apply(mut model: Model, step: &Step) -> Model {
        model.take(step);
        model
    }

    /// Numbers of jobs go up, and what a step names has been there.
    fn preconditions(model: &Model, step: &Step) -> bool {
        let known =
            |held: &Held| model.jobs.get(&held.job).is_some_and(|job| held.attempt <= job.row.attempt);
        match step {
            Step::Submit(no, _) => model.jobs.keys().all(|earlier| earlier < no),
            Step::Cancel(_, no) | Step::Delete(_, no) => model.jobs.contains_key(no),
            Step::FindLease(held) | Step::Record(held, _) | Step::Settle(held, _) => known(held),
            Step::Beat(beats) => beats.iter().all(known),
            Step::Seen(_)
            | Step::Lease(_)
            | Step::Reap
            | Step::Expire
            | Step::Relay(_)
            | Step::Pause(_)
            | Step::Resume(_)
            | Step::Wait(_) => true,
        }
    }
}

const MAX_JOBS: u8 = 12;

fn attempts(model: &Model, wanted: impl Fn(AttemptState) -> bool) -> Vec<Held> {
    let all = model
        .jobs
        .iter()
        .flat_map(|(&job, known)| (1..=known.row.attempt).map(move |attempt| Held { job, attempt }));
    all.filter(|&held| wanted(model.attempt(held).state)).collect()
}

fn request() -> impl Strategy<Value = Request> {
    let who = (select(&Tenant::ALL[..]), select(&["a", "b"][..]), select(Priority::ALL));
    let how = (1..=2_u32, select(&[4, 1, 2][..]), select(&[None, None, None, Some(20), Some(60)][..]));
    let again = (select(&[None, None, Some(1)][..]), select(&[1, 1, 1, 2][..]));
    (who, how, again).prop_map(
        |((tenant, model, priority), (images, max_attempts, deadline_s), (key, body))| Request {
            tenant,
            model,
            priority,
            images,
            max_attempts,
            deadline_s,
            key,
            body,
        },
    )
}

/// A step of the owner, and sometimes of somebody else.
fn of_a_job(model: &Model, jobs: Vec<JobNo>, step: fn(Tenant, JobNo) -> Step) -> BoxedStrategy<Step> {
    let owned: Vec<(Tenant, JobNo)> = jobs.iter().map(|&no| (model.job(no).request.tenant, no)).collect();
    let anybodys = (select(&Tenant::ALL[..]), select(jobs));
    prop_oneof![4 => select(owned), 1 => anybodys].prop_map(move |(tenant, no)| step(tenant, no)).boxed()
}

fn record(model: &Model, attempts: &[Held]) -> BoxedStrategy<Step> {
    let results = attempts.iter().flat_map(|&held| {
        (0..model.job(held.job).request.images).map(move |index| Step::Record(held, index))
    });
    select(results.collect::<Vec<_>>()).boxed()
}

fn beat(attempts: Vec<Held>) -> BoxedStrategy<Step> {
    prop::collection::vec(select(attempts), 1..=3).prop_map(Step::Beat).boxed()
}

fn settle(attempts: Vec<Held>) -> BoxedStrategy<Step> {
    let ending = prop_oneof![
        1 => Just(Ending::Succeeded),
        2 => select(&FailureClass::ALL[..]).prop_map(Ending::Failed),
        1 => Just(Ending::Failed(FailureClass::OutOfMemory)),
        1 => Just(Ending::Released),
    ];
    (select(attempts), ending).prop_map(|(held, ending)| Step::Settle(held, ending)).boxed()
}
