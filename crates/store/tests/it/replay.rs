use std::time::Duration;

use darkroom_jobs::{Failure, FailureClass, JobId, JobState, Retry, TenantId};
use darkroom_store::testing::TestDatabase;
use darkroom_store::{
    Bulk, Extent, FailedFilter, FailedPage, JobFilter, NewJob, Outcome, Replayed, Standing, Store,
};
use uuid::Uuid;

use crate::builder::{TestWorker, accept, in_lane, new_job, record, tenant};

const EVERY: FailedFilter =
    FailedFilter { tenant: None, lane: None, class: None, older_than: None, newer_than: None };

fn mint() -> JobId {
    JobId::from_uuid(Uuid::now_v7())
}

fn extent(expected: u64) -> Extent {
    Extent { expected, limit: 100 }
}

/// A job that failed for good: an attempt ended in `class`.
async fn fail(store: &Store, job: NewJob, class: FailureClass, retry: Retry) -> JobId {
    let lane = job.submission.lane.clone();
    let id = accept(store, job).await;
    let worker = TestWorker { lanes: vec![lane], ..TestWorker::start(store).await };
    let leased = worker.take(store).await;
    assert_eq!(leased.lease.job, id);
    let outcome = Outcome::Failed { failure: Failure::new(class, "broken"), retry, avoid: None };
    store.settle(&leased.lease, &outcome, 1).await.unwrap();
    id
}

async fn failed(store: &Store, owner: TenantId) -> JobId {
    fail(store, new_job(owner), FailureClass::InvalidInput, Retry::Never).await
}

async fn listed(store: &Store, filter: &FailedFilter, standing: Standing) -> Vec<JobId> {
    let page = FailedPage { standing, before: None, limit: 100 };
    store.failed_jobs(filter, &page).await.unwrap().into_iter().map(|job| job.id).collect()
}

#[tokio::test]
async fn a_replay_is_a_new_job_of_the_same_request_and_the_failed_one_stays_failed() {
    let database = TestDatabase::create().await;
    let store = &database.store;
    let owner = tenant(store, "a").await;
    let job = NewJob { idempotency_key: Some("k".into()), traceparent: Some("t".into()), ..new_job(owner) };
    let id = fail(store, job, FailureClass::Infrastructure, Retry::Exhausted).await;
    let before = store.job(owner, id).await.unwrap().unwrap();
    let tickets = database.count("select count(*) from outbox").await;
    let by = mint();
    assert_eq!(store.replay_job(id, by).await.unwrap(), Replayed::By(by));

    let old = store.job(owner, id).await.unwrap().unwrap();
    assert_eq!((old.state, old.failures, old.replayed_by), (JobState::Failed, 1, Some(by)));
    assert_eq!((old.finished_at, old.version), (before.finished_at, before.version + 1));
    let new = store.job(owner, by).await.unwrap().unwrap();
    assert_eq!((new.state, new.failures, new.attempts), (JobState::Queued, 0, 0), "a budget of its own");
    assert_eq!((new.replay_of, new.replayed_by), (Some(id), None));
    assert_eq!((&new.task, &new.metadata, new.price), (&old.task, &old.metadata, old.price));
    assert_eq!((new.deadline, new.expires_at, new.priority), (old.deadline, old.expires_at, old.priority));
    assert_eq!(database.count("select count(*) from outbox").await, tickets + 1);

    let leased = TestWorker::start(store).await.take(store).await;
    assert_eq!((leased.lease.job, leased.traceparent), (by, Some("t".to_owned())));
    record(store, &leased.lease).await;
    store.settle(&leased.lease, &Outcome::Succeeded { timings: [].into() }, 1).await.unwrap();
    assert_eq!(store.job(owner, by).await.unwrap().unwrap().state, JobState::Succeeded);
    assert_eq!(store.job(owner, id).await.unwrap().unwrap().state, JobState::Failed);
    let costs = "select count(*) from jobs where cost is not null";
    assert_eq!(database.count(costs).await, 1, "paid once");
    assert_eq!(store.jobs(owner, &JobFilter { limit: 10, ..JobFilter::default() }).await.unwrap().len(), 2);
    database.drop_database().await;
}

#[tokio::test]
async fn a_job_is_replayed_once_however_many_operators_ask_at_once() {
    let database = TestDatabase::create().await;
    let store = &database.store;
    let owner = tenant(store, "a").await;
    for _ in 0..4 {
        failed(store, owner).await;
    }
    let asking = (0..8).map(|_| {
        let store = store.clone();
        tokio::spawn(async move { store.replay_failed(&EVERY, extent(4), mint).await.unwrap() })
    });
    let mut replayed = 0;
    for asked in asking.collect::<Vec<_>>() {
        if let Bulk::Done { done, .. } = asked.await.unwrap() {
            replayed += done;
        }
    }
    assert_eq!(replayed, 4);
    assert_eq!(database.count("select count(*) from jobs where state = 'queued'").await, 4);
    assert_eq!(database.count("select count(distinct replay_of) from jobs").await, 4);
    database.drop_database().await;
}

#[tokio::test]
async fn a_count_that_has_changed_stops_the_replay() {
    let database = TestDatabase::create().await;
    let store = &database.store;
    let owner = tenant(store, "a").await;
    failed(store, owner).await;
    failed(store, owner).await;
    assert_eq!(store.count_failed(&EVERY).await.unwrap(), (2, 2));
    let refused = store.replay_failed(&EVERY, extent(1), mint).await.unwrap();
    assert_eq!(refused, Bulk::Unexpected { matching: 2 });
    assert_eq!(store.discard_failed(&EVERY, extent(3)).await.unwrap(), Bulk::Unexpected { matching: 2 });
    assert_eq!(listed(store, &EVERY, Standing::Open).await.len(), 2);
    database.drop_database().await;
}

#[tokio::test]
async fn a_large_replay_goes_in_parts_oldest_first() {
    let database = TestDatabase::create().await;
    let store = &database.store;
    let owner = tenant(store, "a").await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(failed(store, owner).await);
    }
    let part = Extent { expected: 3, limit: 2 };
    assert_eq!(store.replay_failed(&EVERY, part, mint).await.unwrap(), Bulk::Done { done: 2, remaining: 1 });
    assert_eq!(listed(store, &EVERY, Standing::Open).await, [ids[2]]);
    let rest = Extent { expected: 1, limit: 2 };
    assert_eq!(store.replay_failed(&EVERY, rest, mint).await.unwrap(), Bulk::Done { done: 1, remaining: 0 });
    // The order of the replays is that of the jobs.
    let replays = listed(store, &EVERY, Standing::Replayed).await;
    let by = async |id| store.failed_job(id).await.unwrap().unwrap().replayed_by;
    assert!(by(replays[2]).await < by(replays[1]).await && by(replays[1]).await < by(replays[0]).await);
    database.drop_database().await;
}

#[tokio::test]
async fn filters_find_tenant_lane_class_and_age() {
    let database = TestDatabase::create().await;
    let store = &database.store;
    let (first, second) = (tenant(store, "a").await, tenant(store, "b").await);
    let invalid = failed(store, first).await;
    let elsewhere =
        fail(store, in_lane(new_job(second), "n"), FailureClass::InvalidInput, Retry::Never).await;
    let poison = fail(store, new_job(second), FailureClass::Infrastructure, Retry::Exhausted).await;
    let age =
        |id: JobId| format!("update jobs set finished_at = now() - interval '1 hour' where id = '{id}'");
    database.execute(&age(invalid)).await;
    let find = async |filter: FailedFilter| {
        let listed = listed(store, &filter, Standing::Open).await;
        assert_eq!(store.count_failed(&filter).await.unwrap().0, listed.len() as u64);
        listed
    };
    assert_eq!(find(EVERY).await, [poison, elsewhere, invalid]);
    assert_eq!(find(FailedFilter { tenant: Some(second), ..EVERY }).await, [poison, elsewhere]);
    let lane = new_job(first).submission.lane;
    assert_eq!(find(FailedFilter { lane: Some(lane), ..EVERY }).await, [poison, invalid]);
    for class in [FailureClass::Poison, FailureClass::Infrastructure] {
        assert_eq!(find(FailedFilter { class: Some(class), ..EVERY }).await, [poison], "{class:?}");
    }
    let half = Some(Duration::from_secs(1800));
    assert_eq!(find(FailedFilter { older_than: half, ..EVERY }).await, [invalid]);
    assert_eq!(find(FailedFilter { newer_than: half, ..EVERY }).await, [poison, elsewhere]);
    let seen = store.failed_job(poison).await.unwrap().unwrap();
    assert_eq!(seen.failure.class, FailureClass::Poison);
    assert_eq!(seen.last_attempt, Some(FailureClass::Infrastructure));
    assert_eq!((seen.tenant_name.as_str(), seen.standing), ("b", Standing::Open));
    let attempts = store.attempts(poison).await.unwrap();
    assert_eq!(attempts.len(), 1);
    assert_eq!(attempts[0].failure, Some(Failure::new(FailureClass::Infrastructure, "broken")));
    database.drop_database().await;
}

#[tokio::test]
async fn a_discarded_job_is_out_of_the_way_and_may_still_be_replayed_by_its_id() {
    let database = TestDatabase::create().await;
    let store = &database.store;
    let owner = tenant(store, "a").await;
    let id = failed(store, owner).await;
    assert!(store.discard_job(id).await.unwrap());
    assert!(!store.discard_job(id).await.unwrap(), "it was decided before");
    assert_eq!(listed(store, &EVERY, Standing::Open).await, []);
    assert_eq!(listed(store, &EVERY, Standing::Discarded).await, [id]);
    assert_eq!(store.count_failed(&EVERY).await.unwrap(), (0, 0));
    assert_eq!(store.job(owner, id).await.unwrap().unwrap().state, JobState::Failed);
    let by = mint();
    assert_eq!(store.replay_job(id, by).await.unwrap(), Replayed::By(by));
    assert_eq!(store.replay_job(id, mint()).await.unwrap(), Replayed::No);
    assert_eq!(listed(store, &EVERY, Standing::Replayed).await, [id]);
    database.drop_database().await;
}

#[tokio::test]
async fn what_nobody_waits_for_is_not_replayed() {
    let database = TestDatabase::create().await;
    let store = &database.store;
    let owner = tenant(store, "a").await;
    let late = failed(store, owner).await;
    database.execute("update jobs set deadline = now()").await;
    let deleted = failed(store, owner).await;
    store.delete(owner, deleted).await.unwrap();
    let queued = accept(store, new_job(owner)).await;
    assert_eq!(store.count_failed(&EVERY).await.unwrap(), (1, 0));
    assert_eq!(
        store.replay_failed(&EVERY, extent(0), mint).await.unwrap(),
        Bulk::Done { done: 0, remaining: 0 }
    );
    assert_eq!(store.replay_job(late, mint()).await.unwrap(), Replayed::Late);
    for id in [deleted, queued, mint()] {
        assert_eq!(store.replay_job(id, mint()).await.unwrap(), Replayed::No);
        assert!(!store.discard_job(id).await.unwrap());
    }
    assert_eq!(store.discard_failed(&EVERY, extent(1)).await.unwrap(), Bulk::Done { done: 1, remaining: 0 });
    database.drop_database().await;
}

#[tokio::test]
async fn a_deleted_job_keeps_its_objects_while_it_is_run_again() {
    let database = TestDatabase::create().await;
    let store = &database.store;
    let owner = tenant(store, "a").await;
    let first = failed(store, owner).await;
    let second = mint();
    store.replay_job(first, second).await.unwrap();
    let leased = TestWorker::start(store).await.take(store).await;
    let failure = Failure::new(FailureClass::InvalidInput, "broken");
    let outcome = Outcome::Failed { failure, retry: Retry::Never, avoid: None };
    store.settle(&leased.lease, &outcome, 1).await.unwrap();
    let third = mint();
    store.replay_job(second, third).await.unwrap();
    store.delete(owner, first).await.unwrap();
    assert_eq!(store.jobs_to_sweep(0.0, 10).await.unwrap(), [], "the replay of the replay needs its input");
    store.cancel(owner, third).await.unwrap();
    assert_eq!(store.jobs_to_sweep(0.0, 10).await.unwrap(), [first]);
    database.drop_database().await;
}
