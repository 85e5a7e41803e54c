//! `POST predictions`, `POST models/{owner}/{name}/predictions`.

use std::time::Duration;

use axum::Json;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use darkroom_jobs::{Event, Fields, Model, WebhookForm};
use darkroom_store::Repeated;
use darkroom_surfaces::replicate::{Told, prediction};
use serde_json::{Map, Value};

use super::{input, models};
use crate::intake::Intake;
use crate::jobs::Jobs;
use crate::surfaces::call::Call;
use crate::{Error, Submitter};

pub(super) async fn by_version(
    State(intake): State<Intake>,
    State(jobs): State<Jobs>,
    Submitter(key): Submitter,
    request: Request,
) -> Result<Response, Error> {
    let call = Call::new(key, request.headers())?;
    create(&intake, &jobs, call, request, None).await
}

pub(super) async fn by_model(
    State(intake): State<Intake>,
    State(jobs): State<Jobs>,
    Submitter(key): Submitter,
    Path((owner, name)): Path<(String, String)>,
    request: Request,
) -> Result<Response, Error> {
    let call = Call::new(key, request.headers())?;
    let model = models::named(intake.catalog(), &owner, &name)?;
    create(&intake, &jobs, call, request, Some(model)).await
}

/// Makes a prediction of `model`, or of the one whose version the body names.
async fn create(
    intake: &Intake,
    jobs: &Jobs,
    call: Call,
    request: Request,
    model: Option<&Model>,
) -> Result<Response, Error> {
    let body = intake.read_document(call.tenant(), request).await?;
    let (document, events) = document(intake, jobs, &body.parse()?, model)?;
    let received = intake.received(document, body).told_as(WebhookForm::Replicate).told_of(events);
    // The JavaScript client sends a submission up to six times when the line breaks, and says nothing of it.
    let (mut job, answering) = call.submit_once(intake, jobs, received, Some(Repeated::Perhaps)).await?;
    let mut status = StatusCode::CREATED;
    if let Some(wait) = wait(&call.headers) {
        job = jobs.hold_accepted(job, wait).await;
        if !job.state.is_final() {
            status = StatusCode::ACCEPTED;
        }
    }
    let told = Json(prediction(&job, Some(&jobs.links), Told::AtCreation));
    Ok(answering.watch((status, told).into_response()))
}

/// The document of the job, and what its webhook is told.
fn document(
    intake: &Intake,
    jobs: &Jobs,
    sent: &Value,
    model: Option<&Model>,
) -> Result<(Value, Vec<Event>), Error> {
    let mut errors = Vec::new();
    let mut fields = Fields::new(Some(sent), "", &mut errors);
    let version = fields.string("version");
    let model = model.or_else(|| models::of_version(intake.catalog(), version?));
    if model.is_none() {
        let code = if version.is_some() { "unknown" } else { "required" };
        fields.error("version", code, "expected the id of a version, or the name of a model as `owner/name`");
    }
    let nothing = Map::new();
    let input = match fields.take("input") {
        None => &nothing,
        Some(Value::Object(input)) => input,
        Some(_) => {
            fields.error("input", "type", "expected an object");
            &nothing
        }
    };
    let webhook = fields.string("webhook");
    let events = events(&mut fields);
    match model {
        Some(model) if errors.is_empty() => {
            let mut document = input::document(model, input, &jobs.links)?;
            if let Some(url) = webhook {
                document["webhook"] = url.into();
            }
            Ok((document, events))
        }
        _ => Err(errors.into()),
    }
}

/// Events that a filter may name, and what they are here.
const EVENTS: [(&str, &[Event]); 4] = [
    ("start", &[Event::JobStarted]),
    ("output", &[Event::JobOutput]),
    ("logs", &[Event::JobProgress]),
    ("completed", &Event::FINAL),
];

/// What the webhook is told: everything, unless that is filtered.
fn events(fields: &mut Fields<'_, '_>) -> Vec<Event> {
    const FILTER: &str = "webhook_events_filter";
    let filter = fields.take(FILTER);
    let wanted: Option<Vec<&str>> = match filter {
        None => Some(Vec::new()),
        Some(filter) => filter.as_array().and_then(|wanted| wanted.iter().map(Value::as_str).collect()),
    };
    match wanted {
        Some(wanted) if wanted.iter().all(|word| EVENTS.iter().any(|(known, _)| known == word)) => {
            let told = EVENTS.iter().filter(|(word, _)| wanted.is_empty() || wanted.contains(word));
            told.flat_map(|(_, events)| events.iter().copied()).collect()
        }
        _ => {
            let known = EVENTS.map(|(word, _)| word).join(", ");
            fields.error(FILTER, "choice", format!("expected a list of {known}"));
            Vec::new()
        }
    }
}

/// Longest wait, and the one of who does not say how long.
const LONGEST_WAIT_S: u64 = 60;
/// The client gives up half a second after the time it names.
const EARLY: Duration = Duration::from_millis(500);

/// How long to wait by `Prefer: wait` and `Prefer: wait=N`.
fn wait(headers: &HeaderMap) -> Option<Duration> {
    let values = headers.get_all("prefer").iter().filter_map(|value| value.to_str().ok());
    let mut preferences = values.flat_map(|value| value.split(',')).map(str::trim);
    let seconds = preferences.find_map(|preference| match preference.split_once('=') {
        None if preference.eq_ignore_ascii_case("wait") => Some(LONGEST_WAIT_S),
        Some((name, seconds)) if name.trim().eq_ignore_ascii_case("wait") => seconds.trim().parse().ok(),
        _ => None,
    })?;
    Some(Duration::from_secs(seconds.min(LONGEST_WAIT_S)).saturating_sub(EARLY))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_end_before_the_client_does() {
        let read =
            |value: &str| wait(&HeaderMap::from_iter([("prefer".parse().unwrap(), value.parse().unwrap())]));
        assert_eq!(read("wait"), Some(Duration::from_millis(59_500)));
        assert_eq!(read("respond-async, wait=5"), Some(Duration::from_millis(4_500)));
        assert_eq!(read("wait=600"), Some(Duration::from_millis(59_500)));
        assert_eq!(read("wait=0"), Some(Duration::ZERO));
        assert_eq!(read("wait=soon"), None);
        assert_eq!(read("respond-async"), None);
    }
}
