use darkroom_jobs::JobId;
use darkroom_store::testing::TestDatabase;
use darkroom_store::{NewPreview, Store};
use uuid::Uuid;

use crate::builder::{TestWorker, accept, new_job, tenant};

fn job(number: u128) -> JobId {
    JobId::from_uuid(Uuid::from_u128(number))
}

fn preview(step: u32, bytes: usize) -> NewPreview {
    NewPreview { image: 0, step, content: vec![7; bytes] }
}

#[tokio::test]
async fn the_latest_preview_of_a_job_is_kept() {
    let database = TestDatabase::create().await;
    let store = &database.store;
    for step in [1, 2] {
        store.keep_preview(job(1), &preview(step, 100)).await.unwrap();
    }
    store.keep_preview(job(2), &preview(5, Store::MAX_PREVIEW_BYTES)).await.unwrap();
    for unusable in [0, Store::MAX_PREVIEW_BYTES + 1] {
        store.keep_preview(job(1), &preview(9, unusable)).await.unwrap();
    }
    let found = store.previews(&[job(1), job(3)]).await.unwrap();
    assert_eq!(found.iter().map(|found| (found.job, found.step)).collect::<Vec<_>>(), [(job(1), 2)]);
    assert_eq!(store.forget_previews().await.unwrap(), 0);
    database.execute("update job_previews set made_at = now() - interval '2 minutes'").await;
    assert_eq!(store.forget_previews().await.unwrap(), 2);
    database.drop_database().await;
}

#[tokio::test]
async fn jobs_are_watched_for_some_seconds() {
    let database = TestDatabase::create().await;
    let store = &database.store;
    let all = [job(1), job(2)];
    assert_eq!(store.watched_jobs(&all).await.unwrap(), []);
    for _ in 0..2 {
        store.watch_jobs(&[job(2)]).await.unwrap();
    }
    assert_eq!(store.watched_jobs(&all).await.unwrap(), [job(2)]);
    database.execute("update job_watchers set watched_until = now() - interval '2 minutes'").await;
    assert_eq!(store.watched_jobs(&all).await.unwrap(), []);
    assert_eq!(store.forget_previews().await.unwrap(), 1);
    database.drop_database().await;
}

#[tokio::test]
async fn who_leases_a_job_hears_whether_somebody_looks_on() {
    let database = TestDatabase::create().await;
    let store = &database.store;
    let owner = tenant(store, "a").await;
    let worker = TestWorker::start(store).await;
    for watched in [true, false] {
        let id = accept(store, new_job(owner)).await;
        if watched {
            store.watch_jobs(&[id]).await.unwrap();
        }
        let leased = worker.take(store).await;
        let found = store.find_lease(leased.lease.token).await.unwrap().unwrap();
        assert_eq!((leased.lease.job, leased.watched, found.watched), (id, watched, watched));
    }
    database.drop_database().await;
}
