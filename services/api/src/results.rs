//! `GET /r/{artifact}.{ext}`: results, for whoever has their URL.

mod range;

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE,
    CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, LOCATION, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use darkroom_blobs::{Blobs, ByteRange, Download, Presign};
use darkroom_jobs::ArtifactId;
use darkroom_links::ResultName;
use darkroom_store::{ArtifactObject, Store};
use url::form_urlencoded;

use crate::deadline::bounded;
use crate::etag::{self, NoneMatch};
use crate::{Error, Links};
use range::Wanted;

/// How long a presigned URL works.
const PRESIGNED_FOR: Duration = Duration::from_secs(900);
/// A redirect is kept for less than the URL in it works.
const REDIRECT_CACHE: &str = "private, max-age=600";
/// Results never change; they end with their job, so nobody keeps them for long.
const RESULT_CACHE: &str = "private, max-age=3600, immutable";
/// A result is shown, never run, whatever is in it.
const POLICY: &str = "default-src 'none'; sandbox";

/// The results in store and storage.
#[derive(Debug, Clone)]
pub(crate) struct Results {
    pub(crate) store: Store,
    pub(crate) blobs: Blobs,
    pub(crate) links: Arc<Links>,
}

/// Fetch a result.
///
/// The URL stands in the job's `artifacts` and needs no key. It works until the job is deleted or past its
/// retention.
#[utoipa::path(
    get,
    path = "/r/{file}",
    operation_id = "fetch_result",
    tag = "results",
    params(
        ("file" = String, Path, description = "`{artifact}.{extension}`."),
        ("sig" = String, Query, description = "The signature."),
        ("Range" = Option<String>, Header, description = "One range of bytes."),
        ("If-None-Match" = Option<String>, Header, description = "`ETag` of an earlier answer."),
    ),
    responses(
        (status = 200, description = "The result.", content_type = "application/octet-stream", headers(
            ("ETag" = String, description = "SHA-256 of the result.")
        )),
        (status = 206, description = "The range of it.", content_type = "application/octet-stream"),
        (status = 302, description = "Where the result is, where storage is reachable for callers."),
        (status = 304, description = "The caller has it already."),
        (status = 404, description = "No such result, or another signature."),
        (status = 416, description = "No byte of the result is in the range."),
    )
)]
pub(crate) async fn fetch(
    State(results): State<Results>,
    method: Method,
    path: Result<Path<String>, axum::extract::rejection::PathRejection>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Error> {
    let asked = Asked::of(&results, path.ok(), query.as_deref()).await?;
    if method == Method::GET
        && !asked.known_to(&headers)
        && let Some(redirect) = results.redirect(&asked).await?
    {
        return Ok(redirect);
    }
    results.answer(&asked, &method, &headers).await
}

/// A result that was asked for by a URL which this service gave out.
#[derive(Debug)]
pub(crate) struct Asked {
    name: ResultName,
    object: ArtifactObject,
    tag: String,
}

impl Asked {
    /// The result at the end of a path, if its signature is right.
    pub(crate) async fn of(
        results: &Results,
        path: Option<Path<String>>,
        query: Option<&str>,
    ) -> Result<Self, Error> {
        let name = path.and_then(|Path(file)| ResultName::parse(&file));
        let name = name.filter(|name| results.links.verify(*name, &signature(query)));
        let name = name.ok_or(Error::NotFound("result"))?;
        let object = bounded(results.store.artifact_object(name.artifact)).await?;
        let object = object.ok_or(Error::NotFound("result"))?;
        let tag = etag::of_digest(&object.sha256);
        Ok(Self { name, object, tag })
    }

    fn known_to(&self, headers: &HeaderMap) -> bool {
        NoneMatch::from_headers(headers).is_some_and(|have| have.matches(&self.tag))
    }
}

impl Results {
    /// The result itself, or what is said of it without.
    pub(crate) async fn answer(
        &self,
        asked: &Asked,
        method: &Method,
        headers: &HeaderMap,
    ) -> Result<Response, Error> {
        let Asked { name, object, tag } = asked;
        if asked.known_to(headers) {
            return Ok((StatusCode::NOT_MODIFIED, about(object, *name)?).into_response());
        }
        if *method == Method::HEAD {
            let mut about = about(object, *name)?;
            about.insert(CONTENT_LENGTH, object.size_bytes.into());
            return Ok(about.into_response());
        }
        let wanted = Wanted::from_headers(headers, tag, object.size_bytes)?;
        self.stream(object, *name, wanted).await
    }

    async fn redirect(&self, asked: &Asked) -> Result<Option<Response>, Error> {
        let Asked { name, object, .. } = asked;
        let disposition = disposition(*name);
        let link = Presign {
            ttl: PRESIGNED_FOR,
            content_type: Some(&object.content_type),
            content_disposition: Some(&disposition),
        };
        let Some(url) = self.blobs.presign_get(&object.key, link).await? else { return Ok(None) };
        let headers =
            [(LOCATION, value(url.as_str())?), (CACHE_CONTROL, HeaderValue::from_static(REDIRECT_CACHE))];
        Ok(Some((StatusCode::FOUND, headers).into_response()))
    }

    /// Opens a result's file.
    pub(crate) async fn open(self, artifact: ArtifactId) -> Result<Download, Error> {
        let object = bounded(self.store.artifact_object(artifact)).await?;
        Ok(self.blobs.open(&object.ok_or(Error::NotFound("result"))?.key, None).await?)
    }

    async fn stream(
        &self,
        object: &ArtifactObject,
        name: ResultName,
        wanted: Wanted,
    ) -> Result<Response, Error> {
        let mut headers = about(object, name)?;
        let (status, range, length) = match wanted {
            Wanted::All => (StatusCode::OK, None, object.size_bytes),
            Wanted::Part { first, last } => {
                let range = format!("bytes {first}-{last}/{}", object.size_bytes);
                headers.insert(CONTENT_RANGE, value(&range)?);
                (StatusCode::PARTIAL_CONTENT, Some(ByteRange::Between { first, last }), last - first + 1)
            }
        };
        let download = self.blobs.open(&object.key, range).await?;
        headers.insert(CONTENT_LENGTH, length.into());
        Ok((status, headers, Body::from_stream(download.body)).into_response())
    }
}

fn signature(query: Option<&str>) -> String {
    let mut parameters = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
    parameters.find(|(name, _)| name == "sig").map(|(_, value)| value.into_owned()).unwrap_or_default()
}

/// The headers that do not depend on how much is asked for.
fn about(object: &ArtifactObject, name: ResultName) -> Result<HeaderMap, Error> {
    // Captions are UTF-8; browsers would take them for something else.
    let content_type = match object.content_type.as_str() {
        "text/plain" => "text/plain; charset=utf-8",
        other => other,
    };
    let fixed = |name: HeaderName, text: &'static str| (name, HeaderValue::from_static(text));
    Ok(HeaderMap::from_iter([
        (CONTENT_TYPE, value(content_type)?),
        (ETAG, value(&etag::of_digest(&object.sha256))?),
        (CONTENT_DISPOSITION, value(&disposition(name))?),
        fixed(ACCEPT_RANGES, "bytes"),
        fixed(CACHE_CONTROL, RESULT_CACHE),
        fixed(X_CONTENT_TYPE_OPTIONS, "nosniff"),
        fixed(CONTENT_SECURITY_POLICY, POLICY),
    ]))
}

fn disposition(name: ResultName) -> String {
    format!("inline; filename=\"{name}\"")
}

fn value(text: &str) -> Result<HeaderValue, Error> {
    HeaderValue::try_from(text).map_err(Error::internal)
}
