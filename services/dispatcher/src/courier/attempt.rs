//! One attempt at a delivery. No transaction is open while the message is under way.

use std::time::Duration;

use darkroom_jobs::Event;
use darkroom_links::Links;
use darkroom_outbound::{Answer, Error, Message, Outbound};
use darkroom_store::{DeliveryAttempt, DueDelivery, Store, Verdict};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use tokio::time::{Instant, sleep};

use super::payload::payload;
use super::signature::sign;
use super::verdict::decide;

/// Times to write an attempt down, and the pause between two: otherwise the message is sent once more.
const RECORDINGS: u32 = 3;
const RECORDING_PAUSE: Duration = Duration::from_secs(1);

/// What attempts are made with.
#[derive(Debug)]
pub(crate) struct Post {
    pub(crate) store: Store,
    pub(crate) outbound: Outbound,
    /// None where the service does not know its own address.
    pub(crate) links: Option<Links>,
    /// For one attempt.
    pub(crate) timeout: Duration,
}

impl Post {
    /// Makes a claimed delivery and writes down what became of it.
    pub(super) async fn attempt(&self, due: &DueDelivery, jitter: f64) {
        let message = match self.message(due).await {
            Ok(Some(message)) => message,
            Ok(None) => return self.leave_untold(due).await,
            Err(error) => {
                // The delivery comes due again by itself.
                tracing::debug!(%error, delivery = %due.id, "failed to read what a message is about");
                return;
            }
        };
        let started = Instant::now();
        let outcome = self.outbound.post(&due.url, message).await;
        let duration = started.elapsed();
        let verdict = match decide(&outcome, due.failures + 1, jitter, due.claimed_at) {
            // What comes next tells more.
            Verdict::Again(_) if due.event == Event::JobProgress => Verdict::GivenUp,
            verdict => verdict,
        };
        measure(verdict, duration);
        let (status, error, response) = match outcome {
            Ok(Answer { status, excerpt, .. }) => (Some(status), None, Some(excerpt)),
            Err(error) => (None, Some(told(&error, self.timeout)), None),
        };
        tracing::debug!(delivery = %due.id, webhook = %due.webhook, status, error, ?verdict, "attempted a delivery");
        let attempt = DeliveryAttempt {
            delivery: due.id,
            started_at: due.claimed_at,
            duration,
            status,
            error,
            response,
        };
        self.record(due, &attempt, verdict).await;
    }

    /// What is to be sent; `None` when there is nothing left to tell.
    async fn message(&self, due: &DueDelivery) -> Result<Option<Message>, darkroom_store::Error> {
        let job = match due.job {
            Some(id) => self.store.job(due.tenant, id).await?,
            None => None,
        };
        Ok(payload(due, job.as_ref(), self.links.as_ref()).map(|body| {
            let body = body.to_string();
            Message { headers: headers(due, &body), body: body.into(), timeout: self.timeout }
        }))
    }

    async fn leave_untold(&self, due: &DueDelivery) {
        let attempt = DeliveryAttempt {
            delivery: due.id,
            started_at: due.claimed_at,
            duration: Duration::ZERO,
            status: None,
            error: Some("the job was deleted before this was told".to_owned()),
            response: None,
        };
        self.record(due, &attempt, Verdict::GivenUp).await;
    }

    async fn record(&self, due: &DueDelivery, attempt: &DeliveryAttempt, verdict: Verdict) {
        for recording in 1..=RECORDINGS {
            match self.store.record_delivery(attempt, verdict).await {
                Ok(None) => return,
                Ok(Some(reason)) => {
                    let reason = reason.as_str();
                    tracing::info!(webhook = %due.webhook, tenant = %due.tenant, reason, "disabled a webhook");
                    metrics::counter!("darkroom_webhooks_disabled_total", "reason" => reason).increment(1);
                    return;
                }
                Err(error) if recording == RECORDINGS => {
                    tracing::warn!(%error, delivery = %due.id, "failed to record a delivery, it is made again");
                }
                Err(_) => sleep(RECORDING_PAUSE).await,
            }
        }
    }
}

/// Headers by the Standard Webhooks specification, and the job's trace context.
fn headers(due: &DueDelivery, body: &str) -> HeaderMap {
    let (id, timestamp) = (due.id.to_string(), due.claimed_at.timestamp());
    let signature = sign(&due.secrets, &id, timestamp, body);
    let mut headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
    let further = [
        ("webhook-id", Some(id)),
        ("webhook-timestamp", Some(timestamp.to_string())),
        ("webhook-signature", Some(signature)),
        ("traceparent", due.traceparent.clone()),
    ];
    for (name, value) in further {
        if let Some(value) = value.and_then(|value| HeaderValue::try_from(value).ok()) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    headers
}

/// An error as the endpoint's owner reads it: what the other side did, and nothing about this one.
fn told(error: &Error, timeout: Duration) -> String {
    match error {
        Error::Timeout(_) => format!("no answer within {} seconds", timeout.as_secs()),
        error => error.to_string(),
    }
}

fn measure(verdict: Verdict, duration: Duration) {
    let outcome = match verdict {
        Verdict::Delivered => "delivered",
        Verdict::Again(_) => "again",
        Verdict::GivenUp => "given_up",
        Verdict::Gone => "gone",
    };
    metrics::counter!("darkroom_webhook_attempts_total", "outcome" => outcome).increment(1);
    metrics::histogram!("darkroom_webhook_attempt_seconds").record(duration);
}
