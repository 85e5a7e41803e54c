//! Replicate: a job as a prediction.

use std::fmt::Write as _;

use chrono::{DateTime, SecondsFormat, Utc};
use darkroom_jobs::{JobId, JobState, Lane, Pipeline, Task, TenantId};
use darkroom_links::Links;
use darkroom_store::{Artifact, Job, Progress};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::model_path;

/// To whom a prediction is told: the clients take another word than `starting` for the end of what they waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// To who made it and waits.
    AtCreation,
    /// To everybody else.
    Later,
}

/// The id of a model's one version: 64 hexadecimal digits.
pub fn version_id(lane: &Lane) -> String {
    hex::encode(Sha256::digest(lane.to_string()))
}

/// The prediction for `job`.
pub fn prediction(job: &Job, links: Option<&Links>, told: Told) -> Value {
    json!({
        "id": job.id, "model": model_path(&job.lane), "version": version_id(&job.lane),
        "input": input(&job.task), "output": output(job, links), "data_removed": false,
        "error": error(job), "status": status(job.state, told), "source": "api", "logs": logs(job),
        "created_at": moment(job.created_at), "started_at": job.started_at.map(moment),
        "completed_at": job.finished_at.map(moment), "metrics": metrics(job), "urls": urls(job.id, Some(job.tenant), links)
    })
}

/// What is left of the prediction of a job that was deleted when it was final.
pub fn removed_prediction(id: JobId, state: JobState, links: Option<&Links>) -> Value {
    json!({
        "id": id, "input": {}, "output": null, "data_removed": true, "error": null,
        "status": status(state, Told::Later), "source": "api", "logs": "", "metrics": {}, "urls": urls(id, None, links)
    })
}

/// Where a prediction leads. It can be streamed as long as it is there: with a token, since not every client sends its
/// key for that.
fn urls(id: JobId, owner: Option<TenantId>, links: Option<&Links>) -> Value {
    let at = |path: &str| links.map(|links| links.path(&format!("/replicate/v1/predictions/{id}{path}")));
    let token = owner.zip(links).map(|(tenant, links)| links.follow_token(tenant, id));
    let stream = token.and_then(|token| at(&format!("/stream?token={token}")));
    json!({
        "web": links.map(|links| links.job(id)), "get": at(""), "cancel": at("/cancel"), "stream": stream
    })
}

/// Where an output is fetched.
pub fn output_url(artifact: &Artifact, links: &Links) -> String {
    links.result_below("/replicate/v1/outputs", artifact.id, &artifact.content_type)
}

fn moment(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Micros, true)
}

/// Only words that the clients know: an unknown one ends them.
fn status(state: JobState, told: Told) -> &'static str {
    match state {
        JobState::Queued => "starting",
        JobState::Running if told == Told::AtCreation => "starting",
        JobState::Running => "processing",
        JobState::Succeeded => "succeeded",
        JobState::Failed | JobState::Expired => "failed",
        JobState::Canceled => "canceled",
    }
}

/// Why a prediction has no output.
pub fn error(job: &Job) -> Option<String> {
    match job.state {
        JobState::Failed => {
            Some(job.failure.as_ref().map_or_else(|| "the job failed".to_owned(), |it| it.message.clone()))
        }
        JobState::Expired => Some("the job's deadline passed before it was done".to_owned()),
        _ => None,
    }
}

/// What is there: a list of pictures, or a caption.
fn output(job: &Job, links: Option<&Links>) -> Value {
    match job.lane.pipeline() {
        _ if job.artifacts.is_empty() => Value::Null,
        Pipeline::TextToImage => {
            job.artifacts.iter().map(|artifact| links.map(|links| output_url(artifact, links))).collect()
        }
        Pipeline::ImageToText => job.artifacts.iter().find_map(|it| it.text.as_deref()).into(),
    }
}

/// The input of a job, in Replicate's words.
fn input(task: &Task) -> Value {
    match task {
        Task::TextToImage(task) => {
            let mut input = json!({
                "prompt": task.prompt.as_str(), "width": task.size.width(), "height": task.size.height(),
                "num_outputs": task.images, "num_inference_steps": task.steps, "guidance": task.guidance_scale,
                "seed": task.seed, "output_format": task.output.format.name().as_str(),
                "disable_safety_checker": !task.safety_check
            });
            if let Some(negative) = &task.negative_prompt {
                input["negative_prompt"] = negative.as_str().into();
            }
            if let Some(quality) = task.output.format.quality() {
                input["output_quality"] = quality.get().into();
            }
            input
        }
        // Where the picture came from is not kept.
        Task::ImageToText(task) => json!({"prompt": task.prompt}),
    }
}

/// Lines such as the models' programs print. A bar as tqdm draws it is how the clients know of progress.
fn logs(job: &Job) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_a_bar_as_clients_read_it() {
        assert_eq!(bar(0, 25), "  0%|          | 0/25 [00:00<00:00]");
        assert_eq!(bar(8, 25), " 32%|███       | 8/25 [00:00<00:00]");
        assert_eq!(bar(25, 25), "100%|██████████| 25/25 [00:00<00:00]");
    }

    #[test]
    fn without_links_a_prediction_has_no_urls() {
        let id = "0190b6f2-8c3e-7d4a-9f10-3b1f5a2c7e01".parse().unwrap();
        let told = removed_prediction(id, JobState::Expired, None);
        assert_eq!((&told["status"], &told["data_removed"]), (&json!("failed"), &json!(true)));
        assert_eq!(told["urls"], json!({"web": null, "get": null, "cancel": null, "stream": null}));
    }
}
