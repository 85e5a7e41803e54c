//! `GET /v1/jobs/{id}/events`.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use darkroom_store::{Job, Preview};
use futures_util::StreamExt;
use serde::Serialize;
use utoipa::ToSchema;

use super::follow::{Previews, Update};
use super::resource::ProgressView;
use super::{JobPath, Jobs};
use crate::{Error, ProblemField, Reader, query};

/// When clients are to come again after a connection that ended early.
const RETRY: Duration = Duration::from_secs(1);
/// Lines without meaning, so that nobody takes a silent connection for a dead one.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Follow a job.
///
/// Server-sent events: `job` with the job as it stands, first and whenever it has another version, and `progress` in
/// between. A version is the id of its event. The stream ends after the event with the final state. With
/// `previews=true` there are events `preview`, at most one a second, with what the picture in work looks like.
#[utoipa::path(
    get,
    path = "/v1/jobs/{id}/events",
    operation_id = "follow_job",
    tag = "jobs",
    params(
        ("id" = uuid::Uuid, Path, description = "The job's id."),
        ("previews" = Option<bool>, Query, description = "Whether pictures in work are shown."),
        ("Last-Event-ID" = Option<String>, Header,
         description = "The version that was told last: it is not told again."),
    ),
    responses(
        (status = 200, description = "Events `job`, whose data are a job, and `progress`, whose data are its progress.",
         body = EventView, content_type = "text/event-stream"),
        (status = 204, description = "`Last-Event-ID` is the version of a final state: there is nothing more to tell."),
        (status = 422, description = "Every parameter that cannot be used."),
        (status = 404, description = "No such job."),
    ),
    security(("key" = []))
)]
pub(crate) async fn events(
    State(jobs): State<Jobs>,
    Reader(tenant): Reader,
    JobPath(id): JobPath,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Error> {
    let previews = previews(query.as_deref().unwrap_or_default())?;
    let known = headers.get("last-event-id").and_then(|id| id.to_str().ok()?.trim().parse::<i32>().ok());
    let known_to = move |job: &Job| known == Some(job.version);
    // What is not there, and what is over, is told by the status.
    let job = jobs.find(tenant, id).await?;
    if job.state.is_final() && known_to(&job) {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let updates = jobs.follow(tenant, id, previews)?;
    let events = updates.filter_map(move |update| {
        let jobs = jobs.clone();
        async move {
            match update {
                Ok(Update::Job(job)) if known_to(&job) => None,
                Ok(Update::Job(job)) => {
                    let id = job.version.to_string();
                    Some(event("job", &jobs.view(*job).await).id(id).retry(RETRY))
                }
                Ok(Update::Progress(progress)) => Some(event("progress", &ProgressView::from(progress))),
                Ok(Update::Preview(preview)) => Some(event("preview", &PreviewView::of(&preview))),
                // The client comes again, and hears by the status what is wrong.
                Err(error) => {
                    tracing::debug!(%error, "an event stream ends early");
                    None
                }
            }
        }
    });
    let keep_alive = KeepAlive::new().interval(KEEP_ALIVE);
    Ok(Sse::new(events.map(Ok::<_, Infallible>)).keep_alive(keep_alive).into_response())
}

/// An event of the stream, as its lines name the members.
#[derive(Debug, ToSchema)]
#[schema(as = StreamEvent)]
#[expect(dead_code, reason = "only the document of the API has it")]
pub(crate) struct EventView {
    /// `job`, `progress` or `preview`. More may follow.
    #[schema(example = "job")]
    event: String,
    /// JSON: of `job` the job, of `progress` its progress, of `preview` a picture in work.
    data: String,
    /// Of `job` the version.
    #[schema(example = "2")]
    id: Option<String>,
    /// Milliseconds after which a client comes again whose connection ended early.
    retry: Option<u64>,
}

/// What a picture in work looks like.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Preview)]
pub(crate) struct PreviewView {
    /// Which picture, from 0.
    image: u32,
    /// Steps done on it.
    step: u32,
    /// Media type of the file.
    #[schema(example = "image/webp")]
    content_type: &'static str,
    /// The file in base64.
    content: String,
}

impl PreviewView {
    fn of(preview: &Preview) -> Self {
        let content = BASE64_STANDARD.encode(&preview.content);
        Self { image: preview.image, step: preview.step, content_type: "image/webp", content }
    }
}

fn previews(query: &str) -> Result<Previews, Error> {
    const NAME: &str = "previews";
    let mut previews = Previews::Hidden;
    let errors = query::read(query, |name, value| match (name, value) {
        (NAME, "true") => {
            previews = Previews::Shown;
            Ok(())
        }
        (NAME, "false") => Ok(()),
        (NAME, _) => Err(ProblemField::parameter(NAME, "choice", "expected true or false")),
        _ => Err(query::unknown(name, &[NAME])),
    });
    if errors.is_empty() { Ok(previews) } else { Err(Error::Fields(errors)) }
}

fn event(name: &str, data: &impl Serialize) -> Event {
    // Views of jobs always can be written.
    Event::default().event(name).data(serde_json::to_string(data).unwrap_or_default())
}
