//! What a message says. The names are those of the job in the API, or in the one that the job came by.

use chrono::{DateTime, SecondsFormat, Utc};
use darkroom_jobs::{JobId, JobState, WebhookForm};
use darkroom_links::Links;
use darkroom_store::{Artifact, DueDelivery, Job};
use darkroom_surfaces::replicate::Told;
use darkroom_surfaces::{fal, replicate};
use serde_json::{Value, json};

/// The body of the message, by the job as it is now: a message that is late says what came after. `job` is `None` for
/// a test, and where the job has been deleted since. `None` when there is nothing left to tell: a job that is deleted
/// has come to its end, and what was before it is of no use to anybody.
pub(super) fn payload(due: &DueDelivery, job: Option<&Job>, links: Option<&Links>) -> Option<Value> {
    // Tests are sent to endpoints of the service's own form alone.
    let Some(id) = due.job else { return Some(native(due, &json!({"webhook": due.webhook.to_string()}))) };
    let Some(job) = job else { return Some(without_job(due, id, due.event.job_state()?, links)) };
    Some(match due.form {
        WebhookForm::Native => native(due, &of_job(due, job, links)),
        WebhookForm::Replicate => replicate::prediction(job, links, Told::Later),
        WebhookForm::Fal => fal::message(job, links),
    })
}

fn without_job(due: &DueDelivery, id: JobId, state: JobState, links: Option<&Links>) -> Value {
    match due.form {
        WebhookForm::Native => {
            let links = json!({"self": links.map(|links| links.job(id))});
            native(due, &json!({"id": id.to_string(), "state": state.as_str(), "links": links}))
        }
        WebhookForm::Replicate => replicate::removed_prediction(id, state, links),
        WebhookForm::Fal => fal::message_without_job(id, state),
    }
}

fn native(due: &DueDelivery, data: &Value) -> Value {
    json!({"type": due.event.as_str(), "timestamp": written(due.created_at), "data": data})
}

fn of_job(due: &DueDelivery, job: &Job, links: Option<&Links>) -> Value {
    let artifacts: Vec<Value> = job.artifacts.iter().map(|artifact| of_artifact(artifact, links)).collect();
    let error = job
        .failure
        .as_ref()
        .map(|failure| json!({"code": failure.class.as_str(), "message": failure.message}));
    let cost = job.cost.map(|cost| json!({"amount": cost.to_string(), "currency": job.currency}));
    json!({
        "id": job.id.to_string(),
        "pipeline": job.lane.pipeline().as_str(),
        "model": job.lane.model(),
        // Of an end, what happened, whatever an operator has done about it since.
        "state": due.event.job_state().unwrap_or(job.state).as_str(),
        "artifacts": artifacts,
        "error": error,
        "cost": cost,
        "metadata": job.metadata,
        "created_at": written(job.created_at),
        "started_at": job.started_at.map(written),
        "finished_at": job.finished_at.map(written),
        "links": {"self": links.map(|links| links.job(job.id))},
    })
}

fn of_artifact(artifact: &Artifact, links: Option<&Links>) -> Value {
    json!({
        "id": artifact.id.to_string(),
        "index": artifact.index,
        "url": links.map(|links| links.result(artifact.id, &artifact.content_type)),
        "content_type": artifact.content_type,
        "size_bytes": artifact.size_bytes,
        "sha256": hex::encode(&artifact.sha256),
        "width": artifact.width,
        "height": artifact.height,
        "seed": artifact.seed,
        "nsfw": artifact.nsfw,
        "text": artifact.text,
    })
}

fn written(moment: DateTime<Utc>) -> String {
    moment.to_rfc3339_opts(SecondsFormat::Millis, true)
}
