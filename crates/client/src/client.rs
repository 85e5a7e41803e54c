//! The calls.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use reqwest::Method;
use reqwest::header::{HeaderName, HeaderValue};
use secrecy::SecretString;
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::time::Instant;
use url::Url;
use uuid::Uuid;

use crate::transport::{Body, Call, Key, Transport};
use crate::{
    Artifact, CaptionRequest, Error, Job, JobPage, JobState, Model, ModelList, TextToImageRequest, Usage,
    UsageFilter,
};

/// Longest single hold: the service holds for at most 60 s.
const HOLD: Duration = Duration::from_secs(30);
/// Pause between two questions when the service did not hold the first.
const ASK_AGAIN: Duration = Duration::from_millis(200);

/// A Darkroom service and a key for it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Client {
    pub(crate) transport: Transport,
    base: Url,
}

/// Which jobs to list.
#[derive(Debug, Clone, Default)]
pub struct JobFilter {
    /// Only jobs in this state.
    pub state: Option<JobState>,
    /// Only jobs of this pipeline.
    pub pipeline: Option<String>,
    /// Only jobs of this model.
    pub model: Option<String>,
    /// Only jobs with all of these labels.
    pub metadata: BTreeMap<String, String>,
    /// At most so many, 1 to 100.
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    pub cursor: Option<String>,
}

impl Client {
    /// A client of the service at `base_url` (`http://` or `https://`, with the path it is mounted at).
    ///
    /// # Errors
    /// [`Error::Settings`] when the URL is none.
    pub fn new(base_url: &str, api_key: impl Into<SecretString>) -> Result<Self, Error> {
        Ok(Self { transport: Transport::new(api_key.into())?, base: self::base_url(base_url)? })
    }

    /// Submits a text-to-image job and returns it as accepted.
    ///
    /// # Errors
    /// [`Error::Problem`] with every field that cannot be used.
    pub async fn submit_text_to_image(&self, request: &TextToImageRequest) -> Result<Job, Error> {
        self.submit_document(&request.document(), request.options.idempotency_key.as_deref()).await
    }

    /// Submits a picture to be described and returns the job as accepted.
    ///
    /// # Errors
    /// [`Error::Problem`] when it is no supported image, among others.
    pub async fn caption(
        &self,
        image: impl Into<Bytes>,
        file_name: &str,
        request: &CaptionRequest,
    ) -> Result<Job, Error> {
        let document = serde_json::to_string(&request.document()).map_err(unwritable)?;
        let body = Body::Image { document, image: image.into(), file_name: file_name.to_owned() };
        self.post_job(body, request.options.idempotency_key.as_deref()).await
    }

    /// Submits a document as it is. Without a key one is made up, so that the call can be repeated.
    ///
    /// # Errors
    /// [`Error::Problem`] with every field that cannot be used.
    pub async fn submit(&self, document: &Value, idempotency_key: Option<&str>) -> Result<Job, Error> {
        self.submit_document(document, idempotency_key).await
    }

    /// Submits a picture that was sent before, or lies at a URL, to be described.
    ///
    /// # Errors
    /// [`Error::Problem`] when there is no such file, among others.
    pub async fn submit_caption(&self, request: &CaptionRequest) -> Result<Job, Error> {
        self.submit_document(&request.document(), request.options.idempotency_key.as_deref()).await
    }

    /// The job as it stands.
    ///
    /// # Errors
    /// [`Error::Problem`] with code `not_found` when there is none.
    pub async fn job(&self, id: Uuid) -> Result<Job, Error> {
        self.job_within(id, Duration::ZERO).await
    }

    /// The job as soon as it is final, or as it stands after `hold`, which counts in whole seconds, at most 60.
    ///
    /// # Errors
    /// [`Error::Problem`] with code `not_found` when there is none.
    pub async fn job_within(&self, id: Uuid, hold: Duration) -> Result<Job, Error> {
        let mut call = Call::new(Method::GET, self.url(&format!("v1/jobs/{id}"))?);
        let seconds = hold.as_secs();
        if seconds > 0 {
            call.headers.push(header("prefer", &format!("wait={seconds}"))?);
        }
        self.transport.json(&call).await
    }

    /// Waits until the job is final, whatever the end.
    ///
    /// # Errors
    /// [`Error::TimedOut`] when it is not final within `timeout`.
    pub async fn wait(&self, id: Uuid, timeout: Duration) -> Result<Job, Error> {
        let started = Instant::now();
        loop {
            let left = timeout.saturating_sub(started.elapsed());
            let job = self.job_within(id, left.min(HOLD)).await?;
            if job.state.is_final() {
                return Ok(job);
            }
            if left.is_zero() {
                return Err(Error::TimedOut { id, state: job.state, waited: started.elapsed() });
            }
            tokio::time::sleep(ASK_AGAIN.min(left)).await;
        }
    }

    /// A page of jobs, newest first.
    ///
    /// # Errors
    /// [`Error::Problem`] when a filter cannot be used.
    pub async fn jobs(&self, filter: &JobFilter) -> Result<JobPage, Error> {
        let mut url = self.url("v1/jobs")?;
        let limit = filter.limit.map(|limit| limit.to_string());
        let parameters = [
            ("state", filter.state.map(JobState::as_str)),
            ("pipeline", filter.pipeline.as_deref()),
            ("model", filter.model.as_deref()),
            ("limit", limit.as_deref()),
            ("cursor", filter.cursor.as_deref()),
        ];
        for (name, value) in parameters {
            if let Some(value) = value {
                url.query_pairs_mut().append_pair(name, value);
            }
        }
        for (label, value) in &filter.metadata {
            url.query_pairs_mut().append_pair(&format!("metadata[{label}]"), value);
        }
        self.transport.json(&Call::new(Method::GET, url)).await
    }

    /// Cancels a job; canceling it again changes nothing.
    ///
    /// # Errors
    /// [`Error::Problem`] with code `job_already_final` when it ended otherwise before.
    pub async fn cancel(&self, id: Uuid) -> Result<Job, Error> {
        self.transport.json(&Call::new(Method::POST, self.url(&format!("v1/jobs/{id}/cancel"))?)).await
    }

    /// Deletes a final job and its results.
    ///
    /// # Errors
    /// [`Error::Problem`] with code `job_not_final`, or `not_found`: also when an earlier try got through and
    /// its answer was lost.
    pub async fn delete(&self, id: Uuid) -> Result<(), Error> {
        let call = Call::new(Method::DELETE, self.url(&format!("v1/jobs/{id}"))?);
        self.transport.send(&call).await.map(drop)
    }

    /// The models the service offers.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn models(&self) -> Result<Vec<Model>, Error> {
        let list: ModelList = self.transport.json(&Call::new(Method::GET, self.url("v1/models")?)).await?;
        Ok(list.models)
    }

    /// Fetches a result by its URL. The key is not sent along.
    ///
    /// # Errors
    /// [`Error::Problem`] with code `not_found` once the job is deleted or past its retention.
    pub async fn fetch(&self, url: &str) -> Result<Bytes, Error> {
        let url = Url::parse(url).map_err(|_| Error::Settings("the result's URL is none".to_owned()))?;
        let call = Call { key: Key::Withheld, ..Call::new(Method::GET, url) };
        Ok(self.transport.send(&call).await?.bytes().await?)
    }

    /// Fetches a result and compares it with what the job says of it.
    ///
    /// # Errors
    /// [`Error::Damaged`] when size or SHA-256 differ; otherwise as [`Self::fetch`].
    pub async fn fetch_artifact(&self, artifact: &Artifact) -> Result<Bytes, Error> {
        let bytes = self.fetch(&artifact.url).await?;
        let intact = bytes.len() as u64 == artifact.size_bytes
            && hex::encode(Sha256::digest(&bytes)) == artifact.sha256;
        if intact { Ok(bytes) } else { Err(Error::Damaged { id: artifact.id, size_bytes: bytes.len() }) }
    }

    /// What was used and what it cost, by day.
    ///
    /// # Errors
    /// [`Error::Problem`] when these are no days that can be reported on together.
    pub async fn usage(&self, filter: &UsageFilter) -> Result<Usage, Error> {
        let mut url = self.url("v1/usage")?;
        for (name, date) in [("from", filter.from), ("to", filter.to)] {
            if let Some(date) = date {
                url.query_pairs_mut().append_pair(name, &date.to_string());
            }
        }
        self.transport.json(&Call::new(Method::GET, url)).await
    }

    async fn submit_document(&self, document: &impl Serialize, key: Option<&str>) -> Result<Job, Error> {
        let body = Body::Json(serde_json::to_vec(document).map_err(unwritable)?);
        self.post_job(body, key).await
    }

    async fn post_job(&self, body: Body, idempotency_key: Option<&str>) -> Result<Job, Error> {
        let key = idempotency_key.map_or_else(|| Uuid::now_v7().to_string(), str::to_owned);
        let mut call = Call::new(Method::POST, self.url("v1/jobs")?);
        call.headers.push(header("idempotency-key", &key)?);
        call.body = body;
        self.transport.json(&call).await
    }

    pub(crate) fn url(&self, path: &str) -> Result<Url, Error> {
        self.base.join(path).map_err(|_| Error::Settings(format!("`{path}` is no path")))
    }
}

/// The URL at which a service is mounted, with a slash at its end.
pub(crate) fn base_url(text: &str) -> Result<Url, Error> {
    let invalid = || Error::Settings(format!("`{text}` is no http or https URL"));
    let mut base = Url::parse(text).map_err(|_| invalid())?;
    if !matches!(base.scheme(), "http" | "https") || base.cannot_be_a_base() {
        return Err(invalid());
    }
    if !base.path().ends_with('/') {
        let path = format!("{}/", base.path());
        base.set_path(&path);
    }
    Ok(base)
}

pub(crate) fn header(name: &'static str, value: &str) -> Result<(HeaderName, HeaderValue), Error> {
    let value = HeaderValue::from_str(value)
        .map_err(|_| Error::Settings(format!("the {name} is not visible ASCII")))?;
    Ok((HeaderName::from_static(name), value))
}

pub(crate) fn unwritable(error: serde_json::Error) -> Error {
    Error::Settings(format!("the request is no JSON document: {error}"))
}
