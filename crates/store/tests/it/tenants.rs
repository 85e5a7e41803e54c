use darkroom_store::testing::TestDatabase;
use darkroom_store::{Error, LimitChanges, TenantLimits, Unfinished};
use uuid::Uuid;

use crate::builder::{TestWorker, accept, new_job, tenant};

#[tokio::test]
async fn a_tenants_name_is_taken_once() {
    let database = TestDatabase::create().await;
    let store = &database.store;
    let id = tenant(store, "a").await;
    assert_eq!(store.tenant_named("a").await.unwrap(), id);
    let again = store.create_tenant(darkroom_jobs::TenantId::from_uuid(Uuid::now_v7()), "a").await;
    assert_eq!(again.unwrap_err().to_string(), "tenant `a` exists already");
    assert!(matches!(store.tenant_named("b").await, Err(Error::Missing { .. })));
    assert_eq!(store.tenants().await.unwrap().len(), 1);
    database.drop_database().await;
}

#[tokio::test]
async fn limits_are_set_left_and_lifted_one_by_one() {
    let database = TestDatabase::create().await;
    let store = &database.store;
    let id = tenant(store, "a").await;
    let other = tenant(store, "b").await;
    assert_eq!(store.tenant("a").await.unwrap().unwrap().limits, TenantLimits::default());
    let set = LimitChanges {
        max_queued: Some(Some(0)),
        max_running: Some(Some(2)),
        max_daily_cost: Some(Some("12.50".parse().unwrap())),
        requests_per_minute: Some(Some(600)),
    };
    let set = store.change_limits(id, &set).await.unwrap();
    let expected = TenantLimits {
        max_queued: Some(0),
        max_running: Some(2),
        max_daily_cost: Some("12.5".parse().unwrap()),
        requests_per_minute: Some(600),
    };
    assert_eq!(set.limits, expected);
    let changes =
        LimitChanges { max_queued: Some(None), max_running: Some(Some(3)), ..LimitChanges::default() };
    let changed = store.change_limits(id, &changes).await.unwrap();
    assert_eq!(changed.limits, TenantLimits { max_queued: None, max_running: Some(3), ..expected });
    assert_eq!(store.tenant(&id.to_string()).await.unwrap(), Some(changed));
    assert_eq!(store.tenant("b").await.unwrap().unwrap().limits, TenantLimits::default(), "{other}");
    assert_eq!(store.tenant("c").await.unwrap(), None);
    let missing = darkroom_jobs::TenantId::from_uuid(Uuid::now_v7());
    assert!(matches!(store.change_limits(missing, &changes).await, Err(Error::Missing { .. })));
    database.drop_database().await;
}

#[tokio::test]
async fn a_tenant_named_like_anothers_id_is_found_by_its_own_id_only() {
    let database = TestDatabase::create().await;
    let store = &database.store;
    let first = tenant(store, "a").await;
    let confusing = tenant(store, &first.to_string()).await;
    assert_eq!(store.tenant(&first.to_string()).await.unwrap().unwrap().id, first);
    assert_eq!(store.tenant(&confusing.to_string()).await.unwrap().unwrap().id, confusing);
    database.drop_database().await;
}

#[tokio::test]
async fn unfinished_jobs_are_counted_by_tenant() {
    let database = TestDatabase::create().await;
    let store = &database.store;
    let (owner, other) = (tenant(store, "a").await, tenant(store, "b").await);
    for _ in 0..3 {
        accept(store, new_job(owner)).await;
    }
    TestWorker::start(store).await.take(store).await;
    accept(store, new_job(other)).await;
    assert_eq!(store.unfinished(owner).await.unwrap(), Unfinished { queued: 2, running: 1 });
    database.drop_database().await;
}
