//! Many jobs at once.

use std::collections::BTreeSet;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use reqwest::Method;
use serde_json::{Value, json};

use crate::app::{Answer, App, OTHER_KEY, eventually, picture, storage};
use crate::upload::png;

const BUCKET: &str = "darkroom-test-batches";

async fn submit(app: &App, batch: &Value) -> Answer {
    Answer::of(app.post("/v1/batches").json(batch)).await
}

fn of(documents: usize) -> Value {
    json!({"jobs": vec![picture(); documents]})
}

async fn jobs(app: &App) -> i64 {
    app.database.count("select count(*) from jobs").await
}

fn ids(answer: &Answer) -> Vec<String> {
    let jobs = answer.raw("/jobs").as_array().unwrap();
    jobs.iter().filter_map(|job| Some(job.get("id")?.as_str()?.to_owned())).collect()
}

fn fields(answer: &Answer, pointer: &str) -> Vec<(String, String)> {
    let text = |error: &Value, name: &str| error[name].as_str().unwrap().to_owned();
    let errors = answer.raw(pointer).as_array().unwrap();
    errors.iter().map(|error| (text(error, "pointer"), text(error, "code"))).collect()
}

fn named(fields: &[(&str, &str)]) -> Vec<(String, String)> {
    fields.iter().map(|(pointer, code)| (pointer.to_string(), code.to_string())).collect()
}

#[tokio::test]
async fn a_batch_is_accepted_and_shown() {
    let app = App::start().await;
    let mut batch = of(2);
    batch["jobs"][1]["priority"] = json!("background");
    batch["jobs"][1]["metadata"] = json!({"shop": "north"});
    let accepted = submit(&app, &batch).await;
    insta::assert_json_snapshot!(accepted, @r#"
    {
      "status": 202,
      "headers": {
        "cache-control": "private, no-cache",
        "content-type": "application/json",
        "location": "/v1/batches/[id]"
      },
      "body": {
        "counts": {
          "canceled": 0,
          "expired": 0,
          "failed": 0,
          "queued": 2,
          "running": 0,
          "succeeded": 0,
          "total": 2
        },
        "created_at": "[created_at]",
        "id": "[id]",
        "jobs": [
          {
            "id": "[id]",
            "index": 0
          },
          {
            "id": "[id]",
            "index": 1
          }
        ]
      }
    }
    "#);
    let path = format!("/v1/batches/{}", accepted.id());
    assert_eq!(app.database.count("select count(*) from outbox").await, 2);
    let [first, second] = &ids(&accepted)[..] else { panic!("{accepted:?}") };
    let listed = Answer::of(app.get("/v1/jobs?metadata[shop]=north")).await;
    assert_eq!(ids(&listed), std::slice::from_ref(second));
    let job = Answer::of(app.get(&format!("/v1/jobs/{second}"))).await;
    assert_eq!((job.text("/batch_id"), job.text("/priority")), (accepted.id(), "background".into()));
    assert_eq!(app.submit(&picture()).await.raw("/batch_id"), &Value::Null);

    let worker = app.worker();
    worker.fail(&worker.lease().await).await;
    let page = Answer::of(app.get(&format!("{path}?limit=1"))).await;
    assert_eq!((page.status, ids(&page)), (200, vec![second.clone()]));
    assert_eq!((page.raw("/counts/failed"), page.raw("/counts/queued")), (&json!(1), &json!(1)));
    assert_eq!(page.raw("/jobs/0/metadata/shop"), "north");
    let next = Answer::of(app.get(&format!("{path}?limit=1&cursor={}", page.text("/next_cursor")))).await;
    assert_eq!((ids(&next), next.raw("/next_cursor")), (vec![first.clone()], &Value::Null));
    for query in ["limit=0", "cursor=x", "state=queued"] {
        let refused = Answer::of(app.get(&format!("{path}?{query}"))).await;
        assert_eq!(refused.refusal(), (422, "invalid_request".to_owned()), "{query}");
    }
    app.stop().await;
}

#[tokio::test]
async fn a_thousand_jobs_are_one_batch() {
    let app = App::start().await;
    let mut batch = of(1_000);
    let labels: Value =
        (0..8).map(|n| (format!("label {n}"), json!("x"))).collect::<serde_json::Map<_, _>>().into();
    for job in batch["jobs"].as_array_mut().unwrap() {
        job["metadata"] = labels.clone();
    }
    let accepted = submit(&app, &batch).await;
    assert_eq!(
        (accepted.status, accepted.raw("/counts/queued")),
        (202, &json!(1_000)),
        "{:?}",
        accepted.status
    );
    assert_eq!(ids(&accepted).into_iter().collect::<BTreeSet<_>>().len(), 1_000);
    let refused = submit(&app, &of(1_001)).await;
    assert_eq!(fields(&refused, "/errors"), named(&[("/jobs", "range")]));
    assert_eq!(jobs(&app).await, 1_000);
    app.stop().await;
}

#[tokio::test]
async fn one_mistake_refuses_the_whole_batch() {
    let app = App::start().await;
    let mut batch = of(5);
    batch["jobs"][1]["input"]["steps"] = json!(0);
    batch["jobs"][2]["model"] = json!("nobody/nothing");
    batch["jobs"][3] = json!({"pipeline": "image-to-text"});
    batch["jobs"][4] = json!(7);
    let refused = submit(&app, &batch).await;
    assert_eq!(refused.refusal(), (422, "invalid_request".to_owned()));
    let expected = named(&[
        ("/jobs/1/input/steps", "range"),
        ("/jobs/2/model", "unknown_model"),
        ("/jobs/3/input/image", "required"),
        ("/jobs/4", "type"),
    ]);
    assert_eq!(fields(&refused, "/errors")[..4], expected);
    assert_eq!(jobs(&app).await, 0);
    assert_eq!(app.database.count("select count(*) from batches").await, 0);
    let many = json!({"jobs": vec![json!({"pipeline": "text-to-image"}); 200]});
    assert_eq!(fields(&submit(&app, &many).await, "/errors").len(), 100);
    let form = Answer::of(app.post("/v1/batches").body("x")).await;
    assert_eq!(form.refusal(), (415, "unsupported_media_type".to_owned()));
    app.stop().await;
}

#[tokio::test]
async fn jobs_of_a_batch_name_their_webhooks_or_have_the_batchs() {
    let app = App::start().await;
    let mut batch = of(3);
    batch["webhook"] = json!("https://Shop.example/hooks");
    batch["jobs"][0]["webhook"] = json!(null);
    batch["jobs"][1]["webhook"] =
        json!({"url": "https://shop.example/other", "events": ["job.started", "job.failed"]});
    assert_eq!(submit(&app, &batch).await.status, 202);
    let told = async |url: &str, events: &str| {
        let sql = format!(
            "select count(*) from job_webhooks j join webhooks w on w.id = j.webhook_id join jobs on jobs.id = j.job_id
             where w.form || ' ' || w.url = 'native {url}' and array_to_string(j.events, ' ') = '{events}'
               and told_early = ('job.started' = any(j.events))"
        );
        app.database.count(&sql).await
    };
    let ends = "job.succeeded job.failed job.canceled job.expired";
    assert_eq!(told("https://shop.example/hooks", ends).await, 2);
    assert_eq!(told("https://shop.example/other", "job.started job.failed").await, 1);
    app.stop().await;
}

#[tokio::test]
async fn webhooks_in_a_batch_that_cannot_be_called_are_named() {
    let app = App::start().await;
    let mut batch = of(2);
    batch["jobs"][1]["webhook"] = json!("http://10.0.0.1/");
    let answer = submit(&app, &batch).await;
    assert_eq!(fields(&answer, "/errors"), named(&[("/jobs/1/webhook", "address")]));
    batch["webhook"] = json!({"url": "http://10.0.0.1/", "events": ["job.queued"]});
    batch["partial"] = json!(7);
    let answer = submit(&app, &batch).await;
    assert_eq!(answer.refusal(), (422, "invalid_request".to_owned()));
    let expected = [("/webhook/events/0", "choice"), ("/webhook/url", "address"), ("/partial", "type")];
    assert_eq!(fields(&answer, "/errors"), named(&expected));
    batch["webhook"] = json!("ftp://shop.example/");
    batch["partial"] = json!(true);
    assert_eq!(fields(&submit(&app, &batch).await, "/errors"), named(&[("/webhook", "url")]));
    assert_eq!(jobs(&app).await, 0);
    app.stop().await;
}

#[tokio::test]
async fn a_partial_batch_leaves_out_what_cannot_be_accepted() {
    let app = App::start().await;
    let mut batch = of(3);
    batch["partial"] = json!(true);
    batch["jobs"][1]["input"]["width"] = json!(7);
    let accepted = submit(&app, &batch).await;
    assert_eq!((accepted.status, accepted.raw("/counts/total")), (202, &json!(2)));
    assert_eq!(accepted.raw("/jobs/2/index"), 2);
    insta::assert_json_snapshot!(accepted.body["jobs"][1], @r#"
    {
      "error": {
        "code": "invalid_request",
        "detail": "/jobs/1/input/width: expected an integer from 8 to 256",
        "errors": [
          {
            "code": "range",
            "detail": "expected an integer from 8 to 256",
            "pointer": "/jobs/1/input/width"
          }
        ],
        "status": 422,
        "title": "Invalid fields",
        "type": "urn:darkroom:problem:invalid_request"
      },
      "index": 1
    }
    "#);
    batch["jobs"] = json!([{"pipeline": "text-to-image"}, {"pipeline": "x"}]);
    let refused = submit(&app, &batch).await;
    let expected = named(&[("/jobs/0/input/prompt", "required"), ("/jobs/1/pipeline", "choice")]);
    assert_eq!((refused.status, fields(&refused, "/errors")), (422, expected));
    assert_eq!(jobs(&app).await, 2);
    app.stop().await;
}

#[tokio::test]
async fn pictures_come_as_files_and_data_uris() {
    let app = App::start_with(storage(BUCKET)).await;
    app.blobs.ensure_bucket().await.unwrap();
    app.blobs.delete_prefix("inputs/").await.unwrap();
    let file = app.post("/v1/files").header("content-type", "image/png").body(png(33, 20));
    let file = Answer::of(file).await.id();
    let caption = |member: &str, value: &str| json!({"pipeline": "image-to-text", "input": {member: value}});
    let uri = |bytes: &[u8]| format!("data:image/png;base64,{}", BASE64_STANDARD.encode(bytes));
    let batch = json!({"jobs": [
        caption("image_file", &file), caption("image_url", &uri(&png(8, 8))), caption("image_file", &file), picture(),
    ]});
    let accepted = submit(&app, &batch).await;
    assert_eq!(accepted.status, 202, "{accepted:?}");
    let objects = async || app.blobs.list("inputs/", None, 10).await.unwrap().len();
    assert_eq!(objects().await, 1);
    for (index, width) in [(0, 33), (1, 8), (2, 33)] {
        let job = Answer::of(app.get(&format!("/v1/jobs/{}", ids(&accepted)[index]))).await;
        assert_eq!(job.raw("/input/image/width"), &json!(width));
    }
    let wrong = json!({"jobs": [
        caption("image_url", &uri(&png(8, 8))), caption("image_url", &uri(b"no picture")),
        caption("image_file", "x"), caption("image_url", "http://127.0.0.1/x.png"),
    ]});
    let refused = submit(&app, &wrong).await;
    let expected = named(&[
        ("/jobs/1/input/image_url", "unsupported_image"),
        ("/jobs/2/input/image_file", "unknown_file"),
        ("/jobs/3/input/image_url", "address"),
    ]);
    assert_eq!(fields(&refused, "/errors"), expected);
    eventually("what was refused is gone", async || objects().await == 1).await;
    Answer::of(app.request(Method::DELETE, &format!("/v1/files/{file}"))).await;
    assert_eq!(app.database.store.files_to_sweep(10).await.unwrap(), [], "jobs name it");
    app.stop().await;
}

#[tokio::test]
async fn limits_count_the_whole_batch() {
    let app = App::start().await;
    let limit = async |column: &str, value: &str| {
        app.database.execute(&format!("update tenants set {column} = {value} where name = 'first'")).await;
    };
    limit("max_queued", "4").await;
    app.queued().await;
    assert_eq!(submit(&app, &of(4)).await.refusal(), (429, "queue_limit".to_owned()));
    assert_eq!(submit(&app, &of(3)).await.status, 202);
    assert_eq!(submit(&app, &of(1)).await.refusal(), (429, "queue_limit".to_owned()));
    limit("max_queued", "null").await;
    // Eight pictures of 0.00008192 each, four of which wait.
    limit("max_daily_cost", "0.00066").await;
    eventually("the new limit holds", async || {
        submit(&app, &of(5)).await.text("/code") == "daily_cost_limit"
    })
    .await;
    assert_eq!(submit(&app, &of(4)).await.status, 202);
    limit("max_daily_cost", "null").await;
    app.database.execute("update api_keys set max_interactive = 2").await;
    let mut interactive = of(3);
    for job in interactive["jobs"].as_array_mut().unwrap() {
        job["priority"] = json!("interactive");
    }
    let over = async |batch: &Value| submit(&app, batch).await;
    let refused = async || over(&interactive).await.raw("").get("code") == Some(&json!("interactive_limit"));
    eventually("the new limit holds", refused).await;
    interactive["jobs"][0]["priority"] = json!("normal");
    eventually("there is no other limit", async || over(&interactive).await.status == 202).await;
    assert_eq!(jobs(&app).await, 11);
    app.stop().await;
}

#[tokio::test]
async fn a_key_stands_for_the_whole_batch() {
    let app = App::start().await;
    let send = async |batch: &Value| {
        Answer::of(app.post("/v1/batches").header("idempotency-key", "k").json(batch)).await
    };
    let mut batch = of(2);
    batch["partial"] = json!(true);
    batch["jobs"][0]["input"]["prompt"] = json!("");
    let first = send(&batch).await;
    Answer::of(app.post(&format!("/v1/batches/{}/cancel", first.id()))).await;
    let again = send(&batch).await;
    assert_eq!((again.status, again.id(), again.raw("/jobs")), (202, first.id(), first.raw("/jobs")));
    assert_eq!(again.headers["idempotency-replayed"], "true");
    assert_eq!(again.raw("/counts/canceled"), 1);
    assert_eq!(send(&of(2)).await.refusal(), (422, "idempotency_key_reused".to_owned()));
    assert_eq!(jobs(&app).await, 1);
    let job = Answer::of(app.post("/v1/jobs").header("idempotency-key", "k").json(&picture())).await;
    assert_eq!(
        (job.status, job.headers.get("idempotency-replayed")),
        (202, None),
        "jobs have keys of their own"
    );
    app.stop().await;
}

#[tokio::test]
async fn a_batch_is_canceled_as_far_as_it_is_not_final() {
    let app = App::start().await;
    let accepted = submit(&app, &of(3)).await;
    let worker = app.worker();
    worker.fail(&worker.lease().await).await;
    worker.lease().await;
    let path = format!("/v1/batches/{}", accepted.id());
    for _ in 0..2 {
        let canceled = Answer::of(app.post(&format!("{path}/cancel"))).await;
        let counts = json!({
            "queued": 0, "running": 0, "succeeded": 0, "failed": 1, "canceled": 2, "expired": 0, "total": 3
        });
        assert_eq!((canceled.status, canceled.raw("/counts")), (200, &counts));
    }
    assert_eq!(app.database.count("select count(*) from attempts where state = 'running'").await, 0);
    Answer::of(app.request(Method::DELETE, &format!("/v1/jobs/{}", ids(&accepted)[0]))).await;
    assert_eq!(Answer::of(app.get(&path)).await.raw("/counts/total"), 2);
    app.stop().await;
}

#[tokio::test]
async fn another_tenants_batch_is_not_there() {
    let app = App::start().await;
    let path = format!("/v1/batches/{}", submit(&app, &of(1)).await.id());
    for (method, path) in [
        (Method::GET, path.clone()),
        (Method::POST, format!("{path}/cancel")),
        (Method::GET, "/v1/batches/x".to_owned()),
    ] {
        let other = app.anonymous(method, &app.url(&path)).bearer_auth(OTHER_KEY);
        assert_eq!(Answer::of(other).await.refusal(), (404, "not_found".to_owned()), "{path}");
    }
    assert_eq!(app.database.count("select count(*) from jobs where state = 'queued'").await, 1);
    app.stop().await;
}

#[tokio::test]
async fn a_batch_goes_with_the_last_of_its_jobs() {
    let app = App::start().await;
    submit(&app, &of(1)).await;
    let store = &app.database.store;
    app.database.execute("update batches set created_at = now() - interval '25 hours'").await;
    assert_eq!(store.forget_batches().await.unwrap(), 0);
    app.database.execute("delete from jobs").await;
    assert_eq!(store.forget_batches().await.unwrap(), 1);
    app.stop().await;
}
