use darkroom_jobs::{JobState, TenantId};
use darkroom_store::testing::TestDatabase;
use darkroom_store::{Accepted, JobFilter};
use uuid::Uuid;

use crate::builder::{accept, new_job, tenant};

#[tokio::test]
async fn an_accepted_job_is_stored_with_its_request_and_one_outbox_row() {
    let database = TestDatabase::create().await;
    let store = &database.store;
    let owner = tenant(store, "a").await;
    let job = new_job(owner);
    let id = accept(store, job.clone()).await;
    let found = store.job(owner, id).await.unwrap().unwrap();
    assert_eq!(found.state, JobState::Queued);
    assert_eq!(found.version, 1);
    assert_eq!(found.task, job.submission.task);
    assert_eq!(found.metadata, job.submission.options.metadata);
    assert_eq!(found.price.to_string(), "0.02");
    assert_eq!(found.cost, None);
    assert_eq!((found.expires_at - found.created_at).num_days(), 30);
    assert_eq!(database.count("select count(*) from outbox").await, 1);
    database.drop_database().await;
}

#[tokio::test]
async fn a_key_stands_for_one_job_even_when_submitted_at_once() {
    let database = TestDatabase::create().await;
    let store = &database.store;
    let owner = tenant(store, "a").await;
    let submissions = (0..10).map(|_| {
        let store = store.clone();
        let mut job = new_job(owner);
        job.idempotency_key = Some("k".into());
        tokio::spawn(async move { store.accept(&job).await.unwrap() })
    });
    let (mut created, mut ids) = (0, Vec::new());
    for submission in submissions.collect::<Vec<_>>() {
        match submission.await.unwrap() {
            Accepted::Created(job) => {
                created += 1;
                ids.push(job.id);
            }
            Accepted::Replayed(job) => ids.push(job.id),
            other => panic!("{other:?}"),
        }
    }
    ids.dedup();
    assert_eq!((created, ids.len()), (1, 1));
    assert_eq!(database.count("select count(*) from jobs").await, 1);
    assert_eq!(database.count("select count(*) from outbox").await, 1);
    database.drop_database().await;
}

#[tokio::test]
async fn a_key_used_for_another_request_is_refused_and_another_tenants_key_is_free() {
    let database = TestDatabase::create().await;
    let store = &database.store;
    let (a, b) = (tenant(store, "a").await, tenant(store, "b").await);
    let mut first = new_job(a);
    first.idempotency_key = Some("k".into());
    accept(store, first.clone()).await;
    let mut other = new_job(a);
    other.idempotency_key = Some("k".into());
    other.request_hash = [8; 32];
    assert!(matches!(store.accept(&other).await.unwrap(), Accepted::KeyReused));
    other.tenant = b;
    assert!(matches!(store.accept(&other).await.unwrap(), Accepted::Created(_)));
    database.drop_database().await;
}

#[tokio::test]
async fn a_foreign_job_is_answered_like_none() {
    let database = TestDatabase::create().await;
    let store = &database.store;
    let (a, b) = (tenant(store, "a").await, tenant(store, "b").await);
    let id = accept(store, new_job(a)).await;
    assert!(store.job(b, id).await.unwrap().is_none());
    assert!(store.job(TenantId::from_uuid(Uuid::now_v7()), id).await.unwrap().is_none());
    assert!(store.jobs(b, &JobFilter { limit: 10, ..JobFilter::default() }).await.unwrap().is_empty());
    database.drop_database().await;
}

#[tokio::test]
async fn pages_go_from_new_to_old_without_gap_or_repetition() {
    let database = TestDatabase::create().await;
    let store = &database.store;
    let owner = tenant(store, "a").await;
    let mut ids = Vec::new();
    for _ in 0..7 {
        ids.push(accept(store, new_job(owner)).await);
    }
    ids.sort();
    ids.reverse();
    let (mut seen, mut before) = (Vec::new(), None);
    loop {
        let filter = JobFilter { before, limit: 3, ..JobFilter::default() };
        let page = store.jobs(owner, &filter).await.unwrap();
        seen.extend(page.iter().map(|job| job.id));
        match page.last() {
            Some(job) => before = Some(job.id),
            None => break,
        }
    }
    assert_eq!(seen, ids);
    let running = JobFilter { state: Some(JobState::Running), limit: 3, ..JobFilter::default() };
    assert!(store.jobs(owner, &running).await.unwrap().is_empty());
    let other_model = JobFilter { model: Some("x".into()), limit: 3, ..JobFilter::default() };
    assert!(store.jobs(owner, &other_model).await.unwrap().is_empty());
    database.drop_database().await;
}
