//! Pictures as server-sent events, each as soon as it is made.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use darkroom_jobs::{JobState, Task};
use darkroom_store::{Artifact, Job, Preview};
use futures_util::{Stream, StreamExt, stream};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::pictures::{Pieces, chunks};
use super::{NoResult, error, images};
use crate::Error;
use crate::jobs::Jobs;
use crate::jobs::follow::{Previews, Update};
use crate::results::Results;

/// After so long without an event there is a line without meaning, so that nobody takes the connection for dead.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

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
    /// The event for `preview`, unless there were enough, or its picture is among the first `done`, which are told.
    fn take(&mut self, job: &Job, preview: &Preview, done: usize) -> Option<News> {
        if usize::try_from(preview.image).is_ok_and(|image| image < done) {
            return None;
        }
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
pub(super) fn events(
    jobs: &Jobs,
    results: Results,
    job: &Job,
    partial_images: u32,
) -> Result<Response, Error> {
    let previews = if partial_images > 0 { Previews::Shown } else { Previews::Hidden };
    let updates = jobs.follow(job.tenant, job.id, previews)?;
    let telling =
        Telling { results, told: 0, partial: Partial { left: partial_images, of: 0, most: partial_images } };
    let job = Arc::new(job.clone());
    let frames = kept_alive(updates).scan(telling, move |telling, update| {
        let news = match update {
            None => vec![News::None],
            Some(Ok(Update::Job(job))) => news(Ok(*job), telling.told),
            Some(Ok(Update::Preview(preview))) => {
                telling.partial.take(&job, &preview, telling.told).into_iter().collect()
            }
            Some(Ok(Update::Progress(_))) => Vec::new(),
            Some(Err(error)) => news(Err(error), telling.told),
        };
        telling.told += news.iter().filter(|news| matches!(news, News::Picture(..))).count();
        let results = telling.results.clone();
        std::future::ready(Some(stream::iter(news).then(move |news| frame(news, results.clone()))))
    });
    let body = frames.flatten().flat_map(Pieces::into_stream);
    let headers = [(CONTENT_TYPE, "text/event-stream"), (CACHE_CONTROL, "no-cache")];
    Ok((headers, Body::from_stream(body)).into_response())
}

/// The updates, and `None` whenever there was none for a while.
fn kept_alive<T>(updates: impl Stream<Item = T> + Send) -> impl Stream<Item = Option<T>> + Send {
    stream::unfold(Box::pin(updates), async |mut updates| match timeout(KEEP_ALIVE, updates.next()).await {
        Ok(update) => update.map(|update| (Some(update), updates)),
        Err(_) => Some((None, updates)),
    })
}

enum News {
    None,
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

/// An event as it is written.
async fn frame(news: News, results: Results) -> Pieces {
    match news {
        News::None => Pieces::default().text(":\n\n"),
        News::Picture(job, artifact) => {
            picture(&job, &artifact, results).await.unwrap_or_else(|problem| broken(&problem))
        }
        News::Partial(data) => event("image_generation.partial_image", &data),
        News::NoResult(job) => {
            let (_, kind, code, message) = NoResult(job).told();
            event("error", &error(&message, kind, None, code))
        }
        News::Broken(problem) => broken(&problem),
    }
}

fn event(name: &str, data: &Value) -> Pieces {
    Pieces::default().text(&format!("event: {name}\ndata: {data}\n\n"))
}

fn broken(problem: &Error) -> Pieces {
    tracing::warn!(error = problem as &dyn std::error::Error, "a stream of pictures ends early");
    event("error", &error(&problem.to_string(), "server_error", None, "unavailable"))
}

/// The event with a picture, which is read as the event is sent: callers may be slow, and pictures large.
async fn picture(job: &Job, artifact: &Artifact, results: Results) -> Result<Pieces, Error> {
    let Task::TextToImage(task) = &job.task else { return Err(Error::internal("a caption is no picture")) };
    let file = chunks(results.open(artifact.id).await?);
    let members = json!({
        "type": "image_generation.completed",
        "created_at": images::created(job), "background": "opaque", "quality": "auto",
        "output_format": task.output.format.name().as_str(),
        "size": format!("{}x{}", task.size.width(), task.size.height()), "seed": artifact.seed,
        "usage": {
            "input_tokens": 0, "output_tokens": 0, "total_tokens": 0,
            "input_tokens_details": {"image_tokens": 0, "text_tokens": 0}
        }
    });
    let begun = Pieces::default().text("event: image_generation.completed\ndata: ");
    Ok(begun.picture(file, &members).text("\n\n"))
}
