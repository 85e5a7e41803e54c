//! What became of a request: its status, its result, and canceling it.

use std::time::Duration;

use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use darkroom_jobs::{JobId, JobState, TenantId};
use darkroom_store::{Canceled, Job, Progress};
use darkroom_surfaces::fal::Ended;
use darkroom_surfaces::model_path;
use serde_json::{Value, json};
use url::form_urlencoded;

use super::result::{self, Answer, told};
use crate::deadline::bounded;
use crate::jobs::{Jobs, Until};
use crate::{Error, Links, Reader, Submitter};

/// A status that has not changed is held back for so long: clients ask ten times a second.
const HOLD: Duration = Duration::from_secs(10);
/// The same for who wants to see the logs grow.
const HOLD_LOGS: Duration = Duration::from_millis(500);

/// Owner, application and id.
type RequestPath = Path<(String, String, String)>;

fn id(path: &RequestPath) -> Result<JobId, Error> {
    path.2.parse().map_err(|_| Error::NotFound("request"))
}

/// The members that lead on.
pub(super) fn urls(job: &Job, links: &Links) -> Value {
    // Behind owner and application, a request has no more of its model's name.
    let path = model_path(&job.lane);
    let app: Vec<&str> = path.split('/').take(2).collect();
    let request = format!("/fal/{}/requests/{}", app.join("/"), job.id);
    json!({
        "request_id": job.id, "response_url": links.path(&request),
        "status_url": links.path(&format!("{request}/status")), "cancel_url": links.path(&format!("{request}/cancel"))
    })
}

/// How many are to start before it.
pub(super) async fn position(jobs: &Jobs, job: &Job) -> u64 {
    let view = jobs.view(job.clone()).await;
    view.queue.map_or(0, |queue| queue.position.saturating_sub(1))
}

pub(super) async fn status(
    State(jobs): State<Jobs>,
    Reader(tenant): Reader,
    path: RequestPath,
    RawQuery(query): RawQuery,
) -> Result<Answer, Error> {
    let mut query = form_urlencoded::parse(query.as_deref().unwrap_or_default().as_bytes());
    let logs = query.any(|(name, value)| name == "logs" && matches!(&*value, "1" | "true" | "True"));
    let job = held(&jobs, tenant, id(&path)?, if logs { HOLD_LOGS } else { HOLD }).await?;
    let mut answer = urls(&job, &jobs.links);
    let status = match job.state {
        JobState::Queued => {
            answer["queue_position"] = position(&jobs, &job).await.into();
            "IN_QUEUE"
        }
        JobState::Running => "IN_PROGRESS",
        _ => "COMPLETED",
    };
    answer["status"] = status.into();
    // The client ends without these two.
    answer["logs"] = if logs { lines(&job) } else { Value::Null };
    answer["metrics"] = metrics(&job);
    if let Some(ended) = Ended::of(&job) {
        answer["error"] = ended.message.into();
        answer["error_type"] = ended.error_type.into();
    }
    let code = if job.state.is_final() { StatusCode::OK } else { StatusCode::ACCEPTED };
    Ok(told(code, answer))
}

/// The job, held back while it stays as it is.
async fn held(jobs: &Jobs, tenant: TenantId, id: JobId, hold: Duration) -> Result<Job, Error> {
    let job = jobs.find(tenant, id).await?;
    if job.state.is_final() {
        return Ok(job);
    }
    jobs.hold(tenant, id, &Until::Beyond(job.version), hold).await
}

/// One line that says how far it is.
fn lines(job: &Job) -> Value {
    let line = |message: String| json!([{"message": message, "level": "INFO", "source": "darkroom", "timestamp": null}]);
    match job.progress {
        Some(Progress { image, images, step, steps }) => {
            line(format!("picture {} of {images}: step {step} of {steps}", image + 1))
        }
        None => json!([]),
    }
}

fn metrics(job: &Job) -> Value {
    match job.started_at.zip(job.finished_at) {
        Some((started, finished)) => {
            json!({"inference_time": (finished - started).as_seconds_f64().max(0.0)})
        }
        None => json!({}),
    }
}

pub(super) async fn response(
    State(jobs): State<Jobs>,
    Reader(tenant): Reader,
    path: RequestPath,
) -> Result<Answer, Error> {
    let job = jobs.find(tenant, id(&path)?).await?;
    Ok(result::answer(&job, &jobs.links))
}

pub(super) async fn cancel(
    State(jobs): State<Jobs>,
    Submitter(key): Submitter,
    path: RequestPath,
) -> Result<Answer, Error> {
    let canceled = match id(&path) {
        Ok(id) => bounded(jobs.store.cancel(key.tenant, id)).await?,
        Err(_) => Canceled::NotFound,
    };
    Ok(match canceled {
        Canceled::NotFound => told(StatusCode::NOT_FOUND, json!({"status": "NOT_FOUND"})),
        Canceled::Done => told(StatusCode::ACCEPTED, json!({"status": "CANCELLATION_REQUESTED"})),
        Canceled::AlreadyFinal => told(StatusCode::BAD_REQUEST, json!({"status": "ALREADY_COMPLETED"})),
    })
}
