use reqwest::Method;
use serde_json::Value;

use crate::app::{Answer, App};

#[tokio::test]
async fn the_document_names_every_route() {
    let app = App::start().await;
    let document = Answer::of(app.anonymous(Method::GET, &app.url("/openapi.json"))).await;
    assert_eq!((document.status, document.text("/openapi").as_str()), (200, "3.1.0"));
    let paths = document.raw("/paths").as_object().unwrap();
    let mut routes: Vec<String> = paths
        .iter()
        .flat_map(|(path, methods)| {
            methods.as_object().unwrap().keys().map(move |method| format!("{method} {path}"))
        })
        .collect();
    routes.sort();
    insta::assert_snapshot!(routes.join("\n"), @"
    delete /v1/files/{id}
    delete /v1/jobs/{id}
    delete /v1/webhooks/{id}
    get /r/{file}
    get /v1/batches/{id}
    get /v1/files/{id}
    get /v1/jobs
    get /v1/jobs/{id}
    get /v1/jobs/{id}/deliveries
    get /v1/jobs/{id}/events
    get /v1/models
    get /v1/usage
    get /v1/webhooks
    get /v1/webhooks/secret
    get /v1/webhooks/{id}
    get /v1/webhooks/{id}/deliveries
    patch /v1/webhooks/{id}
    post /v1/batches
    post /v1/batches/{id}/cancel
    post /v1/files
    post /v1/jobs
    post /v1/jobs/{id}/cancel
    post /v1/jobs/{id}/deliveries/{delivery}/resend
    post /v1/webhooks
    post /v1/webhooks/secret/rotate
    post /v1/webhooks/{id}/deliveries/{delivery}/resend
    post /v1/webhooks/{id}/rotate-secret
    post /v1/webhooks/{id}/test
    ");
    app.stop().await;
}

#[tokio::test]
async fn every_reference_leads_somewhere_and_every_object_is_described() {
    let app = App::start().await;
    let document = Answer::of(app.anonymous(Method::GET, &app.url("/openapi.json"))).await;
    let root = document.raw("").clone();
    let mut references = Vec::new();
    collect(&root, &mut references);
    assert!(!references.is_empty());
    for reference in references {
        let pointer = reference.strip_prefix('#').expect("a reference into the document");
        assert!(root.pointer(pointer).is_some(), "{reference}");
    }
    for (name, schema) in root["components"]["schemas"].as_object().unwrap() {
        assert!(schema["description"].is_string(), "{name}");
    }
    app.stop().await;
}

fn collect(value: &Value, references: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            references.extend(members.get("$ref").and_then(Value::as_str).map(str::to_owned));
            members.values().for_each(|value| collect(value, references));
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, references)),
        _ => {}
    }
}

#[tokio::test]
async fn the_pages_are_served_from_here() {
    let app = App::start().await;
    let page = app.anonymous(Method::GET, &app.url("/docs/")).send().await.unwrap();
    assert_eq!(page.status(), 200);
    assert!(page.text().await.unwrap().contains("swagger-ui"));
    let redirect = Answer::of(app.anonymous(Method::GET, &app.url("/docs"))).await;
    assert_eq!((redirect.status, redirect.headers["location"].as_str()), (303, "/docs/"));
    app.stop().await;
}
