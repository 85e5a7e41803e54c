//! A job as a prediction.

use std::fmt::Write as _;

use chrono::{DateTime, SecondsFormat, Utc};
use darkroom_jobs::{JobState, Lane, Pipeline, Task};
use darkroom_store::{Job, Progress};
use serde_json::{Value, json};

use super::{input, models, outputs};
use crate::Links;
use crate::surfaces::model_path;

/// To whom a prediction is told: the clients take another word than `starting` for the end of what they waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    /// To who made it and waits.
    AtCreation,
    Later,
}

/// The prediction for `job`.
pub(super) fn prediction(job: &Job, links: &Links, told: Told) -> Value {
    let at = |path: &str| links.path(&format!("/replicate/v1/predictions/{}{path}", job.id));
    let status = status(job, told);
    let stream = format!("/stream?token={}", links.follow_token(job.tenant, job.id));
    json!({
        "id": job.id, "model": model_path(&job.lane), "version": models::version_id(&job.lane),
        "input": input::of_task(&job.task), "output": output(job, links), "data_removed": false,
        "error": error(job), "status": status, "source": "api", "logs": logs(job),
        "created_at": moment(job.created_at), "started_at": job.started_at.map(moment),
        "completed_at": job.finished_at.map(moment), "metrics": metrics(job),
        "urls": {"web": links.job(job.id), "get": at(""), "cancel": at("/cancel"), "stream": at(&stream)}
    })
}

fn moment(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Micros, true)
}

/// Only words that the clients know: an unknown one ends them.
pub(super) fn status(job: &Job, told: Told) -> &'static str {
    match job.state {
        JobState::Queued => "starting",
        JobState::Running if told == Told::AtCreation => "starting",
        JobState::Running => "processing",
        JobState::Succeeded => "succeeded",
        JobState::Failed | JobState::Expired => "failed",
        JobState::Canceled => "canceled",
    }
}

/// Why a prediction has no output.
pub(super) fn error(job: &Job) -> Option<String> {
    match job.state {
        JobState::Failed => {
            Some(job.failure.as_ref().map_or_else(|| "the job failed".to_owned(), |it| it.message.clone()))
        }
        JobState::Expired => Some("the job's deadline passed before it was done".to_owned()),
        _ => None,
    }
}

/// What is there: a list of pictures, or a caption.
fn output(job: &Job, links: &Links) -> Value {
    match job.lane.pipeline() {
        _ if job.artifacts.is_empty() => Value::Null,
        Pipeline::TextToImage => job.artifacts.iter().map(|artifact| outputs::url(artifact, links)).collect(),
        Pipeline::ImageToText => job.artifacts.iter().find_map(|it| it.text.as_deref()).into(),
    }
}

/// Lines such as the models' programs print. A bar as tqdm draws it is how the clients know of progress.
pub(super) fn logs(job: &Job) -> String {
    let Task::TextToImage(task) = &job.task else { return String::new() };
    let mut logs = format!("Using seed: {}\n", task.seed);
    let steps = u64::from(task.steps) * u64::from(task.images);
    if let Some(done) = done_steps(job, steps) {
        // Writing to a text does not fail.
        let _ = writeln!(logs, "{}", bar(done, steps));
    }
    logs
}

/// How many steps of all pictures are done.
fn done_steps(job: &Job, steps: u64) -> Option<u64> {
    match (job.state, job.progress) {
        (JobState::Succeeded, _) => Some(steps),
        (_, Some(Progress { image, step, steps: each, .. })) => {
            Some(u64::from(image) * u64::from(each) + u64::from(step))
        }
        _ => None,
    }
}

fn bar(done: u64, steps: u64) -> String {
    const WIDTH: usize = 10;
    let percent = done.min(steps) * 100 / steps.max(1);
    let full = usize::try_from(percent).unwrap_or(100) * WIDTH / 100;
    format!("{percent:3}%|{}{}| {done}/{steps} [00:00<00:00]", "█".repeat(full), " ".repeat(WIDTH - full))
}

fn metrics(job: &Job) -> Value {
    let seconds = |from: DateTime<Utc>, to: DateTime<Utc>| (to - from).as_seconds_f64().max(0.0);
    match (job.started_at, job.finished_at) {
        (Some(started), Some(finished)) => json!({
            "predict_time": seconds(started, finished), "total_time": seconds(job.created_at, finished),
            "image_count": job.artifacts.len()
        }),
        (None, Some(finished)) => json!({"total_time": seconds(job.created_at, finished)}),
        _ => json!({}),
    }
}

/// The model and what it makes, for whoever asks by its lane.
pub(super) fn makes(lane: &Lane) -> &'static str {
    match lane.pipeline() {
        Pipeline::TextToImage => "pictures",
        Pipeline::ImageToText => "captions",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_a_bar_as_clients_read_it() {
        assert_eq!(bar(0, 25), "  0%|          | 0/25 [00:00<00:00]");
        assert_eq!(bar(8, 25), " 32%|███       | 8/25 [00:00<00:00]");
        assert_eq!(bar(25, 25), "100%|██████████| 25/25 [00:00<00:00]");
    }
}
