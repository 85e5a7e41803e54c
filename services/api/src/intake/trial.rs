//! Dry runs: everything that a submission is checked for, and nothing of it stored.

use darkroom_pictures::{Format, ImageHeader};
use darkroom_store::NewJob;

use super::fetch::IMAGE_URL;
use super::named::Named;
use super::receive::{Origin, ReceivedImage};
use super::{IdempotencyKey, Intake, Received, Terms, data_uri};
use crate::{Error, ProblemField};

/// A job that would have been accepted.
#[derive(Debug)]
pub(crate) struct Trial {
    pub(crate) job: NewJob,
    pub(crate) picture: Picture,
}

/// Whether the picture of a job was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Picture {
    /// It was, or there is none.
    Seen,
    /// It lies at a URL, which nobody was asked for.
    Unseen,
}

impl Intake {
    /// Checks what was received, and whether it would be accepted now. The picture that came along is deleted again.
    pub(crate) async fn try_out(&self, terms: Terms, mut received: Received) -> Result<Trial, Error> {
        let mut picture = Picture::Seen;
        if let Some(named) = received.named()? {
            received.image = Some(match named {
                Named::Url(url) if data_uri::data_of(url).is_none() => {
                    picture = Picture::Unseen;
                    self.not_fetched(&received, url)?
                }
                named => self.obtain(terms.key.tenant, &received, named).await?,
            });
        }
        let key = terms.key;
        let idempotency_key = terms.idempotency_key.clone();
        // What is staged goes at the end of this function.
        let (job, _staged) = self.check(terms, received)?;
        let idempotency_key = idempotency_key.as_ref().map(IdempotencyKey::as_str);
        // A repetition would be answered whatever the limits say.
        if self.replay(key.tenant, idempotency_key, &job.request_hash).await?.is_none()
            && let Some(refusal) = self.admission.decide(&key, std::slice::from_ref(&job)).await
        {
            return Err(refusal.into());
        }
        Ok(Trial { job, picture })
    }

    /// Stands in for a picture at a URL that may be called.
    fn not_fetched(&self, received: &Received, url: &str) -> Result<ReceivedImage, Error> {
        // Mistakes elsewhere in the document come first, as when the picture is fetched.
        self.check_around_picture(&received.document)?;
        self.outbound.guard().check_url(url).map_err(|refusal| {
            Error::Fields(vec![ProblemField::pointer(IMAGE_URL, refusal.code(), refusal.to_string())])
        })?;
        Ok(ReceivedImage {
            staged: None,
            origin: Origin::Fetched,
            file: None,
            key: String::new(),
            size_bytes: 1,
            sha256: [0; 32],
            header: Ok(ImageHeader { format: Format::Png, width: 1, height: 1 }),
        })
    }
}
