//! What becomes of each document of a batch.

use std::time::Duration;

use darkroom_jobs::FileId;
use darkroom_store::NewBatch;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use super::super::fetch::IMAGE_URL;
use super::super::named::no_such_file;
use super::Checked;
use crate::problem::ItemProblem;
use crate::{Error, ProblemField};

/// More than a refusal names: a document of a megabyte has room for many thousands.
const MOST_FIELDS: usize = 1_000;
/// The most that are named of one document whose batch is accepted: its owner is told of a thousand, and they are kept.
const MOST_FIELDS_OF_ITEM: usize = 10;

/// What became of one document of a batch.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BatchItem {
    /// Which document, from 0.
    index: usize,
    /// Its job.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<Uuid>,
    /// Why it has none, in a batch with `partial`.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ItemProblem>,
}

/// What is wrong with a document, by place in it; an error of another kind is none of the document's.
pub(super) fn fields_of(error: Error) -> Result<Vec<ProblemField>, Error> {
    let field = |pointer: &str, code: &str| vec![ProblemField::pointer(pointer, code, error.to_string())];
    match &error {
        Error::UnknownModel { .. } => Ok(field("/model", "unknown_model")),
        Error::Image(unusable) => Ok(field(IMAGE_URL, unusable.code())),
        Error::TooLarge { .. } => Ok(field(IMAGE_URL, "too_large")),
        Error::Fields(_) => match error {
            Error::Fields(fields) => Ok(fields),
            error => Err(error),
        },
        _ => Err(error),
    }
}

/// The refusal of a batch for all that is wrong with its documents.
pub(super) fn all_fields<T>(checked: Vec<Result<T, Vec<ProblemField>>>) -> Error {
    let fields = checked.into_iter().enumerate().filter_map(|(index, it)| Some(placed(index, it.err()?)));
    Error::Fields(fields.flatten().take(MOST_FIELDS).collect())
}

/// What the owner of a batch is told of each document.
pub(super) fn items_of(checked: &[Checked]) -> Result<Value, Error> {
    let items = checked.iter().enumerate().map(|(index, it)| match it {
        Ok((job, _)) => BatchItem { index, id: Some(job.id.as_uuid()), error: None },
        Err(fields) => {
            let fields = fields.iter().take(MOST_FIELDS_OF_ITEM).cloned();
            let error = Error::Fields(placed(index, fields.collect()));
            BatchItem { index, id: None, error: Some(ItemProblem::new(&error)) }
        }
    });
    serde_json::to_value(items.collect::<Vec<_>>()).map_err(|error| Error::internal(error.to_string()))
}

/// The refusal of a batch whose files went while it was checked.
pub(super) fn files_gone(batch: &NewBatch, gone: &[FileId]) -> Error {
    let lost = |id: Uuid| {
        batch
            .jobs
            .iter()
            .any(|job| job.id.as_uuid() == id && job.file.is_some_and(|file| gone.contains(&file)))
    };
    let items = batch.items.as_array().into_iter().flatten().enumerate();
    let lost = items
        .filter(|(_, item)| item["id"].as_str().and_then(|id| Uuid::try_parse(id).ok()).is_some_and(lost));
    let fields = lost.filter_map(|(index, _)| Some(placed(index, fields_of(no_such_file()).ok()?)));
    Error::Fields(fields.flatten().collect())
}

/// The refusal of a batch whose pictures are not fetched in time.
pub(super) fn too_slow(bound: Duration) -> Error {
    let seconds = bound.as_secs();
    let detail = format!("the pictures cannot all be fetched within {seconds} seconds: send fewer at once");
    Error::Fields(vec![ProblemField::pointer("/jobs", "fetch", detail)])
}

/// Fields of a document as fields of the batch.
fn placed(index: usize, mut fields: Vec<ProblemField>) -> Vec<ProblemField> {
    for field in &mut fields {
        field.pointer = Some(format!("/jobs/{index}{}", field.pointer.as_deref().unwrap_or_default()));
    }
    fields
}
