//! What webhooks are sent, for the document only: the dispatcher writes the messages.
#![expect(dead_code, reason = "only their schemas are used")]

use std::collections::BTreeMap;

use utoipa::openapi::{OpenApi as Document, Paths};
use utoipa::{OpenApi, ToSchema};
use uuid::Uuid;

use super::words::{JobState, OneJobEvent, Pipeline};
use crate::jobs::resource::{ArtifactView, FailureView, Money, Timestamp};

/// A message that tells what became of a job, by the Standard Webhooks specification.
#[derive(ToSchema)]
struct JobMessage {
    /// How the job ended; or that it began, where the job's own webhook asks for that.
    #[serde(rename = "type")]
    kind: OneJobEvent,
    /// When it happened.
    timestamp: Timestamp,
    /// The job.
    data: ToldJob,
}

/// A job of which something is told. Of one that was deleted before, there are `id`, `state` and `links` alone.
#[derive(ToSchema)]
struct ToldJob {
    /// Its id.
    id: Uuid,
    /// The pipeline.
    pipeline: Option<Pipeline>,
    /// Id of the model in the catalog.
    model: Option<String>,
    /// The state that is told.
    state: JobState,
    /// Results, by index.
    #[schema(required = false)]
    artifacts: Vec<ArtifactView>,
    /// Why it failed.
    error: Option<FailureView>,
    /// What it cost; set when it succeeded.
    cost: Option<Money>,
    /// The caller's own labels.
    #[schema(required = false)]
    metadata: BTreeMap<String, String>,
    /// When it was accepted.
    #[schema(required = false)]
    created_at: Timestamp,
    /// When its first attempt began.
    started_at: Option<Timestamp>,
    /// When it became final.
    finished_at: Option<Timestamp>,
    /// Where to look.
    links: MessageLinks,
}

/// A job's own URL.
#[derive(ToSchema)]
struct MessageLinks {
    /// The job; null where operators have not said what the service's URL is.
    #[serde(rename = "self")]
    this: Option<String>,
}

/// A message that was asked for, to see one arrive.
#[derive(ToSchema)]
struct TestMessage {
    /// `webhook.test`.
    #[serde(rename = "type")]
    #[schema(example = "webhook.test")]
    kind: String,
    /// When it was asked for.
    timestamp: Timestamp,
    /// What is tested.
    data: TestedWebhook,
}

/// A webhook that is tested.
#[derive(ToSchema)]
struct TestedWebhook {
    /// Its id.
    webhook: Uuid,
}

/// A job became final, or began to run.
///
/// Sent to each enabled webhook that wants the event, and to the job's own, which alone may ask for the beginning. Anything but 2xx within 15 seconds is a
/// failure, and the message is sent again, with the same `webhook-id`.
#[utoipa::path(
    post,
    path = "job",
    operation_id = "job_told",
    tag = "webhooks",
    params(
        ("webhook-id" = Uuid, Header, description = "The delivery's id: the same every time the message is sent."),
        ("webhook-timestamp" = i64, Header, description = "Seconds since 1970: refuse what is minutes off."),
        ("webhook-signature" = String, Header,
         description = "`v1,` and the HMAC-SHA256 of id, timestamp and body, joined by dots, in base64; two with a space \
                        between them while a secret is changed."),
        ("traceparent" = Option<String>, Header, description = "W3C trace context of the submission."),
    ),
    request_body = JobMessage,
    responses(
        (status = "2XX", description = "The message is taken."),
        (status = 410, description = "No more messages are wanted: the webhook is disabled."),
    )
)]
fn job_told() {}

/// A message to test with.
///
/// Sent when `POST /v1/webhooks/{id}/test` asks for it, with the headers of every message.
#[utoipa::path(
    post,
    path = "test",
    operation_id = "webhook_tested",
    tag = "webhooks",
    request_body = TestMessage,
    responses((status = "2XX", description = "The message is taken."))
)]
fn webhook_tested() {}

#[derive(OpenApi)]
#[openapi(paths(job_told, webhook_tested))]
struct Messages;

/// Adds the messages to `document`.
pub(super) fn add(document: &mut Document) {
    let mut messages = Messages::openapi();
    let webhooks = std::mem::replace(&mut messages.paths, Paths::new());
    document.merge(messages);
    document.webhooks = Some(webhooks);
}
