//! Storage that fails, stalls or loses replies, and a model cache that is full or damaged.

use std::io::Cursor;
use std::path::Path;
use std::time::Duration;

use darkroom_client::{CaptionRequest, JobState, ModelState};
use darkroom_e2e::{Catalog, Disturbance, HubStandIn, bucket, models_folder, until};
use tokio::time::{Instant, sleep};

use super::chance::Chance;
use super::invariants::{self, Repeated};
use super::load::{ANSWER_BOUND, Caller, Submitted};
use super::report::{seconds, seen};
use super::world::{RECOVERY, World};
use crate::verify::request;

const FAULT: &str = "S3 fails";
const ERROR_500: &str =
    "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
const ERROR_503: &str = "HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

const NO_SUCH_BUCKET: &str = "HTTP/1.1 404 Not Found\r\nContent-Type: application/xml\r\nContent-Length: 94\r\n\
    Connection: close\r\n\r\n\
    <Error><Code>NoSuchBucket</Code><Message>The specified bucket does not exist</Message></Error>";

/// A picture as a file.
pub(crate) fn picture() -> Vec<u8> {
    let mut file = Cursor::new(Vec::new());
    image::RgbImage::new(8, 8).write_to(&mut file, image::ImageFormat::Png).unwrap();
    file.into_inner()
}

/// What goes wrong with storage, and for how long a job must bear it.
fn disturbances(chance: &mut Chance) -> Vec<(&'static str, Disturbance, Duration)> {
    let brief = chance.between(Duration::from_secs(2), Duration::from_secs(3));
    let full = chance.outage(Duration::from_secs(12));
    vec![
        ("500", Disturbance::Answer(ERROR_500), brief),
        ("503", Disturbance::Answer(ERROR_503), brief),
        ("time-out", Disturbance::Hang, full),
        ("reset in mid-body", Disturbance::CutAfter(1_500), brief),
        ("10 KB/s", Disturbance::Throttle(10_000), brief),
        ("late answers", Disturbance::Delay(Duration::from_millis(400)), brief),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_14_storage_fails_while_results_are_uploaded() {
    let mut chance = Chance::of(14);
    let world = World::start(1).await;
    let worker = world.deployment.worker().await;
    let mut jobs = Vec::new();
    for _ in 0..chance.rounds() {
        for (when, disturbance, lasts) in disturbances(&mut chance) {
            world.lines.storage.disturb(disturbance);
            let mut task = request("a red circle", 1);
            (task.width, task.height) = (Some(128), Some(128));
            let job = world.client.submit_text_to_image(&task).await.unwrap();
            let began = Instant::now();
            sleep(lasts).await;
            world.lines.storage.mend();
            let (job, _) = world.succeeds_within(&job, Duration::from_secs(60)).await;
            assert_eq!(world.attempts(&job, "lost").await, 0, "its lease was kept");
            jobs.push(job.id);
            let took = seconds(began.elapsed());
            let lasts = seconds(lasts);
            seen(
                14,
                FAULT,
                &format!("{when}, upload"),
                &format!("for {lasts}: done after {took}, {} attempts", job.attempts),
            );
        }
        world.lines.storage.disturb(Disturbance::Refuse);
        let job = world.submit(2).await;
        let job = world.client.wait(job.id, Duration::from_secs(90)).await.unwrap();
        world.lines.storage.mend();
        let error = job.error.unwrap();
        assert_eq!(
            (job.state, job.attempts, &error.code[..]),
            (JobState::Failed, 4, "poison"),
            "{}",
            error.message
        );
        jobs.push(job.id);
        seen(
            14,
            FAULT,
            "away for good, upload",
            &format!("4 attempts, then `{}`: {}", error.code, error.message),
        );
    }
    invariants::hold(&world, &Submitted::all(jobs), Repeated::Some, RECOVERY).await;
    drop(worker);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_14_storage_fails_while_inputs_are_taken_and_fetched() {
    let chance = Chance::of(14);
    let world = World::with_catalog(&Catalog::fake(1).with_captions(), &[]).await;
    let picture = picture();
    let caption =
        async || world.client.caption(picture.clone(), "picture.png", &CaptionRequest::default()).await;
    let mut jobs = Vec::new();
    for _ in 0..chance.rounds() {
        world.lines.storage.disturb(Disturbance::Answer(ERROR_503));
        let began = Instant::now();
        // Not by the client, which would ask again.
        let refused = Caller::of(&world).send("refused", picture.clone()).await.expect("the API answers");
        assert_eq!(refused.status(), 503);
        assert!(refused.headers().contains_key("retry-after"));
        let answered = began.elapsed();
        assert!(answered < ANSWER_BOUND, "an answer took {answered:?}");
        world.lines.storage.mend();
        let job = caption().await.unwrap();
        jobs.push(job.id);

        world.lines.storage.disturb(Disturbance::Answer(ERROR_500));
        let worker = world.deployment.spawn("darkroom-worker", &[], &[]);
        until("an attempt has failed", RECOVERY, || async {
            (world.attempts(&job, "failed").await > 0).then_some(())
        })
        .await;
        world.lines.storage.mend();
        let (job, _) = world.succeeds_within(&job, RECOVERY).await;
        seen(14, FAULT, "503, input", &format!("submission refused with 503 after {}", seconds(answered)));
        seen(14, FAULT, "500, input", &format!("fetched again once it answers: {} attempts", job.attempts));
        drop(worker);
    }
    invariants::hold(&world, &Submitted::all(jobs), Repeated::Some, RECOVERY).await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_14_storage_fails_while_weights_are_fetched() {
    let prefix = format!("faults/{}", uuid::Uuid::now_v7().simple());
    store_folder(&models_folder().join("shapes-sd"), &prefix).await;
    let cache = tempfile::tempdir().unwrap();
    let cache = cache.path().display().to_string();
    let catalog = Catalog::stored(&format!("s3://{}/{prefix}", bucket()));
    let world = World::with_catalog(&catalog, &[("DARKROOM_MODEL_CACHE", &cache)]).await;
    world.lines.storage.disturb(Disturbance::Answer(ERROR_500));
    let worker = world.deployment.spawn("darkroom-worker", &[], &[]);
    let job = world.submit(2).await;
    let model = |state: ModelState| {
        let client = world.client.clone();
        async move { client.models().await.unwrap().pop().filter(|model| model.state == state) }
    };
    let failed = until("the model says that it failed", RECOVERY, || model(ModelState::Failed)).await;
    world.lines.storage.mend();
    let (job, took) = world.succeeds_within(&job, Duration::from_secs(90)).await;
    assert_eq!(job.attempts, 1, "no attempt was spent on it");
    seen(
        14,
        FAULT,
        "500, weights",
        &format!(
            "model `failed` ({}); job done {} after storage is back, 1 attempt",
            failed.failure.unwrap_or_default(),
            seconds(took)
        ),
    );
    invariants::hold(&world, &Submitted::all([job.id]), Repeated::None, RECOVERY).await;
    drop(worker);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_14_the_bucket_is_missing() {
    let world = World::start(1).await;
    let worker = world.deployment.worker().await;
    // Said by the line, since the server of the tests makes a bucket that is written to.
    world.lines.storage.disturb(Disturbance::Answer(NO_SUCH_BUCKET));
    let job = world.submit(2).await;
    let job = world.client.wait(job.id, Duration::from_secs(60)).await.unwrap();
    world.lines.storage.mend();
    let error = job.error.unwrap();
    assert_eq!(job.state, JobState::Failed);
    assert!(["infrastructure", "poison"].contains(&&error.code[..]), "{}: {}", error.code, error.message);
    seen(14, FAULT, "missing bucket", &format!("{} attempts, then `{}`", job.attempts, error.code));
    invariants::hold(&world, &Submitted::all([job.id]), Repeated::Some, RECOVERY).await;
    drop(worker);
    world.end().await;
}

/// Puts a folder's files under a prefix of the tests' bucket.
async fn store_folder(folder: &Path, prefix: &str) {
    let blobs = darkroom_e2e::blobs();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let key = format!("{prefix}/{}", path.strip_prefix(folder).unwrap().display());
            let bytes = std::fs::read(&path).unwrap();
            blobs.put(&key, bytes.into(), "application/octet-stream").await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_15_the_reply_to_an_upload_is_lost() {
    let chance = Chance::of(15);
    let world = World::start(1).await;
    let worker = world.deployment.worker().await;
    let mut jobs = Vec::new();
    for round in 0..chance.rounds() {
        world.lines.storage.lose_reply_to(format!("PUT /{}/jobs/", bucket()));
        let job = world.submit(2).await;
        let (job, took) = world.succeeds_within(&job, RECOVERY).await;
        assert_eq!(world.lines.storage.replies_lost(), 1 + usize::try_from(round).unwrap());
        assert_eq!(job.attempts, 1);
        jobs.push(job.id);
        seen(
            15,
            "PUT accepted, reply lost",
            "upload",
            &format!("same object put again: 1 attempt, done after {}", seconds(took)),
        );
    }
    let left = invariants::hold(&world, &Submitted::all(jobs), Repeated::None, RECOVERY).await;
    assert_eq!(left.orphans, 0);
    drop(worker);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_16_the_model_cache_is_full_or_damaged() {
    let weights = "vae/diffusion_pytorch_model.safetensors";
    let hub = HubStandIn::start().await;
    let commit = hub.add("darkroom/shapes", &models_folder().join("shapes-sd"));
    let cache = tempfile::tempdir().unwrap();
    let files = cache.path().join("hub/darkroom--shapes").join(commit);
    let cache_path = cache.path().display().to_string();
    let settings = [("HF_ENDPOINT", &hub.url[..]), ("DARKROOM_MODEL_CACHE", &cache_path)];
    let world = World::with_catalog(&Catalog::hub("darkroom/shapes"), &settings).await;

    // Takes no byte, as a full disk.
    let part = files.join(weights).with_added_extension("part");
    std::fs::create_dir_all(part.parent().unwrap()).unwrap();
    std::os::unix::fs::symlink("/dev/full", &part).unwrap();
    let worker = world.deployment.spawn("darkroom-worker", &[], &[]);
    let failed = until("the model says that it failed", Duration::from_secs(30), || async {
        world.client.models().await.unwrap().pop().filter(|model| model.state == ModelState::Failed)
    })
    .await;
    std::fs::remove_file(&part).unwrap();
    let first = world.submit(2).await;
    let (first, took) = world.succeeds_within(&first, Duration::from_secs(90)).await;
    seen(
        16,
        "disk full in the model cache",
        "load",
        &format!(
            "model `failed` ({}); fetched {} after there is room",
            failed.failure.unwrap_or_default(),
            seconds(took)
        ),
    );
    drop(worker);

    let asked = hub.asked(weights).len();
    let mut bytes = std::fs::read(files.join(weights)).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(files.join(weights), bytes).unwrap();
    let worker = world.deployment.worker().await;
    let second = world.submit(2).await;
    let (second, _) = world.succeeds_within(&second, RECOVERY).await;
    assert!(hub.asked(weights).len() > asked, "the damaged file was fetched again");
    assert_eq!(first.artifacts[0].sha256, second.artifacts[0].sha256);
    assert!(worker.log().contains("a cached file is damaged"), "{}", worker.log());
    seen(
        16,
        "bit flipped in a cached file",
        "load",
        "found before it is loaded, fetched again; same picture as before",
    );
    invariants::hold(&world, &Submitted::all([first.id, second.id]), Repeated::None, RECOVERY).await;
    drop(worker);
    world.end().await;
}
