//! `GET predictions/{id}/stream`: outputs as they are made, as server-sent events.
//!
//! The clients know the events `output`, `logs`, `error` and `done`, and want an id in the first. Not all of them send
//! their key, so the URL has a token in its place.

use axum::extract::{RawQuery, State};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use darkroom_jobs::JobState;
use darkroom_store::Job;
use darkroom_surfaces::replicate;
use futures_util::{StreamExt, stream};
use serde_json::json;
use url::form_urlencoded;

use crate::jobs::{JobPath, Jobs};
use crate::{Error, Links};

pub(super) async fn stream(
    State(jobs): State<Jobs>,
    JobPath(id): JobPath,
    RawQuery(query): RawQuery,
) -> Result<Response, Error> {
    let mut query = form_urlencoded::parse(query.as_deref().unwrap_or_default().as_bytes());
    let token = query.find(|(name, _)| name == "token").map(|(_, token)| token);
    let tenant = token.and_then(|token| jobs.links.follower(id, &token)).ok_or(Error::NotFound("stream"))?;
    // What is not there is told by a status.
    jobs.find(tenant, id).await?;
    let links = jobs.links.clone();
    let mut told = 0;
    let events = jobs.versions(tenant, id)?.flat_map(move |job| match job {
        Ok(job) => {
            let events = events(&job, &links, told);
            told = job.artifacts.len();
            stream::iter(events)
        }
        Err(error) => {
            stream::iter(vec![event("error", "error", &json!({"detail": error.to_string()}).to_string())])
        }
    });
    Ok(Sse::new(events.map(Ok::<_, std::convert::Infallible>))
        .keep_alive(KeepAlive::default())
        .into_response())
}

/// The events that a job gives rise to of which `told` outputs were told.
fn events(job: &Job, links: &Links, told: usize) -> Vec<Event> {
    let mut events = Vec::new();
    for (index, artifact) in job.artifacts.iter().enumerate().skip(told) {
        let data = match &artifact.text {
            Some(text) => text.clone(),
            None => replicate::output_url(artifact, links),
        };
        events.push(event("output", &format!("{}:{index}", job.version), &data));
    }
    if let Some(error) = replicate::error(job) {
        events.push(event("error", &format!("{}:error", job.version), &json!({"detail": error}).to_string()));
    }
    if job.state.is_final() {
        let reason = match job.state {
            JobState::Succeeded => json!({}),
            JobState::Canceled => json!({"reason": "canceled"}),
            _ => json!({"reason": "error"}),
        };
        events.push(event("done", &format!("{}:done", job.version), &reason.to_string()));
    }
    events
}

fn event(name: &str, id: &str, data: &str) -> Event {
    Event::default().event(name).id(id).data(data)
}
