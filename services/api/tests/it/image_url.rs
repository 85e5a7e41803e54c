//! Pictures by URL: 127.0.0.3 stands for the internet, every other address of the loopback network is closed.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::body::Body;
use axum::http::{StatusCode, header};
use axum::response::Redirect;
use axum::routing::get;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use darkroom_jobs::Task;
use reqwest::Method;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::app::{Answer, App, KEY, eventually, storage};
use crate::upload::{caption, png};

/// A bucket that no other test writes to, so that what is left behind can be seen.
const BUCKET: &str = "darkroom-test-fetched";

/// A web server with pictures and other things.
struct Site {
    url: String,
    pictures: Arc<AtomicUsize>,
    /// Lets a picture go that is held back.
    held: Arc<Notify>,
    _stop: DropGuard,
}

impl Site {
    async fn start() -> Self {
        let pictures = Arc::new(AtomicUsize::new(0));
        let counted = pictures.clone();
        let picture = move || {
            counted.fetch_add(1, Ordering::SeqCst);
            async { png(33, 20) }
        };
        let held = Arc::new(Notify::new());
        let (waited, begun) = (held.clone(), pictures.clone());
        let slow = async move || {
            begun.fetch_add(1, Ordering::SeqCst);
            waited.notified().await;
            png(33, 20)
        };
        let huge = async || {
            (
                [(header::CONTENT_LENGTH, "52428801")],
                Body::from_stream(futures_util::stream::pending::<Result<Vec<u8>, std::io::Error>>()),
            )
        };
        let routes = Router::new()
            .route("/picture", get(picture))
            .route("/slow", get(slow))
            .route("/moved", get(async || Redirect::temporary("/picture")))
            .route("/inside", get(async || Redirect::temporary("http://127.0.0.1:9090/metrics")))
            .route("/text", get(async || "no picture"))
            .route("/empty", get(async || ""))
            .route("/gone", get(async || StatusCode::GONE))
            .route("/huge", get(huge));
        let listener = TcpListener::bind("127.0.0.3:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let stop = CancellationToken::new();
        let serving =
            stop.clone().run_until_cancelled_owned(async move { axum::serve(listener, routes).await });
        tokio::spawn(serving);
        Self { url, pictures, held, _stop: stop.drop_guard() }
    }

    fn at(&self, path: &str) -> Value {
        document(&format!("{}{path}", self.url))
    }
}

fn document(url: &str) -> Value {
    json!({"pipeline": "image-to-text", "input": {"prompt": "a", "image_url": url}})
}

/// Code and place of the one field that was refused.
fn refused(answer: &Answer) -> (String, String) {
    assert_eq!(answer.refusal(), (422, "invalid_request".to_owned()), "{answer:?}");
    assert_eq!(answer.raw("/errors").as_array().unwrap().len(), 1);
    (answer.text("/errors/0/pointer"), answer.text("/errors/0/code"))
}

async fn objects(app: &App, ids: &str) -> usize {
    app.blobs.list(&format!("inputs/{ids}"), None, 10).await.unwrap().len()
}

#[tokio::test]
async fn a_picture_is_fetched_and_stored_like_one_that_was_sent() {
    let (app, site) = (App::start().await, Site::start().await);
    for path in ["/picture", "/moved"] {
        let answer = app.submit(&site.at(path)).await;
        assert_eq!(answer.status, 202, "{answer:?}");
        let expected = hex::encode(Sha256::digest(png(33, 20)));
        assert_eq!(answer.text("/input/image/sha256"), expected);
        assert_eq!(
            (answer.raw("/input/image/width"), answer.raw("/input/image/height")),
            (&json!(33), &json!(20))
        );
        assert_eq!(objects(&app, &answer.id()).await, 1);
    }
    let leased = app.worker().lease().await;
    let Task::ImageToText(task) = &leased.task else { panic!("{:?}", leased.task) };
    assert_eq!(app.blobs.get(&task.image.key, 10_000).await.unwrap(), png(33, 20));
    app.stop().await;
}

#[tokio::test]
async fn what_may_not_be_called_is_refused_with_its_place() {
    let (app, site) = (App::start().await, Site::start().await);
    for (document, code) in [
        (document("http://127.0.0.1:9090/metrics"), "address"),
        (document("http://2130706433/"), "address"),
        (document("http://[::1]/"), "address"),
        (document("file:///etc/passwd"), "url"),
        (document("https://user:password@shop.example/"), "user_info"),
        (site.at("/inside"), "address"),
        (site.at("/gone"), "fetch"),
        (site.at("/nothing"), "fetch"),
        (site.at("/empty"), "empty"),
    ] {
        assert_eq!(
            refused(&app.submit(&document).await),
            ("/input/image_url".into(), code.into()),
            "{document}"
        );
    }
    assert_eq!(app.database.count("select count(*) from jobs").await, 0);
    app.stop().await;
}

#[tokio::test]
async fn what_is_no_picture_leaves_nothing_behind() {
    let (app, site) = (App::start_with(storage(BUCKET)).await, Site::start().await);
    app.blobs.ensure_bucket().await.unwrap();
    app.blobs.delete_prefix("inputs/").await.unwrap();
    let answer = app.submit(&site.at("/text")).await;
    assert_eq!(answer.refusal(), (400, "unsupported_image".to_owned()));
    let answer = app.submit(&site.at("/huge")).await;
    assert_eq!(answer.refusal(), (413, "too_large".to_owned()));
    eventually("nothing is left", async || objects(&app, "").await == 0).await;
    app.stop().await;
}

#[tokio::test]
async fn mistakes_elsewhere_in_the_document_call_nobody() {
    let (app, site) = (App::start().await, Site::start().await);
    let mut wrong = site.at("/picture");
    wrong["priority"] = json!("now");
    assert_eq!(refused(&app.submit(&wrong).await).0, "/priority");
    let mut unknown = site.at("/picture");
    unknown["model"] = json!("nobody/nothing");
    assert_eq!(app.submit(&unknown).await.refusal(), (400, "unknown_model".to_owned()));
    let both = caption(png(8, 8)).text("job", site.at("/picture").to_string());
    let both = Answer::of(app.post("/v1/jobs").multipart(both)).await;
    assert_eq!(refused(&both), ("/input/image_url".into(), "conflict".into()));
    let mut picture = site.at("/picture");
    picture["pipeline"] = json!("text-to-image");
    assert_eq!(refused(&app.submit(&picture).await), ("/input/image_url".into(), "unknown".into()));
    assert_eq!(site.pictures.load(Ordering::SeqCst), 0);
    app.stop().await;
}

#[tokio::test]
async fn a_repeated_submission_does_not_fetch_again() {
    let (app, site) = (App::start().await, Site::start().await);
    let send = async |document: &Value| {
        Answer::of(app.post("/v1/jobs").header("idempotency-key", "k").json(document)).await
    };
    let first = send(&site.at("/picture")).await;
    let again = send(&site.at("/picture")).await;
    assert_eq!((again.status, again.id()), (202, first.id()));
    assert_eq!(again.headers["idempotency-replayed"], "true");
    assert_eq!(send(&site.at("/moved")).await.refusal(), (422, "idempotency_key_reused".to_owned()));
    assert_eq!(site.pictures.load(Ordering::SeqCst), 1);
    app.stop().await;
}

#[tokio::test]
async fn a_data_uri_is_a_picture() {
    let app = App::start().await;
    let document = |url: &str| json!({"pipeline": "image-to-text", "input": {"image_url": url}});
    let uri = |bytes: &[u8]| format!("data:image/png;base64,{}", BASE64_STANDARD.encode(bytes));
    let answer = app.submit(&document(&uri(&png(33, 20)))).await;
    assert_eq!((answer.status, answer.raw("/input/image/width")), (202, &json!(33)));
    // A picture, not a text of a megabyte.
    let mut large = png(8, 8);
    large.resize(2 * 1024 * 1024, 0);
    let answer = app.submit(&document(&uri(&large))).await;
    assert_eq!((answer.status, answer.raw("/input/image/size_bytes")), (202, &json!(2 * 1024 * 1024)));

    for (wrong, code) in
        [("data:image/png,abc", "data_uri"), ("data:;base64,*", "data_uri"), (&uri(b""), "empty")]
    {
        let answer = app.submit(&document(wrong)).await;
        assert_eq!(answer.refusal(), (422, "invalid_request".to_owned()));
        assert_eq!(answer.raw("/errors/0/code"), code);
        assert_eq!(answer.raw("/errors/0/pointer"), "/input/image_url");
    }
    let answer = app.submit(&document(&uri(b"hello"))).await;
    assert_eq!(answer.refusal(), (400, "unsupported_image".to_owned()));
    app.stop().await;
}

#[tokio::test]
async fn a_caller_whose_line_breaks_during_acceptance_is_led_to_the_job() {
    let (app, site) = (App::start().await, Site::start().await);
    let submit = || {
        let url = app.url("/fal/test/captioner");
        let request = app.anonymous(Method::POST, &url).header("authorization", format!("Key {KEY}"));
        request.json(&json!({"image_url": format!("{}/slow", site.url)}))
    };
    tokio::select! {
        _ = submit().send() => panic!("the picture is held back"),
        () = eventually("the picture is asked for", async || site.pictures.load(Ordering::SeqCst) == 1) => {}
    }
    site.held.notify_one();
    eventually("the line is known to be broken", async || {
        app.database.count("select count(*) from unanswered_jobs where abandoned").await == 1
    })
    .await;
    let again = Answer::of(submit()).await;
    assert_eq!(again.status, 200, "{again:?}");
    assert_eq!(
        (site.pictures.load(Ordering::SeqCst), app.database.count("select count(*) from jobs").await),
        (1, 1)
    );
    app.stop().await;
}
