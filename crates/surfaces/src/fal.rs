//! fal: the result of a request, or why there is none.

use darkroom_jobs::{JobId, JobState, Task};
use darkroom_links::Links;
use darkroom_store::Job;
use serde_json::{Value, json};

/// How a job ended that has no result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// HTTP status of the answer in place of a result.
    pub status: u16,
    /// What happened, for the caller.
    pub message: String,
    /// The same as a stable word.
    pub error_type: &'static str,
}

impl Ended {
    /// `None` for a job that goes on or succeeded.
    pub fn of(job: &Job) -> Option<Self> {
        let (status, message, error_type) = match (job.state, &job.failure) {
            (JobState::Queued | JobState::Running | JobState::Succeeded, _) => return None,
            (JobState::Canceled, _) => (400, "the request was canceled".to_owned(), "client_cancelled"),
            (JobState::Expired, _) => (504, "the request was not done in time".to_owned(), "request_timeout"),
            (JobState::Failed, Some(failure)) if failure.class.is_refusal() => {
                (422, failure.message.clone(), failure.class.as_str())
            }
            (JobState::Failed, failure) => {
                let class = failure.as_ref().map_or("internal", |failure| failure.class.as_str());
                (500, "the request failed".to_owned(), class)
            }
        };
        Some(Self { status, message, error_type })
    }

    /// What stands in the place of a result.
    pub fn body(&self) -> Value {
        json!({"detail": self.message, "error_type": self.error_type})
    }
}

/// The result of a job that succeeded.
pub fn result(job: &Job, links: Option<&Links>) -> Value {
    let Task::TextToImage(task) = &job.task else {
        let caption = job.artifacts.iter().find_map(|artifact| artifact.text.as_deref());
        return json!({"output": caption, "text": caption});
    };
    let images = job.artifacts.iter().map(|artifact| {
        json!({
            "url": links.map(|links| links.result(artifact.id, &artifact.content_type)), "width": artifact.width,
            "height": artifact.height, "content_type": artifact.content_type, "file_size": artifact.size_bytes
        })
    });
    json!({
        "images": images.collect::<Vec<_>>(), "seed": task.seed, "prompt": task.prompt.as_str(),
        "has_nsfw_concepts": job.artifacts.iter().map(|artifact| artifact.nsfw).collect::<Vec<_>>(),
        "timings": job.timings
    })
}

/// What a webhook says about a job that is final.
pub fn message(job: &Job, links: Option<&Links>) -> Value {
    match Ended::of(job) {
        None => json!({
            "request_id": job.id, "gateway_request_id": job.id, "status": "OK", "error": null,
            "payload": result(job, links)
        }),
        Some(ended) => failure(job.id, &ended),
    }
}

/// What a webhook says about a job that was deleted before it was told.
pub fn message_without_job(id: JobId, state: JobState) -> Value {
    let gone = match state {
        JobState::Succeeded => "the request was done, and its result has been deleted since",
        _ => "the request ended without a result, and has been deleted since",
    };
    failure(id, &Ended { status: 410, message: gone.to_owned(), error_type: "deleted" })
}

fn failure(id: JobId, ended: &Ended) -> Value {
    json!({
        "request_id": id, "gateway_request_id": id, "status": "ERROR", "error": ended.message, "payload": ended.body()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_that_is_gone_is_told_as_an_error_whatever_became_of_it() {
        let id = "0190b6f2-8c3e-7d4a-9f10-3b1f5a2c7e01".parse().unwrap();
        for (state, word) in [(JobState::Succeeded, "done"), (JobState::Expired, "without a result")] {
            let told = message_without_job(id, state);
            assert_eq!(
                (&told["status"], &told["payload"]["error_type"]),
                (&json!("ERROR"), &json!("deleted"))
            );
            assert_eq!(told["payload"]["detail"], told["error"]);
            assert!(told["error"].as_str().unwrap().contains(word), "{told}");
        }
    }
}
