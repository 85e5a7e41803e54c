//! Endpoints that jobs name.

use darkroom_jobs::{Event, Failure, FailureClass, JobId, JobWebhook, Retry, TenantId, WebhookForm};
use darkroom_store::testing::TestDatabase;
use darkroom_store::{
    DeliveryAttempt, DeliveryFilter, DueDelivery, NewJob, Outcome, Replayed, Sending, Store, Verdict,
    WebhookChange,
};
use secrecy::ExposeSecret;
use uuid::Uuid;

use crate::builder::{TestWorker, accept, new_job, succeed, tenant};
use crate::webhooks::webhook;

const URL: &str = "https://shop.example/hooks";
const ENDPOINTS: &str = "select count(*) from webhooks where for_jobs";

fn named(url: &str, form: WebhookForm) -> JobWebhook {
    JobWebhook { url: url.to_owned(), form, events: Event::FINAL.into() }
}

pub(crate) fn with_webhook(mut job: NewJob, webhook: JobWebhook) -> NewJob {
    job.submission.options.webhook = Some(webhook);
    job
}

/// A job that names an endpoint, canceled: so that it has something to tell.
async fn canceled(store: &Store, owner: TenantId, webhook: JobWebhook) -> JobId {
    let id = accept(store, with_webhook(new_job(owner), webhook)).await;
    store.cancel(owner, id).await.unwrap();
    id
}

async fn claim_one(store: &Store) -> DueDelivery {
    let mut due = store.claim_deliveries(&[], 10).await.unwrap();
    assert_eq!(due.len(), 1, "{due:?}");
    due.remove(0)
}

fn answered(due: &DueDelivery, status: u16) -> DeliveryAttempt {
    DeliveryAttempt {
        delivery: due.id,
        started_at: due.claimed_at,
        duration: std::time::Duration::from_millis(12),
        status: Some(status),
        error: None,
        response: None,
    }
}

/// As if everything had been unused for long.
async fn let_hours_pass(database: &TestDatabase) {
    database.execute("update webhooks set unused_since = unused_since - interval '2 hours'").await;
}

#[tokio::test]
async fn a_job_tells_its_own_endpoint_and_its_owners() {
    let database = TestDatabase::create().await;
    let store = &database.store;
    let (owner, other) = (tenant(store, "a").await, tenant(store, "b").await);
    let all = webhook(store, owner).await;
    let id = canceled(store, owner, named(URL, WebhookForm::Replicate)).await;
    let plain = accept(store, new_job(owner)).await;
    store.cancel(owner, plain).await.unwrap();
    // Named by another tenant, it is another endpoint.
    canceled(store, other, named(URL, WebhookForm::Replicate)).await;

    let mut due = store.claim_deliveries(&[], 10).await.unwrap();
    due.sort_by_key(|due| (due.tenant.as_uuid(), due.form != WebhookForm::Native));
    let secrets = [store.webhook_secret(owner).await, store.webhook_secret(other).await]
        .map(|secret| secret.unwrap().unwrap().secret.expose_secret().to_vec());
    let seen: Vec<_> = due
        .iter()
        .map(|due| (due.tenant, due.form, due.url.as_str(), due.secrets[0].expose_secret().to_vec()))
        .collect();
    assert_eq!(
        seen,
        [
            (owner, WebhookForm::Native, all.url.as_str(), vec![1; 32]),
            (owner, WebhookForm::Replicate, URL, secrets[0].clone()),
            (other, WebhookForm::Replicate, URL, secrets[1].clone()),
        ]
    );
    assert_ne!(secrets[0], secrets[1]);
    assert!(secrets.iter().all(|secret| secret.len() == 32));
    assert_eq!((due[1].job, due[1].event), (Some(id), Event::JobCanceled));
    database.drop_database().await;
}

#[tokio::test]
async fn only_the_events_that_the_job_names_are_told() {
    let database = TestDatabase::create().await;
    let store = &database.store;
    let owner = tenant(store, "a").await;
    let failures = JobWebhook { events: vec![Event::JobFailed], ..named(URL, WebhookForm::Native) };
    canceled(store, owner, failures.clone()).await;
    accept(store, with_webhook(new_job(owner), failures)).await;
    succeed(store, &TestWorker::start(store).await.take(store).await).await;
    assert_eq!(database.count("select count(*) from webhook_deliveries").await, 0);
    database.drop_database().await;
}

#[tokio::test]
async fn jobs_that_name_the_same_share_an_endpoint_also_when_they_come_at_once() {
    let database = TestDatabase::create().await;
    let store = &database.store;
    let owner = tenant(store, "a").await;
    let accept = async |form| accept(store, with_webhook(new_job(owner), named(URL, form))).await;
    tokio::join!(
        accept(WebhookForm::Native),
        accept(WebhookForm::Native),
        accept(WebhookForm::Native),
        accept(WebhookForm::Fal),
        accept(WebhookForm::Fal)
    );
    accept(WebhookForm::Fal).await;
    assert_eq!(database.count(ENDPOINTS).await, 2);
    assert_eq!(database.count("select count(*) from job_webhooks").await, 6);
    database.drop_database().await;
}

#[tokio::test]
async fn a_url_of_full_length_fits() {
    let database = TestDatabase::create().await;
    let store = &database.store;
    let owner = tenant(store, "a").await;
    // What repeats would be compressed.
    let mut url = String::from("https://shop.example/");
    while url.len() < 2_048 {
        url.push_str(&Uuid::new_v4().simple().to_string());
    }
    url.truncate(2_048);
    canceled(store, owner, named(&url, WebhookForm::Replicate)).await;
    assert_eq!(claim_one(store).await.url, url);
    database.drop_database().await;
}

#[tokio::test]
async fn a_submission_that_makes_no_job_makes_no_endpoint() {
    let database = TestDatabase::create().await;
    let store = &database.store;
    let owner = tenant(store, "a").await;
    let mut job = new_job(owner);
    job.idempotency_key = Some("k".into());
    accept(store, job.clone()).await;
    job.id = JobId::from_uuid(Uuid::now_v7());
    store.accept(&with_webhook(job, named(URL, WebhookForm::Native))).await.unwrap();
    assert_eq!(database.count(ENDPOINTS).await, 0);
    database.drop_database().await;
}

#[tokio::test]
async fn owners_see_none_of_them_and_have_as_many_of_their_own() {
    let database = TestDatabase::create().await;
    let store = &database.store;
    let owner = tenant(store, "a").await;
    for number in 0..20 {
        canceled(store, owner, named(&format!("{URL}?order={number}"), WebhookForm::Native)).await;
    }
    assert!(store.webhooks(owner).await.unwrap().is_empty());
    let own = webhook(store, owner).await;
    assert_eq!(store.webhooks(owner).await.unwrap().len(), 1);

    let due = store.claim_deliveries(&[], 10).await.unwrap().remove(0);
    assert_ne!(due.webhook, own.id);
    let filter = DeliveryFilter { limit: 10, ..DeliveryFilter::default() };
    assert!(store.webhook(owner, due.webhook).await.unwrap().is_none());
    assert!(store.deliveries(owner, due.webhook, &filter).await.unwrap().is_empty());
    assert!(
        store.update_webhook(owner, due.webhook, &WebhookChange::default()).await.unwrap().is_none()
            && store.rotate_webhook_secret(owner, due.webhook, &vec![2; 32].into()).await.unwrap().is_none()
            && !store.delete_webhook(owner, due.webhook).await.unwrap()
    );
    let resent = store.resend_delivery(owner, due.webhook, due.id).await.unwrap();
    let test = store.send_test(owner, due.webhook).await.unwrap();
    assert!(matches!((resent, test), (Sending::NotFound, Sending::NotFound)));
    database.drop_database().await;
}

#[tokio::test]
async fn an_endpoint_that_is_gone_is_told_of_the_next_job_all_the_same() {
    let database = TestDatabase::create().await;
    let store = &database.store;
    let owner = tenant(store, "a").await;
    canceled(store, owner, named(URL, WebhookForm::Fal)).await;
    let due = claim_one(store).await;
    assert_eq!(store.record_delivery(&answered(&due, 410), Verdict::Gone).await.unwrap(), None);
    let next = canceled(store, owner, named(URL, WebhookForm::Fal)).await;
    let due = claim_one(store).await;
    assert_eq!(due.job, Some(next));
    store.record_delivery(&answered(&due, 200), Verdict::Delivered).await.unwrap();
    assert!(store.claim_deliveries(&[], 10).await.unwrap().is_empty());
    database.drop_database().await;
}

#[tokio::test]
async fn two_secrets_of_a_tenants_jobs_sign_during_a_rotation_and_one_after() {
    let database = TestDatabase::create().await;
    let store = &database.store;
    let (owner, other) = (tenant(store, "a").await, tenant(store, "b").await);
    canceled(store, owner, named(URL, WebhookForm::Native)).await;
    let before = store.webhook_secret(owner).await.unwrap().unwrap();
    assert_eq!(before.previous_until, None);
    let others = store.webhook_secret(other).await.unwrap().unwrap();
    let rotated = store.replace_webhook_secret(owner, vec![2; 32].into()).await.unwrap().unwrap();
    let shown = store.webhook_secret(owner).await.unwrap().unwrap();
    assert!(rotated.previous_until.is_some() && shown.previous_until == rotated.previous_until);

    let keys = |due: &DueDelivery| -> Vec<Vec<u8>> {
        due.secrets.iter().map(|secret| secret.expose_secret().to_vec()).collect()
    };
    let due = claim_one(store).await;
    assert_eq!(keys(&due), [vec![2; 32], before.secret.expose_secret().to_vec()]);
    database
        .execute(
            "update tenants set previous_webhook_secret_until = now() where previous_webhook_secret is not null;
             update webhook_deliveries set next_attempt_at = now()",
        )
        .await;
    assert_eq!(keys(&claim_one(store).await), [vec![2; 32]]);
    let left_alone = store.webhook_secret(other).await.unwrap().unwrap();
    assert_eq!(left_alone.secret.expose_secret(), others.secret.expose_secret());
    let nobody = TenantId::from_uuid(Uuid::now_v7());
    assert!(store.replace_webhook_secret(nobody, vec![2; 32].into()).await.unwrap().is_none());
    database.drop_database().await;
}

#[tokio::test]
async fn the_job_that_runs_a_failed_one_again_tells_the_same_endpoint() {
    let database = TestDatabase::create().await;
    let store = &database.store;
    let owner = tenant(store, "a").await;
    let id = accept(store, with_webhook(new_job(owner), named(URL, WebhookForm::Replicate))).await;
    let worker = TestWorker::start(store).await;
    let failure = Failure::new(FailureClass::Infrastructure, "no store");
    let outcome = Outcome::Failed { failure, retry: Retry::Never, avoid: None };
    store.settle(&worker.take(store).await.lease, &outcome, 1).await.unwrap();
    assert_eq!(claim_one(store).await.event, Event::JobFailed);
    let by = JobId::from_uuid(Uuid::now_v7());
    assert_eq!(store.replay_job(id, by).await.unwrap(), Replayed::By(by));
    succeed(store, &worker.take(store).await).await;
    let due = claim_one(store).await;
    assert_eq!((due.job, due.event, due.form), (Some(by), Event::JobSucceeded, WebhookForm::Replicate));
    database.drop_database().await;
}

#[tokio::test]
async fn endpoints_that_no_job_names_are_forgotten_once_they_were_told() {
    let database = TestDatabase::create().await;
    let store = &database.store;
    let owner = tenant(store, "a").await;
    webhook(store, owner).await;
    let names = |url: &str| named(url, WebhookForm::Native);
    let told = canceled(store, owner, names("https://told.example/")).await;
    let due = store.claim_deliveries(&[], 10).await.unwrap();
    for due in due {
        store.record_delivery(&answered(&due, 200), Verdict::Delivered).await.unwrap();
    }
    let pending = canceled(store, owner, names("https://pending.example/")).await;
    let shared = canceled(store, owner, names("https://shared.example/")).await;
    canceled(store, owner, names("https://shared.example/")).await;
    for id in [told, pending, shared] {
        store.mark_swept(id).await.unwrap();
    }
    assert_eq!(store.forget_unused_webhooks(10).await.unwrap(), 0, "a URL may be named again soon");
    let_hours_pass(&database).await;
    assert_eq!(store.forget_unused_webhooks(10).await.unwrap(), 2, "an endpoint and its delivery");
    let left =
        "select count(*) from webhooks where url in ('https://pending.example/', 'https://shared.example/')";
    assert_eq!((database.count(ENDPOINTS).await, database.count(left).await), (2, 2));
    let noted = "select count(*) from webhooks where unused_since is not null";
    assert_eq!(database.count(noted).await, 1, "one is named still");

    database.execute("update webhook_deliveries set state = 'failed', finished_at = now()").await;
    let_hours_pass(&database).await;
    store.forget_unused_webhooks(10).await.unwrap();
    assert_eq!(database.count(ENDPOINTS).await, 1);
    database.drop_database().await;
}

#[tokio::test]
async fn an_endpoint_that_is_named_while_it_is_forgotten_is_there() {
    let database = TestDatabase::create().await;
    let store = &database.store;
    let owner = tenant(store, "a").await;
    for _ in 0..30 {
        let id = accept(store, with_webhook(new_job(owner), named(URL, WebhookForm::Native))).await;
        store.cancel(owner, id).await.unwrap();
        store.mark_swept(id).await.unwrap();
        database.execute("delete from webhook_deliveries").await;
        let_hours_pass(&database).await;
        let job = with_webhook(new_job(owner), named(URL, WebhookForm::Native));
        let (forgotten, id) = tokio::join!(store.forget_unused_webhooks(10), accept(store, job));
        forgotten.unwrap();
        store.cancel(owner, id).await.unwrap();
        assert_eq!(claim_one(store).await.job, Some(id));
        database.execute("delete from webhook_deliveries").await;
        store.mark_swept(id).await.unwrap();
    }
    database.drop_database().await;
}

#[tokio::test]
async fn ten_thousand_endpoints_that_wait_hold_up_no_other() {
    let database = TestDatabase::create().await;
    let store = &database.store;
    let (many, other) = (tenant(store, "many").await, tenant(store, "other").await);
    database
        .execute(&format!(
            "insert into webhooks (id, tenant_id, url, description, events, form, for_jobs)
             select uuid_v7(), '{}', '{URL}?order=' || n, '', '{{}}', 'fal', true from generate_series(1, 10000) n;
             insert into webhook_deliveries (id, webhook_id, job_id, event, next_attempt_at)
             select uuid_v7(), id, uuid_v7(), 'job.succeeded', now() - interval '1 hour' from webhooks",
            many.as_uuid()
        ))
        .await;
    let id = canceled(store, other, named(URL, WebhookForm::Native)).await;
    let due = store.claim_deliveries(&[], 256).await.unwrap();
    let share = usize::try_from(Store::TENANT_DELIVERIES).unwrap();
    assert_eq!(due.len(), share + 1);
    assert!(due.iter().any(|due| due.job == Some(id)));
    database.drop_database().await;
}
