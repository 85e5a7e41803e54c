//! What is added to a document when its routes are known.

use std::mem;

use serde_json::json;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::schema::{AnyOf, Schema};
use utoipa::openapi::{OpenApi, Ref, RefOr};

use super::{examples, messages, refusals};

/// Adds what all routes have in common to either document.
pub(crate) fn complete(document: &mut OpenApi) {
    let shared = refusals::shared();
    for operation in document.paths.paths.values_mut().flat_map(operations) {
        for (status, response) in &mut operation.responses.responses {
            if let RefOr::T(response) = response {
                refusals::describe(status, response);
            }
        }
        for refusal in &shared {
            if refusal.concerns(operation) {
                let reference = RefOr::Ref(Ref::from_response_name(refusal.name));
                operation.responses.responses.entry(refusal.status()).or_insert(reference);
            }
        }
    }
    let components = document.components.get_or_insert_default();
    let responses = shared.iter().map(|refusal| (refusal.name.to_owned(), RefOr::T(refusal.response())));
    components.responses.extend(responses);
    for name in ["Input", "SubmittedInput"] {
        // A prompt alone fits both pipelines.
        if let Some(RefOr::T(schema)) = components.schemas.get_mut(name) {
            overlap(schema);
        }
    }
}

/// Adds what only the document for tenants has: messages of webhooks, events and examples.
pub(crate) fn complete_for_tenants(document: &mut OpenApi) {
    messages::add(document);
    complete(document);
    let components = document.components.get_or_insert_default();
    if let Some(RefOr::T(Schema::Object(event))) = components.schemas.get_mut("StreamEvent")
        && let Some(RefOr::T(Schema::Object(data))) = event.properties.get_mut("data")
    {
        data.content_media_type = "application/json".to_owned();
        let of = |name| Ref::from_schema_name(name).ref_location;
        let carried = ["Job", "Progress", "Preview"].map(|name| json!({"$ref": of(name)}));
        data.extensions.get_or_insert_default().insert("contentSchema".to_owned(), json!({"anyOf": carried}));
    }
    for operation in document.paths.paths.values_mut().flat_map(operations) {
        examples::add(operation);
    }
    for operation in
        document.webhooks.iter_mut().flat_map(|webhooks| webhooks.paths.values_mut()).flat_map(operations)
    {
        examples::add(operation);
    }
}

/// Turns a choice of exactly one into one of at least one.
fn overlap(schema: &mut Schema) {
    if let Schema::OneOf(choice) = schema {
        let choice = mem::take(choice);
        *schema =
            Schema::AnyOf(AnyOf { items: choice.items, description: choice.description, ..AnyOf::default() });
    }
}

fn operations(path: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    let PathItem { get, put, post, delete, patch, .. } = path;
    [get, put, post, delete, patch].into_iter().flatten()
}
