//! What would become of a submission.

use bytes::Bytes;
use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::client::unwritable;
use crate::transport::{Body, Call};
use crate::{Client, Error, Money, QueuePlace};

/// A submission that would be accepted now, and was not.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DryRun {
    /// Always true.
    pub dry_run: bool,
    /// `text-to-image` or `image-to-text`.
    pub pipeline: String,
    /// Id of the model in the catalog.
    pub model: String,
    /// The parameters it would run with, every default filled in.
    pub input: Value,
    /// What it would cost if it succeeded; `None` where that goes by a picture at a URL, which is not fetched.
    pub price: Option<Money>,
    /// Where it would stand in the queue; `None` while that is not known.
    pub queue: Option<QueuePlace>,
    /// Why it could not start at the moment, as a queued job says it.
    pub blocked_reason: Option<String>,
}

impl Client {
    /// Checks a document as if it were submitted, and says what it would cost and how long it would wait.
    ///
    /// # Errors
    /// [`Error::Problem`] as for [`Self::submit`].
    pub async fn dry_run(&self, document: &Value) -> Result<DryRun, Error> {
        self.try_out(Body::Json(serde_json::to_vec(document).map_err(unwritable)?)).await
    }

    /// The same for a document with a picture to be described.
    ///
    /// # Errors
    /// [`Error::Problem`] as for [`Self::caption`].
    pub async fn dry_run_with_image(
        &self,
        document: &Value,
        image: impl Into<Bytes>,
        file_name: &str,
    ) -> Result<DryRun, Error> {
        let document = serde_json::to_string(document).map_err(unwritable)?;
        self.try_out(Body::Image { document, image: image.into(), file_name: file_name.to_owned() }).await
    }

    async fn try_out(&self, body: Body) -> Result<DryRun, Error> {
        let mut url = self.url("v1/jobs")?;
        url.query_pairs_mut().append_pair("dry_run", "true");
        self.transport.json(&Call { body, ..Call::new(Method::POST, url) }).await
    }
}
