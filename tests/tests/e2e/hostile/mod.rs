//! Requests that mean harm: whatever is sent, the service says no, and nothing is left of it.

mod documents;
mod forms;
mod headers;
mod requests;
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use darkroom_blobs::Blobs;
use darkroom_client::JobState;
use darkroom_e2e::{Catalog, Deployment, blobs, fault_seed, until};
use futures_util::{StreamExt as _, stream};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::Value;

use self::requests::{Known, Request};
use self::wire::{Answer, send};
use crate::verify::request;

const REQUESTS: u64 = 10_000;
const AT_ONCE: usize = 16;
/// A bucket that no other test writes to, so that what is left behind can be seen.
const BUCKET: &str = "darkroom-test-hostile";
/// What `/proc` counts of an API in a debug build, which has 32 MiB when it is idle.
const MOST_BYTES: u64 = 200 << 20;
/// Connections to database and storage that it keeps for the next request.
const KEPT_FILES: usize = 32;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_hostile_requests_leave_nothing_behind() {
    let seed = fault_seed().unwrap_or_else(|| StdRng::from_os_rng().random_range(0..1_000_000));
    println!("drawn from seed {seed}: cargo xtask test hostile --seed {seed}");
    let storage = blobs().in_bucket(BUCKET);
    storage.ensure_bucket().await.unwrap();
    storage.delete_prefix("").await.unwrap();
    let catalog = Catalog::fake(1).with_captions();
    let deployment = Deployment::with(&catalog, &[("S3_BUCKET", BUCKET)]).await;
    let client = deployment.tenant("good").await;
    let first = client.submit_text_to_image(&request("a red circle", 1)).await.unwrap();
    let known = Known {
        key: deployment.key("hostile").await,
        model: catalog.model.clone(),
        // Somebody else's, so that it is as good as none.
        job: first.id.to_string(),
        paths: paths(&deployment.url).await,
    };
    let (address, files) = (deployment.url.trim_start_matches("http://"), deployment.api.open_files());

    let began = Instant::now();
    let sent = stream::iter(0..REQUESTS).map(|number| {
        let mut rng = StdRng::seed_from_u64(seed.wrapping_add(number << 32));
        let request = Request::draw(&mut rng, &known);
        async move { (number, send(address, &request).await, request) }
    });
    let answers: Vec<_> = sent.buffer_unordered(AT_ONCE).collect().await;
    println!("{REQUESTS} requests in {:?}", began.elapsed());

    only_honest_answers(&answers);
    let log = deployment.api.log();
    assert!(!log.contains("panicked"), "{}", log.lines().find(|line| line.contains("panicked")).unwrap());
    only_accepted_jobs(&deployment, &answers).await;
    nothing_left(&deployment, &storage, files).await;
    // And it does its work as before.
    let worker = deployment.worker().await;
    let last = client.submit_text_to_image(&request("a blue square", 2)).await.unwrap();
    for job in [first, last] {
        let ended = client.wait(job.id, Duration::from_secs(120)).await.unwrap();
        assert_eq!(ended.state, JobState::Succeeded);
    }
    drop(worker);
    deployment.end().await;
}

type Sent = (u64, Option<Answer>, Request);

/// The paths that the service documents.
async fn paths(url: &str) -> Vec<String> {
    let document: Value = reqwest::get(format!("{url}/openapi.json")).await.unwrap().json().await.unwrap();
    document["paths"].as_object().unwrap().keys().cloned().collect()
}

fn only_honest_answers(answers: &[Sent]) {
    let mut statuses = BTreeMap::<_, u64>::new();
    for (number, answer, request) in answers {
        let status = answer.as_ref().map(|answer| answer.status);
        *statuses.entry(status).or_default() += 1;
        let honest = status.is_none_or(|status| (200..500).contains(&status) || status == 503);
        assert!(honest, "request {number} got {answer:?}\n{request:?}");
    }
    println!("answers by status: {statuses:?}");
    // That the requests get through to where it hurts is what makes them worth sending.
    for status in [200, 202, 400, 401, 404, 405, 413, 415, 422, 431] {
        assert!(statuses.contains_key(&Some(status)), "no request got {status}");
    }
}

/// Every job is one that somebody was told of, or that was asked for in full by somebody who did not wait.
async fn only_accepted_jobs(deployment: &Deployment, answers: &[Sent]) {
    let told: BTreeSet<&str> = answers.iter().filter_map(|(_, answer, _)| answer.as_ref()?.job()).collect();
    let without_answer = answers.iter().filter(|(_, answer, request)| answer.is_none() && request.is_whole());
    let jobs = deployment.database.count("select count(*) from jobs").await - 1;
    let (jobs, told) = (usize::try_from(jobs).unwrap(), told.len());
    let most = told + without_answer.count();
    assert!((told..=most).contains(&jobs), "{jobs} jobs, {told} accepted, at most {most}");
    assert!(told > 100, "only {told} were accepted");
}

async fn nothing_left(deployment: &Deployment, storage: &Blobs, files: usize) {
    until("connections and files are closed", Duration::from_secs(60), || async {
        (deployment.api.open_files() <= files + KEPT_FILES).then_some(())
    })
    .await;
    let pictures = "select count(*) from job_requests where task->>'pipeline' = 'image-to-text'";
    let pictures = usize::try_from(deployment.database.count(pictures).await).unwrap();
    assert!(pictures > 10, "only {pictures} pictures were accepted");
    // What was refused is deleted in the background.
    until("only pictures of jobs are in storage", Duration::from_secs(60), || async {
        let objects = storage.list("", None, 1_000).await.ok()?;
        (objects.len() == pictures).then_some(())
    })
    .await;
    let touched = "select count(*) from jobs j join tenants t on t.id = j.tenant_id
                   where t.name = 'good' and (j.state <> 'queued' or j.deleted_at is not null)";
    assert_eq!(deployment.database.count(touched).await, 0, "somebody else's job was changed");
    let peak = deployment.api.peak_memory_bytes();
    println!("the API held {} MiB at most", peak >> 20);
    assert!(peak < MOST_BYTES, "{} MiB", peak >> 20);
}
