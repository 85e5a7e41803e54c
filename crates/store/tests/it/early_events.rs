//! What the webhooks of single jobs are told before the end.

use std::time::Duration;

use darkroom_jobs::{Event, Failure, FailureClass, JobId, JobWebhook, Retry, WebhookForm};
use darkroom_store::testing::TestDatabase;
use darkroom_store::{
    AcceptedBatch, Beat, DeliveryAttempt, Outcome, Progress, Recorded, Replayed, Settled, Store, Verdict,
};
use uuid::Uuid;

use crate::builder::{TestWorker, accept, new_job, picture, record, succeed, tenant};
use crate::files::batch;
use crate::job_webhooks::with_webhook;

const DELIVERIES: &str = "select count(*) from webhook_deliveries";

fn asking(events: &[Event]) -> JobWebhook {
    let url = "https://shop.example/hooks".to_owned();
    JobWebhook { url, form: WebhookForm::Replicate, events: events.to_vec() }
}

fn everything() -> JobWebhook {
    asking(&[&Event::EARLY[..], &Event::FINAL].concat())
}

/// Delivers all that is due and says what it was, in order.
async fn told(store: &Store) -> Vec<Event> {
    let mut told = Vec::new();
    loop {
        let due = store.claim_deliveries(&[], 10).await.unwrap();
        let Some(due) = due.into_iter().next() else { return told };
        let attempt = DeliveryAttempt {
            delivery: due.id,
            started_at: due.claimed_at,
            duration: Duration::from_millis(12),
            status: Some(200),
            error: None,
            response: None,
        };
        store.record_delivery(&attempt, Verdict::Delivered).await.unwrap();
        told.push(due.event);
    }
}

fn beat(lease: darkroom_store::Lease, step: u32) -> Beat {
    Beat { lease, progress: Some(Progress { image: 0, images: 1, step, steps: 4 }) }
}

#[tokio::test]
async fn start_and_each_output_are_told_once_each() {
    let database = TestDatabase::create().await;
    let store = &database.store;
    let owner = tenant(store, "a").await;
    accept(store, with_webhook(new_job(owner), everything())).await;
    let worker = TestWorker::start(store).await;
    assert_eq!(told(store).await, []);

    let first = worker.take(store).await.lease;
    assert_eq!(told(store).await, [Event::JobStarted]);
    assert_eq!(store.record_artifact(&first, &picture(&first, 0)).await.unwrap(), Recorded::Stored);
    assert_eq!(store.record_artifact(&first, &picture(&first, 0)).await.unwrap(), Recorded::Stored);
    assert_eq!(told(store).await, [Event::JobOutput]);
    assert_eq!(store.settle(&first, &Outcome::Released, 2).await.unwrap(), Settled::Done);
    assert_eq!(store.record_artifact(&first, &picture(&first, 1)).await.unwrap(), Recorded::LeaseGone);

    let second = worker.take(store).await.lease;
    assert_eq!(told(store).await, [], "it had started, and the lease was gone");
    let settled = store.finish(&second, &picture(&second, 1), &[].into(), 2).await.unwrap();
    assert_eq!(settled, Settled::Done);
    assert_eq!(told(store).await, [Event::JobOutput, Event::JobSucceeded]);
    database.drop_database().await;
}

#[tokio::test]
async fn progress_is_told_when_there_is_some_and_not_too_often() {
    let database = TestDatabase::create().await;
    let store = &database.store;
    let owner = tenant(store, "a").await;
    accept(store, with_webhook(new_job(owner), asking(&[Event::JobProgress]))).await;
    let lease = TestWorker::start(store).await.take(store).await.lease;
    store.heartbeat(&[Beat { lease, progress: None }]).await.unwrap();
    assert_eq!(database.count(DELIVERIES).await, 0);
    store.heartbeat(&[beat(lease, 1)]).await.unwrap();
    let pending =
        database.count("select count(*) from webhook_deliveries where event = 'job.progress'").await;
    assert_eq!(pending, 1);

    let let_a_moment_pass =
        "update webhook_deliveries set created_at = created_at - interval '500 milliseconds'";
    database.execute(let_a_moment_pass).await;
    store.heartbeat(&[beat(lease, 2)]).await.unwrap();
    assert_eq!(database.count(DELIVERIES).await, 1, "the one that waits will tell of this step");
    assert_eq!(told(store).await, [Event::JobProgress]);
    store.heartbeat(&[beat(lease, 2)]).await.unwrap();
    assert_eq!(told(store).await, [], "nothing is new");
    store.heartbeat(&[beat(lease, 3)]).await.unwrap();
    assert_eq!(told(store).await, [Event::JobProgress]);
    database.execute("update webhook_deliveries set created_at = now()").await;
    store.heartbeat(&[beat(lease, 4)]).await.unwrap();
    assert_eq!(told(store).await, [], "it was told a moment ago");
    database.drop_database().await;
}

#[tokio::test]
async fn jobs_that_ask_for_their_end_alone_are_told_nothing_before() {
    let database = TestDatabase::create().await;
    let store = &database.store;
    let owner = tenant(store, "a").await;
    let worker = TestWorker::start(store).await;
    for events in [&Event::FINAL[..], &[Event::JobSucceeded]] {
        accept(store, with_webhook(new_job(owner), asking(events))).await;
        let leased = worker.take(store).await;
        store.heartbeat(&[beat(leased.lease, 1)]).await.unwrap();
        record(store, &leased.lease).await;
        assert_eq!(database.count("select count(*) from jobs where told_early").await, 0);
        assert_eq!(told(store).await, []);
        succeed(store, &leased).await;
        assert_eq!(told(store).await, [Event::JobSucceeded]);
    }
    // One of the early ones does not bring the others along.
    accept(store, with_webhook(new_job(owner), asking(&[Event::JobOutput]))).await;
    let leased = worker.take(store).await;
    store.heartbeat(&[beat(leased.lease, 1)]).await.unwrap();
    succeed(store, &leased).await;
    assert_eq!(told(store).await, [Event::JobOutput]);
    database.drop_database().await;
}

#[tokio::test]
async fn jobs_of_a_batch_tell_their_webhooks_however_many_batches_name_them_at_once() {
    let database = TestDatabase::create().await;
    let store = &database.store;
    let owner = tenant(store, "a").await;
    // The same endpoints in another order each.
    let batch_of = |from: usize| {
        let webhook = |place: usize| {
            let url = format!("https://shop.example/{}", (from + place) % 20);
            JobWebhook { url, ..everything() }
        };
        let mut jobs: Vec<_> = (0..40).map(|place| with_webhook(new_job(owner), webhook(place))).collect();
        jobs.push(new_job(owner));
        batch(owner, jobs)
    };
    let (one, other, third) = (batch_of(0), batch_of(7), batch_of(13));
    let accepted =
        tokio::join!(store.accept_batch(&one), store.accept_batch(&other), store.accept_batch(&third));
    for accepted in [accepted.0, accepted.1, accepted.2] {
        assert!(matches!(accepted.unwrap(), AcceptedBatch::Created(_)));
    }
    assert_eq!(database.count("select count(*) from webhooks").await, 20);
    assert_eq!(database.count("select count(*) from job_webhooks").await, 120);
    assert_eq!(database.count("select count(*) from jobs where told_early").await, 120);
    let leased = TestWorker::start(store).await.take(store).await;
    succeed(store, &leased).await;
    assert_eq!(told(store).await, [Event::JobStarted, Event::JobOutput, Event::JobSucceeded]);
    database.drop_database().await;
}

#[tokio::test]
async fn the_job_that_runs_a_failed_one_again_tells_its_start_as_well() {
    let database = TestDatabase::create().await;
    let store = &database.store;
    let owner = tenant(store, "a").await;
    let id = accept(store, with_webhook(new_job(owner), everything())).await;
    let worker = TestWorker::start(store).await;
    let failure = Failure::new(FailureClass::Infrastructure, "no store");
    let outcome = Outcome::Failed { failure, retry: Retry::Never, avoid: None };
    store.settle(&worker.take(store).await.lease, &outcome, 1).await.unwrap();
    assert_eq!(told(store).await, [Event::JobStarted, Event::JobFailed]);
    let by = JobId::from_uuid(Uuid::now_v7());
    assert_eq!(store.replay_job(id, by).await.unwrap(), Replayed::By(by));
    succeed(store, &worker.take(store).await).await;
    assert_eq!(told(store).await, [Event::JobStarted, Event::JobOutput, Event::JobSucceeded]);
    database.drop_database().await;
}

#[tokio::test]
async fn an_event_of_a_newer_release_holds_up_no_other() {
    let database = TestDatabase::create().await;
    let store = &database.store;
    let owner = tenant(store, "a").await;
    let worker = TestWorker::start(store).await;
    for place in 0..2 {
        let url = format!("https://shop.example/{place}");
        accept(store, with_webhook(new_job(owner), JobWebhook { url, ..everything() })).await;
        worker.take(store).await;
    }
    database
        .execute(
            "update webhook_deliveries set event = 'job.dreamt'
             where webhook_id = (select id from webhooks where url like '%/0')",
        )
        .await;
    assert_eq!(told(store).await, [Event::JobStarted]);
    assert_eq!(database.count("select count(*) from webhook_deliveries where state = 'pending'").await, 1);
    database.drop_database().await;
}
