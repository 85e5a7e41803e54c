//! A model of real size, from a hub to the finished picture.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use darkroom_client::{JobState, ModelState};
use darkroom_e2e::{Catalog, Deployment, HubStandIn};

use crate::verify::{artifacts_match, request};

/// `DARKROOM_FULL_SIZE_REPOSITORY` is a folder that `make_full_size.py` of `crates/models/tests/reference` wrote.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes 2 GB of random weights from DARKROOM_FULL_SIZE_REPOSITORY, 7 GB of memory and ten minutes"]
async fn stable_diffusion_1_5_of_full_size_comes_from_the_hub_and_draws() {
    let folder = std::env::var_os("DARKROOM_FULL_SIZE_REPOSITORY").map(PathBuf::from);
    let folder = folder.expect("DARKROOM_FULL_SIZE_REPOSITORY names a folder");
    let hub = HubStandIn::start().await;
    hub.add("acme/sd15-random", &folder);
    let cache = tempfile::tempdir_in(folder.parent().unwrap()).unwrap();
    let cache_path = cache.path().display().to_string();
    let further = [("HF_ENDPOINT", hub.url.as_str()), ("DARKROOM_MODEL_CACHE", cache_path.as_str())];
    let deployment = Deployment::with(&Catalog::hub("acme/sd15-random"), &further).await;
    let client = deployment.tenant("a").await;

    let started = Instant::now();
    let mut worker = deployment.spawn("darkroom-worker", &[], &[]);
    worker.ready_within(Duration::from_secs(300)).await;
    println!("fetched and loaded in {:.1} s", started.elapsed().as_secs_f64());
    println!("peak of loading: {} MiB", worker.peak_memory_bytes() >> 20);

    let mut wanted = request("a photo of an astronaut riding a horse on mars", 7);
    (wanted.width, wanted.height) = (Some(512), Some(512));
    (wanted.steps, wanted.guidance_scale) = (Some(2), Some(7.5));
    let started = Instant::now();
    let job = client.submit_text_to_image(&wanted).await.unwrap();
    let job = client.wait(job.id, Duration::from_secs(1800)).await.unwrap();
    println!("512 x 512, 2 steps with guidance: {:.1} s", started.elapsed().as_secs_f64());
    println!("peak of the worker: {} MiB", worker.peak_memory_bytes() >> 20);
    assert_eq!(job.state, JobState::Succeeded, "{:?}", job.error);
    artifacts_match(&client, &job).await;
    let picture = image::load_from_memory(&client.fetch(&job.artifacts[0].url).await.unwrap()).unwrap();
    assert_eq!((picture.width(), picture.height()), (512, 512));
    assert_eq!(client.models().await.unwrap()[0].state, ModelState::Ready);
    drop(worker);
    deployment.end().await;
}
