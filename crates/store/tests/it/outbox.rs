use darkroom_store::testing::TestDatabase;

use crate::builder::{accept, lane, new_job, tenant};

#[tokio::test]
async fn a_claimed_row_comes_due_again_unless_it_is_deleted() {
    let database = TestDatabase::create().await;
    let store = &database.store;
    let owner = tenant(store, "a").await;
    accept(store, new_job(owner)).await;
    accept(store, new_job(owner)).await;
    let claimed = store.claim_outbox(10).await.unwrap();
    assert_eq!(claimed.len(), 2);
    assert!(claimed.iter().all(|row| row.lane == lane("m")));
    assert!(store.claim_outbox(10).await.unwrap().is_empty(), "claimed rows are left alone");
    store.delete_outbox(&[claimed[0].id]).await.unwrap();
    database.execute("update outbox set available_at = now()").await;
    let again = store.claim_outbox(10).await.unwrap();
    assert_eq!(again, [claimed[1].clone()]);
    assert_eq!(store.outbox_depth().await.unwrap().0, 1);
    database.drop_database().await;
}

#[tokio::test]
async fn two_relays_claim_each_row_once() {
    let database = TestDatabase::create().await;
    let store = &database.store;
    let owner = tenant(store, "a").await;
    for _ in 0..50 {
        accept(store, new_job(owner)).await;
    }
    let (a, b) = tokio::join!(store.claim_outbox(100), store.claim_outbox(100));
    let mut ids: Vec<i64> = a.unwrap().into_iter().chain(b.unwrap()).map(|row| row.id).collect();
    ids.sort_unstable();
    let claimed = ids.len();
    ids.dedup();
    assert_eq!((claimed, ids.len()), (50, 50));
    database.drop_database().await;
}

#[tokio::test]
async fn a_claim_keeps_its_limit_when_the_planner_takes_the_table_for_empty() {
    let database = TestDatabase::create().await;
    let store = &database.store;
    database
        .execute("insert into outbox (lane) select 'text-to-image:m' from generate_series(1, 3000)")
        .await;
    database.execute("delete from outbox where id > 1").await;
    database.execute("vacuum analyze outbox").await;
    database
        .execute("insert into outbox (lane) select 'text-to-image:m' from generate_series(1, 3000)")
        .await;
    assert_eq!(store.claim_outbox(500).await.unwrap().len(), 500);
    database.drop_database().await;
}

#[tokio::test]
async fn a_row_that_names_no_lane_does_not_hold_up_the_others() {
    let database = TestDatabase::create().await;
    let store = &database.store;
    database.execute("insert into outbox (lane) values ('text-to-speech:m'), ('text-to-image:m')").await;
    let claimed = store.claim_outbox(10).await.unwrap();
    assert_eq!(claimed.iter().map(|row| row.lane.to_string()).collect::<Vec<_>>(), ["text-to-image:m"]);
    database.drop_database().await;
}
