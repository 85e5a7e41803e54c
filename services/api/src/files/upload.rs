//! `POST /v1/files`.
#![expect(dead_code, reason = "the form's schema is only documentation")]

use axum::Json;
use axum::extract::{Request, State};
use axum::http::header::LOCATION;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use utoipa::ToSchema;

use super::FileView;
use crate::intake::{Intake, Kept, Others};
use crate::{Error, Submitter};

/// A picture in a form. The part may be called `content` or `image` as well.
#[derive(ToSchema)]
pub(crate) struct FileUpload {
    /// PNG, JPEG, WebP or GIF, whatever its name: at most 52,428,800 bytes, 16,384 pixels a side and 64
    /// megapixels.
    #[schema(value_type = String, format = Binary)]
    file: Vec<u8>,
}

/// A picture as the whole body.
#[derive(ToSchema)]
#[schema(value_type = String, format = Binary)]
pub(crate) struct FileBytes(Vec<u8>);

/// Store a picture that jobs can name.
///
/// As a form, or as the body itself. The same bytes again are the same file.
#[utoipa::path(
    post,
    path = "/v1/files",
    operation_id = "upload_file",
    tag = "files",
    request_body(
        description = "A picture of at most 52,428,800 bytes.",
        content((FileUpload = "multipart/form-data"), (FileBytes = "image/*"))
    ),
    responses(
        (status = 201, description = "It is stored.", body = FileView, headers(
            ("Location" = String, description = "The file.")
        )),
        (status = 200, description = "It was there before, and is kept for another 30 days.", body = FileView),
        (status = 400, description = "`malformed_body`, `unsupported_image` or `image_dimensions`."),
        (status = 409, description = "`too_many_files`: there are 10,000 already."),
        (status = 413, description = "The picture is too large."),
        (status = 415, description = "Neither a form nor a picture."),
        (status = 422, description = "The picture is missing or empty, or a part is unknown."),
    ),
    security(("key" = []))
)]
pub(crate) async fn upload(
    State(intake): State<Intake>,
    Submitter(key): Submitter,
    request: Request,
) -> Result<Response, Error> {
    let file = match intake.keep_file(key.tenant, request, Others::Refused).await? {
        Kept::Known(file) => return Ok(Json(FileView::from(file)).into_response()),
        Kept::New(file) => file,
    };
    let location = HeaderValue::try_from(format!("/v1/files/{}", file.id)).map_err(Error::internal)?;
    Ok((StatusCode::CREATED, [(LOCATION, location)], Json(FileView::from(file))).into_response())
}
