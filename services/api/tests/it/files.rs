//! Pictures that are sent once and named by jobs.

use darkroom_jobs::Task;
use reqwest::multipart::{Form, Part};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use crate::app::{Answer, App, KEY, OTHER_KEY, eventually, storage};
use crate::upload::{caption, endless, png};

const BUCKET: &str = "darkroom-test-files";

async fn send(app: &App, bytes: Vec<u8>) -> Answer {
    Answer::of(app.post("/v1/files").header("content-type", "image/png").body(bytes)).await
}

async fn form(app: &App, form: Form) -> Answer {
    Answer::of(app.post("/v1/files").multipart(form)).await
}

fn as_key(app: &App, key: &str, method: Method, path: &str) -> RequestBuilder {
    app.anonymous(method, &app.url(path)).bearer_auth(key)
}

fn document(file: &str) -> Value {
    json!({"pipeline": "image-to-text", "input": {"prompt": "a", "image_file": file}})
}

/// Code and place of the one field that was refused.
fn refused(answer: &Answer) -> (String, String) {
    assert_eq!(answer.refusal(), (422, "invalid_request".to_owned()), "{answer:?}");
    assert_eq!(answer.raw("/errors").as_array().unwrap().len(), 1);
    let place = answer.raw("/errors/0");
    let place = place.get("pointer").or(place.get("parameter")).unwrap().as_str().unwrap().to_owned();
    (place, answer.text("/errors/0/code"))
}

#[tokio::test]
async fn a_file_is_stored_once() {
    let app = App::start_with(storage(BUCKET)).await;
    app.blobs.ensure_bucket().await.unwrap();
    app.blobs.delete_prefix("files/").await.unwrap();
    let first = send(&app, png(33, 20)).await;
    insta::assert_json_snapshot!(first, @r#"
    {
      "status": 201,
      "headers": {
        "cache-control": "private, no-cache",
        "content-type": "application/json",
        "location": "/v1/files/[id]"
      },
      "body": {
        "content_type": "image/png",
        "created_at": "[created_at]",
        "expires_at": "[expires_at]",
        "height": 20,
        "id": "[id]",
        "sha256": "e5cfe8bad1aff2b1bd0f75a92ba7db434c3957acf595868df0e2554a811e00cc",
        "size_bytes": 194,
        "width": 33
      }
    }
    "#);
    let id = first.id();
    for name in ["file", "content", "image"] {
        let part = Part::bytes(png(33, 20)).file_name("x.jpg");
        let again = form(&app, Form::new().part(name, part)).await;
        assert_eq!((again.status, again.id()), (200, id.clone()), "{name}");
    }
    let other = as_key(&app, OTHER_KEY, Method::POST, "/v1/files").header("content-type", "image/*");
    let other = Answer::of(other.body(png(33, 20))).await;
    assert_eq!(other.status, 201, "each tenant has its own");
    assert_ne!(other.id(), id);
    let objects = async || app.blobs.list("files/", None, 10).await.unwrap().len();
    eventually("what came again is gone", async || objects().await == 2).await;
    assert_eq!(app.blobs.get(&format!("files/{id}"), 10_000).await.unwrap(), png(33, 20));
    for wrong in [b"no picture".to_vec(), Vec::new()] {
        send(&app, wrong).await;
    }
    form(&app, Form::new().part("file", Part::bytes(png(8, 8))).text("name", "x")).await;
    eventually("what was refused is gone", async || objects().await == 2).await;
    app.stop().await;
}

#[tokio::test]
async fn a_file_is_shown_and_deleted_by_its_owner_alone() {
    let app = App::start().await;
    let file = send(&app, png(8, 8)).await;
    let path = format!("/v1/files/{}", file.id());
    let shown = Answer::of(app.get(&path)).await;
    assert_eq!((shown.status, shown.raw("")), (200, file.raw("")));
    for method in [Method::GET, Method::DELETE] {
        let other = Answer::of(as_key(&app, OTHER_KEY, method.clone(), &path)).await;
        assert_eq!(other.refusal(), (404, "not_found".to_owned()), "{method}");
    }
    assert_eq!(Answer::of(app.get("/v1/files/x")).await.refusal(), (404, "not_found".to_owned()));
    assert_eq!(Answer::of(app.request(Method::DELETE, &path)).await.status, 204);
    for method in [Method::GET, Method::DELETE] {
        assert_eq!(Answer::of(app.request(method, &path)).await.refusal(), (404, "not_found".to_owned()));
    }
    let again = send(&app, png(8, 8)).await;
    assert_eq!(again.status, 201);
    assert_ne!(again.id(), file.id());
    app.stop().await;
}

#[tokio::test]
async fn what_is_no_picture_is_refused() {
    let app = App::start().await;
    assert_eq!(send(&app, b"%PDF-1.7".to_vec()).await.refusal(), (400, "unsupported_image".to_owned()));
    let mut bomb = png(8, 8);
    bomb[16..24].copy_from_slice(&[0, 0, 0xff, 0xff, 0, 0, 0xff, 0xff]);
    assert_eq!(send(&app, bomb).await.refusal(), (400, "image_dimensions".to_owned()));
    assert_eq!(refused(&send(&app, Vec::new()).await), ("file".into(), "empty".into()));
    let without = app.post("/v1/files").header("content-type", "multipart/form-data; boundary=x");
    let without = Answer::of(without.body("--x--\r\n")).await;
    assert_eq!(refused(&without), ("file".into(), "required".into()));
    let unknown = Form::new().part("picture", Part::bytes(png(8, 8)));
    assert_eq!(refused(&form(&app, unknown).await), ("picture".into(), "unknown".into()));
    let twice = caption(png(8, 8)).part("file", Part::bytes(png(8, 8)));
    assert_eq!(refused(&form(&app, twice).await), ("file".into(), "repeated".into()));
    let json = Answer::of(app.post("/v1/files").json(&json!({}))).await;
    assert_eq!(json.refusal(), (415, "unsupported_media_type".to_owned()));
    assert_eq!(form(&app, endless(52_428_801)).await.refusal(), (413, "too_large".to_owned()));
    let mut large = png(8, 8);
    large.resize(52_428_801, 0);
    assert_eq!(send(&app, large).await.refusal(), (413, "too_large".to_owned()));
    assert_eq!(app.database.count("select count(*) from files").await, 0);
    app.stop().await;
}

#[tokio::test]
async fn a_job_names_a_file_and_keeps_it() {
    let app = App::start().await;
    let file = send(&app, png(33, 20)).await;
    app.database.execute("update files set expires_at = now() + interval '1 minute'").await;
    let job = app.submit(&document(&file.id())).await;
    assert_eq!((job.status, job.raw("/input/image/sha256")), (202, file.raw("/sha256")), "{job:?}");
    let used =
        app.database.count("select count(*) from files where expires_at > now() + interval '29 days'").await;
    assert_eq!(used, 1, "its time begins anew");

    let store = &app.database.store;
    assert_eq!(store.files_to_sweep(10).await.unwrap(), []);
    Answer::of(app.request(Method::DELETE, &format!("/v1/files/{}", file.id()))).await;
    assert_eq!(store.files_to_sweep(10).await.unwrap(), [], "a job names it");
    let worker = app.worker();
    let leased = worker.lease().await;
    let Task::ImageToText(task) = &leased.task else { panic!("{:?}", leased.task) };
    assert_eq!(app.blobs.get(&task.image.key, 10_000).await.unwrap(), png(33, 20));
    worker.fail(&leased).await;
    assert_eq!(store.files_to_sweep(10).await.unwrap(), [], "it may be run again");
    store.mark_swept(leased.lease.job).await.unwrap();
    let unnamed = store.files_to_sweep(10).await.unwrap();
    assert_eq!(unnamed.iter().map(ToString::to_string).collect::<Vec<_>>(), [file.id()]);
    store.forget_files(&unnamed).await.unwrap();
    assert_eq!(app.database.count("select count(*) from files").await, 0);
    app.stop().await;
}

#[tokio::test]
async fn a_file_that_was_not_used_for_long_expires() {
    let app = App::start().await;
    let file = send(&app, png(8, 8)).await;
    let store = &app.database.store;
    assert_eq!(store.expire_files().await.unwrap(), 0);
    app.database.execute("update files set expires_at = now()").await;
    assert_eq!(refused(&app.submit(&document(&file.id())).await).1, "unknown_file");
    let again = send(&app, png(8, 8)).await;
    assert_eq!((again.status, again.id()), (200, file.id()), "it is used again in time");
    assert_eq!(store.expire_files().await.unwrap(), 0);
    app.database.execute("update files set expires_at = now()").await;
    assert_eq!(store.expire_files().await.unwrap(), 1);
    assert_eq!(store.files_to_sweep(10).await.unwrap().len(), 1);
    assert_eq!(send(&app, png(8, 8)).await.status, 201);
    app.stop().await;
}

#[tokio::test]
async fn files_that_cannot_be_named_are_a_field() {
    let app = App::start().await;
    let file = send(&app, png(8, 8)).await.id();
    let unknown = ("/input/image_file".to_owned(), "unknown_file".to_owned());
    for id in ["x", "01a20632-ee67-7326-a71f-af3b22ca21c0"] {
        assert_eq!(refused(&app.submit(&document(id)).await), unknown);
    }
    let other = as_key(&app, OTHER_KEY, Method::POST, "/v1/jobs").json(&document(&file));
    assert_eq!(refused(&Answer::of(other).await), unknown);
    let mut number = document(&file);
    number["input"]["image_file"] = json!(7);
    let number = app.submit(&number).await;
    assert_eq!(
        (number.text("/errors/0/pointer"), number.text("/errors/0/code")),
        (unknown.0.clone(), "type".into())
    );
    let mut both = document(&file);
    both["input"]["image_url"] = json!("https://shop.example/x.png");
    assert_eq!(refused(&app.submit(&both).await), (unknown.0.clone(), "conflict".into()));
    let sent = caption(png(8, 8)).text("job", document(&file).to_string());
    let sent = Answer::of(app.post("/v1/jobs").multipart(sent)).await;
    assert_eq!(refused(&sent), (unknown.0.clone(), "conflict".into()));
    let mut wrong = document(&file);
    wrong["priority"] = json!("now");
    assert_eq!(refused(&app.submit(&wrong).await).0, "/priority");
    let drawn = json!({"pipeline": "text-to-image", "input": {"prompt": "a", "image_file": file}});
    assert_eq!(refused(&app.submit(&drawn).await), (unknown.0, "unknown".into()));
    assert_eq!(app.database.count("select count(*) from jobs").await, 0);
    app.stop().await;
}

#[tokio::test]
async fn a_repeated_submission_finds_its_job_without_the_file() {
    let app = App::start().await;
    let file = send(&app, png(8, 8)).await.id();
    let submit = async || {
        let request = as_key(&app, KEY, Method::POST, "/v1/jobs").header("idempotency-key", "k");
        Answer::of(request.json(&document(&file))).await
    };
    let first = submit().await;
    let trial = Answer::of(app.post("/v1/jobs?dry_run=true").json(&document(&file))).await;
    assert_eq!((trial.status, trial.raw("/input")), (200, first.raw("/input")));
    Answer::of(app.request(Method::DELETE, &format!("/v1/files/{file}"))).await;
    let again = submit().await;
    assert_eq!((again.status, again.id()), (202, first.id()));
    assert_eq!(again.headers["idempotency-replayed"], "true");
    assert_eq!(refused(&app.submit(&document(&file)).await).1, "unknown_file");
    app.stop().await;
}

#[tokio::test]
async fn ten_thousand_files_are_enough() {
    let app = App::start_with(storage("darkroom-test-many-files")).await;
    app.blobs.ensure_bucket().await.unwrap();
    app.blobs.delete_prefix("files/").await.unwrap();
    let first = send(&app, png(33, 20)).await;
    app.database
        .execute(
            "insert into files (id, tenant_id, sha256, content_type, size_bytes, width, height, expires_at)
             select uuid_v7(), tenant_id, sha256(n::text::bytea), content_type, 1, 1, 1, expires_at
             from files, generate_series(2, 10000) n",
        )
        .await;
    let refused = send(&app, png(34, 20)).await;
    assert_eq!(refused.refusal(), (409, "too_many_files".to_owned()));
    eventually("its object is deleted", async || {
        app.blobs.list("files/", None, 10).await.unwrap().len() == 1
    })
    .await;
    assert_eq!((send(&app, png(33, 20)).await.status, first.status), (200, 201), "it is there already");
    let other = as_key(&app, OTHER_KEY, Method::POST, "/v1/files").header("content-type", "image/png");
    assert_eq!(Answer::of(other.body(png(34, 20))).await.status, 201);
    let delete = as_key(&app, KEY, Method::DELETE, &format!("/v1/files/{}", first.id()));
    assert_eq!(Answer::of(delete).await.status, 204);
    assert_eq!(send(&app, png(34, 20)).await.status, 201);
    app.stop().await;
}
