use std::time::Duration;

use darkroom_jobs::TenantId;
use darkroom_store::testing::TestDatabase;
use darkroom_store::{Error, KeyState, LimitChanges, NewApiKey, Owner, Rotated, Scope, Successor};
use uuid::Uuid;

use crate::builder::tenant;

fn new_key(owner: Option<TenantId>, hash: [u8; 32]) -> NewApiKey {
    NewApiKey {
        id: Uuid::now_v7(),
        tenant: owner,
        name: "laptop".into(),
        prefix: "dk_abc".into(),
        hash,
        scopes: vec![Scope::Read],
        lifetime: None,
        max_interactive: Some(3),
    }
}

fn successor(overlap: Duration) -> Successor {
    Successor { id: Uuid::now_v7(), prefix: "dk_def".into(), hash: [9; 32], lifetime: None, overlap }
}

/// Makes every time at which a key expires pass.
async fn let_keys_expire(database: &TestDatabase) {
    database.execute("update api_keys set expires_at = now() where expires_at is not null").await;
}

#[tokio::test]
async fn a_revoked_key_stops_working() {
    let database = TestDatabase::create().await;
    let store = &database.store;
    let owner = tenant(store, "a").await;
    let key = new_key(Some(owner), [3; 32]);
    store.create_api_key(&key).await.unwrap();
    let found = store.api_key(&key.hash).await.unwrap().unwrap();
    assert_eq!((found.id, found.tenant, found.scopes), (key.id, Some(owner), key.scopes.clone()));
    assert_eq!(found.max_interactive, Some(3));
    assert!(store.api_key(&[4; 32]).await.unwrap().is_none());
    store.revoke_api_key(key.id).await.unwrap();
    store.revoke_api_key(key.id).await.unwrap();
    assert!(store.api_key(&key.hash).await.unwrap().is_none());
    let listed = store.api_keys(Owner::Anybody).await.unwrap();
    assert_eq!(listed[0].state, KeyState::Revoked);
    assert!(matches!(store.revoke_api_key(Uuid::now_v7()).await, Err(Error::Missing { .. })));
    database.drop_database().await;
}

#[tokio::test]
async fn a_key_stops_working_when_its_lifetime_is_over() {
    let database = TestDatabase::create().await;
    let store = &database.store;
    let owner = tenant(store, "a").await;
    let key = NewApiKey { lifetime: Some(Duration::from_secs(60)), ..new_key(Some(owner), [3; 32]) };
    store.create_api_key(&key).await.unwrap();
    assert!(store.api_key(&key.hash).await.unwrap().is_some());
    assert_eq!(store.api_keys(Owner::Anybody).await.unwrap()[0].state, KeyState::Works);
    let_keys_expire(&database).await;
    assert!(store.api_key(&key.hash).await.unwrap().is_none());
    assert_eq!(store.api_keys(Owner::Anybody).await.unwrap()[0].state, KeyState::Expired);
    database.drop_database().await;
}

#[tokio::test]
async fn both_keys_of_a_rotation_work_until_the_old_one_expires() {
    let database = TestDatabase::create().await;
    let store = &database.store;
    let owner = tenant(store, "a").await;
    let old = new_key(Some(owner), [3; 32]);
    store.create_api_key(&old).await.unwrap();
    let new = successor(Duration::from_secs(3600));
    let Rotated::Until(until) = store.rotate_api_key(old.id, &new).await.unwrap() else {
        panic!("the key works")
    };
    let left = until - store.now().await.unwrap();
    assert!((3500..=3600).contains(&left.num_seconds()), "{left}");
    let by_old = store.api_key(&old.hash).await.unwrap().unwrap();
    let by_new = store.api_key(&new.hash).await.unwrap().unwrap();
    assert_eq!(by_new, darkroom_store::ApiKey { id: new.id, ..by_old });

    let_keys_expire(&database).await;
    assert!(store.api_key(&old.hash).await.unwrap().is_none());
    assert!(store.api_key(&new.hash).await.unwrap().is_some(), "the new one does not expire");
    database.drop_database().await;
}

#[tokio::test]
async fn a_rotation_never_lengthens_the_life_of_a_key() {
    let database = TestDatabase::create().await;
    let store = &database.store;
    let key = NewApiKey { lifetime: Some(Duration::from_secs(60)), ..new_key(None, [3; 32]) };
    store.create_api_key(&key).await.unwrap();
    let Rotated::Until(until) =
        store.rotate_api_key(key.id, &successor(Duration::from_secs(3600))).await.unwrap()
    else {
        panic!("the key works")
    };
    assert!((until - store.now().await.unwrap()).num_seconds() <= 60);
    database.drop_database().await;
}

#[tokio::test]
async fn nothing_takes_over_from_a_key_that_does_not_work() {
    let database = TestDatabase::create().await;
    let store = &database.store;
    let key = new_key(None, [3; 32]);
    store.create_api_key(&key).await.unwrap();
    store.revoke_api_key(key.id).await.unwrap();
    let new = successor(Duration::ZERO);
    assert_eq!(store.rotate_api_key(key.id, &new).await.unwrap(), Rotated::Stopped);
    assert!(store.api_key(&new.hash).await.unwrap().is_none(), "no key was made");
    assert!(matches!(store.rotate_api_key(Uuid::now_v7(), &new).await, Err(Error::Missing { .. })));
    database.drop_database().await;
}

#[tokio::test]
async fn keys_are_listed_by_owner_and_know_the_limit_of_their_tenant() {
    let database = TestDatabase::create().await;
    let store = &database.store;
    let (first, second) = (tenant(store, "a").await, tenant(store, "b").await);
    for (owner, hash) in [(Some(first), 1), (Some(second), 2), (None, 3)] {
        store.create_api_key(&new_key(owner, [hash; 32])).await.unwrap();
    }
    let owners = async |owner| {
        let keys = store.api_keys(owner).await.unwrap();
        keys.into_iter().map(|key| key.tenant_name).collect::<Vec<_>>()
    };
    assert_eq!(owners(Owner::Anybody).await, [Some("a".to_owned()), Some("b".to_owned()), None]);
    assert_eq!(owners(Owner::Tenant(second)).await, [Some("b".to_owned())]);
    assert_eq!(owners(Owner::Operators).await, [None]);
    let changes = LimitChanges { requests_per_minute: Some(Some(5)), ..LimitChanges::default() };
    store.change_limits(first, &changes).await.unwrap();
    for (hash, limit) in [(1, Some(5)), (2, None), (3, None)] {
        assert_eq!(store.api_key(&[hash; 32]).await.unwrap().unwrap().requests_per_minute, limit);
    }
    database.drop_database().await;
}
