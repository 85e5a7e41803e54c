//! Pictures that are sent for themselves, to be named by jobs.

use axum::body::Body;
use axum::extract::Request;
use darkroom_blobs::file_key;
use darkroom_jobs::{FileId, JobId, TenantId};
use darkroom_pictures::Format;
use darkroom_store::{File, NewFile};
use tokio::time::timeout;
use tower_http::timeout::TimeoutBody;

use super::Intake;
use super::form::{FormRules, Others};
use super::receive::{
    FORM, MAX_IMAGE_BYTES, Origin, ReceivedImage, SILENCE_TIMEOUT, UPLOAD_TIMEOUT, from_body, media_type,
    refuse_announced,
};
use crate::deadline::bounded;
use crate::{Error, ProblemField};

/// The form of a file.
const PARTS: FormRules = FormRules {
    images: &["file", "content", "image"],
    texts: &[],
    others: Others::Refused,
    key: |id| file_key(id),
    origin: Origin::File,
};
/// What a file may come as.
const MEDIA_TYPES: &str = "a picture as image/png, image/jpeg, image/webp or image/gif, or multipart/form-data with \
                           the part `file`";

/// A file that is kept.
#[derive(Debug)]
pub(crate) enum Kept {
    /// It was not there before.
    New(File),
    /// The tenant has sent the same bytes before.
    Known(File),
}

impl Intake {
    /// Stores a picture as a file of the tenant; `others` is what becomes of further parts of a form. A caller that
    /// goes away meanwhile does not interrupt it.
    pub(crate) async fn keep_file(
        &self,
        tenant: TenantId,
        request: Request,
        others: Others,
    ) -> Result<Kept, Error> {
        let (id, image) = self.receive_file(request, others).await?;
        if image.size_bytes == 0 {
            return Err(refused("empty", "the file is empty"));
        }
        let header = image.header?;
        let new = NewFile {
            id,
            tenant,
            sha256: image.sha256,
            content_type: header.format.content_type().to_owned(),
            size_bytes: image.size_bytes,
            width: header.width,
            height: header.height,
        };
        let intake = self.clone();
        self.whole(async move { intake.record_file(new, image).await }).await
    }

    async fn record_file(&self, new: NewFile, image: ReceivedImage) -> Result<Kept, Error> {
        let recorded = bounded(self.store.record_file(&new)).await;
        let kept = match &recorded {
            Ok(recorded) => recorded.as_ref().is_some_and(|file| file.id == new.id),
            // The database may have the row. An object without one is swept.
            Err(_) => true,
        };
        if let Some(staged) = image.staged.filter(|_| kept) {
            staged.keep();
        }
        let file = recorded?.ok_or(Error::TooManyFiles)?;
        Ok(if kept { Kept::New(file) } else { Kept::Known(file) })
    }

    /// Reads the body, as a form or a picture.
    async fn receive_file(&self, request: Request, others: Others) -> Result<(FileId, ReceivedImage), Error> {
        let media_type = media_type(request.headers());
        let (id, image) = if media_type == FORM {
            let form = self.read_form(request, &FormRules { others, ..PARTS }).await?;
            let missing = || refused("required", "send the picture as the part `file`");
            (form.id, form.image.ok_or_else(missing)?)
        } else if media_type.starts_with("image/") {
            let id = self.mint.job_id();
            (id, self.receive_picture(id, request.into_body()).await?)
        } else {
            return Err(Error::UnsupportedMediaType(MEDIA_TYPES));
        };
        Ok((FileId::from_uuid(id.as_uuid()), image))
    }

    /// Stores a body that is a picture.
    async fn receive_picture(&self, id: JobId, body: Body) -> Result<ReceivedImage, Error> {
        const MAX_BYTES: usize = MAX_IMAGE_BYTES as usize;
        let _place = self.place().await?;
        refuse_announced(&body, MAX_BYTES)?;
        let bytes = Body::new(TimeoutBody::new(SILENCE_TIMEOUT, body)).into_data_stream();
        let staging =
            self.stage_stream(file_key(id), bytes, Origin::File, |error| from_body(&error, MAX_BYTES));
        timeout(UPLOAD_TIMEOUT, staging).await.map_err(|_| Error::SlowBody)?
    }
}

fn refused(code: &str, detail: &str) -> Error {
    Error::Fields(vec![ProblemField::parameter("file", code, detail)])
}

impl ReceivedImage {
    /// A file as the picture of a job.
    pub(super) fn of_file(file: File) -> Result<Self, Error> {
        let format = Format::of_content_type(&file.content_type);
        let format = format.ok_or_else(|| Error::internal(format!("the file {} is no picture", file.id)))?;
        Ok(Self {
            staged: None,
            origin: Origin::File,
            file: Some(file.id),
            key: file_key(file.id),
            size_bytes: file.size_bytes,
            sha256: file.sha256,
            header: Ok(darkroom_pictures::ImageHeader { format, width: file.width, height: file.height }),
        })
    }
}
