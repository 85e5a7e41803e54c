use darkroom_jobs::Warning;
use reqwest::Method;
use tokio::time::{Instant, timeout};

use crate::app::{Answer, App, SOON, picture};

#[tokio::test]
async fn a_finished_job_shows_everything() {
    let app = App::start().await;
    let id = app.queued().await;
    let worker = app.worker();
    let leased = worker.lease().await;
    worker.store_picture(&leased, b"not really a picture").await;
    worker.succeed(&leased).await;
    insta::assert_json_snapshot!(Answer::of(app.get(&format!("/v1/jobs/{id}"))).await, @r#"
    {
      "status": 200,
      "headers": {
        "cache-control": "private, no-cache",
        "content-type": "application/json",
        "etag": "W/\"v4\""
      },
      "body": {
        "artifacts": [
          {
            "content_type": "image/png",
            "height": 64,
            "id": "[id]",
            "index": 0,
            "nsfw": false,
            "seed": 7,
            "sha256": "fe1a4ab1fb6347036bead73597d5d2958b26ac0b96f68ca2f6dcee53a50f297e",
            "size_bytes": 20,
            "text": null,
            "url": "[url]",
            "width": 64
          }
        ],
        "attempts": 1,
        "batch_id": null,
        "blocked_reason": null,
        "cost": {
          "amount": "0.00008192",
          "currency": "USD"
        },
        "created_at": "[created_at]",
        "deadline": "[deadline]",
        "error": null,
        "expires_at": "[expires_at]",
        "finished_at": "[finished_at]",
        "id": "[id]",
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
          "width": 64
        },
        "links": {
          "cancel": "[cancel]",
          "self": "[self]"
        },
        "metadata": {},
        "model": "test/painter",
        "pipeline": "text-to-image",
        "price": {
          "amount": "0.00008192",
          "currency": "USD"
        },
        "priority": "normal",
        "progress": null,
        "queue": null,
        "replay_of": null,
        "replayed_by": null,
        "started_at": "[started_at]",
        "state": "succeeded",
        "timings": {
          "inference": 12.5
        },
        "version": 4,
        "warnings": [],
        "webhook": null
      }
    }
    "#);
    app.stop().await;
}

#[tokio::test]
async fn a_failed_job_says_why() {
    let app = App::start().await;
    let id = app.queued().await;
    let worker = app.worker();
    let leased = worker.lease().await;
    worker.fail(&leased).await;
    let answer = Answer::of(app.get(&format!("/v1/jobs/{id}"))).await;
    assert_eq!((answer.text("/state").as_str(), answer.raw("/cost")), ("failed", &serde_json::Value::Null));
    insta::assert_json_snapshot!(answer.body["error"], @r#"
    {
      "code": "invalid_input",
      "message": "the image cannot be decoded"
    }
    "#);
    app.stop().await;
}

#[tokio::test]
async fn warnings_are_shown_and_are_a_new_version() {
    let app = App::start().await;
    let path = format!("/v1/jobs/{}", app.queued().await);
    let leased = app.worker().lease().await;
    let before = Answer::of(app.get(&path)).await;
    assert_eq!(before.raw("/warnings"), &serde_json::json!([]));
    let warning = Warning::prompt_truncated("text_encoder", "on a mat", 77);
    app.database.store.record_warning(&leased.lease, &warning).await.unwrap();
    let after = Answer::of(app.get(&path)).await;
    assert_ne!(before.headers["etag"], after.headers["etag"]);
    insta::assert_json_snapshot!(after.body["warnings"], @r#"
    [
      {
        "code": "prompt_truncated",
        "detail": {
          "dropped": "on a mat",
          "encoder": "text_encoder",
          "limit": 77
        },
        "message": "text_encoder reads at most 77 tokens: the end of a prompt was left out"
      }
    ]
    "#);
    app.stop().await;
}

#[tokio::test]
async fn a_version_the_caller_has_is_not_sent_again() {
    let app = App::start().await;
    let path = format!("/v1/jobs/{}", app.queued().await);
    let tag = Answer::of(app.get(&path)).await.headers["etag"].clone();
    let again = Answer::of(app.get(&path).header("if-none-match", &tag)).await;
    insta::assert_json_snapshot!(again, @r#"
    {
      "status": 304,
      "headers": {
        "cache-control": "private, no-cache",
        "etag": "W/\"v1\""
      },
      "body": null
    }
    "#);
    app.worker().lease().await;
    let changed = Answer::of(app.get(&path).header("if-none-match", &tag)).await;
    assert_eq!((changed.status, changed.text("/state").as_str()), (200, "running"));
    assert_ne!(changed.headers["etag"], tag);
    app.stop().await;
}

#[tokio::test]
async fn a_held_answer_comes_when_the_job_is_final() {
    let app = App::start().await;
    let path = format!("/v1/jobs/{}", app.queued().await);
    let worker = app.worker();
    let finish = async {
        app.held(1).await;
        let leased = worker.lease().await;
        worker.store_picture(&leased, b"x").await;
        worker.succeed(&leased).await;
    };
    let held = Answer::of(app.get(&path).header("prefer", "wait=30"));
    let (answer, ()) = timeout(SOON, async { tokio::join!(held, finish) }).await.unwrap();
    assert_eq!(answer.text("/state"), "succeeded");
    assert_eq!(answer.headers["preference-applied"], "wait=30");
    app.stop().await;
}

#[tokio::test]
async fn a_held_answer_comes_with_the_next_version() {
    let app = App::start().await;
    let path = format!("/v1/jobs/{}", app.queued().await);
    let tag = Answer::of(app.get(&path)).await.headers["etag"].clone();
    let worker = app.worker();
    let held = Answer::of(app.get(&path).header("prefer", "wait=30").header("if-none-match", &tag));
    let lease = async {
        app.held(1).await;
        worker.lease().await
    };
    let (answer, _) = timeout(SOON, async { tokio::join!(held, lease) }).await.unwrap();
    assert_eq!(answer.text("/state"), "running");
    let held = Answer::of(
        app.get(&path).header("prefer", "wait=1").header("if-none-match", &answer.headers["etag"]),
    );
    assert_eq!(held.await.status, 304);
    app.stop().await;
}

#[tokio::test]
async fn a_submission_waits_for_its_result() {
    let app = App::start().await;
    let worker = app.worker();
    let work = async {
        app.held(1).await;
        let leased = worker.lease().await;
        worker.store_picture(&leased, b"x").await;
        worker.succeed(&leased).await;
    };
    let submission = app.post("/v1/jobs").header("prefer", "respond-async, wait=30").json(&picture());
    let (answer, ()) = timeout(SOON, async { tokio::join!(Answer::of(submission), work) }).await.unwrap();
    assert_eq!((answer.status, answer.text("/state").as_str()), (200, "succeeded"));
    insta::assert_json_snapshot!(answer.headers, @r#"
    {
      "cache-control": "private, no-cache",
      "content-type": "application/json",
      "etag": "W/\"v4\"",
      "location": "/v1/jobs/[id]",
      "preference-applied": "respond-async, wait=30"
    }
    "#);
    app.stop().await;
}

#[tokio::test]
async fn a_wait_that_runs_out_answers_with_the_job_as_it_stands() {
    let app = App::start().await;
    let started = Instant::now();
    let answer = Answer::of(app.post("/v1/jobs").header("prefer", "wait=1").json(&picture())).await;
    assert_eq!((answer.status, answer.text("/state").as_str()), (202, "queued"));
    assert!((1..5).contains(&started.elapsed().as_secs()));
    let at_once = app.post("/v1/jobs").header("prefer", "respond-async").json(&picture());
    assert_eq!(Answer::of(at_once).await.headers["preference-applied"], "respond-async");
    app.stop().await;
}

#[tokio::test]
async fn a_wait_ends_with_a_deleted_job() {
    let app = App::start().await;
    let id = app.queued().await;
    // Neither a cancellation that is announced nor a new version: only the poll can see it.
    let held = Answer::of(app.get(&format!("/v1/jobs/{id}")).header("prefer", "wait=30"));
    let delete = async {
        app.held(1).await;
        app.database.execute(&format!("update jobs set deleted_at = now() where id = '{id}'")).await
    };
    let (answer, _) = timeout(SOON, async { tokio::join!(held, delete) }).await.unwrap();
    assert_eq!(answer.refusal(), (404, "not_found".to_owned()));
    app.stop().await;
}

#[tokio::test]
async fn waits_survive_the_loss_of_every_connection() {
    let app = App::start().await;
    let path = format!("/v1/jobs/{}", app.queued().await);
    let worker = app.worker();
    let held = Answer::of(app.get(&path).header("prefer", "wait=30"));
    let cut_and_finish = async {
        app.held(1).await;
        let others = "select pg_terminate_backend(pid) from pg_stat_activity
                      where datname = current_database() and pid <> pg_backend_pid()";
        app.database.execute(others).await;
        let leased = worker.lease().await;
        worker.store_picture(&leased, b"x").await;
        worker.succeed(&leased).await;
    };
    let (answer, ()) = timeout(SOON, async { tokio::join!(held, cut_and_finish) }).await.unwrap();
    assert_eq!(answer.text("/state"), "succeeded");
    app.stop().await;
}

#[tokio::test]
async fn head_is_answered_like_get_without_a_body() {
    let app = App::start().await;
    let path = format!("/v1/jobs/{}", app.queued().await);
    let get = Answer::of(app.get(&path)).await;
    let head = Answer::of(app.request(Method::HEAD, &path)).await;
    assert_eq!((head.status, &head.headers, head.bytes.len()), (200, &get.headers, 0));
    app.stop().await;
}
