//! Taking many jobs in at once: each is checked like one that comes alone, and all are accepted in one transaction.

mod document;
mod item;

use std::collections::HashMap;
use std::time::Duration;

use axum::extract::Request;
use darkroom_jobs::{BatchId, FileId, TenantId};
use darkroom_store::{AcceptedBatch as Outcome, Batch, File, Idempotency, NewBatch, NewJob};
use futures_util::{StreamExt, TryStreamExt, stream};
use serde_json::Value;
use tokio::task::yield_now;
use tokio::time::timeout;

use super::document::Document;
use super::idempotency::request_hash;
use super::named::{Named, no_such_file};
use super::receive::{JSON, ReceivedImage, media_type};
use super::{IdempotencyKey, Intake, Received, Replayed, Staged, Terms};
use crate::auth::TenantKey;
use crate::deadline::bounded;
use crate::{Error, ProblemField};
use document::{Missteps, read};
pub(crate) use item::BatchItem;
use item::{all_fields, fields_of, items_of};

/// Documents whose pictures are fetched at once, fewer than the places there are: others fetch as well.
const AT_ONCE: usize = 8;
/// How long the pictures of a batch may take.
const PICTURES_TIMEOUT: Duration = Duration::from_secs(300);

/// A batch that is accepted.
#[derive(Debug)]
pub(crate) struct AcceptedJobs {
    pub(crate) batch: Batch,
    /// What became of each document.
    pub(crate) items: Value,
    pub(crate) replayed: Option<Replayed>,
}

/// A document that became a job, or what is wrong with it.
type Checked = Result<(NewJob, Option<Staged>), Vec<ProblemField>>;

impl Intake {
    /// Reads the body of a batch.
    pub(crate) async fn receive_batch(&self, tenant: TenantId, request: Request) -> Result<Document, Error> {
        if media_type(request.headers()) != JSON {
            return Err(Error::UnsupportedMediaType(JSON));
        }
        self.read_document(tenant, request).await
    }

    /// Checks and accepts a batch. A caller that goes away meanwhile does not interrupt it once everything is checked.
    pub(crate) async fn accept_batch(&self, terms: Terms, body: Document) -> Result<AcceptedJobs, Error> {
        let (whole, _place) = body.into_json()?;
        let request_hash = request_hash(&whole, None);
        let key = terms.idempotency_key.as_ref().map(IdempotencyKey::as_str);
        if let Some(replayed) = self.replay_batch(terms.key.tenant, key, &request_hash).await? {
            return Ok(replayed);
        }
        let (webhook, errors) = match self.default_webhook(&whole) {
            Ok(webhook) => (webhook, Vec::new()),
            Err(fields) => (None, fields.into_iter().map(ProblemField::from).collect()),
        };
        let (documents, missteps) = read(whole, errors)?;
        let received = documents.into_iter().map(|it| Received::with_image(self.mint.job_id(), it, None));
        let checked = self.check_all(&terms, received.collect(), missteps).await?;
        let failed = |it: &Checked| it.is_err();
        if checked.iter().all(failed) || (missteps == Missteps::Refuse && checked.iter().any(failed)) {
            return Err(all_fields(checked));
        }
        let items = items_of(&checked)?;
        let (mut jobs, staged): (Vec<NewJob>, Vec<Option<Staged>>) =
            checked.into_iter().filter_map(Result::ok).unzip();
        for job in &mut jobs {
            let own = &mut job.submission.options.webhook;
            *own = own.take().or_else(|| webhook.clone());
        }
        let new = NewBatch {
            id: BatchId::from_uuid(self.mint.uuid()),
            tenant: terms.key.tenant,
            jobs,
            items,
            idempotency_key: terms.idempotency_key.map(IdempotencyKey::into_string),
            request_hash,
        };
        let (intake, key) = (self.clone(), terms.key);
        let staged = staged.into_iter().flatten().collect();
        self.whole(async move { intake.store_batch(key, new, staged).await }).await
    }

    /// Every document by itself, in their order. Where mistakes refuse the batch, those that show without a look
    /// elsewhere call nobody.
    async fn check_all(
        &self,
        terms: &Terms,
        received: Vec<Received>,
        missteps: Missteps,
    ) -> Result<Vec<Checked>, Error> {
        let mut documents = Vec::new();
        for received in received {
            // A thousand of them take longer than others should wait for this thread.
            yield_now().await;
            documents.push(match self.check_document(&received) {
                Ok(()) => Ok(received),
                Err(error) => Err(fields_of(error)?),
            });
        }
        if missteps == Missteps::Refuse && documents.iter().any(Result::is_err) {
            return Err(all_fields(documents));
        }
        let files = self.files_of(terms, &documents).await?;
        let terms = Terms { idempotency_key: None, ..terms.clone() };
        let checking = stream::iter(documents).map(|document| {
            let (terms, files) = (terms.clone(), &files);
            async move {
                match document {
                    Err(fields) => Ok(Err(fields)),
                    Ok(received) => match self.check_item(terms, received, files).await {
                        Ok(job) => Ok(Ok(job)),
                        Err(error) => Ok::<Checked, Error>(Err(fields_of(error)?)),
                    },
                }
            }
        });
        let checked = timeout(PICTURES_TIMEOUT, checking.buffered(AT_ONCE).try_collect::<Vec<_>>()).await;
        checked.map_err(|_| item::too_slow(PICTURES_TIMEOUT))?
    }

    /// What can be said of a document without its picture.
    fn check_document(&self, received: &Received) -> Result<(), Error> {
        match received.named()? {
            Some(_) => self.check_around_picture(&received.document),
            None => {
                self.parse(&received.document, None, 0)?;
                Ok(())
            }
        }
    }

    /// The files that documents name.
    async fn files_of<E>(
        &self,
        terms: &Terms,
        documents: &[Result<Received, E>],
    ) -> Result<HashMap<FileId, File>, Error> {
        let named = documents.iter().flatten().filter_map(|received| match received.named() {
            Ok(Some(Named::File(id))) => id.parse().ok(),
            _ => None,
        });
        let ids: Vec<FileId> = named.collect();
        if ids.is_empty() {
            return Ok(HashMap::new());
        }
        let files = bounded(self.store.files(terms.key.tenant, &ids)).await?;
        Ok(files.into_iter().map(|file| (file.id, file)).collect())
    }

    async fn check_item(
        &self,
        terms: Terms,
        mut received: Received,
        files: &HashMap<FileId, File>,
    ) -> Result<(NewJob, Option<Staged>), Error> {
        yield_now().await;
        match received.named()? {
            Some(Named::Url(url)) => {
                // All of them have as long, waiting included.
                let fetched = self.fetch(terms.key.tenant, received.id, url, PICTURES_TIMEOUT).await?;
                received.image = Some(fetched);
            }
            Some(Named::File(id)) => {
                let file = id.parse().ok().and_then(|id: FileId| files.get(&id)).cloned();
                received.image = Some(ReceivedImage::of_file(file.ok_or_else(no_such_file)?)?);
            }
            None => {}
        }
        self.check(terms, received)
    }

    async fn store_batch(
        &self,
        key: TenantKey,
        new: NewBatch,
        staged: Vec<Staged>,
    ) -> Result<AcceptedJobs, Error> {
        if let Some(refusal) = self.admission.refusal(&key, &new.jobs).await {
            // What was accepted meanwhile is answered, however much waits now.
            let replayed =
                self.replay_batch(key.tenant, new.idempotency_key.as_deref(), &new.request_hash).await?;
            return replayed.ok_or_else(|| refusal.into());
        }
        match bounded(self.store.accept_batch(&new)).await {
            Ok(Outcome::Created(batch)) => {
                staged.into_iter().for_each(Staged::keep);
                for job in &new.jobs {
                    self.admission.accepted(job).await;
                }
                Ok(AcceptedJobs { batch, items: new.items, replayed: None })
            }
            Ok(Outcome::Replayed(batch, items)) => {
                Ok(AcceptedJobs { batch, items, replayed: Some(Replayed) })
            }
            Ok(Outcome::KeyReused) => Err(Error::KeyReused),
            Ok(Outcome::FilesGone(gone)) => Err(item::files_gone(&new, &gone)),
            Err(error) => {
                // Whether there is a batch is not known. Inputs without a job are swept.
                staged.into_iter().for_each(Staged::keep);
                Err(error)
            }
        }
    }

    /// The batch of an earlier submission with the same key.
    async fn replay_batch(
        &self,
        tenant: TenantId,
        key: Option<&str>,
        request_hash: &[u8; 32],
    ) -> Result<Option<AcceptedJobs>, Error> {
        let Some(key) = key else { return Ok(None) };
        let replay = self.store.replay_batch(tenant, Idempotency { key, request_hash });
        match bounded(replay).await? {
            Some(Outcome::Replayed(batch, items)) => {
                Ok(Some(AcceptedJobs { batch, items, replayed: Some(Replayed) }))
            }
            Some(Outcome::KeyReused) => Err(Error::KeyReused),
            Some(Outcome::Created(_) | Outcome::FilesGone(_)) | None => Ok(None),
        }
    }
}
