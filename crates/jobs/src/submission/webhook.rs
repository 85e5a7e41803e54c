//! The webhook that a document names.

use serde_json::Value;

use super::FieldError;
use crate::fields::Fields;
use crate::{Event, JobWebhook, WebhookForm};

const POINTER: &str = "/webhook";

/// Reads `webhook`, an object of `url` and `events`, or the URL alone. What the URL leads to is not checked here.
pub(super) fn webhook(value: &Value, errors: &mut Vec<FieldError>) -> Option<JobWebhook> {
    let ends = Event::FINAL.to_vec();
    match value {
        Value::String(url) => Some(JobWebhook { url: url.clone(), form: WebhookForm::Native, events: ends }),
        Value::Object(_) => {
            let mut fields = Fields::new(Some(value), POINTER, errors);
            let url = fields.string("url");
            fields.require("url", "expected an http:// or https:// URL");
            let events = fields.take("events").map(|value| events(value, &mut fields));
            fields.refuse_others();
            Some(JobWebhook {
                url: url?.to_owned(),
                form: WebhookForm::Native,
                events: events.unwrap_or(ends),
            })
        }
        _ => {
            let detail = "expected a URL, or an object with `url` and `events`".to_owned();
            errors.push(FieldError { pointer: POINTER.to_owned(), code: "type", detail });
            None
        }
    }
}

/// At least one event, in order and each once.
fn events(value: &Value, fields: &mut Fields<'_, '_>) -> Vec<Event> {
    const NAME: &str = "events";
    let Some(list) = value.as_array().filter(|list| !list.is_empty()) else {
        fields.error(NAME, "type", "expected a list of at least one event");
        return Vec::new();
    };
    let mut events = Vec::new();
    for (index, value) in list.iter().enumerate() {
        let event = value.as_str().and_then(|word| word.parse().ok());
        match event.filter(|event| Event::OF_ONE_JOB.contains(event)) {
            Some(event) => events.push(event),
            None => {
                let known = Event::OF_ONE_JOB.map(Event::as_str).join(", ");
                fields.error_in(NAME, &index.to_string(), "choice", format!("expected one of {known}"));
            }
        }
    }
    events.sort_unstable();
    events.dedup();
    events
}
