//! Whole answers, with what differs from run to run taken out.

use std::collections::BTreeMap;

use reqwest::RequestBuilder;
use serde::Serialize;
use serde_json::Value;

use super::SOON;

/// An answer as snapshots show it.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Value,
    #[serde(skip)]
    raw: Value,
    #[serde(skip)]
    pub(crate) bytes: Vec<u8>,
}

/// Headers that are about the transport.
const HIDDEN: [&str; 4] = ["connection", "date", "content-length", "x-request-id"];

impl Answer {
    pub(crate) async fn of(request: RequestBuilder) -> Self {
        let response = request.timeout(SOON * 3).send().await.expect("an answer");
        let status = response.status().as_u16();
        let headers = response.headers().iter().filter(|(name, _)| !HIDDEN.contains(&name.as_str()));
        let text = |value: &reqwest::header::HeaderValue| value.to_str().unwrap().to_owned();
        let headers = headers.map(|(name, value)| (name.to_string(), text(value))).collect();
        assert!(response.headers().contains_key("x-request-id"));
        let bytes = response.bytes().await.expect("a whole body").to_vec();
        let raw = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        let mut answer = Self { status, headers, body: raw, raw: Value::Null, bytes };
        answer.raw = answer.body.clone();
        redact("", &mut answer.body);
        if let Some(location) = answer.headers.get_mut("location") {
            *location = location.replace(&answer.raw["id"].to_string().replace('"', ""), "[id]");
        }
        answer
    }

    /// The member at `pointer`, as it came.
    pub(crate) fn raw(&self, pointer: &str) -> &Value {
        self.raw.pointer(pointer).unwrap_or_else(|| panic!("nothing at {pointer} of {self:?}"))
    }

    pub(crate) fn text(&self, pointer: &str) -> String {
        self.raw(pointer).as_str().expect("a string").to_owned()
    }

    pub(crate) fn id(&self) -> String {
        self.text("/id")
    }

    /// Status and code of a refusal.
    pub(crate) fn refusal(&self) -> (u16, String) {
        assert_eq!(self.headers.get("content-type").map(String::as_str), Some("application/problem+json"));
        (self.status, self.text("/code"))
    }
}

fn redact(name: &str, value: &mut Value) {
    match value {
        Value::Object(members) => members.iter_mut().for_each(|(name, value)| redact(name, value)),
        Value::Array(items) => items.iter_mut().for_each(|item| redact(name, item)),
        Value::Null => {}
        _ if matches!(name, "id" | "request_id" | "url" | "self" | "cancel" | "next_cursor" | "instance")
            || name.ends_with("_at")
            || name == "deadline" =>
        {
            *value = Value::from(format!("[{name}]"));
        }
        _ => {}
    }
}
