use std::io::Cursor;

use darkroom_jobs::Task;
use futures_util::{StreamExt, stream};
use image::{DynamicImage, ImageFormat};
use reqwest::Body;
use reqwest::multipart::{Form, Part};
use serde_json::json;

use crate::app::{Answer, App};

/// Largest picture that is taken.
const LIMIT: usize = 52_428_800;

pub(crate) fn png(width: u32, height: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    DynamicImage::new_rgb8(width, height).write_to(&mut Cursor::new(&mut bytes), ImageFormat::Png).unwrap();
    bytes
}

/// A form with a picture and no document.
pub(crate) fn caption(picture: Vec<u8>) -> Form {
    Form::new().part("image", Part::bytes(picture).file_name("blob"))
}

/// A form with a picture that begins like a PNG and goes on for `size` bytes, made while it is sent.
pub(crate) fn endless(size: usize) -> Form {
    let mut first = png(8, 8);
    first.resize(1 << 16, 0);
    let rest = size - first.len();
    let zeros = stream::iter((0..rest).step_by(1 << 16)).map(move |at| vec![0; (1 << 16).min(rest - at)]);
    let bytes = stream::iter([first]).chain(zeros).map(Ok::<_, std::io::Error>);
    Form::new().part("image", Part::stream(Body::wrap_stream(bytes)).file_name("x.png"))
}

async fn send(app: &App, form: Form) -> Answer {
    Answer::of(app.post("/v1/jobs").multipart(form)).await
}

#[tokio::test]
async fn a_picture_is_enough_for_a_caption() {
    let app = App::start().await;
    insta::assert_json_snapshot!(send(&app, caption(png(33, 20))).await, @r#"
    {
      "status": 202,
      "headers": {
        "cache-control": "private, no-cache",
        "content-type": "application/json",
        "etag": "W/\"v1\"",
        "location": "/v1/jobs/[id]",
        "retry-after": "1"
      },
      "body": {
        "artifacts": [],
        "attempts": 0,
        "batch_id": null,
        "blocked_reason": "no_worker_for_model",
        "cost": null,
        "created_at": "[created_at]",
        "deadline": "[deadline]",
        "error": null,
        "expires_at": "[expires_at]",
        "finished_at": null,
        "id": "[id]",
        "input": {
          "image": {
            "content_type": "image/png",
            "height": 20,
            "sha256": "e5cfe8bad1aff2b1bd0f75a92ba7db434c3957acf595868df0e2554a811e00cc",
            "size_bytes": 194,
            "width": 33
          },
          "prompt": ""
        },
        "links": {
          "cancel": "[cancel]",
          "self": "[self]"
        },
        "metadata": {},
        "model": "test/captioner",
        "pipeline": "image-to-text",
        "price": {
          "amount": "0",
          "currency": "USD"
        },
        "priority": "normal",
        "progress": null,
        "queue": {
          "estimated_wait_seconds": null,
          "position": 1
        },
        "replay_of": null,
        "replayed_by": null,
        "started_at": null,
        "state": "queued",
        "timings": null,
        "version": 1,
        "warnings": [],
        "webhook": null
      }
    }
    "#);
    app.stop().await;
}

#[tokio::test]
async fn document_and_picture_come_in_any_order_and_reach_the_worker() {
    let app = App::start().await;
    let document = || Part::text(json!({"pipeline": "image-to-text", "input": {"prompt": "a"}}).to_string());
    let picture = || Part::bytes(png(8, 8)).mime_str("application/octet-stream").unwrap();
    let forms = [
        Form::new().part("job", document()).part("image", picture()),
        Form::new().part("image", picture().file_name("x.jpg")).part("job", document()),
    ];
    for form in forms {
        let answer = send(&app, form).await;
        assert_eq!(answer.text("/input/prompt"), "a");
        let leased = app.worker().lease().await;
        let Task::ImageToText(task) = leased.task else { panic!("{leased:?}") };
        assert_eq!(app.blobs.get(&task.image.key, 1_000_000).await.unwrap(), png(8, 8));
        assert_eq!(task.image.key, darkroom_blobs::input_key(answer.id()));
    }
    app.stop().await;
}

#[tokio::test]
async fn every_format_is_taken_whatever_its_name() {
    let app = App::start().await;
    let formats = [
        (ImageFormat::Png, "image/png"),
        (ImageFormat::Jpeg, "image/jpeg"),
        (ImageFormat::WebP, "image/webp"),
        (ImageFormat::Gif, "image/gif"),
    ];
    for (format, content_type) in formats {
        let mut bytes = Vec::new();
        DynamicImage::new_rgb8(33, 20).write_to(&mut Cursor::new(&mut bytes), format).unwrap();
        let answer = send(&app, caption(bytes)).await;
        assert_eq!(answer.status, 202);
        assert_eq!(answer.text("/input/image/content_type"), content_type);
        assert_eq!(answer.raw("/input/image/width"), 33);
    }
    app.stop().await;
}

#[tokio::test]
async fn what_is_no_picture_is_refused() {
    let app = App::start().await;
    insta::assert_json_snapshot!(send(&app, caption(b"%PDF-1.7 and so on".to_vec())).await, @r#"
    {
      "status": 400,
      "headers": {
        "cache-control": "private, no-cache",
        "content-type": "application/problem+json"
      },
      "body": {
        "code": "unsupported_image",
        "detail": "the file is no PNG, JPEG, WebP or GIF image",
        "error": {
          "code": "unsupported_image",
          "message": "the file is no PNG, JPEG, WebP or GIF image",
          "param": null,
          "type": "invalid_request_error"
        },
        "error_type": "unsupported_image",
        "errors": [],
        "instance": "[instance]",
        "request_id": "[request_id]",
        "status": 400,
        "title": "Unusable image",
        "type": "urn:darkroom:problem:unsupported_image"
      }
    }
    "#);
    let mut bomb = png(8, 8);
    bomb[16..24].copy_from_slice(&[0, 0, 0xff, 0xff, 0, 0, 0xff, 0xff]);
    insta::assert_json_snapshot!(send(&app, caption(bomb)).await.body["detail"], @r#""the image has 65535 x 65535 pixels: at most 16384 a side and 64000000 in all""#);
    app.stop().await;
}

#[tokio::test]
async fn an_empty_or_missing_picture_is_a_field_that_was_left_out() {
    let app = App::start().await;
    let document = json!({"pipeline": "image-to-text", "input": {"prompt": 1}}).to_string();
    let empty = caption(Vec::new()).text("job", document);
    insta::assert_json_snapshot!(send(&app, empty).await.body["errors"], @r#"
    [
      {
        "code": "type",
        "detail": "expected a string",
        "pointer": "/input/prompt"
      },
      {
        "code": "empty",
        "detail": "the part `image` is empty",
        "pointer": "/input/image"
      }
    ]
    "#);
    let missing = app.submit(&json!({"pipeline": "image-to-text"})).await;
    insta::assert_json_snapshot!(missing.body["errors"], @r#"
    [
      {
        "code": "required",
        "detail": "send the picture as the multipart part `image`, its URL as `image_url`, or its file's id as `image_file`",
        "pointer": "/input/image"
      }
    ]
    "#);
    let without = send(&app, Form::new().text("job", r#"{"pipeline": "image-to-text"}"#)).await;
    assert_eq!(without.body["errors"], missing.body["errors"]);
    app.stop().await;
}

#[tokio::test]
async fn mistakes_in_the_document_come_before_those_in_the_picture() {
    let app = App::start().await;
    let document = json!({"pipeline": "image-to-text", "input": {"prompt": 1}}).to_string();
    let answer = send(&app, caption(b"no picture".to_vec()).text("job", document)).await;
    assert_eq!(answer.refusal(), (422, "invalid_request".to_owned()));
    let document = json!({"pipeline": "text-to-image", "input": {"prompt": "x"}}).to_string();
    let answer = send(&app, caption(png(8, 8)).text("job", document)).await;
    insta::assert_json_snapshot!(answer.body["errors"], @r#"
    [
      {
        "code": "unknown",
        "detail": "text-to-image takes no picture",
        "pointer": "/input/image"
      }
    ]
    "#);
    app.stop().await;
}

#[tokio::test]
async fn unknown_and_repeated_parts_are_refused() {
    let app = App::start().await;
    let unknown = send(&app, caption(png(8, 8)).text("prompt", "a")).await;
    insta::assert_json_snapshot!(unknown.body["errors"], @r#"
    [
      {
        "code": "unknown",
        "detail": "unknown part: expected one of job, image",
        "parameter": "prompt"
      }
    ]
    "#);
    let repeated = send(&app, caption(png(8, 8)).part("image", Part::bytes(png(8, 8)))).await;
    assert_eq!(repeated.refusal(), (422, "invalid_request".to_owned()));
    app.stop().await;
}

#[tokio::test]
async fn the_limit_is_on_the_picture_and_counts_every_byte() {
    let app = App::start().await;
    assert_eq!(send(&app, endless(LIMIT)).await.status, 202);
    insta::assert_json_snapshot!(send(&app, endless(LIMIT + 1)).await, @r#"
    {
      "status": 413,
      "headers": {
        "cache-control": "private, no-cache",
        "content-type": "application/problem+json"
      },
      "body": {
        "code": "too_large",
        "detail": "the part `image` is larger than 52428800 bytes",
        "error": {
          "code": "too_large",
          "message": "the part `image` is larger than 52428800 bytes",
          "param": null,
          "type": "invalid_request_error"
        },
        "error_type": "too_large",
        "errors": [],
        "instance": "[instance]",
        "request_id": "[request_id]",
        "status": 413,
        "title": "Too large",
        "type": "urn:darkroom:problem:too_large"
      }
    }
    "#);
    app.stop().await;
}
