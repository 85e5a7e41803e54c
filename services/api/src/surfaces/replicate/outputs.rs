//! `GET outputs/{artifact}.{ext}`: results, always from here. The client follows no redirect, and sends its key, which
//! nobody else should see.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, Method};
use axum::response::Response;
use darkroom_store::Artifact;
use serde_json::Value;

use crate::results::{Asked, Results};
use crate::{Error, Links};

/// Where an output is fetched.
pub(super) fn url(artifact: &Artifact, links: &Links) -> Value {
    links.result_below("/replicate/v1/outputs", artifact.id, &artifact.content_type).into()
}

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
