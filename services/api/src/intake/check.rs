//! From what was received to a job that may be accepted.

use darkroom_jobs::{InputImage, Invalid, Submission};
use darkroom_store::NewJob;
use rust_decimal::Decimal;

use super::idempotency::request_hash;
use super::receive::{Origin, ReceivedImage};
use super::{IdempotencyKey, Intake, Received, Staged, Terms};
use crate::{Error, ProblemField};

/// Where errors about the picture point.
const IMAGE: &str = "/input/image";

impl Intake {
    /// Checks document and picture. Mistakes in the document come before those in the picture.
    pub(super) fn check(&self, terms: Terms, received: Received) -> Result<(NewJob, Option<Staged>), Error> {
        let Received { id, document, image, form, events, .. } = received;
        let parse = |image| self.parse(&document, image, self.mint.seed());
        let mut submission = match &image {
            Some(image) if image.size_bytes == 0 => return Err(empty(parse(None))),
            Some(image) => parse(Some(input_image(image))).map_err(Error::from)?,
            None => parse(None)?,
        };
        if let Some(Err(unusable)) = image.as_ref().map(|image| image.header) {
            return Err(unusable.into());
        }
        if let Some(webhook) = &mut submission.options.webhook {
            webhook.form = form;
            webhook.events = events.unwrap_or_else(|| std::mem::take(&mut webhook.events));
        }
        let (price, currency) = self.price(&submission)?;
        let model = self.catalog.of_lane(&submission.lane);
        let new = NewJob {
            id,
            tenant: terms.key.tenant,
            api_key: Some(terms.key.id),
            max_attempts: model.map_or(1, |model| model.retry.max_attempts),
            price,
            currency,
            idempotency_key: terms.idempotency_key.map(IdempotencyKey::into_string),
            request_hash: request_hash(&document, image.as_ref().and_then(ReceivedImage::sent_sha256)),
            traceparent: terms.traceparent,
            fingerprint: terms.fingerprint,
            submission,
            file: image.as_ref().and_then(|image| image.file),
        };
        Ok((new, image.and_then(|image| image.staged)))
    }

    /// What the job costs if it succeeds; nothing where the catalog names no price.
    fn price(&self, submission: &Submission) -> Result<(Decimal, String), Error> {
        let price = self.catalog.of_lane(&submission.lane).and_then(|model| model.price.as_ref());
        let Some(price) = price else { return Ok((Decimal::ZERO, "USD".to_owned())) };
        let amount = price.of(&submission.task);
        let amount = amount.ok_or_else(|| Error::internal("the price of a job cannot be represented"))?;
        Ok((amount, price.currency.clone()))
    }
}

impl ReceivedImage {
    /// The digest of a picture that is part of what the caller sent. One that is named is not: its URL or id is, and a
    /// repeated submission is the same whatever is there by then.
    fn sent_sha256(&self) -> Option<&[u8; 32]> {
        (self.origin == Origin::Sent).then_some(&self.sha256)
    }
}

/// The picture as a task has it. One that cannot be used stands in for a whole one while the document is
/// checked, and is refused after that.
fn input_image(image: &ReceivedImage) -> InputImage {
    let (content_type, width, height) = match image.header {
        Ok(header) => (header.format.content_type(), header.width, header.height),
        Err(_) => ("application/octet-stream", 1, 1),
    };
    InputImage {
        key: image.key.clone(),
        content_type: content_type.to_owned(),
        size_bytes: image.size_bytes,
        sha256: hex::encode(image.sha256),
        width,
        height,
    }
}

/// An empty picture is a field that was not filled in: it is named along with the others.
fn empty(parsed: Result<Submission, Invalid>) -> Error {
    let mut fields = match parsed {
        Ok(_) => Vec::new(),
        Err(Invalid::Fields(fields)) => fields.into_iter().map(ProblemField::from).collect(),
        Err(unknown_model) => return unknown_model.into(),
    };
    fields.retain(|field: &ProblemField| field.pointer.as_deref() != Some(IMAGE));
    fields.push(ProblemField::pointer(IMAGE, "empty", "the part `image` is empty"));
    Error::Fields(fields)
}
