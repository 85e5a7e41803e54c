//! Submissions that share a statement.

use darkroom_jobs::TenantId;
use darkroom_store::testing::TestDatabase;
use darkroom_store::{Accepted, NewJob};
use sqlx::{Connection as _, Executor as _, PgConnection};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::builder::{in_lane, new_job, tenant};

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
    // Until every connection waits that will: those that gather are sent while the first ones are held.
    let waiting = "select count(*) from pg_stat_activity where wait_event = 'relation' and datname = current_database()";
    while database.count(waiting).await < 3 {
        tokio::task::yield_now().await;
    }
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
