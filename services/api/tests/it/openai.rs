//! OpenAI's API, as its clients ask for it.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use darkroom_jobs::Task;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::join;

use crate::app::{Answer, App, OTHER_KEY, eventually};
use crate::upload::png;

const GENERATIONS: &str = "/openai/v1/images/generations";
const COMPLETIONS: &str = "/openai/v1/chat/completions";

async fn send(app: &App, path: &str, document: &Value) -> Answer {
    Answer::of(app.post(path).json(document)).await
}

/// Does the job that is waited for.
async fn draw(app: &App) -> Task {
    app.held(1).await;
    let worker = app.worker();
    let leased = worker.lease().await;
    worker.store_picture(&leased, b"not really a picture").await;
    worker.succeed(&leased).await;
    leased.task
}

#[tokio::test]
async fn pictures_come_in_base64_or_by_url() {
    let app = App::start().await;
    let document = json!({"prompt": "a red circle", "model": "gpt-image-1", "seed": 7});
    let (answer, _) = join!(send(&app, GENERATIONS, &document), draw(&app));
    insta::assert_json_snapshot!(answer, { ".body.created" => "[created]" }, @r#"
    {
      "status": 200,
      "headers": {
        "cache-control": "private, no-cache",
        "content-type": "application/json",
        "transfer-encoding": "chunked"
      },
      "body": {
        "created": "[created]",
        "data": [
          {
            "b64_json": "bm90IHJlYWxseSBhIHBpY3R1cmU=",
            "nsfw": false,
            "seed": 7
          }
        ],
        "id": "[id]",
        "output_format": "png",
        "size": "64x64"
      }
    }
    "#);
    let picture = BASE64_STANDARD.decode(answer.text("/data/0/b64_json")).unwrap();
    assert_eq!(picture, b"not really a picture");

    let document = json!({"prompt": "a red circle", "response_format": "url"});
    let (answer, _) = join!(send(&app, GENERATIONS, &document), draw(&app));
    let picture = Answer::of(app.anonymous(Method::GET, &answer.text("/data/0/url"))).await;
    assert_eq!(picture.bytes, b"not really a picture");
    app.stop().await;
}

#[tokio::test]
async fn pictures_are_streamed_as_they_are_made() {
    let app = App::start().await;
    let document = json!({"prompt": "a red circle", "stream": true, "partial_images": 2, "seed": 7});
    let (answer, _) = join!(send(&app, GENERATIONS, &document), draw(&app));
    assert_eq!(answer.headers["content-type"], "text/event-stream");
    let text = String::from_utf8(answer.bytes).unwrap();
    assert_eq!(text.matches("event: ").count(), 1, "{text}");
    let data = text.split_once("event: image_generation.completed\ndata: ").unwrap().1;
    let data: Value = serde_json::from_str(data.trim()).unwrap();
    assert_eq!(BASE64_STANDARD.decode(data["b64_json"].as_str().unwrap()).unwrap(), b"not really a picture");
    assert_eq!((&data["size"], &data["seed"]), (&json!("64x64"), &json!(7)));

    let failing = async {
        app.held(1).await;
        let worker = app.worker();
        worker.fail(&worker.lease().await).await;
    };
    let (failed, ()) = join!(send(&app, GENERATIONS, &document), failing);
    let text = String::from_utf8(failed.bytes).unwrap();
    assert!(text.contains("event: error\ndata: {\"error\":{\"code\":\"invalid_input\""), "{text}");
    app.stop().await;
}

#[tokio::test]
async fn words_of_openai_become_parameters() {
    let app = App::start().await;
    let document = json!({
        "prompt": "a red circle", "model": "test/painter", "size": "128x64", "n": 2, "quality": "low", "user": "u1",
        "output_format": "webp", "output_compression": 0, "moderation": "low", "seed": 3, "guidance_scale": 2.5
    });
    let (_, task) = join!(send(&app, GENERATIONS, &document), draw(&app));
    let Task::TextToImage(task) = task else { panic!("a picture was asked for") };
    assert_eq!((task.size.width(), task.size.height(), task.images, task.steps), (128, 64, 2, 2));
    assert_eq!((task.seed, task.safety_check), (3, false));
    let job = Answer::of(app.get("/v1/jobs?limit=1")).await;
    assert_eq!(job.raw("/jobs/0/metadata"), &json!({"user": "u1"}));
    assert_eq!(job.raw("/jobs/0/input/output_quality"), 1);
    app.stop().await;
}

#[tokio::test]
async fn refusals_are_openais() {
    let app = App::start().await;
    let mut told = Vec::new();
    for document in [
        json!({}),
        json!({"prompt": "a", "n": 5}),
        json!({"prompt": "a", "size": "1024"}),
        json!({"prompt": "a", "size": "1000x64"}),
        json!({"prompt": "a", "quality": "best"}),
        json!({"prompt": "a", "background": "transparent"}),
        json!({"prompt": "a", "colour": "red"}),
        json!({"prompt": "a", "stream": true, "response_format": "url"}),
        json!({"prompt": "a", "stream": true, "partial_images": 4}),
        json!({"prompt": "a", "model": "test/nothing"}),
    ] {
        let answer = send(&app, GENERATIONS, &document).await;
        told.push(format!("{} {}", answer.status, answer.body));
    }
    let broken = app.post(GENERATIONS).body("{");
    let no_key = app.anonymous(Method::POST, &app.url(GENERATIONS)).body("{");
    for request in [broken, no_key, app.post("/openai/v1/embeddings"), app.get(GENERATIONS)] {
        let answer = Answer::of(request).await;
        assert_eq!(answer.headers["content-type"], "application/json");
        told.push(format!("{} {}", answer.status, answer.body));
    }
    insta::assert_snapshot!(told.join("\n"), @r#"
    400 {"error":{"code":"invalid_value","message":"prompt: expected a text that says what to draw","param":"prompt","type":"invalid_request_error"}}
    400 {"error":{"code":"invalid_value","message":"n: expected an integer from 1 to 4","param":"n","type":"invalid_request_error"}}
    400 {"error":{"code":"invalid_value","message":"size: expected `auto` or `WIDTHxHEIGHT`, such as 1024x1024","param":"size","type":"invalid_request_error"}}
    400 {"error":{"code":"invalid_value","message":"size: expected an integer from 8 to 256","param":"size","type":"invalid_request_error"}}
    400 {"error":{"code":"invalid_value","message":"quality: expected one of auto, low, medium, high, standard, hd","param":"quality","type":"invalid_request_error"}}
    400 {"error":{"code":"invalid_value","message":"background: expected one of auto, opaque","param":"background","type":"invalid_request_error"}}
    400 {"error":{"code":"invalid_value","message":"colour: unknown field: expected one of prompt, n, output_format, negative_prompt, width, height, steps, guidance_scale, seed, scheduler, loras, model, size, output_compression, quality, moderation, response_format, partial_images, stream, background, style, user","param":"colour","type":"invalid_request_error"}}
    400 {"error":{"code":"invalid_value","message":"response_format: expected b64_json: events hold their pictures","param":"response_format","type":"invalid_request_error"}}
    400 {"error":{"code":"invalid_value","message":"partial_images: expected an integer from 0 to 3","param":"partial_images","type":"invalid_request_error"}}
    404 {"error":{"code":"model_not_found","message":"there is no text-to-image model `test/nothing`: expected one of test/painter, test/sketcher, test/distilled","param":"model","type":"invalid_request_error"}}
    400 {"error":{"code":"invalid_json","message":"not a JSON document: EOF while parsing an object at line 1 column 1","param":null,"type":"invalid_request_error"}}
    401 {"error":{"code":"invalid_api_key","message":"send a working API key as `Authorization: Bearer KEY`","param":null,"type":"invalid_request_error"}}
    404 {"error":{"code":"unknown_url","message":"there is no such path","param":null,"type":"invalid_request_error"}}
    405 {"error":{"code":"method_not_allowed","message":"this path does not answer to that method","param":null,"type":"invalid_request_error"}}
    "#);
    app.stop().await;
}

#[tokio::test]
async fn jobs_without_a_result_are_not_asked_for_again() {
    let app = App::start().await;
    let document = json!({"prompt": "a red circle"});
    let failing = async {
        app.held(1).await;
        let worker = app.worker();
        worker.fail(&worker.lease().await).await;
    };
    let (failed, ()) = join!(send(&app, GENERATIONS, &document), failing);
    assert_eq!((failed.status, failed.text("/error/code")), (400, "invalid_input".to_owned()));
    let canceling = async {
        app.held(1).await;
        let id = Answer::of(app.get("/v1/jobs?state=queued")).await.text("/jobs/0/id");
        Answer::of(app.post(&format!("/v1/jobs/{id}/cancel"))).await;
    };
    let (canceled, ()) = join!(send(&app, GENERATIONS, &document), canceling);
    assert_eq!((canceled.status, canceled.text("/error/code")), (409, "job_canceled".to_owned()));
    for answer in [&failed, &canceled] {
        assert_eq!(answer.headers["x-should-retry"], "false");
    }
    let stopping = async {
        app.held(1).await;
        app.stop.cancel();
    };
    let (late, ()) = join!(send(&app, GENERATIONS, &document), stopping);
    assert_eq!((late.status, late.text("/error/code")), (503, "timeout".to_owned()));
    assert!(!late.headers.contains_key("x-should-retry") && late.headers.contains_key("retry-after"));
    app.stop().await;
}

#[tokio::test]
async fn a_stream_that_breaks_off_says_so() {
    let app = App::start().await;
    let stopping = async {
        app.held(1).await;
        app.stop.cancel();
    };
    let document = json!({"prompt": "a red circle", "stream": true});
    let (answer, ()) = join!(app.post(GENERATIONS).json(&document).send(), stopping);
    let told = answer.unwrap().text().await.unwrap();
    assert!(told.starts_with("event: error\ndata: {") && told.contains(r#""code":"unavailable""#), "{told}");
    app.stop().await;
}

/// A message of the user with a picture.
fn look(picture: &[u8]) -> Value {
    let uri = format!("data:image/png;base64,{}", BASE64_STANDARD.encode(picture));
    json!({"role": "user", "content": [
        {"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": uri}}
    ]})
}

#[tokio::test]
async fn chats_with_a_picture_are_captions() {
    let app = App::start().await;
    let start = json!({"role": "assistant", "content": "a picture of"});
    let messages = json!([{"role": "system", "content": "Be brief."}, look(&png(33, 20)), start]);
    let document =
        json!({"model": "test/captioner", "messages": messages, "temperature": 0, "max_tokens": 20});
    let describing = async {
        app.held(1).await;
        let worker = app.worker();
        let leased = worker.lease().await;
        let Task::ImageToText(task) = &leased.task else { panic!("a caption was asked for") };
        assert_eq!((task.prompt.as_str(), task.image.width), ("a picture of", 33));
        worker.store_caption(&leased, "a picture of nothing").await;
        worker.succeed(&leased).await;
    };
    let (answer, ()) = join!(send(&app, COMPLETIONS, &document), describing);
    assert_eq!((answer.status, answer.text("/object")), (200, "chat.completion".to_owned()));
    assert_eq!(answer.text("/choices/0/message/content"), "a picture of nothing");

    for messages in
        [json!([]), json!("a"), json!([{"role": "user", "content": "Hello"}]), json!([look(b"hello")])]
    {
        let refused = send(&app, COMPLETIONS, &json!({"messages": messages})).await;
        assert_eq!(refused.status, 400, "{refused:?}");
    }
    app.stop().await;
}

#[tokio::test]
async fn models_go_by_every_name_they_have() {
    let app = App::start().await;
    let models = Answer::of(app.get("/openai/v1/models")).await;
    let ids: Vec<&str> =
        models.raw("/data").as_array().unwrap().iter().map(|model| model["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["test/painter", "gpt-image-1", "test/sketcher", "test/distilled", "test/captioner"]);
    let model = Answer::of(app.get("/openai/v1/models/test/painter")).await;
    assert_eq!((model.status, model.text("/owned_by")), (200, "test".to_owned()));
    let nothing = Answer::of(app.get("/openai/v1/models/nothing")).await;
    assert_eq!((nothing.status, nothing.text("/error/code")), (404, "model_not_found".to_owned()));
    app.stop().await;
}

/// Sends a document and goes away when its job is waited for.
async fn go_away(app: &App, document: &Value) {
    let sending = app.post(GENERATIONS).json(document).send();
    tokio::select! {
        _ = sending => panic!("nobody works"),
        () = app.held(1) => {}
    }
    app.held(0).await;
}

#[tokio::test]
async fn a_repeated_request_finds_the_job_that_was_not_answered() {
    let app = App::start().await;
    let document = json!({"prompt": "a red circle"});
    let again =
        |document: &Value| app.post(GENERATIONS).header("x-stainless-retry-count", "1").json(document);
    go_away(&app, &document).await;
    let (answer, _) = join!(Answer::of(again(&document)), draw(&app));
    assert_eq!(answer.status, 200);
    assert_eq!(app.database.count("select count(*) from jobs").await, 1, "it is the same job");
    eventually("it is known to be answered", async || {
        app.database.count("select count(*) from unanswered_jobs").await == 0
    })
    .await;

    // An answered one is not found again, another request is another job, and so is one that is not repeated.
    for request in
        [again(&document), again(&json!({"prompt": "a blue circle"})), app.post(GENERATIONS).json(&document)]
    {
        let (answer, _) = join!(Answer::of(request), draw(&app));
        assert_eq!(answer.status, 200);
    }
    assert_eq!(app.database.count("select count(*) from jobs").await, 4);

    // Nor is another key's.
    go_away(&app, &document).await;
    let other = app.anonymous(Method::POST, &app.url(GENERATIONS)).bearer_auth(OTHER_KEY);
    let other = other.header("x-stainless-retry-count", "1").json(&document);
    let working = async {
        app.held(1).await;
        let worker = app.worker();
        for _ in 0..2 {
            let leased = worker.lease().await;
            worker.store_picture(&leased, b"not really a picture").await;
            worker.succeed(&leased).await;
        }
    };
    let (answer, ()) = join!(Answer::of(other), working);
    assert_eq!(answer.status, 200);
    assert_eq!(app.database.count("select count(*) from jobs").await, 6);
    app.stop().await;
}

#[tokio::test]
async fn an_answer_that_broke_off_in_the_middle_is_given_again() {
    let app = App::start().await;
    let document = json!({"prompt": "a red circle"});
    let request = |count| app.post(GENERATIONS).header("x-stainless-retry-count", count).json(&document);
    // More than fits between the two.
    let picture: &[u8] = vec![7; 24 << 20].leak();
    let work = async {
        app.held(1).await;
        let worker = app.worker();
        let leased = worker.lease().await;
        worker.store_picture(&leased, picture).await;
        worker.succeed(&leased).await;
    };
    let (begun, ()) = join!(request(0).send(), work);
    let mut begun = begun.unwrap();
    assert!(begun.chunk().await.unwrap().is_some());
    drop(begun);
    eventually("the line is known to be broken", async || {
        app.database.count("select count(*) from unanswered_jobs where abandoned").await == 1
    })
    .await;
    let again = Answer::of(request(1)).await;
    assert_eq!(BASE64_STANDARD.decode(again.text("/data/0/b64_json")).unwrap().len(), picture.len());
    assert_eq!(app.database.count("select count(*) from jobs").await, 1);
    app.stop().await;
}
