use std::time::Duration;

use darkroom_store::Change;
use darkroom_store::testing::TestDatabase;
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
