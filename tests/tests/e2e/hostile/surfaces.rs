//! The form in which each surface refuses, whatever it is sent.

use serde_json::Value;

use super::requests::Request;
use super::wire::Answer;

/// Every path of a surface, with names in braces for what is to be filled in.
pub(super) const PATHS: [&str; 27] = [
    "/upscale",
    "/text-to-image",
    "/image-to-text/",
    "/text-to-image/result",
    "/api/beta/generate/image-to-text",
    "/api/beta/generate/{name}",
    "/openai/v1/images/generations",
    "/openai/v1/chat/completions",
    "/openai/v1/models",
    "/openai/v1/models/{id}",
    "/openai/{name}",
    "/replicate/v1/predictions",
    "/replicate/v1/predictions/{id}",
    "/replicate/v1/predictions/{id}/cancel",
    "/replicate/v1/predictions/{id}/stream",
    "/replicate/v1/models",
    "/replicate/v1/models/{owner}/{name}",
    "/replicate/v1/models/{owner}/{name}/predictions",
    "/replicate/v1/models/{owner}/{name}/versions/{id}",
    "/replicate/v1/files/{id}",
    "/replicate/v1/outputs/{file}",
    "/replicate/v1/webhooks/default/secret",
    "/fal/{owner}/{app}",
    "/fal/run/{owner}/{app}",
    "/fal/{owner}/{app}/requests/{id}",
    "/fal/{owner}/{app}/requests/{id}/status",
    "/fal/{owner}/{app}/requests/{id}/cancel",
];

/// Words of the native API and of the inside, in lower case.
const OWN: [&str; 14] = [
    "urn:darkroom",
    "\"request_id\":",
    "\"pointer\":",
    "\"errors\":",
    "select ",
    "insert into",
    "sqlx",
    "postgres",
    "constraint",
    "no rows",
    "src/",
    ".rs:",
    "panicked",
    "some(",
];

/// What is wrong with an answer of a surface; `None` for one that is as its clients know it.
pub(super) fn oddity(request: &Request, answer: &Answer) -> Option<&'static str> {
    let path = request.asked_path()?;
    // What is no HTTP is refused before anybody looks at the path, in no words at all.
    if answer.header("x-request-id").is_none() {
        return (!answer.body().is_empty()).then_some("words of nobody");
    }
    if answer.status < 400 || request.bytes().starts_with(b"HEAD ") {
        return None;
    }
    let check = match path.split(['/', '?']).nth(1)? {
        "openai" => openai,
        "replicate" => replicate,
        "fal" => fal,
        "text-to-image" | "image-to-text" | "upscale" | "api" => livepeer,
        // Drawn so that there is nothing.
        _ => return None,
    };
    let body = answer.body();
    let Ok(body) = serde_json::from_str::<Value>(&body) else { return Some("no JSON") };
    if answer.header("content-type") != Some("application/json") {
        return Some("another media type");
    }
    if answer.status == 503 && answer.header("retry-after").is_none() {
        return Some("nothing of when to try again");
    }
    let text = body.to_string().to_lowercase();
    let sent = String::from_utf8_lossy(request.bytes()).to_lowercase();
    if OWN.iter().any(|word| text.contains(word) && !sent.contains(word)) {
        return Some("words of the inside");
    }
    (!check(answer.status, &body)).then_some("not in the form of its surface")
}

fn has_only(body: &Value, names: &[&str]) -> bool {
    body.as_object().is_some_and(|members| members.keys().all(|name| names.contains(&name.as_str())))
}

/// `{"detail": {"msg"}, "error": {"message"}}`, and pydantic's list with 422.
fn livepeer(status: u16, body: &Value) -> bool {
    if status == 422 {
        let entry = |entry: &Value| {
            entry["type"].is_string()
                && entry["msg"].is_string()
                && entry["loc"][0] == "body"
                && entry.get("input").is_some()
        };
        let listed = body["detail"].as_array().is_some_and(|list| !list.is_empty() && list.iter().all(entry));
        return listed && has_only(body, &["detail"]);
    }
    let message = &body["detail"]["msg"];
    message.is_string() && body["error"]["message"] == *message && has_only(body, &["detail", "error"])
}

/// `{"error": {"message", "type", "param", "code"}}`.
fn openai(_: u16, body: &Value) -> bool {
    let error = &body["error"];
    let kinds =
        ["invalid_request_error", "permission_error", "requests", "insufficient_quota", "server_error"];
    let param = error.get("param").is_some_and(|param| param.is_null() || param.is_string());
    error["message"].is_string()
        && error["type"].as_str().is_some_and(|kind| kinds.contains(&kind))
        && error["code"].is_string()
        && param
        && has_only(body, &["error"])
        && has_only(error, &["message", "type", "param", "code"])
}

/// RFC 7807, with the fields as Replicate lists them.
fn replicate(status: u16, body: &Value) -> bool {
    let field = |field: &Value| {
        field["field"].is_string()
            && field["description"].is_string()
            && has_only(field, &["type", "field", "description"])
    };
    let fields = body
        .get("invalid_fields")
        .is_none_or(|fields| fields.as_array().is_some_and(|fields| fields.iter().all(field)));
    body["title"].is_string()
        && body["detail"].is_string()
        && body["status"] == status
        && fields
        && has_only(body, &["type", "title", "detail", "status", "instance", "invalid_fields"])
}

/// `{"detail", "error_type"}`, with a list of fields where there are some; for canceling `{"status"}`.
fn fal(_: u16, body: &Value) -> bool {
    if body.get("status").is_some() {
        let known = body["status"] == "NOT_FOUND" || body["status"] == "ALREADY_COMPLETED";
        return known && has_only(body, &["status"]);
    }
    let entry =
        |entry: &Value| entry["msg"].is_string() && entry["type"].is_string() && entry["loc"].is_array();
    let listed =
        |detail: &Value| detail.as_array().is_some_and(|list| !list.is_empty() && list.iter().all(entry));
    let detail = &body["detail"];
    (detail.is_string() || listed(detail))
        && body["error_type"].is_string()
        && has_only(body, &["detail", "error_type"])
}
