//! The OpenAPI document, made from the handlers.

use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi};

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
        (name = "results", description = "Fetching what jobs made."),
        (name = "models", description = "What can be asked for."),
        (name = "usage", description = "What was used and what it cost."),
        (name = "webhooks", description = "Being told when jobs end."),
    ),
    modifiers(&ApiKey)
)]
pub(crate) struct Document;

struct ApiKey;

impl Modify for ApiKey {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let bearer =
            HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some("An API key: `dk_…`."));
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("key", SecurityScheme::Http(bearer.build()));
    }
}
