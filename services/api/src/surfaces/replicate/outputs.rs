//! `GET outputs/{artifact}.{ext}`: results, always from here. The client follows no redirect, and sends its key, which
//! nobody else should see.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, Method};
use axum::response::Response;

use crate::Error;
use crate::results::{Asked, Results};

pub(super) async fn fetch(
    State(results): State<Results>,
    method: Method,
    path: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Error> {
    let asked = Asked::of(&results, path.ok(), query.as_deref()).await?;
    results.answer(&asked, &method, &headers).await
}
