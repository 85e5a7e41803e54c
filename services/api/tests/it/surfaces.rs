//! Refusals of every kind on every surface: each in its own form, and nothing of another's or of the inside.

use darkroom_api::Capacity;
use darkroom_jobs::FailureClass;
use darkroom_store::LimitChanges;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use crate::app::{Answer, App, KEY, eventually};

/// A surface: where jobs are submitted, with what document, and a path at which there is nothing.
struct Surface {
    name: &'static str,
    submit: &'static str,
    document: fn() -> Value,
    scheme: &'static str,
    nothing: &'static str,
    /// What is asked for a job that is not there.
    missing: (Method, &'static str),
}

fn surfaces() -> [Surface; 4] {
    let input = || json!({"input": {"prompt": "a red circle"}});
    let prompt = || json!({"prompt": "a red circle"});
    let surface = |name, submit, document, scheme, nothing, missing| Surface {
        name,
        submit,
        document,
        scheme,
        nothing,
        missing,
    };
    [
        surface(
            "livepeer",
            "/text-to-image",
            prompt,
            "Bearer",
            "/text-to-image/nothing",
            (Method::POST, "/text-to-image/result"),
        ),
        surface(
            "openai",
            "/openai/v1/images/generations",
            prompt,
            "Bearer",
            "/openai/v1/nothing",
            (Method::GET, "/openai/v1/models/nothing"),
        ),
        surface(
            "replicate",
            "/replicate/v1/models/test/painter/predictions",
            input,
            "Bearer",
            "/replicate/v1/nothing",
            (Method::GET, "/replicate/v1/predictions/0190b6f2-8c3e-7d4a-9f10-3b1f5a2c7e01"),
        ),
        surface(
            "fal",
            "/fal/test/painter",
            prompt,
            "Key",
            "/fal/nothing",
            (Method::GET, "/fal/test/painter/requests/0190b6f2-8c3e-7d4a-9f10-3b1f5a2c7e01/status"),
        ),
    ]
}

impl Surface {
    fn send(&self, app: &App, method: Method, path: &str, key: &str) -> RequestBuilder {
        let authorization = format!("{} {key}", self.scheme);
        app.anonymous(method, &app.url(path)).header("authorization", authorization)
    }

    fn submit(&self, app: &App) -> RequestBuilder {
        self.send(app, Method::POST, self.submit, KEY).json(&(self.document)())
    }
}

/// One line for an answer, in which nothing may be of the inside.
async fn told(surface: &Surface, class: &str, request: RequestBuilder) -> String {
    let answer = Answer::of(request).await;
    assert_eq!(answer.headers["content-type"], "application/json", "{answer:?}");
    assert!(answer.status >= 400, "{answer:?}");
    let text = answer.body.to_string();
    let own = ["urn:darkroom", "request_id", "\"pointer\"", "\"errors\""];
    assert!(own.iter().all(|word| !text.contains(word)), "{text}");
    let retry = if answer.headers.contains_key("retry-after") { " (Retry-After)" } else { "" };
    format!("{} {class}: {}{retry} {text}", surface.name, answer.status)
}

#[tokio::test]
async fn refusals_have_the_form_of_their_surface() {
    let app = App::start().await;
    let mut lines = Vec::new();
    for surface in &surfaces() {
        let body = |request: RequestBuilder, body: Vec<u8>| {
            request.header("content-type", "application/json").body(body)
        };
        let post = |key| surface.send(&app, Method::POST, surface.submit, key);
        let (method, missing) = surface.missing.clone();
        let mut unknown = (surface.document)();
        let elsewhere = match surface.name {
            "replicate" => "/replicate/v1/models/test/nothing/predictions",
            "fal" => "/fal/test/nothing",
            name => {
                unknown[if name == "livepeer" { "model_id" } else { "model" }] = "test/nothing".into();
                surface.submit
            }
        };
        let missing = surface.send(&app, method, missing, KEY).json(&json!({"request_id": "nothing"}));
        for (class, request) in [
            ("no key", body(post("wrong"), b"{".to_vec())),
            ("no scope", body(post("dk_first_read"), b"{}".to_vec())),
            ("no JSON", body(post(KEY), b"{".to_vec())),
            ("nothing in it", body(post(KEY), b"{}".to_vec())),
            ("too large", body(post(KEY), vec![b' '; 17 * 1024 * 1024])),
            ("no such model", surface.send(&app, Method::POST, elsewhere, KEY).json(&unknown)),
            ("no such method", surface.send(&app, Method::PATCH, surface.submit, KEY)),
            ("no such path", surface.send(&app, Method::GET, surface.nothing, KEY)),
            ("no such job", missing),
        ] {
            lines.push(told(surface, class, request).await);
        }
    }
    insta::assert_snapshot!(lines.join("\n"), @r#"
    livepeer no key: 401 {"detail":{"msg":"Invalid bearer token."},"error":{"message":"Invalid bearer token."}}
    livepeer no scope: 403 {"detail":{"msg":"this key lacks the scope `submit`"},"error":{"message":"this key lacks the scope `submit`"}}
    livepeer no JSON: 422 {"detail":[{"ctx":{"error":"EOF while parsing an object"},"input":{},"loc":["body",1],"msg":"JSON decode error","type":"json_invalid"}]}
    livepeer nothing in it: 422 {"detail":[{"input":{},"loc":["body","prompt"],"msg":"Field required","type":"missing"}]}
    livepeer too large: 413 {"detail":{"msg":"File size exceeds limit"},"error":{"message":"File size exceeds limit"}}
    livepeer no such model: 400 {"detail":{"msg":"Error during model execution: there is no text-to-image model `test/nothing`: expected one of test/painter, test/sketcher, test/distilled"},"error":{"message":"Error during model execution: there is no text-to-image model `test/nothing`: expected one of test/painter, test/sketcher, test/distilled"}}
    livepeer no such method: 405 {"detail":{"msg":"this path does not answer to that method"},"error":{"message":"this path does not answer to that method"}}
    livepeer no such path: 404 {"detail":{"msg":"there is no such path"},"error":{"message":"there is no such path"}}
    livepeer no such job: 404 {"detail":{"msg":"there is no such request"},"error":{"message":"there is no such request"}}
    openai no key: 401 {"error":{"code":"invalid_api_key","message":"send a working API key as `Authorization: Bearer KEY`","param":null,"type":"invalid_request_error"}}
    openai no scope: 403 {"error":{"code":"missing_scope","message":"this key lacks the scope `submit`","param":null,"type":"permission_error"}}
    openai no JSON: 400 {"error":{"code":"invalid_json","message":"not a JSON document: EOF while parsing an object at line 1 column 1","param":null,"type":"invalid_request_error"}}
    openai nothing in it: 400 {"error":{"code":"invalid_value","message":"prompt: expected a text that says what to draw","param":"prompt","type":"invalid_request_error"}}
    openai too large: 413 {"error":{"code":"too_large","message":"the body is larger than 16777216 bytes","param":null,"type":"invalid_request_error"}}
    openai no such model: 404 {"error":{"code":"model_not_found","message":"there is no text-to-image model `test/nothing`: expected one of test/painter, test/sketcher, test/distilled","param":"model","type":"invalid_request_error"}}
    openai no such method: 405 {"error":{"code":"method_not_allowed","message":"this path does not answer to that method","param":null,"type":"invalid_request_error"}}
    openai no such path: 404 {"error":{"code":"unknown_url","message":"there is no such path","param":null,"type":"invalid_request_error"}}
    openai no such job: 404 {"error":{"code":"model_not_found","message":"there is no such model","param":null,"type":"invalid_request_error"}}
    replicate no key: 401 {"detail":"send a working API key as `Authorization: Bearer KEY`","instance":"[instance]","status":401,"title":"No working API key","type":"about:blank"}
    replicate no scope: 403 {"detail":"this key lacks the scope `submit`","instance":"[instance]","status":403,"title":"Not allowed with this key","type":"about:blank"}
    replicate no JSON: 400 {"detail":"not a JSON document: EOF while parsing an object at line 1 column 1","instance":"[instance]","status":400,"title":"Unreadable body","type":"about:blank"}
    replicate nothing in it: 422 {"detail":"prompt: expected a text that says what to draw","instance":"[instance]","invalid_fields":[{"description":"expected a text that says what to draw","field":"input.prompt","type":"required"}],"status":422,"title":"Invalid fields","type":"about:blank"}
    replicate too large: 413 {"detail":"the body is larger than 16777216 bytes","instance":"[instance]","status":413,"title":"Too large","type":"about:blank"}
    replicate no such model: 404 {"detail":"there is no such model","instance":"[instance]","status":404,"title":"Not found","type":"about:blank"}
    replicate no such method: 405 {"detail":"this path does not answer to that method","instance":"[instance]","status":405,"title":"Method not allowed","type":"about:blank"}
    replicate no such path: 404 {"detail":"there is no such path","instance":"[instance]","status":404,"title":"Not found","type":"about:blank"}
    replicate no such job: 404 {"detail":"there is no such job","instance":"[instance]","status":404,"title":"Not found","type":"about:blank"}
    fal no key: 401 {"detail":"send a working API key as `Authorization: Bearer KEY`","error_type":"unauthorized"}
    fal no scope: 403 {"detail":"this key lacks the scope `submit`","error_type":"missing_scope"}
    fal no JSON: 422 {"detail":[{"loc":["body"],"msg":"not a JSON document: EOF while parsing an object at line 1 column 1","type":"malformed_body"}],"error_type":"malformed_body"}
    fal nothing in it: 422 {"detail":[{"loc":["body","prompt"],"msg":"expected a text that says what to draw","type":"required"}],"error_type":"invalid_request"}
    fal too large: 413 {"detail":"the body is larger than 16777216 bytes","error_type":"too_large"}
    fal no such model: 404 {"detail":"there is no such application","error_type":"not_found"}
    fal no such method: 405 {"detail":"this path does not answer to that method","error_type":"method_not_allowed"}
    fal no such path: 404 {"detail":"there is no such path","error_type":"not_found"}
    fal no such job: 404 {"detail":"there is no such job","error_type":"not_found"}
    "#);
    assert_eq!(app.database.count("select count(*) from jobs").await, 0);
    app.stop().await;
}

#[tokio::test]
async fn limits_and_overload_have_the_form_of_their_surface() {
    let capacity = Capacity { max_queued_jobs: 1, ..Capacity::default() };
    let app = App::start_with_capacity(capacity).await;
    app.queued().await;
    let mut lines = Vec::new();
    for surface in &surfaces() {
        lines.push(told(surface, "overload", surface.submit(&app)).await);
    }
    let tenant = app.database.store.tenant_named("first").await.unwrap();
    let changes = LimitChanges { requests_per_minute: Some(Some(1)), ..LimitChanges::default() };
    app.database.store.change_limits(tenant, &changes).await.unwrap();
    eventually("the limit is heard of", async || Answer::of(app.get("/v1/jobs")).await.status == 429).await;
    for surface in &surfaces() {
        let line = told(surface, "rate limit", surface.submit(&app)).await;
        // How long it is differs from run to run.
        let line = line.split(" after ").next().unwrap_or_default();
        lines.push(line.split("may send").next().unwrap_or_default().to_owned());
    }
    insta::assert_snapshot!(lines.join("\n"), @r#"
    livepeer overload: 503 (Retry-After) {"detail":{"msg":"too many jobs wait: try again later"},"error":{"message":"too many jobs wait: try again later"}}
    openai overload: 503 (Retry-After) {"error":{"code":"overloaded","message":"too many jobs wait: try again later","param":null,"type":"server_error"}}
    replicate overload: 503 (Retry-After) {"detail":"too many jobs wait: try again later","instance":"[instance]","status":503,"title":"Overloaded","type":"about:blank"}
    fal overload: 503 (Retry-After) {"detail":"too many jobs wait: try again later","error_type":"overloaded"}
    livepeer rate limit: 429 (Retry-After) {"detail":{"msg":"too many requests: this tenant 
    openai rate limit: 429 (Retry-After) {"error":{"code":"rate_limit_exceeded","message":"too many requests: this tenant 
    replicate rate limit: 429 (Retry-After) {"detail":"too many requests: this tenant 
    fal rate limit: 429 (Retry-After) {"detail":"too many requests: this tenant
    "#);
    app.stop().await;
}

/// How a job may end without a result.
#[derive(Debug, Clone, Copy)]
enum End {
    Failed(FailureClass),
    Canceled,
    Expired,
}

impl End {
    /// Ends the job that is waited for.
    async fn bring(self, app: &App) {
        app.held(1).await;
        match self {
            Self::Failed(class) => {
                let worker = app.worker();
                worker.fail_as(&worker.lease().await, class, "the message of the model").await;
            }
            Self::Canceled => {
                let id = Answer::of(app.get("/v1/jobs?limit=1")).await.text("/jobs/0/id");
                assert_eq!(Answer::of(app.post(&format!("/v1/jobs/{id}/cancel"))).await.status, 200);
            }
            Self::Expired => {
                app.database.execute("update jobs set deadline = now() where state = 'queued'").await;
                assert_eq!(app.database.store.expire(10).await.unwrap().len(), 1);
            }
        }
    }
}

#[tokio::test]
async fn jobs_without_a_result_have_the_form_of_their_surface() {
    let app = App::start().await;
    let mut lines = Vec::new();
    for surface in &surfaces() {
        for end in [
            End::Failed(FailureClass::Unsupported),
            End::Failed(FailureClass::Infrastructure),
            End::Canceled,
            End::Expired,
        ] {
            let path = if surface.name == "fal" { "/fal/run/test/painter" } else { surface.submit };
            let asked = surface.send(&app, Method::POST, path, KEY).json(&(surface.document)());
            // Only Replicate's clients say that they wait.
            let (answer, ()) = tokio::join!(Answer::of(asked.header("prefer", "wait")), end.bring(&app));
            let body = match surface.name {
                "replicate" => format!("{} {}", answer.text("/status"), answer.raw("/error")),
                _ => answer.body.to_string(),
            };
            let again = answer.headers.get("x-should-retry").map_or("", |_| " (not again)");
            lines.push(format!("{} {end:?}: {}{again} {body}", surface.name, answer.status));
        }
    }
    insta::assert_snapshot!(lines.join("\n"), @r#"
    livepeer Failed(Unsupported): 400 {"detail":{"msg":"Error during model execution: the message of the model"},"error":{"message":"Error during model execution: the message of the model"}}
    livepeer Failed(Infrastructure): 500 {"detail":{"msg":"Text-to-image pipeline error."},"error":{"message":"Text-to-image pipeline error."}}
    livepeer Canceled: 500 {"detail":{"msg":"Text-to-image pipeline error."},"error":{"message":"Text-to-image pipeline error."}}
    livepeer Expired: 500 {"detail":{"msg":"Text-to-image pipeline error."},"error":{"message":"Text-to-image pipeline error."}}
    openai Failed(Unsupported): 400 (not again) {"error":{"code":"unsupported","message":"the message of the model","param":null,"type":"invalid_request_error"}}
    openai Failed(Infrastructure): 500 (not again) {"error":{"code":"infrastructure","message":"the job failed","param":null,"type":"server_error"}}
    openai Canceled: 409 (not again) {"error":{"code":"job_canceled","message":"the job was canceled","param":null,"type":"invalid_request_error"}}
    openai Expired: 504 (not again) {"error":{"code":"job_expired","message":"the job's deadline passed before it was done","param":null,"type":"server_error"}}
    replicate Failed(Unsupported): 201 failed "the message of the model"
    replicate Failed(Infrastructure): 201 failed "the message of the model"
    replicate Canceled: 201 canceled null
    replicate Expired: 201 failed "the job's deadline passed before it was done"
    fal Failed(Unsupported): 422 {"detail":"the message of the model","error_type":"unsupported"}
    fal Failed(Infrastructure): 500 {"detail":"the request failed","error_type":"infrastructure"}
    fal Canceled: 400 {"detail":"the request was canceled","error_type":"client_cancelled"}
    fal Expired: 504 {"detail":"the request was not done in time","error_type":"request_timeout"}
    "#);
    eventually("what was told is not kept for a repetition", async || {
        app.database.count("select count(*) from unanswered_jobs").await == 0
    })
    .await;
    app.stop().await;
}

#[tokio::test]
async fn a_key_that_was_used_before_is_told_in_the_form_of_the_surface() {
    let app = App::start().await;
    let mut lines = Vec::new();
    for surface in &surfaces() {
        let key = format!("key-{}", surface.name);
        let first = surface.submit(&app).header("idempotency-key", &key).header("prefer", "respond-async");
        let waits = surface.name == "openai";
        if waits {
            let (answer, ()) = tokio::join!(Answer::of(first), End::Canceled.bring(&app));
            assert_eq!(answer.status, 409, "{answer:?}");
        } else {
            let answer = Answer::of(first).await;
            assert!(answer.status < 300, "{answer:?}");
        }
        let mut other = (surface.document)();
        let prompt =
            if surface.name == "replicate" { &mut other["input"]["prompt"] } else { &mut other["prompt"] };
        *prompt = "a blue circle".into();
        let second = surface.send(&app, Method::POST, surface.submit, KEY).json(&other);
        lines.push(told(surface, "key reused", second.header("idempotency-key", &key)).await);
    }
    insta::assert_snapshot!(lines.join("\n"), @r#"
    livepeer key reused: 400 {"detail":{"msg":"this Idempotency-Key was used for another request"},"error":{"message":"this Idempotency-Key was used for another request"}}
    openai key reused: 422 {"error":{"code":"idempotency_key_reused","message":"this Idempotency-Key was used for another request","param":null,"type":"invalid_request_error"}}
    replicate key reused: 422 {"detail":"this Idempotency-Key was used for another request","instance":"[instance]","status":422,"title":"Idempotency key used before","type":"about:blank"}
    fal key reused: 422 {"detail":[{"loc":["body"],"msg":"this Idempotency-Key was used for another request","type":"idempotency_key_reused"}],"error_type":"idempotency_key_reused"}
    "#);
    app.stop().await;
}

#[tokio::test]
async fn a_submission_whose_line_broke_is_found_again() {
    let app = App::start().await;
    for surface in surfaces().iter().filter(|surface| surface.name != "openai") {
        let path = if surface.name == "fal" { "/fal/run/test/painter" } else { surface.submit };
        let submit = || {
            let request = surface.send(&app, Method::POST, path, KEY).json(&(surface.document)());
            request.header("prefer", "wait").send()
        };
        tokio::select! {
            _ = submit() => panic!("nobody works"),
            () = app.held(1) => {}
        }
        app.held(0).await;
        eventually("the line is known to be broken", async || {
            app.database.count("select count(*) from unanswered_jobs where abandoned").await == 1
        })
        .await;
        let (again, ()) = tokio::join!(submit(), End::Canceled.bring(&app));
        assert!(again.is_ok(), "{again:?}");
        assert_eq!(
            app.database.count("select count(*) from jobs where state = 'canceled'").await,
            1,
            "{path}"
        );
        app.database.execute("truncate jobs cascade; truncate unanswered_jobs").await;
    }
    app.stop().await;
}

#[tokio::test]
async fn paths_that_are_no_text_lead_nowhere() {
    let app = App::start().await;
    for (method, path) in [
        (Method::GET, "/openai/v1/models/%FF"),
        (Method::GET, "/replicate/v1/models/%FF/x"),
        (Method::GET, "/replicate/v1/predictions/%FF"),
        (Method::GET, "/replicate/v1/outputs/%FF"),
        (Method::GET, "/fal/%FF/x/requests/y/status"),
        (Method::PUT, "/fal/x/%FF/requests/y/cancel"),
    ] {
        let answer = Answer::of(app.request(method, path)).await;
        assert_eq!(answer.status, 404, "{path}: {answer:?}");
    }
    for path in ["/replicate/v1/models/%FF/x/predictions", "/fal/%FF/x", "/fal/a/b/%FF", "/fal/run/%FF"] {
        let answer = Answer::of(app.post(path).json(&json!({"input": {}}))).await;
        assert_eq!(answer.status, 404, "{path}: {answer:?}");
    }
    app.stop().await;
}
