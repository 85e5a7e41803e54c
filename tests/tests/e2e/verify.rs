//! What must hold of every finished job.

use std::time::Duration;

use darkroom_client::{Client, Job, JobState, TextToImageRequest};
use darkroom_e2e::{Deployment, until};
use sha2::{Digest, Sha256};

/// A request for one fake picture.
pub(crate) fn request(prompt: impl Into<String>, seed: u64) -> TextToImageRequest {
    TextToImageRequest { seed: Some(seed), ..TextToImageRequest::new(prompt) }
}

/// Fetches every artifact by its URL and compares it with what the job says of it.
pub(crate) async fn artifacts_match(client: &Client, job: &Job) {
    assert!(!job.artifacts.is_empty(), "{} has no artifacts", job.id);
    for artifact in &job.artifacts {
        let bytes = client.fetch(&artifact.url).await.unwrap();
        assert_eq!(bytes.len() as u64, artifact.size_bytes);
        assert_eq!(hex::encode(Sha256::digest(&bytes)), artifact.sha256);
    }
}

/// Waits for the job's success.
pub(crate) async fn succeeded(client: &Client, job: &Job) -> Job {
    let job = client.wait(job.id, Duration::from_secs(120)).await.unwrap();
    assert_eq!(job.state, JobState::Succeeded, "{:?}", job.error);
    job
}

/// Waits until a worker runs the job.
pub(crate) async fn running(client: &Client, job: &Job) {
    until("the job runs", Duration::from_secs(30), || async {
        (client.job(job.id).await.unwrap().state == JobState::Running).then_some(())
    })
    .await;
}

/// How many jobs of the deployment are in this state.
pub(crate) async fn count(deployment: &Deployment, state: &str) -> i64 {
    deployment.database.count(&format!("select count(*) from jobs where state = '{state}'")).await
}

/// Waits until so many jobs have succeeded.
pub(crate) async fn so_many_succeeded(deployment: &Deployment, jobs: i64, bound: Duration) {
    until(&format!("{jobs} jobs have succeeded"), bound, || async {
        (count(deployment, "succeeded").await >= jobs).then_some(())
    })
    .await;
}

/// No job was settled twice, has two successful attempts, or has two results for one picture.
pub(crate) async fn nothing_happened_twice(deployment: &Deployment) {
    let twice = deployment
        .database
        .count(
            "select count(*) from (
                 select job_id from attempts where state = 'succeeded' group by job_id having count(*) <> 1
                 union all
                 select job_id from artifacts group by job_id, index having count(*) <> 1
                 union all
                 select j.id from jobs j where j.state = 'succeeded'
                   and not exists (select from attempts a where a.job_id = j.id and a.state = 'succeeded'
                                                            and a.number = j.attempt)
             ) twice",
        )
        .await;
    assert_eq!(twice, 0);
}
