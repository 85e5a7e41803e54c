use darkroom_store::testing::TestDatabase;
use darkroom_store::{Error, NewApiKey, Scope};
use uuid::Uuid;

use crate::builder::tenant;

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
async fn a_revoked_key_stops_working() {
    let database = TestDatabase::create().await;
    let store = &database.store;
    let owner = tenant(store, "a").await;
    let key = NewApiKey {
        id: Uuid::now_v7(),
        tenant: Some(owner),
        name: "laptop".into(),
        prefix: "dk_abc".into(),
        hash: [3; 32],
        scopes: vec![Scope::Submit, Scope::Read],
    };
    store.create_api_key(&key).await.unwrap();
    let found = store.api_key(&key.hash).await.unwrap().unwrap();
    assert_eq!((found.tenant, found.scopes), (Some(owner), key.scopes.clone()));
    assert!(store.api_key(&[4; 32]).await.unwrap().is_none());
    store.revoke_api_key(key.id).await.unwrap();
    store.revoke_api_key(key.id).await.unwrap();
    assert!(store.api_key(&key.hash).await.unwrap().is_none());
    assert!(store.api_keys().await.unwrap()[0].revoked_at.is_some());
    assert!(matches!(store.revoke_api_key(Uuid::now_v7()).await, Err(Error::Missing { .. })));
    database.drop_database().await;
}
