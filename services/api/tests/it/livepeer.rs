//! The pipelines of Livepeer AI, as its clients ask for them.

use darkroom_jobs::Task;
use reqwest::Method;
use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};
use tokio::join;

use crate::app::{Answer, App, SOON};
use crate::upload::{endless, png};

const PATHS: [&str; 4] = [
    "/text-to-image",
    "/text-to-image/",
    "/api/beta/generate/text-to-image",
    "/api/beta/generate/text-to-image/",
];

/// What clients send when their caller gives a prompt.
fn from_client() -> Value {
    json!({
        "prompt": "a red circle", "model_id": "", "loras": "", "height": 576, "width": 1024, "guidance_scale": 7.5,
        "negative_prompt": "", "safety_check": true, "num_inference_steps": 50, "num_images_per_prompt": 1
    })
}

async fn send(app: &App, path: &str, document: &Value) -> Answer {
    Answer::of(app.post(path).json(document)).await
}

fn detail(answer: &Answer) -> (u16, String) {
    assert_eq!(answer.raw("/detail/msg"), answer.raw("/error/message"));
    (answer.status, answer.text("/detail/msg"))
}

/// The task of a document that is sent by `path`.
async fn task(app: &App, path: &str, document: &Value) -> darkroom_jobs::TextToImage {
    let request = app.post(path).header("prefer", "respond-async").json(document);
    let answer = Answer::of(request).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    match app.worker().lease().await.task {
        Task::TextToImage(task) => task,
        Task::ImageToText(_) => panic!("a picture was asked for"),
    }
}

#[tokio::test]
async fn every_path_waits_for_pictures() {
    let app = App::start().await;
    for path in PATHS {
        let work = async {
            app.held(1).await;
            let worker = app.worker();
            let leased = worker.lease().await;
            worker.store_picture(&leased, b"not really a picture").await;
            worker.succeed(&leased).await;
        };
        let sent = from_client();
        let (answer, ()) = join!(send(&app, path, &sent), work);
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        assert_eq!(answer.headers["content-type"], "application/json");
        let url = answer.text("/images/0/url");
        assert_eq!(answer.raw("/images"), &json!([{"url": url, "seed": 7, "nsfw": false}]));
        let picture = Answer::of(app.anonymous(Method::GET, &url)).await;
        assert_eq!(picture.bytes, b"not really a picture");
    }
    app.stop().await;
}

#[tokio::test]
async fn what_clients_send_unasked_leaves_models_their_own_values() {
    let app = App::start().await;
    // 1024 x 576 is more than this model makes; 50 steps are not.
    let own = task(&app, "/text-to-image", &from_client()).await;
    assert_eq!((own.size.width(), own.size.height(), own.steps), (64, 64, 50));
    assert_eq!((own.guidance_scale, own.negative_prompt.as_deref(), own.images), (7.5, None, 1));

    let mut distilled = from_client();
    distilled["model_id"] = "test/distilled".into();
    let own = task(&app, "/text-to-image", &distilled).await;
    assert_eq!((own.size.width(), own.size.height(), own.steps), (1024, 576, 4));
    assert_eq!(own.guidance_scale.to_bits(), 0.0_f64.to_bits());
    app.stop().await;
}

#[tokio::test]
async fn what_callers_ask_for_is_done() {
    let app = App::start().await;
    let asked = task(
        &app,
        "/text-to-image",
        &json!({
            "prompt": "a | b", "width": "128", "height": 64.0, "guidance_scale": "2", "negative_prompt": "blue",
            "safety_check": "no", "seed": 9, "num_inference_steps": 0, "num_images_per_prompt": 2, "loras": "{}",
            "unknown": [1]
        }),
    )
    .await;
    assert_eq!((asked.prompt.as_str(), asked.size.width(), asked.size.height()), ("a | b", 128, 64));
    assert_eq!((asked.seed, asked.images, asked.steps, asked.safety_check), (9, 2, 4, false));
    assert_eq!((asked.guidance_scale, asked.negative_prompt.as_deref()), (2.0, Some("blue")));
    app.stop().await;
}

#[tokio::test]
async fn refusals_are_the_runners() {
    let app = App::start().await;
    let with = |name: &str, value: Value| {
        let mut document = from_client();
        document[name] = value;
        document
    };
    let mut told = Vec::new();
    for (name, value) in [
        ("prompt", json!("")),
        ("model_id", json!("test/nothing")),
        ("loras", json!("{\"a/b\": 1}")),
        ("loras", json!("a/b")),
        ("width", json!(1020)),
        ("num_images_per_prompt", json!(9)),
        ("seed", json!(-1)),
        ("num_inference_steps", json!(51)),
    ] {
        let (status, message) = detail(&send(&app, "/text-to-image", &with(name, value)).await);
        told.push(format!("{status} {message}"));
    }
    let mut wrong_steps = with("model_id", json!("test/distilled"));
    wrong_steps["num_inference_steps"] = 3.into();
    let (status, message) = detail(&send(&app, "/text-to-image", &wrong_steps).await);
    told.push(format!("{status} {message}"));
    insta::assert_snapshot!(told.join("\n"), @r#"
    400 Prompt must be provided.
    400 Error during model execution: there is no text-to-image model `test/nothing`: expected one of test/painter, test/sketcher, test/distilled
    400 Error during model execution: loras.a/b: there is no LoRA `a/b`: none is served here
    400 Error during model execution: loras: expected a JSON object of strengths by LoRA id, such as {"nerijs/pixel-art-xl": 1.2}
    400 Error during model execution: width: expected an integer from 8 to 256; height: expected an integer from 8 to 256
    400 Error during model execution: num_images_per_prompt: expected an integer from 1 to 4
    400 Error during model execution: seed: expected an integer from 0 to 9007199254740991
    400 Error during model execution: num_inference_steps: expected an integer from 1 to 50
    400 Error during model execution: num_inference_steps: expected one of 2, 4, 8
    "#);
    app.stop().await;
}

#[tokio::test]
async fn members_of_the_wrong_type_are_told_in_pydantics_words() {
    let app = App::start().await;
    let document = json!({"height": "abc", "width": 64.5, "seed": null, "loras": {"a": 1}});
    insta::assert_json_snapshot!(send(&app, "/text-to-image", &document).await, @r#"
    {
      "status": 422,
      "headers": {
        "cache-control": "private, no-cache",
        "content-type": "application/json"
      },
      "body": {
        "detail": [
          {
            "input": {
              "a": 1
            },
            "loc": [
              "body",
              "loras"
            ],
            "msg": "Input should be a valid string",
            "type": "string_type"
          },
          {
            "input": {
              "height": "abc",
              "loras": {
                "a": 1
              },
              "seed": null,
              "width": 64.5
            },
            "loc": [
              "body",
              "prompt"
            ],
            "msg": "Field required",
            "type": "missing"
          },
          {
            "input": "abc",
            "loc": [
              "body",
              "height"
            ],
            "msg": "Input should be a valid integer, unable to parse string as an integer",
            "type": "int_parsing"
          },
          {
            "input": 64.5,
            "loc": [
              "body",
              "width"
            ],
            "msg": "Input should be a valid integer, got a number with a fractional part",
            "type": "int_from_float"
          },
          {
            "input": null,
            "loc": [
              "body",
              "seed"
            ],
            "msg": "Input should be a valid integer",
            "type": "int_type"
          }
        ]
      }
    }
    "#);
    let text = Answer::of(app.post("/text-to-image").body("{\"prompt\": \"a\"}")).await;
    assert_eq!((text.status, text.text("/detail/0/type")), (422, "model_attributes_type".to_owned()));
    let broken = app.post("/text-to-image").header("content-type", "application/json").body("{");
    let broken = Answer::of(broken).await;
    assert_eq!((broken.status, broken.raw("/detail/0/loc")), (422, &json!(["body", 1])));
    app.stop().await;
}

#[tokio::test]
async fn keys_come_before_bodies() {
    let app = App::start().await;
    let request = app.anonymous(Method::POST, &app.url("/text-to-image")).body("{");
    let answer = Answer::of(request).await;
    assert_eq!(detail(&answer), (401, "Invalid bearer token.".to_owned()));
    assert_eq!(answer.headers["www-authenticate"], "Bearer");
    assert_eq!(answer.headers["content-type"], "application/json");
    let other = Answer::of(app.get("/text-to-image")).await;
    assert_eq!(detail(&other).0, 405);
    for path in ["/text-to-image/nothing", "/upscale", "/api/beta/generate/llm"] {
        let other = Answer::of(app.post(path)).await;
        assert_eq!(detail(&other), (404, "there is no such path".to_owned()), "{path}");
    }
    app.stop().await;
}

fn form(parts: &[(&'static str, &'static str)]) -> Form {
    parts.iter().fold(Form::new(), |form, (name, text)| form.text(*name, *text))
}

#[tokio::test]
async fn captions_are_waited_for() {
    let app = App::start().await;
    let picture = Part::bytes(png(33, 20)).file_name("blob");
    // Parts come in any order, and nobody minds others.
    let parts = form(&[("prompt", "a picture of"), ("model_id", ""), ("extra", "1")]).part("image", picture);
    let work = async {
        app.held(1).await;
        let worker = app.worker();
        let leased = worker.lease().await;
        let Task::ImageToText(task) = &leased.task else { panic!("a caption was asked for") };
        assert_eq!((task.prompt.as_str(), task.image.width), ("a picture of", 33));
        worker.store_caption(&leased, "a picture of nothing").await;
        worker.succeed(&leased).await;
    };
    let (answer, ()) = join!(Answer::of(app.post("/image-to-text").multipart(parts)), work);
    assert_eq!((answer.status, &answer.body), (200, &json!({"text": "a picture of nothing"})));
    app.stop().await;
}

#[tokio::test]
async fn pictures_that_cannot_be_used_are_refused() {
    let app = App::start().await;
    let send = async |form: Form| Answer::of(app.post("/image-to-text/").multipart(form)).await;
    insta::assert_json_snapshot!(send(form(&[("prompt", "a")])).await.body, @r#"
    {
      "detail": [
        {
          "input": null,
          "loc": [
            "body",
            "image"
          ],
          "msg": "Field required",
          "type": "missing"
        }
      ]
    }
    "#);
    let text = send(form(&[("image", "a")])).await;
    assert_eq!((text.status, text.text("/detail/0/type")), (422, "value_error".to_owned()));
    let no_form = Answer::of(app.post("/image-to-text").json(&json!({}))).await;
    assert_eq!((no_form.status, no_form.text("/detail/0/type")), (422, "missing".to_owned()));
    let no_picture = Part::bytes(b"hello".to_vec()).file_name("x.png");
    let (status, message) = detail(&send(Form::new().part("image", no_picture)).await);
    assert_eq!(status, 400);
    assert!(message.starts_with("Error during model execution: "), "{message}");
    let (status, message) = detail(&send(endless(52_428_801)).await);
    assert_eq!((status, message.as_str()), (413, "File size exceeds limit"));
    app.stop().await;
}

#[tokio::test]
async fn who_does_not_wait_asks_for_the_result() {
    let app = App::start().await;
    let request = app.post("/text-to-image").header("prefer", "respond-async").json(&from_client());
    let answer = Answer::of(request).await;
    assert_eq!((answer.status, answer.headers["preference-applied"].as_str()), (202, "respond-async"));
    let ask = json!({"request_id": answer.text("/request_id")});
    let result = "/text-to-image/result";
    let pending = send(&app, result, &ask).await;
    assert_eq!((pending.status, &pending.body), (202, &json!({"status": "processing"})));
    let worker = app.worker();
    let leased = worker.lease().await;
    worker.store_picture(&leased, b"not really a picture").await;
    worker.succeed(&leased).await;
    let done = send(&app, result, &ask).await;
    assert_eq!((done.status, done.raw("/status")), (200, &json!("complete")));
    assert_eq!(done.raw("/result/images/0/seed"), &json!(7));

    assert_eq!(send(&app, "/image-to-text/result", &ask).await.status, 404, "another pipeline's");
    assert_eq!(send(&app, result, &json!({"request_id": "nothing"})).await.status, 404);
    assert_eq!(send(&app, result, &json!({})).await.text("/detail/0/type"), "missing");
    app.stop().await;
}

#[tokio::test]
async fn jobs_that_end_badly_are_told_apart() {
    let app = App::start().await;
    let failing = async {
        app.held(1).await;
        let worker = app.worker();
        worker.fail(&worker.lease().await).await;
    };
    let sent = from_client();
    let (refused, ()) = join!(send(&app, "/text-to-image", &sent), failing);
    let expected = "Error during model execution: the image cannot be decoded";
    assert_eq!(detail(&refused), (400, expected.to_owned()));

    let canceling = async {
        app.held(1).await;
        let id = Answer::of(app.get("/v1/jobs?state=queued")).await.text("/jobs/0/id");
        assert_eq!(Answer::of(app.post(&format!("/v1/jobs/{id}/cancel"))).await.status, 200);
    };
    let sent = from_client();
    let (canceled, ()) = join!(send(&app, "/text-to-image", &sent), canceling);
    assert_eq!(detail(&canceled), (500, "Text-to-image pipeline error.".to_owned()));
    app.stop().await;
}

#[tokio::test]
async fn the_job_of_a_caller_who_went_away_is_done() {
    let app = App::start().await;
    let request = app.post("/text-to-image").json(&from_client()).send();
    let gone = tokio::time::timeout(SOON, async {
        tokio::select! {
            _ = request => panic!("nobody works"),
            () = app.held(1) => {}
        }
    });
    gone.await.unwrap();
    app.held(0).await;
    let worker = app.worker();
    let leased = worker.lease().await;
    worker.store_picture(&leased, b"not really a picture").await;
    worker.succeed(&leased).await;
    assert_eq!(Answer::of(app.get("/v1/jobs")).await.text("/jobs/0/state"), "succeeded");
    app.stop().await;
}

#[tokio::test]
async fn a_service_that_stops_asks_its_callers_to_come_again() {
    let app = App::start().await;
    let stopping = async {
        app.held(1).await;
        app.stop.cancel();
    };
    let sent = from_client();
    let (answer, ()) = join!(send(&app, "/text-to-image", &sent), stopping);
    assert_eq!((detail(&answer).0, answer.headers["retry-after"].as_str()), (503, "5"));
    app.stop().await;
}
