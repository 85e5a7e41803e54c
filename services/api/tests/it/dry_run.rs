//! Submissions that are only tried.

use base64::prelude::{BASE64_STANDARD, Engine as _};
use reqwest::multipart::Form;
use serde_json::{Value, json};

use crate::app::{Answer, App, eventually, picture, storage};
use crate::upload::{caption, png};

const BUCKET: &str = "darkroom-test-dry-run";

async fn try_out(app: &App, document: &Value) -> Answer {
    Answer::of(app.post("/v1/jobs?dry_run=true").json(document)).await
}

async fn try_form(app: &App, form: Form) -> Answer {
    Answer::of(app.post("/v1/jobs?dry_run=true").multipart(form)).await
}

async fn jobs(app: &App) -> i64 {
    app.database.count("select count(*) from jobs").await
}

#[tokio::test]
async fn a_dry_run_says_what_the_job_would_be_and_makes_none() {
    let app = App::start().await;
    let document =
        json!({"pipeline": "text-to-image", "input": {"prompt": "a red circle", "seed": 7, "width": 128}});
    insta::assert_json_snapshot!(try_out(&app, &document).await, @r#"
    {
      "status": 200,
      "headers": {
        "cache-control": "private, no-cache",
        "content-type": "application/json"
      },
      "body": {
        "blocked_reason": "no_worker_for_model",
        "dry_run": true,
        "input": {
          "embed_parameters": true,
          "guidance_scale": 4.0,
          "height": 64,
          "images": 1,
          "loras": {},
          "negative_prompt": null,
          "output_format": "png",
          "output_quality": null,
          "prompt": "a red circle",
          "safety_check": true,
          "scheduler": null,
          "seed": 7,
          "steps": 4,
          "width": 128
        },
        "model": "test/painter",
        "pipeline": "text-to-image",
        "price": {
          "amount": "0.00016384",
          "currency": "USD"
        },
        "queue": {
          "estimated_wait_seconds": null,
          "position": 1
        }
      }
    }
    "#);
    assert_eq!(jobs(&app).await, 0);
    let job = Answer::of(app.post("/v1/jobs?dry_run=false").json(&document)).await;
    assert_eq!(job.status, 202);
    let trial = try_out(&app, &document).await;
    for same in ["/pipeline", "/model", "/input", "/price"] {
        assert_eq!(trial.raw(same), job.raw(same), "{same}");
    }
    assert_eq!(jobs(&app).await, 1);
    app.stop().await;
}

#[tokio::test]
async fn the_place_is_that_of_the_next_job() {
    let app = App::start().await;
    let worker = app.worker();
    worker.appear(&[]).await;
    app.queued().await;
    let leased = worker.lease().await;
    worker.store_picture(&leased, b"x").await;
    worker.succeed(&leased).await;
    app.database.execute("update attempts set leased_at = finished_at - interval '10 s'").await;
    let queue = async || try_out(&app, &picture()).await.raw("/queue").clone();
    let place =
        |position: u64, seconds: f64| json!({"position": position, "estimated_wait_seconds": seconds});
    eventually("nothing waits", async || queue().await == place(1, 0.0)).await;
    for _ in 0..2 {
        app.queued().await;
    }
    eventually("two go first", async || queue().await == place(3, 20.0)).await;
    let mut first = picture();
    first["priority"] = json!("interactive");
    assert_eq!(try_out(&app, &first).await.raw("/queue/position"), 1);
    assert_eq!(try_out(&app, &first).await.raw("/blocked_reason"), &Value::Null);
    app.stop().await;
}

#[tokio::test]
async fn what_would_be_refused_is_refused() {
    let app = App::start().await;
    let wrong = json!({"pipeline": "text-to-image", "input": {"prompt": "", "width": 7}});
    let (tried, submitted) = (try_out(&app, &wrong).await, app.submit(&wrong).await);
    assert_eq!((tried.status, &tried.body["errors"]), (submitted.status, &submitted.body["errors"]));
    let unknown = json!({"pipeline": "text-to-image", "model": "x", "input": {"prompt": "a"}});
    assert_eq!(try_out(&app, &unknown).await.refusal(), (400, "unknown_model".to_owned()));
    let answer = try_form(&app, caption(b"no picture".to_vec())).await;
    assert_eq!(answer.refusal(), (400, "unsupported_image".to_owned()));
    app.database.execute("update tenants set max_queued = 1 where name = 'first'").await;
    assert_eq!(try_out(&app, &picture()).await.status, 200);
    app.queued().await;
    eventually("the limit holds", async || try_out(&app, &picture()).await.status == 429).await;
    assert_eq!(try_out(&app, &picture()).await.refusal(), (429, "queue_limit".to_owned()));
    app.stop().await;
}

#[tokio::test]
async fn pictures_are_looked_at_and_not_kept() {
    let app = App::start_with(storage(BUCKET)).await;
    app.blobs.ensure_bucket().await.unwrap();
    app.blobs.delete_prefix("inputs/").await.unwrap();
    let sent = try_form(&app, caption(png(33, 20))).await;
    assert_eq!((sent.status, sent.raw("/input/image/width")), (200, &json!(33)));
    let uri = format!("data:image/png;base64,{}", BASE64_STANDARD.encode(png(8, 8)));
    let document = json!({"pipeline": "image-to-text", "input": {"image_url": uri}});
    let named = try_out(&app, &document).await;
    assert_eq!((named.status, named.raw("/input/image/width")), (200, &json!(8)));
    assert_eq!(named.raw("/price/amount"), "0");
    let left = async || app.blobs.list("inputs/", None, 10).await.unwrap().len();
    eventually("nothing is left", async || left().await == 0).await;
    assert_eq!(jobs(&app).await, 0);
    app.stop().await;
}

#[tokio::test]
async fn a_picture_at_a_url_is_not_fetched_and_has_no_price() {
    let app = App::start().await;
    let document =
        |url: &str| json!({"pipeline": "image-to-text", "input": {"prompt": "a", "image_url": url}});
    // Nobody listens there.
    let answer = try_out(&app, &document("http://127.0.0.3:1/x.png")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.raw("/input"), &json!({"prompt": "a", "image": null}));
    assert_eq!(answer.raw("/price"), &Value::Null);
    for wrong in ["http://127.0.0.1/", "ftp://shop.example/"] {
        let answer = try_out(&app, &document(wrong)).await;
        assert_eq!(answer.refusal(), (422, "invalid_request".to_owned()));
        assert_eq!(answer.raw("/errors/0/pointer"), "/input/image_url");
    }
    app.stop().await;
}

#[tokio::test]
async fn an_idempotency_key_is_not_used_up() {
    let app = App::start().await;
    let send = async |query: &str, document: &Value| {
        let request = app.post(&format!("/v1/jobs{query}")).header("idempotency-key", "k");
        Answer::of(request.json(document)).await
    };
    assert_eq!(send("?dry_run=true", &picture()).await.status, 200);
    let mut other = picture();
    other["input"]["seed"] = json!(8);
    let job = send("", &other).await;
    assert_eq!((job.status, job.headers.get("idempotency-replayed")), (202, None));
    assert_eq!(send("?dry_run=true", &picture()).await.refusal(), (422, "idempotency_key_reused".to_owned()));
    assert_eq!(send("?dry_run=true", &other).await.status, 200);
    app.stop().await;
}

#[tokio::test]
async fn the_parameter_is_true_or_false() {
    let app = App::start().await;
    for (query, code) in [
        ("dry_run=yes", "choice"),
        ("dry_run", "choice"),
        ("dry_run=true&dry_run=true", "repeated"),
        ("dryrun=true", "unknown"),
    ] {
        let answer = Answer::of(app.post(&format!("/v1/jobs?{query}")).json(&picture())).await;
        assert_eq!(answer.refusal(), (422, "invalid_request".to_owned()));
        assert_eq!(answer.raw("/errors/0/code"), code, "{query}");
    }
    assert_eq!(jobs(&app).await, 0);
    app.stop().await;
}
