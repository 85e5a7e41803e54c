//! Whole answers as examples. They are those of docs/api.md, which a test holds together with these.

use serde_json::Value;
use utoipa::openapi::path::Operation;
use utoipa::openapi::{Content, RefOr};

/// Examples by the name of their schema.
const EXAMPLES: [(&str, &str); 8] = [
    ("AcceptedBatch", include_str!("examples/batch.json")),
    ("DeliveryPage", include_str!("examples/deliveries.json")),
    ("File", include_str!("examples/file.json")),
    ("Job", include_str!("examples/job.json")),
    ("JobMessage", include_str!("examples/message.json")),
    ("ModelList", include_str!("examples/models.json")),
    ("Usage", include_str!("examples/usage.json")),
    ("Webhook", include_str!("examples/webhook.json")),
];

/// Adds the examples for what `operation` takes and answers.
pub(super) fn add(operation: &mut Operation) {
    let answers = operation.responses.responses.values_mut().filter_map(|response| match response {
        RefOr::T(response) => Some(response.content.values_mut()),
        RefOr::Ref(_) => None,
    });
    let taken = operation.request_body.iter_mut().filter_map(|body| match body {
        RefOr::T(body) => Some(body.content.values_mut()),
        RefOr::Ref(_) => None,
    });
    for content in answers.flatten().chain(taken.flatten()) {
        if let RefOr::T(content) = content {
            content.example = content.example.take().or_else(|| example(content));
        }
    }
}

fn example(content: &Content) -> Option<Value> {
    let Some(RefOr::Ref(reference)) = &content.schema else { return None };
    let name = reference.ref_location.rsplit('/').next();
    let (_, text) = EXAMPLES.iter().find(|(of, _)| Some(*of) == name)?;
    serde_json::from_str(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_are_those_of_the_documentation() {
        let document = include_str!("../../../../docs/api.md");
        let blocks = document.split("\n```json\n").skip(1).filter_map(|rest| rest.split("\n```").next());
        let blocks: Vec<Value> = blocks.map(|block| serde_json::from_str(block).expect(block)).collect();
        for (name, text) in EXAMPLES {
            let example: Value = serde_json::from_str(text).unwrap();
            assert!(blocks.contains(&example), "docs/api.md shows no {name} that is the example");
        }
    }
}
