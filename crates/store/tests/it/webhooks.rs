use std::time::Duration;

use darkroom_jobs::{Event, Failure, FailureClass, JobId, Retry, TenantId, WebhookId};
use darkroom_store::testing::TestDatabase;
use darkroom_store::{
    Canceled, DeliveryFilter, NewWebhook, Outcome, Sending, Settled, Store, Webhook, WebhookChange,
};
use secrecy::ExposeSecret;
use uuid::Uuid;

use crate::builder::{
    TestWorker, accept, let_backoffs_end, let_leases_expire, new_job, record, tenant, with_deadline,
};

const SUCCESS: Outcome = Outcome::Succeeded { timings: std::collections::BTreeMap::new() };

pub(crate) fn new_webhook(tenant: TenantId) -> NewWebhook {
    NewWebhook {
        id: WebhookId::from_uuid(Uuid::now_v7()),
        tenant,
        url: "https://shop.example/hooks".into(),
        description: String::new(),
        events: Event::FINAL.into(),
        secret: vec![1; 32].into(),
    }
}

pub(crate) async fn webhook(store: &Store, tenant: TenantId) -> Webhook {
    store.create_webhook(&new_webhook(tenant)).await.unwrap().unwrap()
}

fn failed(retry: Retry) -> Outcome {
    Outcome::Failed { failure: Failure::new(FailureClass::Infrastructure, "no store"), retry, avoid: None }
}

/// The events that an endpoint has of a job.
async fn events(store: &Store, tenant: TenantId, webhook: WebhookId, job: JobId) -> Vec<Event> {
    let filter = DeliveryFilter { limit: 100, ..DeliveryFilter::default() };
    let deliveries = store.deliveries(tenant, webhook, &filter).await.unwrap();
    deliveries
        .into_iter()
        .filter(|delivery| delivery.job == Some(job))
        .map(|delivery| delivery.event)
        .collect()
}

#[tokio::test]
async fn a_job_that_succeeds_is_one_event_for_each_endpoint_of_its_owner() {
    let database = TestDatabase::create().await;
    let store = &database.store;
    let (owner, other) = (tenant(store, "a").await, tenant(store, "b").await);
    let (first, second) = (webhook(store, owner).await, webhook(store, owner).await);
    webhook(store, other).await;
    let id = accept(store, new_job(owner)).await;
    let leased = TestWorker::start(store).await.take(store).await;
    record(store, &leased.lease).await;
    assert_eq!(database.count("select count(*) from webhook_deliveries").await, 0);
    store.settle(&leased.lease, &SUCCESS, 1).await.unwrap();
    // A reply that was lost.
    assert_eq!(store.settle(&leased.lease, &SUCCESS, 1).await.unwrap(), Settled::Done);
    for webhook in [&first, &second] {
        assert_eq!(events(store, owner, webhook.id, id).await, [Event::JobSucceeded]);
    }
    assert_eq!(database.count("select count(*) from webhook_deliveries").await, 2);
    database.drop_database().await;
}

#[tokio::test]
async fn only_the_failure_that_ends_a_job_is_an_event() {
    let database = TestDatabase::create().await;
    let store = &database.store;
    let owner = tenant(store, "a").await;
    let webhook = webhook(store, owner).await;
    let worker = TestWorker::start(store).await;
    let id = accept(store, new_job(owner)).await;
    let first = worker.take(store).await;
    store.settle(&first.lease, &failed(Retry::After(Duration::ZERO)), 1).await.unwrap();
    let second = worker.take(store).await;
    store.settle(&second.lease, &Outcome::Released, 1).await.unwrap();
    assert!(events(store, owner, webhook.id, id).await.is_empty());
    let third = worker.take(store).await;
    store.settle(&third.lease, &failed(Retry::Never), 1).await.unwrap();
    assert_eq!(events(store, owner, webhook.id, id).await, [Event::JobFailed]);
    database.drop_database().await;
}

#[tokio::test]
async fn a_job_that_the_reaper_fails_is_one_event() {
    let database = TestDatabase::create().await;
    let store = &database.store;
    let owner = tenant(store, "a").await;
    let webhook = webhook(store, owner).await;
    let worker = TestWorker::start(store).await;
    let mut job = new_job(owner);
    job.max_attempts = 2;
    let id = accept(store, job).await;
    for expected in [&[][..], &[Event::JobFailed]] {
        worker.take(store).await;
        let_leases_expire(&database).await;
        assert_eq!(store.reap(10, 0.5).await.unwrap().len(), 1);
        let_backoffs_end(&database).await;
        assert_eq!(events(store, owner, webhook.id, id).await, expected);
    }
    database.drop_database().await;
}

#[tokio::test]
async fn canceled_and_expired_jobs_are_events_whether_they_ran_or_not() {
    let database = TestDatabase::create().await;
    let store = &database.store;
    let owner = tenant(store, "a").await;
    let webhook = webhook(store, owner).await;
    let worker = TestWorker::start(store).await;
    let ran = accept(store, new_job(owner)).await;
    worker.take(store).await;
    let waited = accept(store, new_job(owner)).await;
    for id in [ran, waited] {
        assert_eq!(store.cancel(owner, id).await.unwrap(), Canceled::Done);
        assert_eq!(store.cancel(owner, id).await.unwrap(), Canceled::AlreadyFinal);
        assert_eq!(events(store, owner, webhook.id, id).await, [Event::JobCanceled]);
    }
    let ran = accept(store, with_deadline(new_job(owner), Duration::from_secs(60))).await;
    worker.take(store).await;
    let waited = accept(store, with_deadline(new_job(owner), Duration::from_secs(60))).await;
    database.execute("update jobs set deadline = now() where state in ('queued', 'running')").await;
    assert_eq!(store.expire(10).await.unwrap().len(), 2);
    assert!(store.expire(10).await.unwrap().is_empty());
    for id in [ran, waited] {
        assert_eq!(events(store, owner, webhook.id, id).await, [Event::JobExpired]);
    }
    database.drop_database().await;
}

#[tokio::test]
async fn cancel_racing_settle_leaves_one_event_which_is_the_final_state() {
    let database = TestDatabase::create().await;
    let store = &database.store;
    let owner = tenant(store, "a").await;
    let webhook = webhook(store, owner).await;
    let worker = TestWorker::start(store).await;
    for round in 0..60 {
        let id = accept(store, new_job(owner)).await;
        let leased = worker.take(store).await;
        record(store, &leased.lease).await;
        let outcome = if round % 2 == 0 { SUCCESS } else { failed(Retry::Never) };
        let (canceled, settled, expired) =
            tokio::join!(store.cancel(owner, id), store.settle(&leased.lease, &outcome, 1), store.expire(10));
        canceled.unwrap();
        settled.unwrap();
        expired.unwrap();
        let state = store.job(owner, id).await.unwrap().unwrap().state;
        let seen = events(store, owner, webhook.id, id).await;
        assert_eq!(seen.iter().map(|event| event.job_state()).collect::<Vec<_>>(), [Some(state)]);
    }
    database.drop_database().await;
}

#[tokio::test]
async fn an_event_is_not_there_unless_its_job_is_final() {
    let database = TestDatabase::create().await;
    let store = &database.store;
    let owner = tenant(store, "a").await;
    let webhook = webhook(store, owner).await;
    let id = accept(store, new_job(owner)).await;
    // Written before the transaction that ends the job is committed, and gone with it.
    database
        .execute(&format!(
            "begin;
             update jobs set state = 'canceled', finished_at = now() where id = '{id}';
             do $$ begin assert (select count(*) from webhook_deliveries) = 1; end $$;
             rollback"
        ))
        .await;
    assert!(events(store, owner, webhook.id, id).await.is_empty());
    database.drop_database().await;
}

#[tokio::test]
async fn only_events_that_were_asked_for_are_recorded() {
    let database = TestDatabase::create().await;
    let store = &database.store;
    let owner = tenant(store, "a").await;
    let mut new = new_webhook(owner);
    new.events = vec![Event::JobFailed, Event::JobExpired];
    let webhook = store.create_webhook(&new).await.unwrap().unwrap();
    let id = accept(store, new_job(owner)).await;
    store.cancel(owner, id).await.unwrap();
    assert!(events(store, owner, webhook.id, id).await.is_empty());
    let change = WebhookChange { events: Some(vec![Event::JobCanceled]), ..WebhookChange::default() };
    let changed = store.update_webhook(owner, webhook.id, &change).await.unwrap().unwrap();
    assert_eq!((changed.events, changed.url), (vec![Event::JobCanceled], webhook.url));
    let id = accept(store, new_job(owner)).await;
    store.cancel(owner, id).await.unwrap();
    assert_eq!(events(store, owner, webhook.id, id).await, [Event::JobCanceled]);
    database.drop_database().await;
}

#[tokio::test]
async fn disabled_and_deleted_endpoints_are_told_nothing() {
    let database = TestDatabase::create().await;
    let store = &database.store;
    let owner = tenant(store, "a").await;
    let (disabled, deleted) = (webhook(store, owner).await, webhook(store, owner).await);
    let off = WebhookChange { enabled: Some(false), ..WebhookChange::default() };
    let change = store.update_webhook(owner, disabled.id, &off).await.unwrap().unwrap();
    assert_eq!(change.disabled.unwrap().1.as_str(), "owner");
    assert!(store.delete_webhook(owner, deleted.id).await.unwrap());
    let id = accept(store, new_job(owner)).await;
    store.cancel(owner, id).await.unwrap();
    assert_eq!(database.count("select count(*) from webhook_deliveries").await, 0);
    assert!(matches!(store.send_test(owner, disabled.id).await.unwrap(), Sending::Disabled));
    assert!(matches!(store.send_test(owner, deleted.id).await.unwrap(), Sending::NotFound));

    let on = WebhookChange { enabled: Some(true), ..WebhookChange::default() };
    assert!(store.update_webhook(owner, disabled.id, &on).await.unwrap().unwrap().disabled.is_none());
    let id = accept(store, new_job(owner)).await;
    store.cancel(owner, id).await.unwrap();
    assert_eq!(events(store, owner, disabled.id, id).await, [Event::JobCanceled]);
    database.drop_database().await;
}

#[tokio::test]
async fn nobody_reaches_anothers_endpoint() {
    let database = TestDatabase::create().await;
    let store = &database.store;
    let (owner, other) = (tenant(store, "a").await, tenant(store, "b").await);
    let webhook = webhook(store, owner).await;
    let Sending::Pending(delivery) = store.send_test(owner, webhook.id).await.unwrap() else {
        panic!("not sent")
    };
    let all = DeliveryFilter { limit: 10, ..DeliveryFilter::default() };
    assert!(store.webhook(other, webhook.id).await.unwrap().is_none());
    assert!(store.webhooks(other).await.unwrap().is_empty());
    assert!(store.update_webhook(other, webhook.id, &WebhookChange::default()).await.unwrap().is_none());
    assert!(store.rotate_webhook_secret(other, webhook.id, &vec![2; 32].into()).await.unwrap().is_none());
    assert!(store.deliveries(other, webhook.id, &all).await.unwrap().is_empty());
    assert!(matches!(store.send_test(other, webhook.id).await.unwrap(), Sending::NotFound));
    let resent = store.resend_delivery(other, webhook.id, delivery.id).await.unwrap();
    assert!(matches!(resent, Sending::NotFound));
    assert!(!store.delete_webhook(other, webhook.id).await.unwrap());
    assert_eq!(store.webhooks(owner).await.unwrap().len(), 1);
    database.drop_database().await;
}

#[tokio::test]
async fn a_tenant_has_so_many_endpoints_and_no_more() {
    let database = TestDatabase::create().await;
    let store = &database.store;
    let owner = tenant(store, "a").await;
    let mut last = None;
    for _ in 0..Store::MAX_WEBHOOKS {
        last = Some(webhook(store, owner).await);
    }
    assert!(store.create_webhook(&new_webhook(owner)).await.unwrap().is_none());
    store.delete_webhook(owner, last.unwrap().id).await.unwrap();
    assert!(store.create_webhook(&new_webhook(owner)).await.unwrap().is_some());
    database.drop_database().await;
}

#[tokio::test]
async fn two_secrets_sign_during_a_rotation_and_one_after() {
    let database = TestDatabase::create().await;
    let store = &database.store;
    let owner = tenant(store, "a").await;
    let webhook = webhook(store, owner).await;
    let mut seen = Vec::new();
    let rotated = store.rotate_webhook_secret(owner, webhook.id, &vec![2; 32].into()).await.unwrap().unwrap();
    assert!(rotated.previous_secret_until.is_some());
    for _ in 0..2 {
        store.send_test(owner, webhook.id).await.unwrap();
        let due = store.claim_deliveries(&[], 10).await.unwrap().remove(0);
        seen.push(due.secrets.iter().map(|secret| secret.expose_secret()[0]).collect::<Vec<_>>());
        database.execute("update webhooks set previous_secret_until = now() - interval '1 second'").await;
    }
    assert_eq!(seen, [vec![2, 1], vec![2]]);
    database.drop_database().await;
}
