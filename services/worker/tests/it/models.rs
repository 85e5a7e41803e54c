//! Workers whose models have to be fetched first.

use darkroom_e2e::{Fault, HubStandIn};
use darkroom_jobs::JobState;
use darkroom_store::FilesStatus;
use serde_json::json;

use crate::harness::{RunningWorker, Site, eventually};

const UNET: &str = "unet/diffusion_pytorch_model.safetensors";

fn shapes() -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/shapes-sd")
}

/// A picture model of the hub, not warm, and a fake that captions.
async fn site(name: &str) -> Site {
    Site::with_catalog(&json!([
        {
            "pipeline": "text-to-image", "model_id": format!("test/{name}"), "source": "hub:test/shapes",
            "warm": true, "defaults": {"width": 64, "height": 64, "steps": 2}
        },
        {"pipeline": "image-to-text", "model_id": format!("test/{name}-say"), "source": "builtin:fake"}
    ]))
    .await
}

fn start(site: &Site, hub: &HubStandIn) -> RunningWorker {
    let mut settings = site.settings();
    settings.worker.hf_endpoint = hub.url.parse().unwrap();
    RunningWorker::start(settings)
}

/// What the one worker says of the picture model.
async fn status(site: &Site) -> Option<darkroom_store::ModelStatus> {
    let workers = site.database.store.workers().await.unwrap();
    workers.first()?.models.get(&site.lane()).cloned()
}

fn picture() -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    image::RgbImage::new(8, 8).write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    bytes.into_inner()
}

#[tokio::test]
async fn lane_waits_for_its_files_while_others_go_on() {
    let hub = HubStandIn::start().await;
    hub.add("test/shapes", &shapes());
    // No fetch ends, however often it is tried.
    for _ in 0..10 {
        hub.fault(UNET, Fault::SilentAfter(100_000));
    }
    let site = site("waits").await;
    let worker = start(&site, &hub);
    let drawn = site.draw(json!({"prompt": "a red circle"})).await;
    let said = site.caption(picture(), "").await;
    assert_eq!(site.finished(said).await.state, JobState::Succeeded);
    let (downloaded, total) = eventually(async || match status(&site).await?.files {
        FilesStatus::Downloading { downloaded_bytes, total_bytes } if downloaded_bytes > 0 => {
            Some((downloaded_bytes, total_bytes))
        }
        _ => None,
    })
    .await;
    assert!(downloaded < total, "{downloaded} of {total}");
    assert_eq!(site.job(drawn).await.attempts, 0, "nobody asks for a lane without files");
    let report = format!("{:?}", worker.readiness.report().await);
    assert!(report.contains("its files are being fetched"), "{report}");
    assert_eq!(status(&site).await.unwrap().safety_checker, None);
    worker.stop().await;
    hub.heal();

    // The next one goes on with what is here.
    let worker = start(&site, &hub);
    worker.ready().await;
    assert_eq!(site.finished(drawn).await.state, JobState::Succeeded);
    let status = eventually(async || status(&site).await.filter(|it| it.safety_checker.is_some())).await;
    assert_eq!(status.files, FilesStatus::Available);
    assert_eq!(status.safety_checker, Some(false), "the bundled model has none");
    let contents: Vec<_> = hub.asked(UNET).into_iter().filter(|asked| asked.redirected).collect();
    assert!(contents.len() >= 2 && contents[1].range.is_some(), "{contents:?}");
    worker.stop().await;
    site.clean(&[drawn, said]).await;
}

#[tokio::test]
async fn failed_fetch_is_shown_and_tried_again() {
    let hub = HubStandIn::start().await;
    let site = site("refused").await;
    let worker = start(&site, &hub);
    let drawn = site.draw(json!({"prompt": "a red circle"})).await;
    let reason = eventually(async || match status(&site).await?.files {
        FilesStatus::Failed { reason } => Some(reason),
        _ => None,
    })
    .await;
    assert_eq!(reason, "access to its files is refused");
    assert!(!worker.readiness.report().await.is_ready());
    hub.add("test/shapes", &shapes());
    assert_eq!(site.finished(drawn).await.state, JobState::Succeeded);
    worker.ready().await;
    worker.stop().await;
    site.clean(&[drawn]).await;
}

#[tokio::test]
async fn model_that_must_have_a_safety_checker_is_not_served_without() {
    let site = Site::new("checked", json!({"source": shapes(), "safety_checker": true, "warm": true})).await;
    let worker = site.start();
    eventually(async || {
        let report = format!("{:?}", worker.readiness.report().await);
        report.contains("the catalog asks for a safety checker, and the model has none").then_some(())
    })
    .await;
    worker.stop().await;
    site.clean(&[]).await;
}
