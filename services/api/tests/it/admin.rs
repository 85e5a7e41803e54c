//! What operators are answered.

mod failed;
mod fleet;
mod keys;
mod tenants;

use reqwest::Method;
use serde_json::Value;

use crate::app::{Answer, App, KEY};

/// An operator's request with a document.
pub(crate) async fn send(app: &App, method: Method, path: &str, document: &Value) -> Answer {
    Answer::of(app.operate(method, path).json(document)).await
}

pub(crate) async fn get(app: &App, path: &str) -> Answer {
    Answer::of(app.operate(Method::GET, path)).await
}

pub(crate) async fn post(app: &App, path: &str) -> Answer {
    Answer::of(app.operate(Method::POST, path)).await
}

#[tokio::test]
async fn neither_port_answers_for_the_other() {
    let app = App::start().await;
    let url = |path: &str| format!("http://{}{path}", app.admin);
    let missing = (404, "not_found".to_owned());
    let request = app.anonymous(Method::GET, &url("/v1/jobs")).bearer_auth(KEY);
    assert_eq!(Answer::of(request).await.refusal(), missing);
    assert_eq!(Answer::of(app.get("/admin/v1/tenants")).await.refusal(), missing);
    let document = Answer::of(app.anonymous(Method::GET, &url("/admin/v1/openapi.json"))).await;
    assert_eq!((document.status, document.text("/openapi").as_str()), (200, "3.1.0"));
    let wrong = Answer::of(app.operate(Method::PUT, "/tenants")).await;
    assert_eq!(wrong.refusal(), (405, "method_not_allowed".to_owned()));
    for path in
        ["/tenants/%ff", "/tenants/%00", "/failed-jobs/x", "/workers/x", "/keys/x/rotate", "/lanes/x/pause"]
    {
        let method =
            if path.ends_with("rotate") || path.ends_with("pause") { Method::POST } else { Method::GET };
        assert_eq!(Answer::of(app.operate(method, path)).await.refusal(), missing, "{path}");
    }
    app.stop().await;
}
