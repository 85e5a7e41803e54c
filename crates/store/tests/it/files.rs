use darkroom_jobs::{FileId, ImageToText, InputImage, Lane, Pipeline, Submission, Task, TenantId};
use darkroom_store::testing::TestDatabase;
use darkroom_store::{Accepted, AcceptedBatch, NewBatch, NewFile, NewJob, Store};
use uuid::Uuid;

use crate::builder::{new_job, tenant};

async fn file(store: &Store, tenant: TenantId) -> FileId {
    let new = NewFile {
        id: FileId::from_uuid(Uuid::now_v7()),
        tenant,
        sha256: [7; 32],
        content_type: "image/png".to_owned(),
        size_bytes: 1,
        width: 1,
        height: 1,
    };
    store.record_file(&new).await.unwrap().unwrap().id
}

/// A job that names the file.
fn naming(tenant: TenantId, file: FileId) -> NewJob {
    let image = InputImage {
        key: format!("files/{file}"),
        content_type: "image/png".to_owned(),
        size_bytes: 1,
        sha256: "07".repeat(32),
        width: 1,
        height: 1,
    };
    let job = new_job(tenant);
    let lane = Lane::new(Pipeline::ImageToText, "m").unwrap();
    let task = Task::ImageToText(ImageToText { prompt: String::new(), image });
    NewJob { submission: Submission { lane, task, ..job.submission }, file: Some(file), ..job }
}

pub(crate) fn batch(tenant: TenantId, jobs: Vec<NewJob>) -> NewBatch {
    NewBatch {
        id: darkroom_jobs::BatchId::from_uuid(Uuid::now_v7()),
        tenant,
        jobs,
        items: serde_json::json!([]),
        idempotency_key: None,
        request_hash: [7; 32],
    }
}

#[tokio::test]
async fn a_job_that_is_accepted_while_its_file_is_deleted_keeps_the_object_or_is_refused() {
    let database = TestDatabase::create().await;
    let store = &database.store;
    let owner = tenant(store, "a").await;
    let mut outcomes = [0; 2];
    for _ in 0..60 {
        let id = file(store, owner).await;
        let (single, many) = (naming(owner, id), batch(owner, vec![naming(owner, id), naming(owner, id)]));
        let sweep = async {
            while !store.delete_file(owner, id).await.unwrap() {}
            store.files_to_sweep(1_000).await.unwrap().contains(&id)
        };
        let (accepted, together, swept) =
            tokio::join!(store.accept(&single), store.accept_batch(&many), sweep);
        let accepted = [
            matches!(accepted.unwrap(), Accepted::Created(_)),
            matches!(together.unwrap(), AcceptedBatch::Created(_)),
        ];
        assert!(!swept || accepted == [false, false], "a job's picture was about to be deleted");
        outcomes[usize::from(accepted[0])] += 1;
    }
    let named =
        database.count("select count(*) from job_requests where task #>> '{image,key}' is not null").await;
    assert!(named <= 180 && outcomes.iter().sum::<i32>() == 60);
    database.drop_database().await;
}

#[tokio::test]
async fn another_tenants_file_and_one_that_is_gone_cannot_be_named() {
    let database = TestDatabase::create().await;
    let store = &database.store;
    let (owner, other) = (tenant(store, "a").await, tenant(store, "b").await);
    let id = file(store, owner).await;
    assert!(matches!(store.accept(&naming(other, id)).await.unwrap(), Accepted::FileGone));
    let gone = store.accept_batch(&batch(other, vec![new_job(other), naming(other, id)])).await.unwrap();
    assert!(matches!(&gone, AcceptedBatch::FilesGone(gone) if *gone == [id]), "{gone:?}");
    assert!(!store.delete_file(other, id).await.unwrap());
    assert!(store.delete_file(owner, id).await.unwrap());
    assert!(matches!(store.accept(&naming(owner, id)).await.unwrap(), Accepted::FileGone));
    assert_eq!(database.count("select count(*) from jobs").await, 0);
    assert_eq!(database.count("select count(*) from batches").await, 0);
    database.drop_database().await;
}
