use std::time::Duration;

use darkroom_client::JobState;
use darkroom_e2e::{Catalog, Deployment, until};

use crate::verify::{request, running, succeeded};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_canceled_job_stops_between_steps() {
    let deployment = Deployment::start(&Catalog::fake(100)).await;
    let client = deployment.tenant("a").await;
    let worker = deployment.worker().await;
    let mut long = request("a red circle", 1);
    long.steps = Some(150);
    let job = client.submit_text_to_image(&long).await.unwrap();
    running(&client, &job).await;
    let canceled = client.cancel(job.id).await.unwrap();
    assert_eq!(canceled.state, JobState::Canceled);
    // Its single slot is free again long before the 15 s that the job would have taken.
    let next = client.submit_text_to_image(&request("a blue square", 1)).await.unwrap();
    let next = client.wait(next.id, Duration::from_secs(10)).await.unwrap();
    assert_eq!(next.state, JobState::Succeeded);
    assert_eq!(client.job(job.id).await.unwrap().state, JobState::Canceled);
    drop(worker);
    deployment.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_worker_stops_in_an_orderly_way_and_so_do_api_and_dispatcher() {
    let mut deployment = Deployment::start(&Catalog::fake(1)).await;
    let mut worker = deployment.worker().await;
    worker.terminate();
    assert!(worker.exited().await.success(), "{}", worker.log());
    deployment.dispatcher.terminate();
    assert!(deployment.dispatcher.exited().await.success(), "{}", deployment.dispatcher.log());
    deployment.api.terminate();
    assert!(deployment.api.exited().await.success(), "{}", deployment.api.log());
    deployment.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_run_while_the_dispatcher_is_away() {
    let mut deployment = Deployment::start(&Catalog::fake(1)).await;
    let client = deployment.tenant("a").await;
    let worker = deployment.worker().await;
    deployment.dispatcher.kill();
    let job = client.submit_text_to_image(&request("a red circle", 1)).await.unwrap();
    succeeded(&client, &job).await;
    drop(worker);
    deployment.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_job_went_through_shows_in_the_metrics() {
    let deployment = Deployment::start(&Catalog::fake(1)).await;
    let client = deployment.tenant("a").await;
    let worker = deployment.worker().await;
    let job = client.submit_text_to_image(&request("a red circle", 1)).await.unwrap();
    succeeded(&client, &job).await;
    until("the ticket is counted", Duration::from_secs(30), || async {
        let metrics = deployment.dispatcher.metrics().await;
        metrics.contains(r#"darkroom_tickets_published_total{taken="true"} 1"#).then_some(())
    })
    .await;
    // Counted after the commit that the client has seen.
    until("the attempt is counted", Duration::from_secs(30), || async {
        let metrics = worker.metrics().await;
        let ended = metrics.lines().find(|line| line.starts_with("darkroom_worker_attempts_ended_total{"))?;
        (ended.contains("succeeded") && ended.ends_with(" 1")).then_some(())
    })
    .await;
    drop(worker);
    deployment.end().await;
}
