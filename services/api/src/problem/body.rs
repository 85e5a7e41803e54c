//! The document itself, with the members that clients of other systems look for.

use axum::body::Body;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::Error;
use crate::surfaces::{self, SurfaceRefusal};

/// The most fields that one answer names: a document of a megabyte has room for many thousands.
const MAX_ERRORS: usize = 100;

/// RFC 9457 problem details.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Problem {
    /// A URN made of the code.
    #[serde(rename = "type")]
    #[schema(example = "urn:darkroom:problem:not_found")]
    pub kind: String,
    /// Short summary of the kind of problem.
    pub title: &'static str,
    /// HTTP status.
    #[schema(example = 404)]
    pub status: u16,
    /// What is wrong with this request.
    pub detail: String,
    /// Path of the request.
    pub instance: String,
    /// Stable word for what is wrong.
    #[schema(example = "not_found")]
    pub code: &'static str,
    /// Id to quote when asking for help; the same as in the header `x-request-id`.
    pub request_id: String,
    /// Every field or query parameter that cannot be used, the first hundred of them.
    pub errors: Vec<ProblemField>,
    /// The code again, where clients of fal look for it.
    pub error_type: &'static str,
    /// The same again, where clients of OpenAI look for it.
    pub error: Legacy,
    /// With code `unknown_model`: the names that would have done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub known: Option<Vec<String>>,
}

/// What is wrong with one of several things: a problem without what belongs to the whole request.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct ItemProblem {
    /// A URN made of the code.
    #[serde(rename = "type")]
    #[schema(example = "urn:darkroom:problem:invalid_request")]
    kind: String,
    /// Short summary of the kind of problem.
    title: &'static str,
    /// The HTTP status that it would have alone.
    #[schema(example = 422)]
    status: u16,
    /// What is wrong.
    detail: String,
    /// Stable word for what is wrong.
    #[schema(example = "invalid_request")]
    code: &'static str,
    /// Every field that cannot be used, the first hundred of them.
    errors: Vec<ProblemField>,
}

impl ItemProblem {
    /// The document for `error`.
    pub(crate) fn new(error: &Error) -> Self {
        let Problem { kind, title, status, detail, code, errors, .. } = Problem::new(error);
        Self { kind, title, status, detail, code, errors }
    }
}

/// One field or query parameter that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ProblemField {
    /// JSON pointer (RFC 6901) into the submitted document.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "/input/prompt")]
    pub pointer: Option<String>,
    /// Name of the query parameter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parameter: Option<String>,
    /// What is allowed.
    pub detail: String,
    /// Which rule it breaks, a stable word.
    pub code: String,
}

impl ProblemField {
    /// A query parameter that cannot be used.
    pub(crate) fn parameter(name: &str, code: &str, detail: impl Into<String>) -> Self {
        Self { pointer: None, parameter: Some(name.to_owned()), detail: detail.into(), code: code.to_owned() }
    }

    /// A field of the submitted document that cannot be used.
    pub(crate) fn pointer(pointer: &str, code: &str, detail: impl Into<String>) -> Self {
        Self {
            pointer: Some(pointer.to_owned()),
            parameter: None,
            detail: detail.into(),
            code: code.to_owned(),
        }
    }

    pub(crate) fn place(&self) -> &str {
        self.pointer.as_ref().or(self.parameter.as_ref()).map_or("", String::as_str)
    }
}

/// The error object of OpenAI's clients.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = OpenAiError)]
pub struct Legacy {
    /// What is wrong.
    pub message: String,
    /// Kind of error, in their words.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The first field that cannot be used.
    pub param: Option<String>,
    /// The code.
    pub code: &'static str,
}

impl Problem {
    /// The document for `error`; path and id of the request are filled in by [`render`].
    pub(crate) fn new(error: &Error) -> Self {
        let (status, code, title) = error.kind();
        let errors =
            if let Error::Fields(fields) = error { &fields[..fields.len().min(MAX_ERRORS)] } else { &[] };
        let known = if let Error::UnknownModel { known, .. } = error { Some(known.clone()) } else { None };
        let detail = error.to_string();
        let param = errors.first().map(|field| field.place().trim_start_matches('/').replace('/', "."));
        Self {
            kind: format!("urn:darkroom:problem:{code}"),
            title,
            status: status.as_u16(),
            error: Legacy { message: detail.clone(), kind: legacy_kind(status), param, code },
            detail,
            instance: String::new(),
            code,
            request_id: String::new(),
            errors: errors.to_vec(),
            error_type: code,
            known,
        }
    }
}

fn legacy_kind(status: StatusCode) -> &'static str {
    match status {
        StatusCode::UNAUTHORIZED => "authentication_error",
        StatusCode::FORBIDDEN => "permission_error",
        StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
        status if status.is_server_error() => "server_error",
        _ => "invalid_request_error",
    }
}

/// Marks a refusal that has its body already.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shaped;

/// Gives a refusal its body, in the form of the surface that the path belongs to. Refusals that were not made by an [`Error`] (a file that the documentation
/// pages lack) become one.
pub(crate) fn render(response: Response, request_id: &str, path: &str) -> Response {
    let status = response.status();
    let refused = status.is_client_error() || status.is_server_error();
    if !refused || response.extensions().get::<Shaped>().is_some() {
        return response;
    }
    let mut response = match response.extensions().get::<Problem>() {
        Some(_) => response,
        None if status == StatusCode::NOT_FOUND => Error::NotFound("page").into_response(),
        // A part of the path is no text: nothing is called so.
        None if status == StatusCode::BAD_REQUEST => Error::NotFound("path").into_response(),
        None => Error::internal(format!("an answer with status {status} without a problem")).into_response(),
    };
    let Some(mut problem) = response.extensions_mut().remove::<Problem>() else { return response };
    problem.request_id = request_id.to_owned();
    problem.instance = path.to_owned();
    // Strings and numbers always can be written.
    let (body, media_type) = match surfaces::refusal(path, &problem) {
        Some(SurfaceRefusal { status, body }) => {
            *response.status_mut() = status;
            (body.to_string().into_bytes(), "application/json")
        }
        None => (serde_json::to_vec(&problem).unwrap_or_default(), "application/problem+json"),
    };
    let headers = response.headers_mut();
    headers.remove(CONTENT_LENGTH);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    *response.body_mut() = Body::from(body);
    response
}
