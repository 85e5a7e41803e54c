//! `/admin/v1`: what operators look at and decide. Served on the operations port, for operators' keys only: one that
//! has the scope `read` may look, one that has `submit` may change things.

mod document;
mod failed;
mod keys;
mod lanes;
mod outbox;
mod tenants;
mod usage;
mod workers;

use std::sync::Arc;

use axum::Router;
use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use axum::routing::get;
use darkroom_jobs::Catalog;
use darkroom_store::Store;
use utoipa::OpenApi;
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use crate::{Api, Error, openapi};
use darkroom_links::Links;

/// What operators work with.
#[derive(Debug, Clone)]
pub(crate) struct Admin {
    pub(crate) store: Store,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) links: Arc<Links>,
}

/// What a path names: an id, a name or a lane.
#[derive(Debug, Clone)]
struct Named(String);

impl Named {
    /// The id. What is no id is the id of nothing.
    fn uuid(&self, what: &'static str) -> Result<Uuid, Error> {
        self.0.parse().map_err(|_| Error::NotFound(what))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Named {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        let path = Path::<String>::from_request_parts(parts, state).await;
        path.map(|Path(name)| Self(name)).map_err(|_| Error::NotFound("path"))
    }
}

/// The routes, and the document that describes them.
pub(crate) fn routes() -> Router<Api> {
    let (router, mut document) = OpenApiRouter::with_openapi(openapi::AdminDocument::openapi())
        .routes(routes!(tenants::list, tenants::create))
        .routes(routes!(tenants::show, tenants::update))
        .routes(routes!(usage::show))
        .routes(routes!(keys::list, keys::create))
        .routes(routes!(keys::rotate))
        .routes(routes!(keys::revoke))
        .routes(routes!(failed::list::list))
        .routes(routes!(failed::show::show))
        .routes(routes!(failed::decide::replay_one))
        .routes(routes!(failed::decide::discard_one))
        .routes(routes!(failed::decide::replay))
        .routes(routes!(failed::decide::discard))
        .routes(routes!(lanes::list))
        .routes(routes!(lanes::pause))
        .routes(routes!(lanes::resume))
        .routes(routes!(workers::list))
        .routes(routes!(workers::show))
        .routes(routes!(workers::drain))
        .routes(routes!(outbox::show))
        .split_for_parts();
    openapi::complete(&mut document);
    let document = Arc::new(document);
    let described = async move || axum::Json(document.as_ref().clone());
    router.route("/admin/v1/openapi.json", get(described))
}
