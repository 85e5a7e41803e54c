//! Refusals of every kind on every surface: each in its own form, and nothing of another's or of the inside.

use darkroom_api::Capacity;
use darkroom_store::LimitChanges;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use crate::app::{Answer, App, KEY};

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
        let missing = surface.send(&app, method, missing, KEY).json(&json!({"request_id": "nothing"}));
        for (class, request) in [
            ("no key", body(post("wrong"), b"{".to_vec())),
            ("no scope", body(post("dk_first_read"), b"{}".to_vec())),
            ("no JSON", body(post(KEY), b"{".to_vec())),
            ("nothing in it", body(post(KEY), b"{}".to_vec())),
            ("too large", body(post(KEY), vec![b' '; 17 * 1024 * 1024])),
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
    livepeer no such path: 404 {"detail":{"msg":"there is no such path"},"error":{"message":"there is no such path"}}
    livepeer no such job: 404 {"detail":{"msg":"there is no such request"},"error":{"message":"there is no such request"}}
    openai no key: 401 {"error":{"code":"invalid_api_key","message":"send a working API key as `Authorization: Bearer KEY`","param":null,"type":"invalid_request_error"}}
    openai no scope: 403 {"error":{"code":"missing_scope","message":"this key lacks the scope `submit`","param":null,"type":"permission_error"}}
    openai no JSON: 400 {"error":{"code":"invalid_json","message":"not a JSON document: EOF while parsing an object at line 1 column 1","param":null,"type":"invalid_request_error"}}
    openai nothing in it: 400 {"error":{"code":"invalid_value","message":"prompt: expected a text that says what to draw","param":"prompt","type":"invalid_request_error"}}
    openai too large: 413 {"error":{"code":"too_large","message":"the body is larger than 16777216 bytes","param":null,"type":"invalid_request_error"}}
    openai no such path: 404 {"error":{"code":"unknown_url","message":"there is no such path","param":null,"type":"invalid_request_error"}}
    openai no such job: 404 {"error":{"code":"model_not_found","message":"there is no such model","param":null,"type":"invalid_request_error"}}
    replicate no key: 401 {"detail":"send a working API key as `Authorization: Bearer KEY`","instance":"[instance]","status":401,"title":"No working API key","type":"about:blank"}
    replicate no scope: 403 {"detail":"this key lacks the scope `submit`","instance":"[instance]","status":403,"title":"Not allowed with this key","type":"about:blank"}
    replicate no JSON: 400 {"detail":"not a JSON document: EOF while parsing an object at line 1 column 1","instance":"[instance]","status":400,"title":"Unreadable body","type":"about:blank"}
    replicate nothing in it: 422 {"detail":"prompt: expected a text that says what to draw","instance":"[instance]","invalid_fields":[{"description":"expected a text that says what to draw","field":"input.prompt","type":"required"}],"status":422,"title":"Invalid fields","type":"about:blank"}
    replicate too large: 413 {"detail":"the body is larger than 16777216 bytes","instance":"[instance]","status":413,"title":"Too large","type":"about:blank"}
    replicate no such path: 404 {"detail":"there is no such path","instance":"[instance]","status":404,"title":"Not found","type":"about:blank"}
    replicate no such job: 404 {"detail":"there is no such job","instance":"[instance]","status":404,"title":"Not found","type":"about:blank"}
    fal no key: 401 {"detail":"send a working API key as `Authorization: Bearer KEY`","error_type":"unauthorized"}
    fal no scope: 403 {"detail":"this key lacks the scope `submit`","error_type":"missing_scope"}
    fal no JSON: 422 {"detail":[{"loc":["body"],"msg":"not a JSON document: EOF while parsing an object at line 1 column 1","type":"malformed_body"}],"error_type":"malformed_body"}
    fal nothing in it: 422 {"detail":[{"loc":["body","prompt"],"msg":"expected a text that says what to draw","type":"required"}],"error_type":"invalid_request"}
    fal too large: 413 {"detail":"the body is larger than 16777216 bytes","error_type":"too_large"}
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
    crate::app::eventually("the limit is heard of", async || {
        Answer::of(app.get("/v1/jobs")).await.status == 429
    })
    .await;
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
