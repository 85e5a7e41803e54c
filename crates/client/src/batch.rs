//! Many jobs at once.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::client::{header, unwritable};
use crate::transport::{Body, Call, Silence};
use crate::{Client, Error, Job, JobWebhook};

/// What happens to a batch of which some documents cannot be accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missteps {
    /// None of it is.
    RefuseAll,
    /// The others are.
    AcceptOthers,
}

/// A batch as it was accepted, or as it stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Batch {
    /// Its id.
    pub id: Uuid,
    /// How many of its jobs are in each state, and `total`.
    pub counts: BTreeMap<String, u64>,
    /// When it was accepted.
    pub created_at: DateTime<Utc>,
}

/// A batch that was accepted, with what became of each document.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct AcceptedBatch {
    /// The batch.
    #[serde(flatten)]
    pub batch: Batch,
    /// What became of each document, in their order.
    pub jobs: Vec<BatchItem>,
}

/// What became of one document.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct BatchItem {
    /// Which one, from 0.
    pub index: u32,
    /// Its job.
    pub id: Option<Uuid>,
    /// Why there is none: a problem document.
    pub error: Option<Value>,
}

/// A page of a batch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BatchPage {
    /// The batch.
    #[serde(flatten)]
    pub batch: Batch,
    /// Some of its jobs, the last document's first.
    pub jobs: Vec<Job>,
    /// `cursor` of the next page.
    pub next_cursor: Option<String>,
}

impl Client {
    /// Submits up to 1,000 documents at once, with a webhook for those that name none themselves. Without a key one is
    /// made up, so that the call can be repeated.
    ///
    /// # Errors
    /// [`Error::Problem`] with every field that cannot be used.
    pub async fn submit_batch(
        &self,
        documents: &[Value],
        webhook: Option<&JobWebhook>,
        missteps: Missteps,
        idempotency_key: Option<&str>,
    ) -> Result<AcceptedBatch, Error> {
        let partial = missteps == Missteps::AcceptOthers;
        let document = json!({"jobs": documents, "webhook": webhook, "partial": partial});
        let key = idempotency_key.map_or_else(|| Uuid::now_v7().to_string(), str::to_owned);
        let mut call = Call::new(Method::POST, self.url("v1/batches")?);
        call.silence = Silence::WhileFetching;
        call.headers.push(header("idempotency-key", &key)?);
        call.body = Body::Json(serde_json::to_vec(&document).map_err(unwritable)?);
        self.transport.json(&call).await
    }

    /// A batch and a page of at most `limit` of its jobs, 1 to 100.
    ///
    /// # Errors
    /// [`Error::Problem`] with code `not_found` when there is none.
    pub async fn batch(&self, id: Uuid, limit: u32, cursor: Option<&str>) -> Result<BatchPage, Error> {
        let mut url = self.url(&format!("v1/batches/{id}"))?;
        url.query_pairs_mut().append_pair("limit", &limit.to_string());
        if let Some(cursor) = cursor {
            url.query_pairs_mut().append_pair("cursor", cursor);
        }
        self.transport.json(&Call::new(Method::GET, url)).await
    }

    /// Cancels the jobs of a batch that are not final.
    ///
    /// # Errors
    /// [`Error::Problem`] with code `not_found` when there is none.
    pub async fn cancel_batch(&self, id: Uuid) -> Result<Batch, Error> {
        let url = self.url(&format!("v1/batches/{id}/cancel"))?;
        self.transport.json(&Call::new(Method::POST, url)).await
    }
}
