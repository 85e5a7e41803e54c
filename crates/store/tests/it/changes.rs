use std::time::Duration;

use darkroom_store::testing::TestDatabase;
use darkroom_store::{Change, Store};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::builder::{accept, new_job, tenant};

#[tokio::test]
async fn what_one_process_commits_the_others_hear_of() {
    let database = TestDatabase::create().await;
    let store = database.store.clone();
    let owner = tenant(&store, "a").await;
    let mut changes = store.changes().await.unwrap();
    let cancel = CancellationToken::new();
    let announcing = tokio::spawn({
        let (store, cancel) = (store.clone(), cancel.clone());
        async move { store.announce(&cancel).await }
    });
    let id = accept(&store, new_job(owner)).await;
    store.cancel(owner, id).await.unwrap();
    let mut heard = Vec::new();
    while !(heard.contains(&Change::Outbox) && heard.contains(&Change::Jobs(vec![id]))) {
        heard.push(timeout(Duration::from_secs(10), changes.next()).await.expect("announced").unwrap());
    }
    cancel.cancel();
    announcing.await.unwrap();
    drop(changes);
    database.drop_database().await;
}

#[tokio::test]
async fn a_process_that_listens_to_others_does_not_hear_itself() {
    let database = TestDatabase::create().await;
    let other = Store::connect(&database.config, "other").await.unwrap();
    let own = database.store.clone();
    let owner = tenant(&own, "a").await;
    let (mut all, mut others) = (own.changes().await.unwrap(), own.changes_by_others().await.unwrap());
    let cancel = CancellationToken::new();
    let announcing = async {
        tokio::join!(own.announce(&cancel), other.announce(&cancel));
    };
    let scenario = async {
        let first = accept(&own, new_job(owner)).await;
        own.cancel(owner, first).await.unwrap();
        while all.next().await.unwrap() != Change::Jobs(vec![first]) {}
        let second = accept(&other, new_job(owner)).await;
        other.cancel(owner, second).await.unwrap();
        loop {
            match others.next().await.unwrap() {
                Change::Jobs(jobs) => break assert_eq!(jobs, [second]),
                change => assert_eq!(change, Change::Outbox),
            }
        }
        cancel.cancel();
    };
    timeout(Duration::from_secs(10), async { tokio::join!(announcing, scenario) }).await.expect("announced");
    drop((all, others, other));
    database.drop_database().await;
}
