//! The webhook that a document names.

use darkroom_jobs::{
    FieldError, InputImage, Invalid, JobWebhook, Submission, parse_submission, parse_webhook,
};
use darkroom_outbound::{MAX_URL_BYTES, Refusal};
use serde_json::Value;
use url::Url;

use super::Intake;

impl Intake {
    /// Checks a document, and whether its webhook may be called as far as that can be said without asking anybody.
    pub(super) fn parse(
        &self,
        document: &Value,
        image: Option<InputImage>,
        seed: u32,
    ) -> Result<Submission, Invalid> {
        let mut parsed = parse_submission(&self.catalog, document, image, seed);
        let Some((pointer, text)) = webhook_url(document) else { return parsed };
        match (&mut parsed, self.callable(text)) {
            (Ok(submission), Ok(url)) => {
                submission
                    .options
                    .webhook
                    .iter_mut()
                    .for_each(|webhook| webhook.url = url.as_str().to_owned());
            }
            (Ok(_), Err(refusal)) => return Err(Invalid::Fields(vec![refused(pointer, refusal)])),
            (Err(Invalid::Fields(fields)), Err(refusal)) => fields.push(refused(pointer, refusal)),
            (Err(_), _) => {}
        }
        parsed
    }

    /// The webhook of a document's jobs that name none themselves, with the same checks.
    pub(super) fn default_webhook(&self, document: &Value) -> Result<Option<JobWebhook>, Vec<FieldError>> {
        let Some(value) = document.get("webhook").filter(|value| !value.is_null()) else { return Ok(None) };
        let mut parsed = parse_webhook(value);
        if let Some((pointer, text)) = webhook_url(document) {
            match (self.callable(text), &mut parsed) {
                (Ok(url), Ok(webhook)) => webhook.url = url.into(),
                (Err(refusal), Ok(_)) => return Err(vec![refused(pointer, refusal)]),
                (Err(refusal), Err(fields)) => fields.push(refused(pointer, refusal)),
                (Ok(_), Err(_)) => {}
            }
        }
        parsed.map(Some)
    }

    /// The URL as it is called, which may be longer than it was sent.
    fn callable(&self, text: &str) -> Result<Url, Refusal> {
        let url = self.outbound.guard().check_url(text)?;
        if url.as_str().len() > MAX_URL_BYTES { Err(Refusal::TooLong) } else { Ok(url) }
    }
}

/// The URL and where it stands.
fn webhook_url(document: &Value) -> Option<(&'static str, &str)> {
    let webhook = document.get("webhook")?;
    match webhook.as_str() {
        Some(url) => Some(("/webhook", url)),
        None => Some(("/webhook/url", webhook.get("url")?.as_str()?)),
    }
}

fn refused(pointer: &str, refusal: Refusal) -> FieldError {
    FieldError { pointer: pointer.to_owned(), code: refusal.code(), detail: refusal.to_string() }
}
