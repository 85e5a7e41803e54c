//! `POST chat/completions`: captions, as callers of chat models ask for them.
//!
//! The last message of the user that has a picture counts. A captioning model follows no instructions, so the words
//! beside the picture are left out; what the caption is to start with may follow as the assistant's message.

use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use darkroom_jobs::{Fields, JobState, Pipeline};
use darkroom_store::Job;
use serde_json::{Value, json};

use super::{NoResult, repeated};
use crate::intake::Intake;
use crate::jobs::Jobs;
use crate::surfaces::call::Call;
use crate::{Error, Submitter};

pub(super) async fn complete(
    State(intake): State<Intake>,
    State(jobs): State<Jobs>,
    Submitter(key): Submitter,
    request: Request,
) -> Result<Response, Error> {
    let call = Call::new(key, request.headers())?;
    let body = intake.read_document(call.tenant(), request).await?;
    let document = document(&body.parse()?)?;
    let received = intake.received(document, body);
    let (job, answering) = call.submit_once(&intake, &jobs, received, repeated(&call.headers)).await?;
    let job = call.wait(&jobs, job.id).await?;
    if job.state != JobState::Succeeded {
        return Ok(NoResult(Box::new(job)).answer(answering));
    }
    Ok(answering.watch(Json(completion(&job)).into_response()))
}

fn completion(job: &Job) -> Value {
    let text = job.artifacts.iter().find_map(|artifact| artifact.text.as_deref());
    json!({
        "id": job.id, "object": "chat.completion", "created": job.created_at.timestamp(),
        "model": job.lane.model(),
        "choices": [{
            "index": 0, "finish_reason": "stop", "logprobs": null,
            "message": {"role": "assistant", "content": text.unwrap_or_default(), "refusal": null}
        }],
        "usage": {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
    })
}

/// The native document.
fn document(sent: &Value) -> Result<Value, Error> {
    let mut errors = Vec::new();
    let mut fields = Fields::new(Some(sent), "", &mut errors);
    let model = fields.string("model");
    let messages = fields.take("messages").and_then(Value::as_array);
    if fields.boolean("stream") == Some(true) {
        fields.error("stream", "unsupported", "expected false: a caption comes in one piece");
    }
    let n = fields.take("n").and_then(Value::as_u64);
    if n.is_some_and(|n| n != 1) {
        fields.error("n", "range", "expected 1: a picture has one caption");
    }
    let asked = messages.and_then(|messages| Asked::of(messages));
    if asked.is_none() {
        let expected = "expected messages of which one of the user has a part of type `image_url`";
        fields.error("messages", "image", expected);
    }
    // Everything else tunes models of another kind.
    drop(fields);
    match asked {
        Some(Asked { url, start }) if errors.is_empty() => {
            let mut document =
                json!({"pipeline": Pipeline::ImageToText.as_str(), "input": {"image_url": url}});
            if let Some(start) = start {
                document["input"]["prompt"] = start.into();
            }
            if let Some(model) = model {
                document["model"] = model.into();
            }
            Ok(document)
        }
        _ => Err(errors.into()),
    }
}

/// What the messages ask for.
struct Asked<'a> {
    url: &'a str,
    /// How the caption is to start.
    start: Option<&'a str>,
}

impl<'a> Asked<'a> {
    fn of(messages: &'a [Value]) -> Option<Self> {
        let of_user = messages.iter().rev().filter(|message| message["role"] == "user");
        let mut parts = of_user.filter_map(|message| message["content"].as_array()).flatten();
        let url = parts.find_map(|part| {
            let image = part.get("image_url").filter(|_| part["type"] == "image_url")?;
            // Some callers leave the object out.
            image["url"].as_str().or(image.as_str())
        })?;
        let last = messages.last().filter(|message| message["role"] == "assistant");
        let start = last.and_then(|message| message["content"].as_str()).filter(|start| !start.is_empty());
        Some(Self { url, start })
    }
}
