use std::collections::BTreeSet;
use std::time::Duration;

use darkroom_jobs::{DeliveryId, TenantId, WebhookId};
use darkroom_store::testing::TestDatabase;
use darkroom_store::{
    Delivery, DeliveryAttempt, DeliveryFilter, DeliveryState, DisabledReason, DueDelivery, InFlight, Sending,
    Store, Verdict, WebhookChange,
};

use crate::builder::{accept, new_job, tenant};
use crate::webhooks::webhook;

async fn send(store: &Store, tenant: TenantId, webhook: WebhookId) -> DeliveryId {
    match store.send_test(tenant, webhook).await.unwrap() {
        Sending::Pending(delivery) => delivery.id,
        other => panic!("expected a pending delivery, got {other:?}"),
    }
}

async fn claim_one(store: &Store) -> DueDelivery {
    let mut due = store.claim_deliveries(&[], 10).await.unwrap();
    assert_eq!(due.len(), 1);
    due.remove(0)
}

fn answered(due: &DueDelivery, status: u16) -> DeliveryAttempt {
    DeliveryAttempt {
        delivery: due.id,
        started_at: due.claimed_at,
        duration: Duration::from_millis(12),
        status: Some(status),
        error: None,
        response: Some("hello".into()),
    }
}

async fn list(store: &Store, tenant: TenantId, webhook: WebhookId) -> Vec<Delivery> {
    let filter = DeliveryFilter { limit: 100, ..DeliveryFilter::default() };
    store.deliveries(tenant, webhook, &filter).await.unwrap()
}

async fn make_due(database: &TestDatabase) {
    database.execute("update webhook_deliveries set next_attempt_at = now() where state = 'pending'").await;
}

#[tokio::test]
async fn a_claimed_delivery_is_left_alone_and_comes_due_again_with_its_id() {
    let database = TestDatabase::create().await;
    let store = &database.store;
    let owner = tenant(store, "a").await;
    let webhook = webhook(store, owner).await;
    let id = send(store, owner, webhook.id).await;
    assert_eq!(claim_one(store).await.id, id);
    assert!(store.claim_deliveries(&[], 10).await.unwrap().is_empty());
    make_due(&database).await;
    assert_eq!(claim_one(store).await.id, id);
    database.drop_database().await;
}

#[tokio::test]
async fn couriers_that_claim_at_once_get_different_deliveries() {
    let database = TestDatabase::create().await;
    let store = &database.store;
    let owner = tenant(store, "a").await;
    for _ in 0..10 {
        let webhook = webhook(store, owner).await;
        send(store, owner, webhook.id).await;
    }
    let (a, b, c) = tokio::join!(
        store.claim_deliveries(&[], 10),
        store.claim_deliveries(&[], 10),
        store.claim_deliveries(&[], 10)
    );
    let claimed: Vec<DeliveryId> = [a, b, c].into_iter().flat_map(Result::unwrap).map(|due| due.id).collect();
    assert_eq!((claimed.len(), claimed.iter().collect::<BTreeSet<_>>().len()), (10, 10));
    database.drop_database().await;
}

#[tokio::test]
async fn an_endpoint_with_much_to_send_leaves_the_others_their_turn() {
    let database = TestDatabase::create().await;
    let store = &database.store;
    let (busy, quiet) = (tenant(store, "busy").await, tenant(store, "quiet").await);
    let (much, little) = (webhook(store, busy).await, webhook(store, quiet).await);
    for _ in 0..50 {
        send(store, busy, much.id).await;
    }
    let late = send(store, quiet, little.id).await;
    let claimed: Vec<DeliveryId> =
        store.claim_deliveries(&[], 10).await.unwrap().into_iter().map(|due| due.id).collect();
    assert!(claimed.len() == 2 && claimed.contains(&late), "one for each endpoint");

    // What is under way counts.
    let in_flight = InFlight { webhook: much.id, tenant: busy };
    let most = usize::try_from(Store::ENDPOINT_DELIVERIES).unwrap();
    assert_eq!(store.claim_deliveries(&vec![in_flight; most - 1], 10).await.unwrap().len(), 1);
    assert!(store.claim_deliveries(&vec![in_flight; most], 10).await.unwrap().is_empty());
    database.drop_database().await;
}

#[tokio::test]
async fn a_tenant_with_many_endpoints_gets_no_more_than_its_share() {
    let database = TestDatabase::create().await;
    let store = &database.store;
    let (busy, quiet) = (tenant(store, "busy").await, tenant(store, "quiet").await);
    let (many, little) = (webhook(store, busy).await, webhook(store, quiet).await);
    send(store, busy, many.id).await;
    send(store, quiet, little.id).await;
    let elsewhere = webhook(store, busy).await;
    let share = usize::try_from(Store::TENANT_DELIVERIES).unwrap();
    let in_flight = vec![InFlight { webhook: elsewhere.id, tenant: busy }; share];
    let due = store.claim_deliveries(&in_flight, 10).await.unwrap();
    assert_eq!(due.iter().map(|due| due.webhook).collect::<Vec<_>>(), [little.id]);
    assert_eq!(store.claim_deliveries(&in_flight[1..], 10).await.unwrap().len(), 1);
    database.drop_database().await;
}

#[tokio::test]
async fn every_attempt_is_written_down_and_the_last_one_decides() {
    let database = TestDatabase::create().await;
    let store = &database.store;
    let owner = tenant(store, "a").await;
    let webhook = webhook(store, owner).await;
    send(store, owner, webhook.id).await;
    let due = claim_one(store).await;
    let failed = DeliveryAttempt {
        status: None,
        error: Some("no answer".into()),
        response: None,
        ..answered(&due, 0)
    };
    store.record_delivery(&failed, Verdict::Again(Duration::from_secs(300))).await.unwrap();
    let delivery = list(store, owner, webhook.id).await.remove(0);
    assert_eq!(delivery.state, DeliveryState::Pending);
    let pause = delivery.next_attempt_at.unwrap() - due.claimed_at;
    assert!((299..310).contains(&pause.num_seconds()), "{pause}");
    assert!(store.webhook(owner, webhook.id).await.unwrap().unwrap().failing_since.is_some());

    make_due(&database).await;
    let due = claim_one(store).await;
    assert_eq!(due.failures, 1);
    store.record_delivery(&answered(&due, 204), Verdict::Delivered).await.unwrap();
    let delivery = list(store, owner, webhook.id).await.remove(0);
    assert_eq!((delivery.state, delivery.next_attempt_at), (DeliveryState::Delivered, None));
    let seen: Vec<_> =
        delivery.attempts.iter().map(|it| (it.status, it.error.as_deref(), it.response.as_deref())).collect();
    assert_eq!(seen, [(None, Some("no answer"), None), (Some(204), None, Some("hello"))]);
    assert!(store.webhook(owner, webhook.id).await.unwrap().unwrap().failing_since.is_none());

    // A second courier, which took over because the first was slow, comes too late to change anything.
    store.record_delivery(&answered(&due, 500), Verdict::GivenUp).await.unwrap();
    let delivery = list(store, owner, webhook.id).await.remove(0);
    assert_eq!((delivery.state, delivery.attempts.len()), (DeliveryState::Delivered, 3));
    database.drop_database().await;
}

#[tokio::test]
async fn an_endpoint_that_is_gone_is_disabled_and_what_waits_for_it_given_up() {
    let database = TestDatabase::create().await;
    let store = &database.store;
    let owner = tenant(store, "a").await;
    let (gone, works) = (webhook(store, owner).await, webhook(store, owner).await);
    send(store, owner, gone.id).await;
    let due = claim_one(store).await;
    send(store, owner, gone.id).await;
    let waits = send(store, owner, works.id).await;
    let disabled = store.record_delivery(&answered(&due, 410), Verdict::Gone).await.unwrap();
    assert_eq!(disabled, Some(DisabledReason::Gone));
    assert_eq!(claim_one(store).await.id, waits, "nothing more goes to an endpoint that is gone");
    assert_eq!(store.delivery_backlog().await.unwrap().pending, 1);
    assert_eq!(store.give_up_deliveries(10).await.unwrap(), 1);
    assert!(list(store, owner, gone.id).await.iter().all(|delivery| delivery.state == DeliveryState::Failed));

    let resent = store.resend_delivery(owner, gone.id, due.id).await.unwrap();
    assert!(matches!(resent, Sending::Disabled));
    let on = WebhookChange { enabled: Some(true), ..WebhookChange::default() };
    store.update_webhook(owner, gone.id, &on).await.unwrap();
    store.resend_delivery(owner, gone.id, due.id).await.unwrap();
    let again = claim_one(store).await;
    assert_eq!(
        (again.id, again.failures),
        (due.id, 0),
        "the same message, with the whole schedule before it"
    );
    database.drop_database().await;
}

#[tokio::test]
async fn five_days_of_nothing_but_failure_disable_an_endpoint() {
    let database = TestDatabase::create().await;
    let store = &database.store;
    let owner = tenant(store, "a").await;
    let webhook = webhook(store, owner).await;
    send(store, owner, webhook.id).await;
    let again = Verdict::Again(Duration::ZERO);
    let mut attempt = answered(&claim_one(store).await, 500);
    attempt.response = None;
    assert_eq!(store.record_delivery(&attempt, again).await.unwrap(), None);
    for (age, expected) in [("4 days 23 hours", None), ("5 days", Some(DisabledReason::Failing))] {
        database.execute(&format!("update webhooks set failing_since = now() - interval '{age}'")).await;
        assert_eq!(store.record_delivery(&attempt, again).await.unwrap(), expected, "{age}");
    }
    let (_, reason) = store.webhook(owner, webhook.id).await.unwrap().unwrap().disabled.unwrap();
    assert_eq!(reason, DisabledReason::Failing);
    database.drop_database().await;
}

#[tokio::test]
async fn one_success_forgives_every_failure_before() {
    let database = TestDatabase::create().await;
    let store = &database.store;
    let owner = tenant(store, "a").await;
    let webhook = webhook(store, owner).await;
    send(store, owner, webhook.id).await;
    let attempt = answered(&claim_one(store).await, 200);
    database.execute("update webhooks set failing_since = now() - interval '6 days'").await;
    assert_eq!(store.record_delivery(&attempt, Verdict::Delivered).await.unwrap(), None);
    let webhook = store.webhook(owner, webhook.id).await.unwrap().unwrap();
    assert!(webhook.failing_since.is_none() && webhook.disabled.is_none());
    database.drop_database().await;
}

#[tokio::test]
async fn deliveries_are_listed_in_pages_newest_first() {
    let database = TestDatabase::create().await;
    let store = &database.store;
    let owner = tenant(store, "a").await;
    let webhook = webhook(store, owner).await;
    let mut sent = Vec::new();
    for _ in 0..5 {
        sent.push(send(store, owner, webhook.id).await);
    }
    // Those of one millisecond are in no order but that of their ids.
    sent.sort_by_key(|id| std::cmp::Reverse(id.as_uuid()));
    let mut filter = DeliveryFilter { limit: 2, ..DeliveryFilter::default() };
    let mut seen = Vec::new();
    loop {
        let page = store.deliveries(owner, webhook.id, &filter).await.unwrap();
        filter.before = page.last().map(|delivery| delivery.id);
        seen.extend(page.iter().map(|delivery| delivery.id));
        if page.len() < 2 {
            break;
        }
    }
    assert_eq!(seen, sent);
    let failed =
        DeliveryFilter { state: Some(DeliveryState::Failed), limit: 10, ..DeliveryFilter::default() };
    assert!(store.deliveries(owner, webhook.id, &failed).await.unwrap().is_empty());
    database.drop_database().await;
}

#[tokio::test]
async fn old_deliveries_and_those_of_deleted_endpoints_are_swept() {
    let database = TestDatabase::create().await;
    let store = &database.store;
    let owner = tenant(store, "a").await;
    let (kept, deleted) = (webhook(store, owner).await, webhook(store, owner).await);
    send(store, owner, kept.id).await;
    let due = claim_one(store).await;
    store.record_delivery(&answered(&due, 200), Verdict::Delivered).await.unwrap();
    send(store, owner, deleted.id).await;
    assert_eq!(store.delete_deliveries(10).await.unwrap(), 0);
    database.execute("update webhook_deliveries set finished_at = now() - interval '31 days' where finished_at is not null").await;
    assert_eq!(store.delete_deliveries(10).await.unwrap(), 1);
    assert_eq!(database.count("select count(*) from webhook_attempts").await, 0);

    store.delete_webhook(owner, deleted.id).await.unwrap();
    assert!(store.claim_deliveries(&[], 10).await.unwrap().is_empty());
    assert_eq!(store.delete_deliveries(10).await.unwrap(), 1);
    assert_eq!(store.forget_webhooks().await.unwrap(), 0, "a transaction under way may still name it");
    database
        .execute("update webhooks set deleted_at = now() - interval '2 hours' where deleted_at is not null")
        .await;
    assert_eq!(store.forget_webhooks().await.unwrap(), 1);
    assert_eq!(store.webhooks(owner).await.unwrap().len(), 1);
    database.drop_database().await;
}

#[tokio::test]
async fn a_delivery_outlives_the_row_of_its_job() {
    let database = TestDatabase::create().await;
    let store = &database.store;
    let owner = tenant(store, "a").await;
    webhook(store, owner).await;
    let id = accept(store, new_job(owner)).await;
    store.cancel(owner, id).await.unwrap();
    database.execute("delete from jobs").await;
    assert_eq!(claim_one(store).await.job, Some(id));
    database.drop_database().await;
}
