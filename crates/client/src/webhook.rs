//! Webhooks: being told when jobs end.

use chrono::{DateTime, Utc};
use reqwest::Method;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::transport::{Body, Call, Repeat};
use crate::{Client, Error};

/// An endpoint that is told when jobs end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Webhook {
    /// Its id.
    pub id: Uuid,
    /// Where messages are posted to.
    pub url: String,
    /// What it is for.
    pub description: String,
    /// What it is told, such as `job.succeeded`.
    pub events: Vec<String>,
    /// Whether anything is sent.
    pub enabled: bool,
    /// Why nothing is: `owner`, `gone` or `failing`.
    pub disabled_reason: Option<String>,
    /// Since when nothing is.
    pub disabled_at: Option<DateTime<Utc>>,
    /// First of the failures since the last success.
    pub failing_since: Option<DateTime<Utc>>,
    /// Until when the secret before the last rotation signs as well.
    pub previous_secret_until: Option<DateTime<Utc>>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it was last changed.
    pub updated_at: DateTime<Utc>,
    /// What its messages are signed with; only where it was just made or rotated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
}

/// What is to be set of a webhook. For a new one the URL has to be there; of one that is, what is `None` stays.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct WebhookSettings {
    /// Where messages are posted to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// What it is told; everything unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub events: Option<Vec<String>>,
    /// What it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Whether anything is sent; not for a new one, which is enabled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
}

/// An event on its way to an endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// Its id: the message's `webhook-id`.
    pub id: Uuid,
    /// What happened, such as `job.succeeded`.
    pub event: String,
    /// To which job; `None` for a test.
    pub job: Option<Uuid>,
    /// `pending`, `delivered` or `failed`.
    pub state: String,
    /// When it happened.
    pub created_at: DateTime<Utc>,
    /// When it is tried next.
    pub next_attempt_at: Option<DateTime<Utc>>,
    /// When it was taken or given up.
    pub finished_at: Option<DateTime<Utc>>,
    /// Attempts so far, in order.
    pub attempts: Vec<DeliveryAttempt>,
}

/// An attempt at a delivery.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliveryAttempt {
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// How long it took.
    pub duration_ms: u64,
    /// Status of the answer.
    pub status: Option<u16>,
    /// Why there was none.
    pub error: Option<String>,
    /// Beginning of the answer's body.
    pub response: Option<String>,
}

/// One page of deliveries, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliveryPage {
    /// The deliveries.
    pub deliveries: Vec<Delivery>,
    /// `cursor` of the next page.
    pub next_cursor: Option<String>,
}

/// Which deliveries to list.
#[derive(Debug, Clone, Default)]
pub struct DeliveryFilter {
    /// Only deliveries in this state: `pending`, `delivered` or `failed`.
    pub state: Option<String>,
    /// At most so many, 1 to 100.
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    pub cursor: Option<String>,
}

/// A job's own webhook.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobWebhook {
    /// Where messages are posted to.
    pub url: String,
    /// What is told, such as `job.succeeded`; of a submission, how the job ends unless given.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<String>,
}

/// What signs the messages that jobs ask for themselves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebhookSecret {
    /// The secret, by the Standard Webhooks specification.
    pub secret: String,
    /// Until when the secret before the last rotation signs as well.
    pub previous_secret_until: Option<DateTime<Utc>>,
}

#[derive(Deserialize)]
struct WebhookList {
    webhooks: Vec<Webhook>,
}

impl Client {
    /// Makes a webhook and returns it with its secret. The call is repeated when its answer is lost, so that there
    /// may be two.
    ///
    /// # Errors
    /// [`Error::Problem`] with every member that cannot be used, or code `too_many_webhooks`.
    pub async fn create_webhook(&self, settings: &WebhookSettings) -> Result<Webhook, Error> {
        self.webhook_call(Method::POST, "v1/webhooks", Some(settings)).await
    }

    /// Every webhook, oldest first.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn webhooks(&self) -> Result<Vec<Webhook>, Error> {
        let call = Call::new(Method::GET, self.url("v1/webhooks")?);
        let list: WebhookList = self.transport.json(&call).await?;
        Ok(list.webhooks)
    }

    /// A webhook.
    ///
    /// # Errors
    /// [`Error::Problem`] with code `not_found` when there is none.
    pub async fn webhook(&self, id: Uuid) -> Result<Webhook, Error> {
        self.webhook_call(Method::GET, &format!("v1/webhooks/{id}"), None).await
    }

    /// Changes a webhook, or enables or disables it.
    ///
    /// # Errors
    /// [`Error::Problem`] with every member that cannot be used, or code `not_found`.
    pub async fn update_webhook(&self, id: Uuid, settings: &WebhookSettings) -> Result<Webhook, Error> {
        self.webhook_call(Method::PATCH, &format!("v1/webhooks/{id}"), Some(settings)).await
    }

    /// Gives a webhook another secret; the one before signs as well for 24 hours. It is not repeated when its answer is
    /// lost: a second rotation would put away the secret that receivers have.
    ///
    /// # Errors
    /// [`Error::Problem`] with code `not_found` when there is none.
    pub async fn rotate_webhook_secret(&self, id: Uuid) -> Result<Webhook, Error> {
        let url = self.url(&format!("v1/webhooks/{id}/rotate-secret"))?;
        self.transport.json(&Call { repeat: Repeat::Unsent, ..Call::new(Method::POST, url) }).await
    }

    /// Deletes a webhook with its deliveries.
    ///
    /// # Errors
    /// [`Error::Problem`] with code `not_found`: also when an earlier try got through and its answer was lost.
    pub async fn delete_webhook(&self, id: Uuid) -> Result<(), Error> {
        let call = Call::new(Method::DELETE, self.url(&format!("v1/webhooks/{id}"))?);
        self.transport.send(&call).await.map(drop)
    }

    /// Sends a test message and returns its delivery, yet to be made.
    ///
    /// # Errors
    /// [`Error::Problem`] with code `webhook_disabled` or `not_found`.
    pub async fn test_webhook(&self, id: Uuid) -> Result<Delivery, Error> {
        self.transport.json(&Call::new(Method::POST, self.url(&format!("v1/webhooks/{id}/test"))?)).await
    }

    /// A page of what was sent to a webhook, newest first.
    ///
    /// # Errors
    /// [`Error::Problem`] when a filter cannot be used, or with code `not_found`.
    pub async fn deliveries(&self, webhook: Uuid, filter: &DeliveryFilter) -> Result<DeliveryPage, Error> {
        self.delivery_page(&format!("v1/webhooks/{webhook}/deliveries"), filter).await
    }

    /// A page of what was sent to a job's own webhook, newest first.
    ///
    /// # Errors
    /// [`Error::Problem`] when a filter cannot be used, or with code `not_found`.
    pub async fn job_deliveries(&self, job: Uuid, filter: &DeliveryFilter) -> Result<DeliveryPage, Error> {
        self.delivery_page(&format!("v1/jobs/{job}/deliveries"), filter).await
    }

    async fn delivery_page(&self, path: &str, filter: &DeliveryFilter) -> Result<DeliveryPage, Error> {
        let mut url = self.url(path)?;
        let limit = filter.limit.map(|limit| limit.to_string());
        let parameters = [("state", &filter.state), ("limit", &limit), ("cursor", &filter.cursor)];
        for (name, value) in parameters {
            if let Some(value) = value {
                url.query_pairs_mut().append_pair(name, value);
            }
        }
        self.transport.json(&Call::new(Method::GET, url)).await
    }

    /// Sends a message again, whatever became of it, and returns its delivery, yet to be made.
    ///
    /// # Errors
    /// [`Error::Problem`] with code `webhook_disabled` or `not_found`.
    pub async fn resend_delivery(&self, webhook: Uuid, delivery: Uuid) -> Result<Delivery, Error> {
        let url = self.url(&format!("v1/webhooks/{webhook}/deliveries/{delivery}/resend"))?;
        self.transport.json(&Call::new(Method::POST, url)).await
    }

    /// Sends a message to a job's own webhook again, whatever became of it, and returns its delivery, yet to be made.
    ///
    /// # Errors
    /// [`Error::Problem`] with code `not_found`.
    pub async fn resend_job_delivery(&self, job: Uuid, delivery: Uuid) -> Result<Delivery, Error> {
        let url = self.url(&format!("v1/jobs/{job}/deliveries/{delivery}/resend"))?;
        self.transport.json(&Call::new(Method::POST, url)).await
    }

    /// What signs the messages that jobs ask for themselves.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn job_webhook_secret(&self) -> Result<WebhookSecret, Error> {
        self.transport.json(&Call::new(Method::GET, self.url("v1/webhooks/secret")?)).await
    }

    /// Replaces what signs the messages that jobs ask for themselves; the secret before signs as well for 24 hours. It is
    /// not repeated when its answer is lost.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn rotate_job_webhook_secret(&self) -> Result<WebhookSecret, Error> {
        let url = self.url("v1/webhooks/secret/rotate")?;
        self.transport.json(&Call { repeat: Repeat::Unsent, ..Call::new(Method::POST, url) }).await
    }

    async fn webhook_call(
        &self,
        method: Method,
        path: &str,
        settings: Option<&WebhookSettings>,
    ) -> Result<Webhook, Error> {
        let mut call = Call::new(method, self.url(path)?);
        if let Some(settings) = settings {
            let document = serde_json::to_vec(settings);
            call.body = Body::Json(document.map_err(|error| Error::Settings(error.to_string()))?);
        }
        self.transport.json(&call).await
    }
}
