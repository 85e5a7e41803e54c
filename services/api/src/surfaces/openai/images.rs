//! `POST images/generations`.

use axum::Json;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use darkroom_jobs::{Catalog, Fields, JobState, Pipeline, Task};
use darkroom_store::Job;
use serde_json::{Map, Value, json};

use super::pictures::{Pieces, chunks, chunks_later};
use super::{NoResult, repeated, stream};
use crate::intake::Intake;
use crate::jobs::Jobs;
use crate::results::Results;
use crate::surfaces::call::Call;
use crate::{Error, Submitter};

pub(super) async fn generate(
    State(intake): State<Intake>,
    State(jobs): State<Jobs>,
    State(results): State<Results>,
    Submitter(key): Submitter,
    request: Request,
) -> Result<Response, Error> {
    let call = Call::new(key, request.headers())?;
    let body = intake.read_document(call.tenant(), request).await?;
    let asked = Asked::read(&body.parse()?, intake.catalog())?;
    let received = intake.received(asked.document, body);
    let (job, answering) = call.submit_once(&intake, &jobs, received, repeated(&call.headers)).await?;
    if asked.form == Form::Stream {
        return Ok(answering.watch(stream::events(&jobs, results, &job, asked.partial_images)?));
    }
    let job = call.wait(&jobs, job.id).await?;
    if job.state != JobState::Succeeded {
        return Ok(NoResult(Box::new(job)).answer(answering));
    }
    Ok(answering.watch(match asked.form {
        Form::Url => Json(by_url(&job, &jobs)).into_response(),
        Form::Base64 | Form::Stream => in_base64(&job, &results).await?,
    }))
}

/// How pictures are to be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Base64,
    Url,
    /// Base64 as well, each picture as an event.
    Stream,
}

/// What a request asks for.
#[derive(Debug)]
struct Asked {
    document: Value,
    form: Form,
    /// Most events for a picture in work.
    partial_images: u32,
}

/// Parameters of pictures that OpenAI has no word for, under their native names.
const EXTRAS: [&str; 8] =
    ["negative_prompt", "width", "height", "steps", "guidance_scale", "seed", "scheduler", "loras"];
const SIZE: &str = "expected `auto` or `WIDTHxHEIGHT`, such as 1024x1024";

impl Asked {
    fn read(sent: &Value, catalog: &Catalog) -> Result<Self, Error> {
        let mut errors = Vec::new();
        let mut fields = Fields::new(Some(sent), "", &mut errors);
        let mut input = Map::new();
        let mut take = |fields: &mut Fields<'_, '_>, theirs, native: &str| {
            if let Some(value) = fields.take(theirs) {
                input.insert(native.to_owned(), value.clone());
            }
        };
        take(&mut fields, "prompt", "prompt");
        fields.require("prompt", "expected a text that says what to draw");
        take(&mut fields, "n", "images");
        take(&mut fields, "output_format", "output_format");
        for extra in EXTRAS {
            take(&mut fields, extra, extra);
        }
        let model = fields.string("model");
        if let Some((width, height)) = size(&mut fields) {
            input.insert("width".to_owned(), width.into());
            input.insert("height".to_owned(), height.into());
        }
        if let Some(quality) = compression(&mut fields) {
            input.insert("output_quality".to_owned(), quality.into());
        }
        let quality = choice(&mut fields, "quality", &QUALITIES);
        let wanted = match model {
            Some(name) => catalog.named(Pipeline::TextToImage, name),
            None => catalog.default_of(Pipeline::TextToImage),
        };
        if let Some(steps) = wanted.zip(quality).and_then(|(model, quality)| model.qualities.get(quality)) {
            input.entry("steps").or_insert_with(|| (*steps).into());
        }
        if choice(&mut fields, "moderation", &["auto", "low"]) == Some("low") {
            input.insert("safety_check".to_owned(), false.into());
        }
        let url = choice(&mut fields, "response_format", &["b64_json", "url"]) == Some("url");
        let partial_images = fields.small("partial_images", 0..=3).unwrap_or(0);
        let form = match fields.boolean("stream") {
            Some(true) if url => {
                fields.error("response_format", "choice", "expected b64_json: events hold their pictures");
                Form::Stream
            }
            Some(true) => Form::Stream,
            _ if url => Form::Url,
            _ => Form::Base64,
        };
        choice(&mut fields, "background", &["auto", "opaque"]);
        // What a picture looks like is the prompt's business here.
        fields.string("style");
        let user = fields.string("user");
        fields.refuse_others();
        if !errors.is_empty() {
            return Err(errors.into());
        }
        let mut document = json!({"pipeline": Pipeline::TextToImage.as_str(), "input": input});
        if let Some(model) = model {
            document["model"] = model.into();
        }
        if let Some(user) = user {
            document["metadata"] = json!({"user": user});
        }
        Ok(Self { document, form, partial_images })
    }
}

/// Words for how much work a picture is worth.
const QUALITIES: [&str; 6] = ["auto", "low", "medium", "high", "standard", "hd"];

/// One of a few words.
fn choice<'w>(fields: &mut Fields<'_, '_>, name: &'static str, words: &[&'w str]) -> Option<&'w str> {
    let text = fields.string(name)?;
    let known = words.iter().find(|word| **word == text).copied();
    if known.is_none() {
        fields.error(name, "choice", format!("expected one of {}", words.join(", ")));
    }
    known
}

/// Width and height of `size`, unless that is left to the model.
fn size(fields: &mut Fields<'_, '_>) -> Option<(u32, u32)> {
    let text = fields.string("size").filter(|size| *size != "auto")?;
    let sides = text.split_once('x').and_then(|(width, height)| width.parse().ok().zip(height.parse().ok()));
    if sides.is_none() {
        fields.error("size", "format", SIZE);
    }
    sides
}

/// Quality of a JPEG or WebP. OpenAI's callers count from 0, and give it for PNG as well, where it means nothing.
fn compression(fields: &mut Fields<'_, '_>) -> Option<u32> {
    let lossless = fields.take("output_format").is_none_or(|format| format == "png");
    let compression = fields.small("output_compression", 0..=100)?;
    (!lossless).then_some(compression.max(1))
}

/// When its pictures were made, in seconds since 1970, as far as that is known.
pub(super) fn created(job: &Job) -> i64 {
    job.finished_at.or(job.started_at).unwrap_or(job.created_at).timestamp()
}

/// The members that do not depend on how pictures are answered, with the job's id for whoever knows what it is.
fn about(job: &Job) -> Value {
    let Task::TextToImage(task) = &job.task else { return json!({}) };
    json!({
        "created": created(job), "id": job.id,
        "size": format!("{}x{}", task.size.width(), task.size.height()),
        "output_format": task.output.format.name().as_str()
    })
}

fn by_url(job: &Job, jobs: &Jobs) -> Value {
    let data = job.artifacts.iter().map(|artifact| {
        let url = jobs.links.result(artifact.id, &artifact.content_type);
        json!({"url": url, "seed": artifact.seed, "nsfw": artifact.nsfw})
    });
    let mut answer = about(job);
    answer["data"] = data.collect();
    answer
}

async fn in_base64(job: &Job, results: &Results) -> Result<Response, Error> {
    let mut pieces = Pieces::default().text("{\"data\":[");
    for (index, artifact) in job.artifacts.iter().enumerate() {
        if index > 0 {
            pieces = pieces.text(",");
        }
        let open = results.clone().open(artifact.id);
        // Whether storage answers is known before the answer begins.
        let file = if index == 0 { chunks(open.await?) } else { chunks_later(open) };
        pieces = pieces.picture(file, &json!({"seed": artifact.seed, "nsfw": artifact.nsfw}));
    }
    let body = Body::from_stream(pieces.text("],").rest_of(&about(job)).into_stream());
    Ok(([(CONTENT_TYPE, "application/json")], body).into_response())
}
