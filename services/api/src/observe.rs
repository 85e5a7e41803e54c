//! What happens around every request: its id, its span, its log line, its metrics, and the body of a refusal.
//!
//! Logs carry neither queries (they hold signatures) nor headers nor bodies.

use axum::extract::{MatchedPath, Request, State};
use axum::http::header::CACHE_CONTROL;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method};
use axum::middleware::Next;
use axum::response::Response;
use tokio::time::Instant;
use tracing::{Instrument, field, info_span};

use crate::mint::Mint;
use crate::problem;
use crate::rates::Told;

pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const MAX_REQUEST_ID_BYTES: usize = 128;

/// Runs a request and accounts for it.
pub(crate) async fn observe(State(mint): State<Mint>, mut request: Request, next: Next) -> Response {
    let id = request_id(request.headers()).unwrap_or_else(|| mint.uuid().to_string());
    let method = known_method(request.method());
    let path = request.uri().path().to_owned();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let route = route.as_ref().map_or("none", MatchedPath::as_str).to_owned();
    let span = info_span!(
        "request",
        request_id = id,
        method,
        route,
        tenant = field::Empty,
        operator = field::Empty,
        job = field::Empty
    );
    let told = Told::default();
    request.extensions_mut().insert(told.clone());
    let started = Instant::now();
    let response = next.run(request).instrument(span.clone()).await;
    let elapsed = started.elapsed();
    let mut response = problem::render(response, &id, &path);
    if let Ok(id) = HeaderValue::try_from(id) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    told.tell(response.headers_mut());
    // Answers are one caller's own, and refusals pass.
    response.headers_mut().entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("private, no-cache"));
    let status = response.status().as_u16();
    let labels = [("method", method.to_owned()), ("route", route), ("status", status.to_string())];
    metrics::counter!("darkroom_http_requests_total", &labels).increment(1);
    metrics::histogram!("darkroom_http_request_seconds", &labels).record(elapsed.as_secs_f64());
    span.in_scope(|| tracing::info!(status, elapsed_ms = elapsed.as_millis(), "answered"));
    response
}

/// The caller's own id for the request, if it can stand in a log line.
fn request_id(headers: &HeaderMap) -> Option<String> {
    let id = headers.get(REQUEST_ID)?.to_str().ok()?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    ((1..=MAX_REQUEST_ID_BYTES).contains(&id.len()) && id.bytes().all(plain)).then(|| id.to_owned())
}

/// Callers can make methods up; series of metrics must not.
fn known_method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_request_ids_are_taken_over() {
        let read =
            |id: &str| request_id(&HeaderMap::from_iter([(REQUEST_ID, HeaderValue::try_from(id).unwrap())]));
        assert_eq!(read("01HX-abc_1.2").as_deref(), Some("01HX-abc_1.2"));
        for wrong in ["", "a b", "a\"b", &"x".repeat(129)] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
