//! Submissions that share a statement.

use std::time::Duration;

use darkroom_jobs::{Event, JobWebhook, TenantId, WebhookForm};
use darkroom_store::testing::TestDatabase;
use darkroom_store::{Accepted, NewJob};
use futures_util::FutureExt as _;
use sqlx::{Connection as _, Executor as _, PgConnection};
use tokio::task::JoinSet;
use tokio::time::timeout;
use uuid::Uuid;

use crate::builder::{in_lane, new_job, tenant};
use crate::job_webhooks::with_webhook;

/// Until so many statements wait for the lock of a table.
async fn until_held(database: &TestDatabase, statements: i64) {
    let waiting = "select count(*) from pg_stat_activity where wait_event = 'relation' and datname = current_database()";
    let held = async { while database.count(waiting).await < statements {} };
    timeout(Duration::from_secs(10), held).await.expect("statements wait for the table");
}

/// Submits jobs at the same time while none can be inserted; what became of each, in order.
async fn submit_held(
    database: &TestDatabase,
    jobs: &[NewJob],
) -> Vec<Result<Accepted, darkroom_store::Error>> {
    let mut holder = PgConnection::connect(database.url()).await.unwrap();
    let mut held = holder.begin().await.unwrap();
    held.execute("lock table jobs in exclusive mode").await.unwrap();
    let mut submissions = JoinSet::new();
    for (place, job) in jobs.iter().cloned().enumerate() {
        let store = database.store.clone();
        submissions.spawn(async move { (place, store.accept(&job).await) });
    }
    // Two of single jobs, and one of those that gathered meanwhile.
    until_held(database, 3).await;
    held.rollback().await.unwrap();
    let mut answers = submissions.join_all().await;
    answers.sort_by_key(|(place, _)| *place);
    answers.into_iter().map(|(_, answer)| answer).collect()
}

#[tokio::test]
async fn jobs_that_come_together_are_each_accepted_as_if_alone() {
    let database = TestDatabase::create().await;
    let (a, b) = (tenant(&database.store, "a").await, tenant(&database.store, "b").await);
    let jobs: Vec<NewJob> = (0..60)
        .map(|number| NewJob {
            idempotency_key: (number % 2 == 0).then(|| format!("key-{number}")),
            fingerprint: (number % 3 == 0).then_some([number; 32]),
            traceparent: (number % 5 == 0).then(|| "00-1".into()),
            ..in_lane(new_job(if number % 4 == 0 { a } else { b }), if number < 20 { "m" } else { "n" })
        })
        .collect();
    let answers = submit_held(&database, &jobs).await;
    for (job, answer) in jobs.iter().zip(answers) {
        let Accepted::Created(told) = answer.unwrap() else { panic!("{} is new", job.id) };
        let stored = database.store.job(job.tenant, job.id).await.unwrap().unwrap();
        assert_eq!(format!("{told:?}"), format!("{stored:?}"));
    }
    assert_eq!(database.count("select count(*) from jobs").await, 60);
    assert_eq!(database.count("select count(*) from outbox where lane like '%:n'").await, 40);
    assert_eq!(database.count("select count(*) from unanswered_jobs").await, 20);
    assert_eq!(database.count("select count(*) from job_requests where traceparent = '00-1'").await, 12);
    assert_eq!(database.count("select count(*) from jobs where idempotency_key is not null").await, 30);
    let transactions = database.count("select count(distinct xmin::text) from jobs").await;
    assert!(transactions < 30, "{transactions} transactions for 60 jobs");
    database.drop_database().await;
}

#[tokio::test]
async fn a_key_that_comes_twice_together_makes_one_job() {
    let database = TestDatabase::create().await;
    let owner = tenant(&database.store, "a").await;
    let named = |key: u32| NewJob { idempotency_key: Some(format!("key-{key}")), ..new_job(owner) };
    let jobs: Vec<NewJob> = (0..40).map(|number| named(number / 2)).collect();
    let answers = submit_held(&database, &jobs).await;
    let created = answers.iter().filter(|answer| matches!(answer, Ok(Accepted::Created(_)))).count();
    let replayed = answers.iter().filter(|answer| matches!(answer, Ok(Accepted::Replayed(_)))).count();
    assert_eq!((created, replayed), (20, 20));
    assert_eq!(database.count("select count(*) from outbox").await, 20);
    database.drop_database().await;
}

#[tokio::test]
async fn a_job_that_cannot_be_accepted_takes_no_other_with_it() {
    let database = TestDatabase::create().await;
    let owner = tenant(&database.store, "a").await;
    let nobody = TenantId::from_uuid(Uuid::now_v7());
    let jobs: Vec<NewJob> =
        (0..20).map(|number| new_job(if number == 11 { nobody } else { owner })).collect();
    let answers = submit_held(&database, &jobs).await;
    for (number, answer) in answers.iter().enumerate() {
        assert_eq!(answer.is_ok(), number != 11, "{number}: {answer:?}");
    }
    assert_eq!(database.count("select count(*) from jobs").await, 19);
    assert_eq!(database.count("select count(*) from outbox").await, 19);
    database.drop_database().await;
}

#[tokio::test]
async fn a_job_whose_caller_is_gone_before_it_was_sent_is_not_made() {
    let database = TestDatabase::create().await;
    let owner = tenant(&database.store, "a").await;
    let mut holder = PgConnection::connect(database.url()).await.unwrap();
    let mut held = holder.begin().await.unwrap();
    held.execute("lock table jobs in exclusive mode").await.unwrap();
    let mut first = JoinSet::new();
    for sent in 1..=4 {
        let (store, job) = (database.store.clone(), new_job(owner));
        first.spawn(async move { store.accept(&job).await });
        until_held(&database, sent).await;
    }
    // As many as there may be are under way: these gather, and their callers leave.
    for _ in 0..5 {
        assert!(database.store.accept(&new_job(owner)).now_or_never().is_none());
    }
    let last = new_job(owner);
    let submitted = database.store.accept(&last);
    let release = async { held.rollback().await.unwrap() };
    let (last, ()) = tokio::join!(submitted, release);
    assert!(matches!(last, Ok(Accepted::Created(_))));
    assert!(first.join_all().await.iter().all(|answer| matches!(answer, Ok(Accepted::Created(_)))));
    assert_eq!(database.count("select count(*) from jobs").await, 5);
    database.drop_database().await;
}

#[tokio::test]
async fn a_job_with_a_webhook_is_told_as_it_is_stored() {
    let database = TestDatabase::create().await;
    let owner = tenant(&database.store, "a").await;
    let url = "https://shop.example/hooks".to_owned();
    let events = [&Event::FINAL[..], &Event::EARLY].concat();
    let job = with_webhook(new_job(owner), JobWebhook { url, form: WebhookForm::Native, events });
    let Accepted::Created(told) = database.store.accept(&job).await.unwrap() else { panic!("it is new") };
    let stored = database.store.job(owner, job.id).await.unwrap().unwrap();
    assert_eq!(format!("{told:?}"), format!("{stored:?}"));
    database.drop_database().await;
}
