use reqwest::multipart::{Form, Part};
use serde_json::json;

use crate::app::{Answer, App, picture};

#[tokio::test]
async fn a_job_is_accepted_with_every_default_filled_in() {
    let app = App::start().await;
    let document = json!({
        "pipeline": "text-to-image", "model": "gpt-image-1", "metadata": {"order": "17"},
        "input": {"prompt": "a red circle", "seed": 7, "images": 2}
    });
    insta::assert_json_snapshot!(app.submit(&document).await, @r#"
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
          "embed_parameters": true,
          "guidance_scale": 4.0,
          "height": 64,
          "images": 2,
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
        "metadata": {
          "order": "17"
        },
        "model": "test/painter",
        "pipeline": "text-to-image",
        "price": {
          "amount": "0.00016384",
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
async fn a_missing_seed_is_drawn_anew_for_each_job() {
    let app = App::start().await;
    let document = json!({"pipeline": "text-to-image", "input": {"prompt": "a red circle"}});
    let first = app.submit(&document).await;
    let second = app.submit(&document).await;
    assert_ne!(first.raw("/input/seed"), second.raw("/input/seed"));
    app.stop().await;
}

#[tokio::test]
async fn every_field_that_cannot_be_used_is_named_at_once() {
    let app = App::start().await;
    let document = json!({
        "pipeline": "text-to-image", "priority": "urgent", "colour": "red",
        "input": {"prompt": " ", "width": 100, "steps": 51, "seed": -1, "a/b": 1}
    });
    insta::assert_json_snapshot!(app.submit(&document).await, @r#"
    {
      "status": 422,
      "headers": {
        "cache-control": "private, no-cache",
        "content-type": "application/problem+json"
      },
      "body": {
        "code": "invalid_request",
        "detail": "7 fields cannot be used: see `errors`",
        "error": {
          "code": "invalid_request",
          "message": "7 fields cannot be used: see `errors`",
          "param": "priority",
          "type": "invalid_request_error"
        },
        "error_type": "invalid_request",
        "errors": [
          {
            "code": "choice",
            "detail": "expected one of interactive, normal, background",
            "pointer": "/priority"
          },
          {
            "code": "unknown",
            "detail": "unknown field: expected one of pipeline, model, input, retention_seconds, priority, deadline_seconds, metadata, webhook",
            "pointer": "/colour"
          },
          {
            "code": "text",
            "detail": "must not be empty",
            "pointer": "/input/prompt"
          },
          {
            "code": "multiple",
            "detail": "expected a multiple of 8",
            "pointer": "/input/width"
          },
          {
            "code": "range",
            "detail": "expected an integer from 1 to 50",
            "pointer": "/input/steps"
          },
          {
            "code": "range",
            "detail": "expected an integer from 0 to 9007199254740991",
            "pointer": "/input/seed"
          },
          {
            "code": "unknown",
            "detail": "unknown field: expected one of prompt, negative_prompt, width, height, steps, guidance_scale, images, seed, scheduler, loras, safety_check, output_format, output_quality, embed_parameters",
            "pointer": "/input/a~1b"
          }
        ],
        "instance": "[instance]",
        "request_id": "[request_id]",
        "status": 422,
        "title": "Invalid fields",
        "type": "urn:darkroom:problem:invalid_request"
      }
    }
    "#);
    app.stop().await;
}

#[tokio::test]
async fn an_unknown_lora_is_refused_by_name() {
    let app = App::start().await;
    let mut document = picture();
    document["input"]["loras"] = json!({"nerijs/pixel-art-xl": 0.8});
    let answer = app.submit(&document).await;
    assert_eq!(answer.refusal(), (422, "invalid_request".to_owned()));
    insta::assert_json_snapshot!(answer.body["errors"], @r#"
    [
      {
        "code": "unknown_lora",
        "detail": "there is no LoRA `nerijs/pixel-art-xl`: none is served here",
        "pointer": "/input/loras/nerijs~1pixel-art-xl"
      }
    ]
    "#);
    app.stop().await;
}

#[tokio::test]
async fn an_unknown_model_is_answered_with_the_known_ones() {
    let app = App::start().await;
    let mut document = picture();
    document["model"] = json!("stabilityai/sd-turbo");
    insta::assert_json_snapshot!(app.submit(&document).await, @r#"
    {
      "status": 400,
      "headers": {
        "cache-control": "private, no-cache",
        "content-type": "application/problem+json"
      },
      "body": {
        "code": "unknown_model",
        "detail": "there is no text-to-image model `stabilityai/sd-turbo`: expected one of test/painter, test/sketcher, test/distilled",
        "error": {
          "code": "unknown_model",
          "message": "there is no text-to-image model `stabilityai/sd-turbo`: expected one of test/painter, test/sketcher, test/distilled",
          "param": null,
          "type": "invalid_request_error"
        },
        "error_type": "unknown_model",
        "errors": [],
        "instance": "[instance]",
        "known": [
          "test/painter",
          "test/sketcher",
          "test/distilled"
        ],
        "request_id": "[request_id]",
        "status": 400,
        "title": "Unknown model",
        "type": "urn:darkroom:problem:unknown_model"
      }
    }
    "#);
    app.stop().await;
}

#[tokio::test]
async fn bodies_that_cannot_be_read_are_refused() {
    let app = App::start().await;
    let json =
        |body: &'static str| app.post("/v1/jobs").header("content-type", "application/json").body(body);
    insta::assert_json_snapshot!(Answer::of(json("{\"pipeline\": ")).await, @r#"
    {
      "status": 400,
      "headers": {
        "cache-control": "private, no-cache",
        "content-type": "application/problem+json"
      },
      "body": {
        "code": "malformed_body",
        "detail": "not a JSON document: EOF while parsing a value at line 1 column 13",
        "error": {
          "code": "malformed_body",
          "message": "not a JSON document: EOF while parsing a value at line 1 column 13",
          "param": null,
          "type": "invalid_request_error"
        },
        "error_type": "malformed_body",
        "errors": [],
        "instance": "[instance]",
        "request_id": "[request_id]",
        "status": 400,
        "title": "Unreadable body",
        "type": "urn:darkroom:problem:malformed_body"
      }
    }
    "#);
    let deep = "[".repeat(100_000);
    let deep = app.post("/v1/jobs").header("content-type", "application/json; charset=utf-8").body(deep);
    let multipart = |body: &'static str, boundary: &str| {
        let content_type = format!("multipart/form-data{boundary}");
        app.post("/v1/jobs").header("content-type", content_type).body(body)
    };
    let malformed = [
        json(""),
        json("\u{feff}{}"),
        deep,
        multipart("", "; boundary=x"),
        multipart("--x\r\ncontent-disposition: form-data; name=\"image\"\r\n\r\nabc", "; boundary=x"),
        multipart("x", ""),
        app.post("/v1/jobs").multipart(Form::new().part("job", Part::bytes(b"{").file_name("job"))),
    ];
    for request in malformed {
        let request_text = format!("{request:?}");
        assert_eq!(Answer::of(request).await.refusal(), (400, "malformed_body".to_owned()), "{request_text}");
    }
    for request in [app.post("/v1/jobs"), app.post("/v1/jobs").header("content-type", "text/plain").body("x")]
    {
        assert_eq!(Answer::of(request).await.refusal(), (415, "unsupported_media_type".to_owned()));
    }
    // A megabyte besides long texts, and 16 of them.
    let many = format!("[{}0]", "0,".repeat(512 * 1024));
    let long = format!("{{\"a\": \"{}\"}}", "x".repeat(16 * 1024 * 1024));
    for big in [many, long] {
        let big = app.post("/v1/jobs").header("content-type", "application/json").body(big);
        assert_eq!(Answer::of(big).await.refusal(), (413, "too_large".to_owned()));
    }
    assert_eq!(app.database.count("select count(*) from jobs").await, 0);
    app.stop().await;
}

#[tokio::test]
async fn more_mistakes_than_anybody_reads_are_cut_off() {
    let app = App::start().await;
    let mut document = picture();
    for n in 0..5_000 {
        document["input"][format!("field{n}")] = json!(1);
    }
    let answer = app.submit(&document).await;
    assert_eq!(answer.refusal(), (422, "invalid_request".to_owned()));
    assert_eq!(answer.text("/detail"), "5000 fields cannot be used: see `errors`");
    assert_eq!(answer.raw("/errors").as_array().unwrap().len(), 100);
    app.stop().await;
}
