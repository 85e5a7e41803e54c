use reqwest::Method;
use reqwest::header::{IF_NONE_MATCH, RANGE};

use crate::app::{Answer, App, storage};
use crate::upload::{caption, png};

const PICTURE: &[u8] = b"0123456789";

/// An app with a finished picture, and the picture's URL.
async fn finished(app: &App) -> String {
    let id = app.queued().await;
    let worker = app.worker();
    let leased = worker.lease().await;
    worker.store_picture(&leased, PICTURE).await;
    worker.succeed(&leased).await;
    Answer::of(app.get(&format!("/v1/jobs/{id}"))).await.text("/artifacts/0/url")
}

/// Headers without the result's id.
fn headers(answer: &Answer) -> String {
    let lines = answer.headers.iter().map(|(name, value)| match name.as_str() {
        "content-disposition" => format!("{name}: {}…{}", &value[..18], &value[value.len() - 5..]),
        _ => format!("{name}: {value}"),
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[tokio::test]
async fn a_result_needs_its_url_and_no_key() {
    let app = App::start().await;
    let url = finished(&app).await;
    let answer = Answer::of(app.anonymous(Method::GET, &url)).await;
    assert_eq!((answer.status, answer.bytes.as_slice()), (200, PICTURE));
    insta::assert_snapshot!(headers(&answer), @r#"
    accept-ranges: bytes
    cache-control: private, max-age=3600, immutable
    content-disposition: inline; filename="….png"
    content-security-policy: default-src 'none'; sandbox
    content-type: image/png
    etag: "84d89877f0d4041efb6bf91a16f0248f2fd573e6af05c19f96bedb9f882f7882"
    x-content-type-options: nosniff
    "#);
    let head = Answer::of(app.anonymous(Method::HEAD, &url)).await;
    assert_eq!((head.status, &head.headers, head.bytes.len()), (200, &answer.headers, 0));
    let known = app.anonymous(Method::GET, &url).header(IF_NONE_MATCH, &answer.headers["etag"]);
    let known = Answer::of(known).await;
    assert_eq!((known.status, known.bytes.len()), (304, 0));
    app.stop().await;
}

#[tokio::test]
async fn parts_of_a_result_can_be_fetched() {
    let app = App::start().await;
    let url = finished(&app).await;
    let fetch =
        async |range: &'static str| Answer::of(app.anonymous(Method::GET, &url).header(RANGE, range)).await;
    for (range, bytes, content_range) in [
        ("bytes=0-3", &PICTURE[..4], "bytes 0-3/10"),
        ("bytes=7-", &PICTURE[7..], "bytes 7-9/10"),
        ("bytes=-2", &PICTURE[8..], "bytes 8-9/10"),
    ] {
        let part = fetch(range).await;
        assert_eq!((part.status, part.bytes.as_slice()), (206, bytes));
        assert_eq!(part.headers["content-range"], content_range);
    }
    assert_eq!(fetch("bytes=0-1,3-4").await.status, 200);
    let behind = fetch("bytes=10-").await;
    assert_eq!(behind.refusal(), (416, "range_not_satisfiable".to_owned()));
    assert_eq!(behind.headers["content-range"], "bytes */10");
    app.stop().await;
}

#[tokio::test]
async fn a_wrong_signature_and_no_result_are_answered_alike() {
    let app = App::start().await;
    let url = finished(&app).await;
    let (bare, signature) = url.split_once("?sig=").unwrap();
    let other = bare.replace(&bare[bare.len() - 8..], "00000.png");
    for wrong in [
        bare.to_owned(),
        format!("{bare}?sig="),
        format!("{bare}?sig={}", &signature[1..]),
        format!("{bare}?sig={}", signature.to_lowercase()),
        format!("{other}?sig={signature}"),
        url.replace(".png", ".txt"),
        app.url("/r/nothing?sig=x"),
        app.url("/r/%ff.png"),
    ] {
        let answer = Answer::of(app.anonymous(Method::GET, &wrong)).await;
        assert_eq!(answer.refusal(), (404, "not_found".to_owned()), "{wrong}");
        assert!(!answer.text("/instance").contains("sig"));
    }
    app.stop().await;
}

#[tokio::test]
async fn a_result_ends_with_its_retention() {
    let app = App::start().await;
    let url = finished(&app).await;
    app.database.execute("update jobs set expires_at = now(), deadline = now()").await;
    let answer = Answer::of(app.anonymous(Method::GET, &url)).await;
    assert_eq!(answer.refusal(), (404, "not_found".to_owned()));
    app.stop().await;
}

#[tokio::test]
async fn a_caption_is_plain_text_and_stands_in_the_job() {
    let app = App::start().await;
    let id = Answer::of(app.post("/v1/jobs").multipart(caption(png(8, 8)))).await.id();
    let worker = app.worker();
    let leased = worker.lease().await;
    worker.store_caption(&leased, "ein grüner Kreis").await;
    worker.succeed(&leased).await;
    let job = Answer::of(app.get(&format!("/v1/jobs/{id}"))).await;
    insta::assert_json_snapshot!(job.body["artifacts"], @r#"
    [
      {
        "content_type": "text/plain",
        "height": null,
        "id": "[id]",
        "index": 0,
        "nsfw": false,
        "seed": null,
        "sha256": "e36a2158e1279aebc64144d25846d092791cc4862ffdd304311c7fbd2de3863a",
        "size_bytes": 17,
        "text": "ein grüner Kreis",
        "url": "[url]",
        "width": null
      }
    ]
    "#);
    let text = Answer::of(app.anonymous(Method::GET, &job.text("/artifacts/0/url"))).await;
    assert_eq!(text.headers["content-type"], "text/plain; charset=utf-8");
    assert_eq!(text.bytes, "ein grüner Kreis".as_bytes());
    app.stop().await;
}

#[tokio::test]
async fn storage_that_callers_can_reach_is_redirected_to() {
    let mut storage = storage("darkroom-test");
    storage.s3_public_endpoint = Some(storage.s3_endpoint.clone());
    let app = App::start_with(storage).await;
    let url = finished(&app).await;
    let answer = Answer::of(app.anonymous(Method::GET, &url)).await;
    assert_eq!((answer.status, answer.headers["cache-control"].as_str()), (302, "private, max-age=600"));
    let direct = app.anonymous(Method::GET, &answer.headers["location"]).send().await.unwrap();
    assert_eq!(direct.headers()["content-type"], "image/png");
    assert_eq!(direct.bytes().await.unwrap(), PICTURE);
    app.stop().await;
}

#[tokio::test]
async fn a_result_that_storage_lost_is_not_found() {
    let app = App::start().await;
    let url = finished(&app).await;
    let id = Answer::of(app.get("/v1/jobs")).await.text("/jobs/0/id");
    app.blobs.delete_prefix(&format!("jobs/{id}/")).await.unwrap();
    let answer = Answer::of(app.anonymous(Method::GET, &url)).await;
    assert_eq!(answer.refusal(), (404, "not_found".to_owned()));
    app.stop().await;
}
