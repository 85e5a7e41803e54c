//! What callers send about a webhook: read whole, with every mistake in it.

use std::time::Duration;

use axum::body::to_bytes;
use axum::extract::{FromRequest, Request};
use darkroom_jobs::Event;
use darkroom_outbound::Guard;
use darkroom_store::WebhookChange;
use serde_json::{Map, Value};
use tokio::time::timeout;

use crate::{Error, ProblemField};

const MAX_BYTES: usize = 64 * 1024;
const TIMEOUT: Duration = Duration::from_secs(20);
const MAX_DESCRIPTION_CHARS: usize = 256;
const MEMBERS: [&str; 4] = ["url", "events", "description", "enabled"];

/// A JSON object.
#[derive(Debug)]
pub(crate) struct Document(Map<String, Value>);

impl<S: Send + Sync> FromRequest<S> for Document {
    type Rejection = Error;

    async fn from_request(request: Request, _: &S) -> Result<Self, Error> {
        let read = timeout(TIMEOUT, to_bytes(request.into_body(), MAX_BYTES)).await;
        let too_large = Error::TooLarge { what: "the body", max_bytes: MAX_BYTES as u64 };
        let bytes = read.map_err(|_| Error::SlowBody)?.map_err(|_| too_large)?;
        serde_json::from_slice(&bytes)
            .map(Self)
            .map_err(|error| Error::Malformed(format!("not a JSON object: {error}")))
    }
}

impl Document {
    /// What is to be changed; everything may be left out.
    pub(super) fn change(&self, guard: &Guard) -> Result<WebhookChange, Error> {
        let mut errors = Vec::new();
        let change = self.read(guard, &mut errors);
        if errors.is_empty() { Ok(change) } else { Err(Error::Fields(errors)) }
    }

    /// The same for a new webhook, whose URL has to be there.
    pub(super) fn creation(&self, guard: &Guard) -> Result<(String, WebhookChange), Error> {
        let mut errors = Vec::new();
        let mut change = self.read(guard, &mut errors);
        if self.member("url").is_none() {
            errors.push(ProblemField::pointer("/url", "required", "must be there"));
        }
        if self.0.contains_key("enabled") {
            errors.push(ProblemField::pointer("/enabled", "unknown", "a new webhook is enabled"));
        }
        match change.url.take().filter(|_| errors.is_empty()) {
            Some(url) => Ok((url, change)),
            None => Err(Error::Fields(errors)),
        }
    }

    /// `null` counts as absent.
    fn member(&self, name: &str) -> Option<&Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    fn read(&self, guard: &Guard, errors: &mut Vec<ProblemField>) -> WebhookChange {
        let mut refuse = |(pointer, code, detail): (String, &str, String)| {
            errors.push(ProblemField::pointer(&pointer, code, detail));
        };
        let change = WebhookChange {
            url: self.member("url").and_then(|value| url(value, guard).map_err(&mut refuse).ok()),
            description: self.member("description").and_then(|it| description(it).map_err(&mut refuse).ok()),
            events: self.member("events").and_then(|value| events(value).map_err(&mut refuse).ok()),
            enabled: self.member("enabled").and_then(|value| enabled(value).map_err(&mut refuse).ok()),
        };
        for name in self.0.keys().filter(|name| !MEMBERS.contains(&name.as_str())) {
            let pointer = format!("/{}", name.replace('~', "~0").replace('/', "~1"));
            refuse((pointer, "unknown", format!("unknown member: expected one of {}", MEMBERS.join(", "))));
        }
        change
    }
}

type Refused = (String, &'static str, String);

fn refused(pointer: &str, code: &'static str, detail: impl Into<String>) -> Refused {
    (pointer.to_owned(), code, detail.into())
}

fn url(value: &Value, guard: &Guard) -> Result<String, Refused> {
    let text = value.as_str().ok_or_else(|| refused("/url", "type", "expected a string"))?;
    let url = guard.check_url(text);
    url.map(String::from).map_err(|refusal| refused("/url", refusal.code(), refusal.to_string()))
}

fn description(value: &Value) -> Result<String, Refused> {
    let pointer = "/description";
    let text = value.as_str().ok_or_else(|| refused(pointer, "type", "expected a string"))?;
    if text.chars().count() > MAX_DESCRIPTION_CHARS || text.contains('\0') {
        let detail = format!("expected at most {MAX_DESCRIPTION_CHARS} characters, and no U+0000");
        return Err(refused(pointer, "text", detail));
    }
    Ok(text.to_owned())
}

fn events(value: &Value) -> Result<Vec<Event>, Refused> {
    let list = value.as_array().filter(|list| !list.is_empty());
    let list = list.ok_or_else(|| refused("/events", "type", "expected a list of at least one event"))?;
    let mut events = Vec::new();
    for (index, value) in list.iter().enumerate() {
        let event = value.as_str().and_then(|word| word.parse().ok()).filter(|it| Event::FINAL.contains(it));
        let expected = || format!("expected one of {}", Event::FINAL.map(Event::as_str).join(", "));
        events.push(event.ok_or_else(|| refused(&format!("/events/{index}"), "choice", expected()))?);
    }
    events.sort_unstable();
    events.dedup();
    Ok(events)
}

fn enabled(value: &Value) -> Result<bool, Refused> {
    value.as_bool().ok_or_else(|| refused("/enabled", "type", "expected true or false"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn mistakes(document: Value) -> String {
        let document = Document(document.as_object().unwrap().clone());
        let Err(Error::Fields(errors)) = document.creation(&Guard::default()) else { panic!("accepted") };
        let lines = errors.iter().map(|error| format!("{} [{}] {}", error.place(), error.code, error.detail));
        lines.collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn every_mistake_is_reported_at_once() {
        let document = json!({
            "url": "http://169.254.169.254/", "events": ["job.failed", "webhook.test"], "description": 7,
            "enabled": "no", "a/b": 1,
        });
        insta::assert_snapshot!(mistakes(document), @"
        /url [address] must lead to a public address
        /description [type] expected a string
        /events/1 [choice] expected one of job.succeeded, job.failed, job.canceled, job.expired
        /enabled [type] expected true or false
        /a~1b [unknown] unknown member: expected one of url, events, description, enabled
        /enabled [unknown] a new webhook is enabled
        ");
        insta::assert_snapshot!(mistakes(json!({"url": null, "events": []})), @"
        /events [type] expected a list of at least one event
        /url [required] must be there
        ");
    }

    #[test]
    fn a_webhook_without_events_hears_of_everything() {
        let document = Document(json!({"url": "https://Shop.example"}).as_object().unwrap().clone());
        let (url, change) = document.creation(&Guard::default()).unwrap();
        assert_eq!((url.as_str(), change.events), ("https://shop.example/", None));
    }

    #[test]
    fn events_are_listed_once_and_in_order() {
        let listed = events(&json!(["job.expired", "job.succeeded", "job.expired"])).unwrap();
        assert_eq!(listed, [Event::JobSucceeded, Event::JobExpired]);
    }
}
