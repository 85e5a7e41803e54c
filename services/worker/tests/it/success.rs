//! Jobs that succeed.

use std::io::Cursor;
use std::time::Instant;

use darkroom_blobs::artifact_key;
use darkroom_jobs::{ArtifactId, JobState, LeaseToken, Warning, WorkerId};
use darkroom_queue::{Publisher, QueueConfig};
use darkroom_store::{Artifact, LeaseRequest, NewArtifact, Outcome, Settled};
use image::{ImageFormat, Rgb, RgbImage};
use serde_json::json;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::harness::{RunningWorker, Site, eventually};

async fn object(site: &Site, artifact: &Artifact) -> Vec<u8> {
    let object = site.database.store.artifact_object(artifact.id).await.unwrap().unwrap();
    let bytes = site.blobs.get(&object.key, 1 << 20).await.unwrap();
    assert_eq!(bytes.len() as u64, artifact.size_bytes);
    let head = site.blobs.head(&object.key).await.unwrap().unwrap();
    assert_eq!(head.sha256.unwrap().as_slice(), artifact.sha256);
    assert_eq!(head.content_type.unwrap(), artifact.content_type);
    bytes.to_vec()
}

#[tokio::test]
async fn pictures_are_made_stored_and_recorded() {
    let site = Site::new("pictures", json!({})).await;
    let worker = site.start();
    let id = site.draw(json!({"prompt": "a red circle", "images": 3, "seed": 40, "width": 40})).await;
    let job = site.finished(id).await;
    assert_eq!((job.state, job.attempts, job.failures), (JobState::Succeeded, 1, 0));
    assert_eq!(job.cost, Some(job.price));
    assert_eq!(
        job.artifacts.iter().map(|artifact| artifact.seed).collect::<Vec<_>>(),
        [40, 41, 42].map(Some)
    );
    for artifact in &job.artifacts {
        assert_eq!((artifact.width, artifact.height), (Some(40), Some(32)));
        let bytes = object(&site, artifact).await;
        assert_eq!(image::load_from_memory(&bytes).unwrap().width(), 40);
        let text = format!("a red circle\nSteps: 4, CFG scale: 7.5, Seed: {}", artifact.seed.unwrap());
        assert!(bytes.windows(text.len()).any(|window| window == text.as_bytes()));
    }
    let timings = job.timings.unwrap();
    for name in ["queued", "fetch", "wait", "load", "inference", "encode", "upload"] {
        assert!(timings.contains_key(&format!("{name}_ms")), "{name} in {timings:?}");
    }
    assert!(timings["inference_started_ms"] <= timings["inference_ended_ms"]);
    worker.stop().await;
    site.clean(&[id]).await;
}

#[tokio::test]
async fn pictures_are_written_in_the_format_asked_for() {
    let site = Site::new("formats", json!({})).await;
    let worker = site.start();
    let mut jobs = Vec::new();
    for (format, content_type, expected) in [
        ("png", "image/png", ImageFormat::Png),
        ("jpeg", "image/jpeg", ImageFormat::Jpeg),
        ("webp", "image/webp", ImageFormat::WebP),
    ] {
        for embed_parameters in [true, false] {
            let input = json!({"prompt": "a red circle", "seed": 5, "output_format": format,
                               "embed_parameters": embed_parameters});
            let id = site.draw(input).await;
            let artifact = site.finished(id).await.artifacts.pop().unwrap();
            assert_eq!(artifact.content_type, content_type);
            let bytes = object(&site, &artifact).await;
            assert_eq!(image::guess_format(&bytes).unwrap(), expected);
            let origin = b"trainedAlgorithmicMedia";
            let found = bytes.windows(origin.len()).any(|window| window == origin);
            assert_eq!(found, embed_parameters, "{format}");
            jobs.push(id);
        }
    }
    worker.stop().await;
    site.clean(&jobs).await;
}

#[tokio::test]
async fn warnings_of_every_attempt_are_shown_once() {
    let site = Site::new("warnings", json!({})).await;
    let worker = site.start();
    let silent = site.draw(json!({"prompt": "a red circle"})).await;
    let twice = site.draw(json!({"prompt": "a cat [fake:fail] [fake:warn] on a mat"})).await;
    assert_eq!(site.finished(silent).await.warnings, []);
    let warned = site.wait(twice, |job| !job.warnings.is_empty() && job.failures > 0).await;
    site.database.execute("update jobs set available_at = now() where state = 'queued'").await;
    let again = site.wait(twice, |job| job.failures > warned.failures || job.state.is_final()).await;
    assert_eq!(again.warnings, [Warning::prompt_truncated("text_encoder", "on a mat", 77)]);
    worker.stop().await;
    site.clean(&[silent, twice]).await;
}

#[tokio::test]
async fn caption_is_recorded_as_text_and_stored_as_an_object() {
    let site = Site::new("caption", json!({})).await;
    let worker = site.start();
    let mut png = Cursor::new(Vec::new());
    RgbImage::from_pixel(8, 8, Rgb([200, 0, 0])).write_to(&mut png, ImageFormat::Png).unwrap();
    let id = site.caption(png.into_inner(), "a picture of").await;
    let job = site.finished(id).await;
    assert_eq!(job.state, JobState::Succeeded);
    let [artifact] = &job.artifacts[..] else { panic!("one caption: {:?}", job.artifacts) };
    let text = artifact.text.as_deref().unwrap();
    assert!(text.starts_with("a picture of"), "{text}");
    assert_eq!(object(&site, artifact).await, text.as_bytes());
    worker.stop().await;
    site.clean(&[id]).await;
}

#[tokio::test]
async fn same_seed_gives_the_same_bytes_on_another_worker() {
    let site = Site::new("same-seed", json!({})).await;
    let mut digests = Vec::new();
    let mut jobs = Vec::new();
    for _ in 0..2 {
        let worker = site.start();
        let id = site.draw(json!({"prompt": "a red circle", "images": 2, "seed": 5})).await;
        let job = site.finished(id).await;
        digests.push(job.artifacts.into_iter().map(|artifact| artifact.sha256).collect::<Vec<_>>());
        jobs.push(id);
        worker.stop().await;
    }
    assert_eq!(digests[0], digests[1]);
    assert_ne!(digests[0][0], digests[0][1]);
    site.clean(&jobs).await;
}

#[tokio::test]
async fn retry_continues_at_the_first_missing_picture() {
    let site = Site::new("continue", json!({})).await;
    let id = site.draw(json!({"prompt": "a red circle", "images": 3, "seed": 5})).await;
    let store = &site.database.store;
    let lanes = [site.lane()];
    let token = LeaseToken::from_uuid(Uuid::new_v4());
    let worker = WorkerId::from_uuid(Uuid::new_v4());
    let request = LeaseRequest { worker, token, lanes: &lanes, loaded: &lanes };
    let lease = store.lease(&request).await.unwrap().unwrap().lease;
    for index in [0, 2] {
        let key = artifact_key(id, lease.attempt, index, "png");
        let stored = site.blobs.put(&key, "made before".into(), "image/png").await.unwrap();
        let artifact = NewArtifact {
            id: ArtifactId::from_uuid(Uuid::now_v7()),
            index,
            key,
            content_type: "image/png".to_owned(),
            size_bytes: stored.size_bytes,
            sha256: stored.sha256,
            width: Some(32),
            height: Some(32),
            seed: Some(5 + u64::from(index)),
            nsfw: false,
            text: None,
        };
        store.record_artifact(&lease, &artifact).await.unwrap();
    }
    assert_eq!(store.settle(&lease, &Outcome::Released, 3).await.unwrap(), Settled::Done);

    let worker = site.start();
    let job = site.finished(id).await;
    assert_eq!((job.state, job.attempts), (JobState::Succeeded, 2));
    let sql = format!("select sum(index) from artifacts where job_id = '{id}' and attempt = 2");
    assert_eq!(site.database.count(&sql).await, 1, "only the missing one is made");
    assert_eq!(object(&site, &job.artifacts[0]).await, b"made before");
    assert_eq!(job.artifacts[1].seed, Some(6));
    worker.stop().await;
    site.clean(&[id]).await;
}

#[tokio::test]
async fn without_a_broker_probes_find_the_jobs() {
    let site = Site::new("no-broker", json!({})).await;
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut settings = site.settings();
    settings.queue = QueueConfig { amqp_url: format!("amqp://{closed}").into() };
    let worker = RunningWorker::start(settings);
    worker.ready().await;
    let mut jobs = Vec::new();
    for _ in 0..5 {
        jobs.push(site.draw(json!({"prompt": "a red circle"})).await);
    }
    for id in &jobs {
        assert_eq!(site.finished(*id).await.state, JobState::Succeeded);
    }
    worker.stop().await;
    site.clean(&jobs).await;
}

#[tokio::test]
async fn tickets_wake_the_worker_between_probes() {
    let site = Site::new("tickets", json!({})).await;
    let settings = site.settings();
    let stop = CancellationToken::new();
    let publisher = Publisher::start(&settings.queue, stop.clone());
    let worker = RunningWorker::start(settings);
    worker.ready().await;
    let mut jobs = Vec::new();
    let lane = [site.lane()];
    let began = Instant::now();
    for _ in 0..10 {
        let id = site.draw(json!({"prompt": "a red circle"})).await;
        assert_eq!(publisher.publish(&lane).await, [true]);
        assert_eq!(site.finished(id).await.state, JobState::Succeeded);
        jobs.push(id);
    }
    // Probes alone, 1.5 s apart at least, would take 15 s.
    assert!(began.elapsed().as_secs() < 10, "{:?}", began.elapsed());
    stop.cancel();
    worker.stop().await;
    site.clean(&jobs).await;
}

#[tokio::test]
async fn slots_hold_several_leases_while_the_device_runs_one_job() {
    let site = Site::new("slots", json!({})).await;
    let mut settings = site.settings();
    settings.worker.slots = 3;
    let prompt = json!({"prompt": "a red circle [fake:step_ms=500]"});
    let jobs = [site.draw(prompt.clone()).await, site.draw(prompt.clone()).await, site.draw(prompt).await];
    let worker = RunningWorker::start(settings);
    let running = "select count(*) from attempts where state = 'running'";
    eventually(async || (site.database.count(running).await == 3).then_some(())).await;
    let stepping = "select count(*) from attempts where progress is not null and state = 'running'";
    assert!(site.database.count(stepping).await <= 1);
    for id in jobs {
        assert_eq!(site.finished(id).await.state, JobState::Succeeded);
    }
    worker.stop().await;
    site.clean(&jobs).await;
}

#[tokio::test]
async fn bundled_models_draw_what_is_asked_and_say_what_is_drawn() {
    let models = concat!(env!("CARGO_MANIFEST_DIR"), "/../../models");
    let site = Site::with_catalog(&json!([
        {"pipeline": "text-to-image", "model_id": "test/bundled/draw", "source": format!("{models}/shapes-sd"),
         "warm": true, "defaults": {"width": 128, "height": 128, "steps": 25, "guidance_scale": 4.0}},
        {"pipeline": "image-to-text", "model_id": "test/bundled/say", "source": format!("{models}/shapes-blip")}
    ]))
    .await;
    let worker = site.start();
    let prompt = "a large red circle on a blue background";
    let drawn = site.draw(json!({"prompt": prompt, "seed": 1})).await;
    let picture = site.finished(drawn).await.artifacts.pop().unwrap();
    let bytes = object(&site, &picture).await;
    let said = site.caption(bytes, "").await;
    let caption = site.finished(said).await.artifacts.pop().unwrap();
    assert_eq!(caption.text.as_deref(), Some(prompt));
    worker.stop().await;
    site.clean(&[drawn, said]).await;
}
