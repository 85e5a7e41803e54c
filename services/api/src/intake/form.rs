//! Forms: which parts one may have, and what is made of them.

use std::collections::BTreeMap;

use axum::extract::multipart::Field;
use axum::http::HeaderMap;
use darkroom_jobs::JobId;
use serde_json::Value;

use super::Received;
use super::document::MAX_DOCUMENT_BYTES;
use super::receive::{FORM, Origin, ReceivedImage, media_type, unreadable};
use crate::{Error, ProblemField};

/// The parts of a form.
#[derive(Debug)]
pub(crate) struct FormRules {
    /// The picture: names that its part may have.
    pub(crate) images: &'static [&'static str],
    /// Texts, of a megabyte at most.
    pub(crate) texts: &'static [&'static str],
    /// Every other part, and one that comes again.
    pub(crate) others: Others,
    /// Where the picture is stored, by the id that the form gets.
    pub(crate) key: fn(JobId) -> String,
    /// What the picture is to its job.
    pub(crate) origin: Origin,
}

/// What becomes of parts that nobody asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Others {
    Refused,
    /// Of those that come again the first counts.
    Skipped,
}

/// What one part is.
pub(super) enum Role {
    Image,
    Text(&'static str),
    None,
}

/// A form that was read.
#[derive(Debug)]
pub(crate) struct Form {
    pub(super) id: JobId,
    pub(super) image: Option<ReceivedImage>,
    /// Texts by the names of their parts; with them a picture's part that came as a text.
    pub(crate) texts: BTreeMap<&'static str, String>,
}

/// Whether a request says that its body is a form.
pub(crate) fn is_form(headers: &HeaderMap) -> bool {
    media_type(headers) == FORM
}

impl FormRules {
    /// What `part` is to a form of which this much was read.
    pub(super) fn role(&self, part: &Field<'_>, read: &Form) -> Result<Role, Error> {
        let name = part.name().unwrap_or_default();
        let image = self.images.iter().find(|image| **image == name).filter(|_| read.image.is_none());
        if let Some(image) = image {
            // Where others' forms are read, a picture is what has a file name, as it is to them.
            let is_text = self.others == Others::Skipped && part.file_name().is_none_or(str::is_empty);
            return Ok(if is_text { Role::Text(image) } else { Role::Image });
        }
        match self.texts.iter().find(|text| **text == name && !read.texts.contains_key(*text)) {
            Some(text) => Ok(Role::Text(text)),
            None if self.others == Others::Skipped => Ok(Role::None),
            None => Err(Error::Fields(vec![self.unwanted(name)])),
        }
    }

    fn unwanted(&self, name: &str) -> ProblemField {
        let shown: String = name.chars().take(64).collect();
        if self.images.contains(&name) || self.texts.contains(&name) {
            return ProblemField::parameter(&shown, "repeated", "send this part once");
        }
        let known = [self.texts, self.images].concat().join(", ");
        ProblemField::parameter(&shown, "unknown", format!("unknown part: expected one of {known}"))
    }
}

impl Form {
    /// Whether the picture is there.
    pub(crate) fn has_image(&self) -> bool {
        self.image.is_some()
    }

    /// A submission of `document` with the form's picture.
    pub(crate) fn into_received(self, document: Value) -> Received {
        Received::with_image(self.id, document, self.image)
    }
}

/// Reads the part `name` as a text.
pub(super) async fn read_text(mut part: Field<'_>, name: &'static str) -> Result<String, Error> {
    let mut text = Vec::new();
    while let Some(bytes) = part.chunk().await.map_err(unreadable)? {
        text.extend_from_slice(&bytes);
        if text.len() > MAX_DOCUMENT_BYTES {
            return Err(Error::TooLarge { what: "a part of the form", max_bytes: MAX_DOCUMENT_BYTES as u64 });
        }
    }
    String::from_utf8(text).map_err(|_| Error::Malformed(format!("the part `{name}` is no UTF-8")))
}
