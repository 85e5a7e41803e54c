//! Requests that mean harm: whatever is sent, the service says no, and nothing is left of it.

mod documents;
mod forms;
mod headers;
mod requests;
mod surfaces;
mod targets;
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use darkroom_blobs::Blobs;
use darkroom_client::{Client, JobState};
use darkroom_e2e::{Catalog, Deployment, blobs, fault_seed, until};
use futures_util::{StreamExt as _, stream};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::Value;

use self::requests::{Known, Request};
use self::wire::{Answer, send};
use crate::verify::request;

/// Requests to the native API, and to the surfaces.
const REQUESTS: u64 = 7_000;
const TO_SURFACES: u64 = 3_000;
const AT_ONCE: usize = 16;
/// A bucket that no other test writes to, so that what is left behind can be seen.
const BUCKET: &str = "darkroom-test-hostile";
/// What `/proc` counts of an API in a debug build, which has 32 MiB when it is idle.
const MOST_BYTES: u64 = 200 << 20;
/// Connections to database and storage that it keeps for the next request.
const KEPT_FILES: usize = 32;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn seven_thousand_hostile_requests_leave_nothing_behind() {
    let storage = blobs().in_bucket(BUCKET);
    storage.ensure_bucket().await.unwrap();
    storage.delete_prefix("").await.unwrap();
    let catalog = Catalog::fake(1).with_captions();
    let deployment = Deployment::with(&catalog, &[("S3_BUCKET", BUCKET)]).await;
    let client = deployment.tenant("good").await;
    let first = client.submit_text_to_image(&request("a red circle", 1)).await.unwrap();
    let known = Known {
        key: deployment.key("hostile").await,
        targets: vec![targets::native(&catalog.model)],
        // Somebody else's, so that it is as good as none.
        jobs: vec![first.id.to_string()],
        paths: paths(&deployment.url).await,
    };
    let files = deployment.api.open_files();
    let answers = attack(&deployment, &known, REQUESTS).await;
    only_honest_answers(&answers, &[200, 202, 400, 401, 404, 405, 413, 415, 422, 431]);
    nothing_broken(&deployment);
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn surfaces_refuse_three_thousand_hostile_requests_in_their_own_words() {
    let catalog = Catalog::fake(1).with_captions();
    let deployment = Deployment::start(&catalog).await;
    let client = deployment.tenant("good").await;
    let first = client.submit_text_to_image(&request("a red circle", 1)).await.unwrap();
    // What is accepted is answered when it is done.
    let worker = deployment.worker().await;
    let key = deployment.key("hostile").await;
    let own = Client::new(&deployment.url, key.clone()).unwrap();
    let own = own.submit_text_to_image(&request("a red circle", 1)).await.unwrap().id.to_string();
    let known = Known {
        key,
        targets: targets::of_surfaces(&catalog.model, &own),
        jobs: vec![own, first.id.to_string()],
        paths: surfaces::PATHS.map(str::to_owned).to_vec(),
    };
    let answers = attack(&deployment, &known, TO_SURFACES).await;
    only_honest_answers(&answers, &[200, 201, 202, 400, 401, 404, 405, 422, 431]);
    for (number, answer, request) in &answers {
        let oddity = answer.as_ref().and_then(|answer| surfaces::oddity(request, answer));
        assert_eq!(oddity, None, "request {number} got {answer:?}\n{request:?}");
    }
    nothing_broken(&deployment);
    until("what was accepted has ended", Duration::from_secs(60), || async {
        let open = "select count(*) from jobs where state in ('queued', 'running')";
        (deployment.database.count(open).await == 0).then_some(())
    })
    .await;
    assert!(deployment.database.count("select count(*) from jobs where state = 'succeeded'").await > 50);
    drop(worker);
    deployment.end().await;
}

type Sent = (u64, Option<Answer>, Request);

/// Sends so many requests, a few at once.
async fn attack(deployment: &Deployment, known: &Known, requests: u64) -> Vec<Sent> {
    let seed = fault_seed().unwrap_or_else(|| StdRng::from_os_rng().random_range(0..1_000_000));
    println!("drawn from seed {seed}: cargo xtask test hostile --seed {seed}");
    let address = deployment.url.trim_start_matches("http://");
    let began = Instant::now();
    let sent = stream::iter(0..requests).map(|number| {
        let mut rng = StdRng::seed_from_u64(seed.wrapping_add(number << 32));
        let request = Request::draw(&mut rng, known);
        async move { (number, send(address, &request).await, request) }
    });
    let answers = sent.buffer_unordered(AT_ONCE).collect().await;
    println!("{requests} requests in {:?}", began.elapsed());
    answers
}

fn nothing_broken(deployment: &Deployment) {
    let log = deployment.api.log();
    let broken = log.lines().find(|line| line.contains("panicked") || line.contains("failed inside"));
    assert_eq!(broken, None);
    let peak = deployment.api.peak_memory_bytes();
    println!("the API held {} MiB at most", peak >> 20);
    assert!(peak < MOST_BYTES, "{} MiB", peak >> 20);
}

/// The paths that the service documents.
async fn paths(url: &str) -> Vec<String> {
    let document: Value = reqwest::get(format!("{url}/openapi.json")).await.unwrap().json().await.unwrap();
    document["paths"].as_object().unwrap().keys().cloned().collect()
}

/// Every answer is one, and each of these statuses is among them.
fn only_honest_answers(answers: &[Sent], expected: &[u16]) {
    let mut statuses = BTreeMap::<_, u64>::new();
    for (number, answer, request) in answers {
        let status = answer.as_ref().map(|answer| answer.status);
        *statuses.entry(status).or_default() += 1;
        // How Livepeer has it that a job was canceled. The log has what failed inside.
        let canceled = answer.as_ref().is_some_and(|answer| {
            answer.status == 500 && answer.text.contains(r#""msg":"Text-to-image pipeline error.""#)
        });
        let honest = canceled || status.is_none_or(|status| (200..500).contains(&status) || status == 503);
        assert!(honest, "request {number} got {answer:?}\n{request:?}");
    }
    println!("answers by status: {statuses:?}");
    // That the requests get through to where it hurts is what makes them worth sending.
    for status in expected {
        assert!(statuses.contains_key(&Some(*status)), "no request got {status}");
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
}
