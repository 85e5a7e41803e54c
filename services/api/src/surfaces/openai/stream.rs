//! Pictures as server-sent events, each as soon as it is made.

use std::convert::Infallible;
use std::sync::Arc;

use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use darkroom_jobs::{JobState, Task};
use darkroom_store::{Artifact, Job, Preview};
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};

use super::{NoResult, error, images};
use crate::Error;
use crate::jobs::Jobs;
use crate::jobs::follow::{Previews, Update};
use crate::results::Results;

/// More than any picture takes that a model makes.
const MAX_PICTURE_BYTES: u64 = 256 * 1024 * 1024;

/// What is still to be told.
struct Telling {
    results: Results,
    told: usize,
    partial: Partial,
}

/// Pictures in work that may still be told.
struct Partial {
    /// How many more of this picture.
    left: u32,
    /// Which one.
    of: u32,
    /// Most of one picture.
    most: u32,
}

impl Partial {
    fn take(&mut self, job: &Job, preview: &Preview) -> Option<News> {
        if preview.image != self.of {
            (self.of, self.left) = (preview.image, self.most);
        }
        let index = self.most - self.left;
        self.left = self.left.checked_sub(1)?;
        let Task::TextToImage(task) = &job.task else { return None };
        Some(News::Partial(json!({
            "type": "image_generation.partial_image", "partial_image_index": index,
            "b64_json": BASE64_STANDARD.encode(&preview.content), "created_at": preview.made_at.timestamp(),
            "background": "opaque", "quality": "auto",
            // Small, and always in this format.
            "output_format": "webp", "size": format!("{}x{}", task.size.width(), task.size.height())
        })))
    }
}

/// The pictures of `job` as events `image_generation.completed`, at most `partial_images` of each while it is in work,
/// and the failure as an event `error`.
pub(super) fn events(jobs: &Jobs, results: Results, job: &Job, partial_images: u32) -> Response {
    let previews = if partial_images > 0 { Previews::Shown } else { Previews::Hidden };
    let updates = jobs.follow(job.tenant, job.id, previews);
    let telling =
        Telling { results, told: 0, partial: Partial { left: partial_images, of: 0, most: partial_images } };
    let job = Arc::new(job.clone());
    let events = updates.scan(telling, move |telling, update| {
        let news = match update {
            Ok(Update::Job(job)) => news(Ok(*job), telling.told),
            Ok(Update::Preview(preview)) => telling.partial.take(&job, &preview).into_iter().collect(),
            Ok(Update::Progress(_)) => Vec::new(),
            Err(error) => news(Err(error), telling.told),
        };
        telling.told += news.iter().filter(|news| matches!(news, News::Picture(..))).count();
        let results = telling.results.clone();
        std::future::ready(Some(stream::iter(news).then(move |news| event(news, results.clone()))))
    });
    let events = events.flatten().map(Ok::<_, Infallible>);
    Sse::new(events).keep_alive(KeepAlive::default()).into_response()
}

enum News {
    Picture(Box<Job>, Artifact),
    Partial(Value),
    NoResult(Box<Job>),
    Broken(Error),
}

/// What there is to tell of a version of the job of which `told` pictures were told.
fn news(job: Result<Job, Error>, told: usize) -> Vec<News> {
    let job = match job {
        Ok(job) => job,
        Err(error) => return vec![News::Broken(error)],
    };
    let pictures = job.artifacts.iter().skip(told).cloned();
    let mut news: Vec<News> =
        pictures.map(|artifact| News::Picture(Box::new(job.clone()), artifact)).collect();
    if job.state.is_final() && job.state != JobState::Succeeded {
        news.push(News::NoResult(Box::new(job)));
    }
    news
}

async fn event(news: News, results: Results) -> Event {
    let failed = |body: Value| Event::default().event("error").data(body.to_string());
    match news {
        News::Picture(job, artifact) => match picture(&job, &artifact, results).await {
            Ok(data) => Event::default().event("image_generation.completed").data(data.to_string()),
            Err(problem) => broken(&problem, failed),
        },
        News::Partial(data) => {
            Event::default().event("image_generation.partial_image").data(data.to_string())
        }
        News::NoResult(job) => {
            let (_, kind, code, message) = NoResult(job).told();
            failed(error(&message, kind, None, code))
        }
        News::Broken(problem) => broken(&problem, failed),
    }
}

fn broken(problem: &Error, failed: impl FnOnce(Value) -> Event) -> Event {
    tracing::warn!(error = problem as &dyn std::error::Error, "a stream of pictures ends early");
    failed(error(&problem.to_string(), "server_error", None, "unavailable"))
}

async fn picture(job: &Job, artifact: &Artifact, results: Results) -> Result<Value, Error> {
    let Task::TextToImage(task) = &job.task else { return Err(Error::internal("a caption is no picture")) };
    let bytes = results.bytes(artifact.id, MAX_PICTURE_BYTES).await?;
    Ok(json!({
        "type": "image_generation.completed", "b64_json": BASE64_STANDARD.encode(bytes),
        "created_at": images::created(job), "background": "opaque", "quality": "auto",
        "output_format": task.output.format.name().as_str(),
        "size": format!("{}x{}", task.size.width(), task.size.height()), "seed": artifact.seed,
        "usage": {
            "input_tokens": 0, "output_tokens": 0, "total_tokens": 0,
            "input_tokens_details": {"image_tokens": 0, "text_tokens": 0}
        }
    }))
}
