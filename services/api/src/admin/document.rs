//! Documents that operators send.

use std::time::Duration;

use axum::body::to_bytes;
use axum::extract::{FromRequest, Request};
use axum::http::header::CONTENT_TYPE;
use darkroom_jobs::{FieldError, Fields};
use serde_json::Value;
use tokio::time::timeout;

use crate::Error;
use crate::name::parse_name;

const MAX_BYTES: usize = 64 * 1024;
const TIMEOUT: Duration = Duration::from_secs(10);
const MEDIA_TYPES: [&str; 2] = ["application/json", "application/merge-patch+json"];

/// A JSON document; no body at all counts as an empty object.
#[derive(Debug)]
pub(super) struct Document(Value);

impl Document {
    /// Reads the fields, and refuses the document with everything that is wrong with it: unknown fields, too.
    pub(super) fn read<T>(&self, read: impl FnOnce(&mut Fields<'_, '_>) -> T) -> Result<T, Error> {
        let mut errors: Vec<FieldError> = Vec::new();
        let mut fields = Fields::new(Some(&self.0), "", &mut errors);
        let value = read(&mut fields);
        fields.refuse_others();
        if errors.is_empty() { Ok(value) } else { Err(errors.into()) }
    }
}

impl<S: Send + Sync> FromRequest<S> for Document {
    type Rejection = Error;

    async fn from_request(request: Request, _: &S) -> Result<Self, Error> {
        let media_type = request.headers().get(CONTENT_TYPE).map(|value| {
            let value = value.to_str().unwrap_or_default();
            value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
        });
        let bytes = timeout(TIMEOUT, to_bytes(request.into_body(), MAX_BYTES)).await;
        let bytes = bytes.map_err(|_| Error::SlowBody)?;
        let bytes =
            bytes.map_err(|_| Error::TooLarge { what: "the document", max_bytes: MAX_BYTES as u64 })?;
        if bytes.is_empty() {
            return Ok(Self(Value::Null));
        }
        if !media_type.is_some_and(|media_type| MEDIA_TYPES.contains(&media_type.as_str())) {
            return Err(Error::UnsupportedMediaType("application/json"));
        }
        let document = serde_json::from_slice(&bytes);
        document.map(Self).map_err(|error| Error::Malformed(format!("not a JSON document: {error}")))
    }
}

/// The field `name`, which has to be a name.
pub(super) fn read_name(fields: &mut Fields<'_, '_>) -> String {
    fields.require("name", "expected a name of 1 to 100 characters");
    let name = fields.string("name").map(parse_name);
    name.and_then(|name| name.map_err(|detail| fields.error("name", "text", detail)).ok()).unwrap_or_default()
}
