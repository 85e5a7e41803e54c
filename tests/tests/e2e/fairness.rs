use darkroom_e2e::{Catalog, Deployment};
use futures_util::{StreamExt, TryStreamExt, stream};

use crate::verify::{request, running, succeeded};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_tenants_single_job_starts_next() {
    let deployment = Deployment::start(&Catalog::fake(50)).await;
    let many = deployment.tenant("many").await;
    let single = deployment.tenant("single").await;
    let jobs: Vec<_> = stream::iter(0..500)
        .map(|seed| {
            let many = many.clone();
            async move { many.submit_text_to_image(&request("a red circle", seed)).await }
        })
        .buffered(8)
        .try_collect()
        .await
        .unwrap();
    let worker = deployment.worker().await;
    running(&many, &jobs[0]).await;

    let job = single.submit_text_to_image(&request("a blue square", 1)).await.unwrap();
    let job = succeeded(&single, &job).await;
    // One slot: the other tenant's job that ran at that moment ended, and none began after the submission was
    // committed. One may have begun just before that, with a later time stamp than the submission's beginning.
    let between = deployment
        .database
        .count(&format!(
            "select count(*) from attempts a, jobs j
             where j.id = '{}' and a.leased_at > j.created_at and a.leased_at < j.started_at",
            job.id
        ))
        .await;
    assert!(between <= 1, "{between} jobs of the other tenant started in between");
    drop(worker);
    deployment.end().await;
}
