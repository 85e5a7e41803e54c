//! The routes and what they work with.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, FromRef};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use darkroom_blobs::Blobs;
use darkroom_jobs::Catalog;
use darkroom_outbound::Outbound;
use darkroom_store::Store;
use tokio_util::sync::CancellationToken;
use tower_http::catch_panic::CatchPanicLayer;
use utoipa::OpenApi;
use utoipa_axum::{router::OpenApiRouter, routes};
use utoipa_swagger_ui::SwaggerUi;

use crate::admin::{self, Admin};
use crate::admission::Admission;
use crate::auth::Keys;
use crate::backlog::Backlogs;
use crate::batches;
use crate::files::{self, Files};
use crate::intake::{Intake, IntakeParts, MAX_REQUEST_BYTES};
use crate::jobs::{self, Jobs};
use crate::models::{self, Models};
use crate::results::{self, Results};
use crate::server::CONNECTIONS;
use crate::shares::Shares;
use crate::usage::{self, Usage};
use crate::webhooks::{self, Webhooks};
use crate::{Capacity, Error, Links, Mint, Watch, observe, openapi, surfaces, unread};

/// What an [`Api`] is made of.
#[derive(Debug)]
pub struct ApiParts {
    /// Jobs.
    pub store: Store,
    /// Inputs and results.
    pub blobs: Blobs,
    /// What is served.
    pub catalog: Arc<Catalog>,
    /// URLs of this deployment.
    pub links: Links,
    /// Ids and seeds.
    pub mint: Mint,
    /// How much may wait.
    pub capacity: Capacity,
    /// Fetches what callers name by URL, and says what they may name.
    pub outbound: Outbound,
    /// Cancelled when held answers are to be given at once.
    pub stop: CancellationToken,
}

/// Everything the routes work with; each handler takes the part it needs.
#[derive(Debug, Clone, FromRef)]
pub struct Api {
    jobs: Jobs,
    intake: Intake,
    files: Files,
    results: Results,
    models: Models,
    usage: Usage,
    webhooks: Webhooks,
    admin: Admin,
    keys: Keys,
    mint: Mint,
}

impl Api {
    /// Puts the parts together.
    pub fn new(parts: ApiParts) -> Self {
        let ApiParts { store, blobs, catalog, links, mint, capacity, outbound, stop } = parts;
        let links = Arc::new(links);
        let watch = Watch::default();
        let backlogs = Backlogs::new(store.clone());
        let admission = Admission::new(store.clone(), capacity, backlogs.clone());
        let held = Shares::new(CONNECTIONS, jobs::MOST_HELD);
        let jobs =
            Jobs { store: store.clone(), links: links.clone(), backlogs, watch, held, stop: stop.clone() };
        let intake = Intake::new(IntakeParts {
            store: store.clone(),
            blobs: blobs.clone(),
            catalog: catalog.clone(),
            mint: mint.clone(),
            admission,
            outbound: outbound.clone(),
            stop,
        });
        let files = Files { store: store.clone() };
        let results = Results { store: store.clone(), blobs, links: links.clone() };
        let models = Models { store: store.clone(), catalog: catalog.clone() };
        let admin = Admin { store: store.clone(), catalog, links };
        let usage = Usage { store: store.clone() };
        let guard = outbound.guard().clone();
        let webhooks = Webhooks { store: store.clone(), guard, mint: mint.clone() };
        Self { jobs, intake, files, results, models, usage, webhooks, admin, keys: Keys::new(store), mint }
    }

    /// What feeds the requests that wait for a job: to be run next to the server.
    pub fn watch(&self) -> &Watch {
        &self.jobs.watch
    }

    /// Waits, at most for `bound`, until nothing is left to clean up. For the end of the service.
    pub async fn settled(&self, bound: Duration) {
        self.intake.settled(bound).await;
    }
}

/// The whole API.
pub fn router(api: Api) -> Router {
    let (router, mut document) = routes().split_for_parts();
    openapi::complete_for_tenants(&mut document);
    let router =
        router.merge(SwaggerUi::new("/docs").url("/openapi.json", document)).merge(surfaces::routes());
    let mint = api.mint.clone();
    wrap(router, mint).with_state(api)
}

/// The OpenAPI document of the whole API.
pub(crate) fn document() -> utoipa::openapi::OpenApi {
    let mut document = routes().into_openapi();
    openapi::complete_for_tenants(&mut document);
    document
}

/// Every route of our own, and what is said of it.
fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::with_openapi(openapi::Document::openapi())
        .routes(routes!(jobs::submit::submit, jobs::list::list))
        .routes(routes!(jobs::show::show, jobs::delete::delete))
        .routes(routes!(jobs::cancel::cancel))
        .routes(routes!(jobs::events::events))
        .routes(routes!(jobs::deliveries::job_deliveries))
        .routes(routes!(jobs::resend::resend_job_delivery))
        .routes(routes!(batches::submit::submit))
        .routes(routes!(batches::show::show))
        .routes(routes!(batches::cancel::cancel))
        .routes(routes!(files::upload::upload))
        .routes(routes!(files::show::show, files::delete::delete))
        .routes(routes!(models::list))
        .routes(routes!(usage::show))
        .routes(routes!(webhooks::create::create, webhooks::list::list))
        .routes(routes!(webhooks::secret::secret))
        .routes(routes!(webhooks::secret::rotate_secret))
        .routes(routes!(webhooks::show::show, webhooks::update::update, webhooks::delete::delete))
        .routes(routes!(webhooks::rotate::rotate))
        .routes(routes!(webhooks::test::test))
        .routes(routes!(webhooks::deliveries::deliveries))
        .routes(routes!(webhooks::resend::resend))
        .routes(routes!(results::fetch))
}

/// What operators are answered, on a port of their own.
pub fn admin_router(api: Api) -> Router {
    let mint = api.mint.clone();
    wrap(admin::routes(), mint).with_state(api)
}

/// What stands around every route.
fn wrap<S: Clone + Send + Sync + 'static>(router: Router<S>, mint: Mint) -> Router<S> {
    router
        .fallback(async || Error::NotFound("path"))
        .method_not_allowed_fallback(async || Error::MethodNotAllowed)
        .layer(DefaultBodyLimit::max(MAX_REQUEST_BYTES))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(from_fn_with_state(mint, observe::observe))
        .layer(from_fn(unread::settle))
}

/// The panic hook has logged where and why.
fn panicked(_: Box<dyn Any + Send>) -> Response {
    Error::internal("a handler panicked").into_response()
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, to_bytes};
    use axum::http::Request;
    use axum::routing::get;
    use tower::ServiceExt;

    use super::*;

    #[tokio::test]
    async fn a_panic_is_a_problem_document_without_details() {
        let routes = Router::new().route("/", get(async || -> &'static str { panic!("the secret plan") }));
        let request = Request::get("/?sig=x").header("x-request-id", "mine").body(Body::empty()).unwrap();
        let response = wrap(routes, Mint::from_os()).oneshot(request).await.unwrap();
        assert_eq!(response.status(), 500);
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        let body = to_bytes(response.into_body(), 10_000).await.unwrap();
        insta::assert_snapshot!(String::from_utf8_lossy(&body), @r#"{"type":"urn:darkroom:problem:internal","title":"Internal error","status":500,"detail":"something went wrong inside the service","instance":"/","code":"internal","request_id":"mine","errors":[],"error_type":"internal","error":{"message":"something went wrong inside the service","type":"server_error","param":null,"code":"internal"}}"#);
    }
}
