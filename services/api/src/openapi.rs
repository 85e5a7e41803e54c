//! The OpenAPI document, made from the handlers.

mod complete;
mod examples;
mod messages;
mod refusals;
pub(crate) mod words;

use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi};

use crate::Problem;
use crate::jobs::events::PreviewView;
use crate::jobs::resource::ProgressView;
pub(crate) use complete::{complete, complete_for_tenants};

/// What the handlers do not say themselves.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Darkroom",
        description = "Pictures from words and words from pictures, as jobs: submit, wait or poll, fetch the results. \
                       Every refusal is an RFC 9457 problem document with a stable `code`."
    ),
    tags(
        (name = "jobs", description = "Submitting, watching and ending jobs."),
        (name = "batches", description = "Many jobs at once."),
        (name = "files", description = "Pictures that jobs name."),
        (name = "results", description = "Fetching what jobs made."),
        (name = "models", description = "What can be asked for."),
        (name = "usage", description = "What was used and what it cost."),
        (name = "webhooks", description = "Being told when jobs end."),
    ),
    components(schemas(Problem, ProgressView, PreviewView)),
    modifiers(&ApiKey)
)]
pub(crate) struct Document;

/// What the handlers for operators do not say themselves.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Darkroom for operators",
        description = "Tenants and their limits, keys, failed jobs, lanes and workers. An operator's key with the scope \
                       `read` may look, one with `submit` may change things; a tenant's key opens nothing. Every \
                       refusal is an RFC 9457 problem document with a stable `code`."
    ),
    tags(
        (name = "tenants", description = "Owners of keys, jobs, limits and usage."),
        (name = "keys", description = "Making keys, taking over from them, stopping them."),
        (name = "failed jobs", description = "What failed for good, and running it again."),
        (name = "lanes", description = "Where jobs wait."),
        (name = "workers", description = "Who runs them."),
    ),
    components(schemas(Problem)),
    modifiers(&ApiKey)
)]
pub(crate) struct AdminDocument;

struct ApiKey;

impl Modify for ApiKey {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let bearer =
            HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some("An API key: `dk_…`."));
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("key", SecurityScheme::Http(bearer.build()));
    }
}
