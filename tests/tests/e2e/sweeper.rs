use std::time::Duration;

use darkroom_client::{CaptionRequest, TextToImageRequest};
use darkroom_e2e::{Catalog, Deployment, blobs, until};
use uuid::Uuid;

use crate::verify::{request, running, succeeded};

/// Every second, and without a pause for late uploads.
const SWEEPING: [(&str, &str); 2] = [("DARKROOM_SWEEP_SECONDS", "1"), ("DARKROOM_SWEEP_GRACE_SECONDS", "0")];

async fn objects(prefix: String) -> usize {
    blobs().list(&prefix, None, 100).await.unwrap().len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_jobs_objects_are_deleted() {
    let deployment = Deployment::with(&Catalog::demo(), &SWEEPING).await;
    let client = deployment.tenant("a").await;
    let worker = deployment.worker().await;
    let mut quick = request("a red circle", 1);
    quick.steps = Some(1);
    let picture = client.submit_text_to_image(&quick).await.unwrap();
    let picture = succeeded(&client, &picture).await;
    let png = client.fetch(&picture.artifacts[0].url).await.unwrap();
    let caption = client.caption(png, "x.png", &CaptionRequest::default()).await.unwrap();
    let caption = succeeded(&client, &caption).await;
    assert_eq!(objects(format!("inputs/{}", caption.id)).await, 1);
    assert_eq!(objects(format!("jobs/{}/", caption.id)).await, 1);

    client.delete(caption.id).await.unwrap();
    assert!(client.fetch(&caption.artifacts[0].url).await.is_err(), "gone for callers at once");
    until("the objects are gone", Duration::from_secs(30), || async {
        let left =
            objects(format!("jobs/{}/", caption.id)).await + objects(format!("inputs/{}", caption.id)).await;
        (left == 0).then_some(())
    })
    .await;
    assert_eq!(objects(format!("jobs/{}/", picture.id)).await, 1, "the other job's results stay");
    drop(worker);
    deployment.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_canceled_attempt_left_without_an_artifact_is_deleted() {
    let deployment = Deployment::with(&Catalog::fake(100), &SWEEPING).await;
    let client = deployment.tenant("a").await;
    let worker = deployment.worker().await;
    let mut long = request("a red circle", 1);
    long.steps = Some(150);
    let job = client.submit_text_to_image(&long).await.unwrap();
    running(&client, &job).await;
    // An upload whose worker lost its lease before it could record the artifact.
    blobs().put(&format!("jobs/{}/1/0.png", job.id), "late".into(), "image/png").await.unwrap();
    client.cancel(job.id).await.unwrap();
    until("the object is gone", Duration::from_secs(30), || async {
        (objects(format!("jobs/{}/", job.id)).await == 0).then_some(())
    })
    .await;
    drop(worker);
    deployment.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_expired_file_is_deleted_once_no_job_names_it() {
    let deployment = Deployment::with(&Catalog::fake(1).with_captions(), &SWEEPING).await;
    let client = deployment.tenant("a").await;
    let worker = deployment.worker().await;
    let pictures = TextToImageRequest { images: Some(2), ..request("a red circle", 1) };
    let pictures = succeeded(&client, &client.submit_text_to_image(&pictures).await.unwrap()).await;
    drop(worker);
    let upload = async |index: usize| {
        client.upload(client.fetch(&pictures.artifacts[index].url).await.unwrap()).await.unwrap().id
    };
    let (unused, used) = (upload(0).await, upload(1).await);
    let asking = CaptionRequest { image_file: Some(used), ..CaptionRequest::default() };
    let caption = client.submit_caption(&asking).await.unwrap();
    let there = async |id: Uuid| objects(format!("files/{id}")).await == 1;
    assert!(there(unused).await && there(used).await);

    deployment.database.execute("update files set expires_at = now()").await;
    let rows = async || deployment.database.count("select count(*) from files").await;
    until("the file that no job names is gone", Duration::from_secs(30), || async {
        (!there(unused).await && rows().await == 1).then_some(())
    })
    .await;
    assert!(client.file(used).await.is_err(), "no other job can name it");
    let worker = deployment.worker().await;
    succeeded(&client, &caption).await;
    assert!(there(used).await, "an operator may run the job again");

    client.delete(caption.id).await.unwrap();
    until("the other one is gone", Duration::from_secs(30), || async {
        (!there(used).await && rows().await == 0).then_some(())
    })
    .await;
    drop(worker);
    deployment.end().await;
}
