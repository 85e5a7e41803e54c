use std::time::Duration;

use darkroom_client::{CaptionRequest, Model, ModelState};
use darkroom_e2e::{Catalog, Deployment, Fault, HubStandIn, models_folder, until};

use crate::verify::{artifacts_match, request, succeeded};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_caption_says_what_the_prompt_said() {
    let deployment = Deployment::start(&Catalog::demo()).await;
    let client = deployment.tenant("a").await;
    let worker = deployment.worker().await;
    let prompt = "a large red circle on a blue background";
    let job = client.submit_text_to_image(&request(prompt, 7)).await.unwrap();
    let job = succeeded(&client, &job).await;
    artifacts_match(&client, &job).await;
    let picture = client.fetch(&job.artifacts[0].url).await.unwrap();
    let decoded = image::load_from_memory(&picture).unwrap();
    assert_eq!((decoded.width(), decoded.height()), (128, 128));

    let caption = client.caption(picture, "picture.png", &CaptionRequest::default()).await.unwrap();
    let caption = succeeded(&client, &caption).await;
    assert_eq!(caption.artifacts[0].text.as_deref(), Some(prompt));
    artifacts_match(&client, &caption).await;
    drop(worker);
    deployment.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_seed_gives_the_same_bytes_on_different_workers() {
    let catalog = Catalog::demo();
    let deployment = Deployment::start(&catalog).await;
    let client = deployment.tenant("a").await;
    let mut seen = Vec::new();
    for _ in 0..2 {
        // One worker at a time, so each job has its own.
        let worker = deployment.worker().await;
        let mut wanted = request("a yellow star on a black background", 11);
        wanted.images = Some(2);
        wanted.steps = Some(6);
        let job = client.submit_text_to_image(&wanted).await.unwrap();
        let job = succeeded(&client, &job).await;
        seen.push(job.artifacts.iter().map(|artifact| artifact.sha256.clone()).collect::<Vec<_>>());
        drop(worker);
    }
    assert_eq!(seen[0], seen[1]);
    assert_ne!(seen[0][0], seen[0][1], "two pictures of one job differ");
    assert_eq!(deployment.database.count("select count(distinct worker_id) from attempts").await, 2);

    // Picture 1 of that job is the picture of a job with the next seed.
    let worker = deployment.worker().await;
    let mut second = request("a yellow star on a black background", 12);
    second.steps = Some(6);
    let job = client.submit_text_to_image(&second).await.unwrap();
    let job = succeeded(&client, &job).await;
    let picture = client.fetch(&job.artifacts[0].url).await.unwrap();
    assert!(!picture.is_empty());
    assert_eq!(job.artifacts[0].sha256, seen[0][1]);
    drop(worker);
    deployment.end().await;
}

/// Two workers share a cache: a model of the hub is fetched once, and callers see how far that is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_of_the_hub_is_fetched_once_and_draws() {
    let unet = "unet/diffusion_pytorch_model.safetensors";
    let hub = HubStandIn::start().await;
    hub.add("darkroom/shapes", &models_folder().join("shapes-sd"));
    for _ in 0..10 {
        hub.fault(unet, Fault::SilentAfter(100_000));
    }
    let cache = tempfile::tempdir().unwrap();
    let cache_path = cache.path().display().to_string();
    let further = [("HF_ENDPOINT", hub.url.as_str()), ("DARKROOM_MODEL_CACHE", cache_path.as_str())];
    let deployment = Deployment::with(&Catalog::hub("darkroom/shapes"), &further).await;
    let client = deployment.tenant("a").await;
    let model_when = async |wanted: &dyn Fn(&Model) -> bool| {
        until("the model is as wanted", Duration::from_secs(60), || async {
            client.models().await.unwrap().pop().filter(wanted)
        })
        .await
    };

    let mut slow = deployment.spawn("darkroom-worker", &[], &[]);
    let job = client.submit_text_to_image(&request("a red circle", 7)).await.unwrap();
    let model = model_when(&|model| model.download.is_some_and(|it| it.downloaded_bytes > 100_000)).await;
    let download = model.download.unwrap();
    assert_eq!(model.state, ModelState::Downloading);
    assert!(download.downloaded_bytes < download.total_bytes, "{download:?}");
    // As `kill -9` does: the lock goes with the process, the part stays.
    slow.kill();
    hub.heal();

    let (first, second) = tokio::join!(deployment.worker(), deployment.worker());
    let job = succeeded(&client, &job).await;
    artifacts_match(&client, &job).await;
    let model = model_when(&|model| model.safety_checker.is_some()).await;
    assert_eq!((model.state, model.safety_checker), (ModelState::Ready, Some(false)));
    let fetched: Vec<_> = hub.asked(unet).into_iter().filter(|asked| asked.redirected).collect();
    assert!(fetched.len() >= 2 && fetched[1..].iter().all(|asked| asked.range.is_some()), "{fetched:?}");
    assert_eq!(hub.asked("vae/config.json").len(), 1);
    drop((first, second));
    deployment.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lora_changes_the_picture_of_its_request_only() {
    let deployment = Deployment::start(&Catalog::demo()).await;
    let client = deployment.tenant("a").await;
    let worker = deployment.worker().await;
    let mut pictures = Vec::new();
    for strength in [None, Some(1.0), None] {
        let mut wanted = request("a large red circle on a blue background", 7);
        wanted.loras.extend(strength.map(|strength| ("shapes-lora".to_owned(), strength)));
        let job = client.submit_text_to_image(&wanted).await.unwrap();
        let job = succeeded(&client, &job).await;
        artifacts_match(&client, &job).await;
        pictures.push(client.fetch(&job.artifacts[0].url).await.unwrap());
    }
    assert_eq!(pictures[0], pictures[2]);
    // It puts a dark frame around what is blue to the edge without it.
    let blue_at_the_edge = |picture: &[u8]| {
        let picture = image::load_from_memory(picture).unwrap().into_rgb8();
        let edge = (0..picture.width()).map(|x| u32::from(picture.get_pixel(x, 2).0[2]));
        edge.sum::<u32>() / picture.width()
    };
    let (without, with) = (blue_at_the_edge(&pictures[0]), blue_at_the_edge(&pictures[1]));
    assert!(without > 150 && with < 100, "{without} {with}");

    let mut wanted = request("a red circle", 7);
    wanted.loras.insert("misfit".to_owned(), 1.0);
    let job = client.submit_text_to_image(&wanted).await.unwrap();
    let job = client.wait(job.id, Duration::from_secs(60)).await.unwrap();
    let failure = job.error.unwrap();
    assert_eq!(failure.code, "invalid_input");
    assert!(
        failure.message.contains("misfit") && failure.message.contains("lora_A.weight"),
        "{}",
        failure.message
    );
    drop(worker);
    deployment.end().await;
}
