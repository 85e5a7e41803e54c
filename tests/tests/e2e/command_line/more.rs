//! What else there is to say to the service.

use darkroom_e2e::{Catalog, Deployment};
use serde_json::json;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pictures_are_sent_once_and_described_by_id_or_url() {
    let settings = [("DARKROOM_ALLOWED_NETWORKS", "127.0.0.1/32")];
    let deployment = Deployment::with(&Catalog::fake(1).with_captions(), &settings).await;
    let darkroom = deployment.command_line("a").await;
    let worker = deployment.worker().await;
    let made = darkroom.run(&["generate", "a circle", "-o", "out.png", "--json"]);
    let url = made.documents()[0]["artifacts"][0]["url"].as_str().unwrap().to_owned();

    let sent = darkroom.run(&["files", "add", "out.png", "out.png"]);
    let [file, same] = sent.text().lines().collect::<Vec<_>>()[..] else { panic!("{sent:?}") };
    assert_eq!(file, same);
    assert!(darkroom.run(&["files", "show", file]).text().contains("64 × 64"));
    let captioned = darkroom.run(&["caption", &url, "--file", file]);
    let [by_url, by_id] = captioned.text().lines().collect::<Vec<_>>()[..] else { panic!("{captioned:?}") };
    assert_eq!(by_url.strip_prefix(&url), by_id.strip_prefix(file));
    let submitted =
        darkroom.run(&["submit", "--file", file, "--image", "out.png", "--metadata", "album=two"]);
    let found = darkroom.run(&["jobs", "--metadata", "album=two", "--json"]).documents();
    assert_eq!((submitted.text().lines().count(), found.len()), (2, 2));
    assert!(darkroom.run(&["jobs", "--metadata", "album=one"]).text().lines().count() == 1);

    assert_eq!(darkroom.run(&["files", "delete", file]).text(), format!("file {file} is deleted"));
    let gone = darkroom.run(&["caption", "--file", file]);
    assert!(gone.code == Some(3) && gone.stderr.contains("/input/image_file"), "{gone:?}");
    std::fs::write(darkroom.path("none.png"), "none").unwrap();
    assert_eq!(darkroom.run(&["files", "add", "none.png"]).code, Some(3));
    drop(worker);
    deployment.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dry_runs_say_what_it_would_cost_and_submit_nothing() {
    let deployment = Deployment::start(&Catalog::fake(1).with_captions()).await;
    let darkroom = deployment.command_line("a").await;
    let tried = darkroom.run(&["generate", "a circle", "a star", "--dry-run"]);
    let lines: Vec<&str> = tried.text().lines().collect();
    assert!(lines[0].starts_with("JOB") && lines[1].contains("no worker for model"), "{tried:?}");
    assert!(lines[3].starts_with("total") && lines[3].contains("USD"), "{tried:?}");
    let document = json!({"pipeline": "text-to-image", "input": {"prompt": "a star", "images": 2}});
    let submit = ["submit", "--document", "-", "--dry-run", "--json"];
    let tried = darkroom.run_with_input(&submit, document.to_string().as_bytes());
    assert_eq!(tried.documents()[0]["input"]["images"], 2, "{tried:?}");
    image::RgbImage::new(8, 8).save(darkroom.path("a.png")).unwrap();
    let tried = darkroom.run(&["caption", "a.png", "--dry-run", "--json"]);
    assert_eq!(tried.documents()[0]["subject"], "a.png", "{tried:?}");
    let refused = darkroom.run(&["generate", "a circle", "--width", "65", "--dry-run"]);
    assert!(refused.code == Some(3) && refused.stdout.is_empty(), "{refused:?}");
    assert_eq!(deployment.database.count("select count(*) from jobs").await, 0);

    let told = ["--webhook", "https://shop.example/hook", "--webhook-event", "job.misspelt"];
    let refused = darkroom.run(&[&["submit", "a circle"][..], &told].concat());
    assert!(refused.code == Some(3) && refused.stderr.contains("/webhook/events"), "{refused:?}");
    let secret = darkroom.run(&["webhooks", "secret"]);
    assert!(secret.text().starts_with("whsec_"), "{secret:?}");
    deployment.end().await;
}
