//! How every route refuses, whatever else it does.

use utoipa::openapi::path::Operation;
use utoipa::openapi::response::{Response, ResponseBuilder};
use utoipa::openapi::{ContentBuilder, Ref, RefOr};

use crate::{Error, Problem};

/// The media type of refusals.
const PROBLEM: &str = "application/problem+json";

/// A refusal that many routes share.
pub(super) struct Refusal {
    /// Its name in the document.
    pub(super) name: &'static str,
    about: &'static str,
    of: Routes,
    error: Error,
}

/// Who refuses so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Routes {
    All,
    WithKey,
    WithBody,
}

/// The refusals, with a cause of each that callers meet.
pub(super) fn shared() -> [Refusal; 9] {
    let refusal = |name, about, of, error| Refusal { name, about, of, error };
    let wait = std::time::Duration::from_secs(3);
    let silent = Error::Unavailable("the database does not answer".into());
    [
        refusal("Unauthorized", "No working key.", Routes::WithKey, Error::Unauthorized),
        refusal(
            "Forbidden",
            "`missing_scope`, or a key of the other kind: operators' keys and tenants' open different routes.",
            Routes::WithKey,
            Error::MissingScope(darkroom_store::Scope::Submit),
        ),
        refusal(
            "MalformedBody",
            "The body is not in the form that its `Content-Type` says.",
            Routes::WithBody,
            Error::Malformed("not a JSON document: expected value at line 1 column 1".to_owned()),
        ),
        refusal("SlowBody", "The body did not arrive in time.", Routes::WithBody, Error::SlowBody),
        refusal(
            "TooLarge",
            "The body is too large.",
            Routes::WithBody,
            Error::TooLarge { what: "the document", max_bytes: 1 << 20 },
        ),
        refusal(
            "UnsupportedMediaType",
            "None of the media types that are read here.",
            Routes::WithBody,
            Error::UnsupportedMediaType("application/json"),
        ),
        refusal(
            "TooManyRequests",
            "Over the tenant's requests a minute: see `Retry-After`.",
            Routes::WithKey,
            Error::TooManyRequests { wait },
        ),
        refusal("Internal", "A mistake of the service.", Routes::All, Error::internal("a bug")),
        refusal("Unavailable", "Not now: see `Retry-After`.", Routes::All, silent),
    ]
}

impl Refusal {
    /// The status it has.
    pub(super) fn status(&self) -> String {
        Problem::new(&self.error).status.to_string()
    }

    /// Whether `operation` refuses so.
    pub(super) fn concerns(&self, operation: &Operation) -> bool {
        match self.of {
            Routes::All => true,
            Routes::WithKey => operation.security.is_some(),
            Routes::WithBody => operation.request_body.is_some(),
        }
    }

    /// What the document says of it.
    pub(super) fn response(&self) -> Response {
        let mut problem = Problem::new(&self.error);
        problem.instance = "/v1/jobs".to_owned();
        problem.request_id = "01a20632-ee9c-7406-bd6c-8107632afb00".to_owned();
        // Strings and numbers always can be written.
        let example = serde_json::to_value(&problem).ok();
        let content = ContentBuilder::new().schema(Some(problem_schema())).example(example);
        ResponseBuilder::new().description(self.about).content(PROBLEM, content.build()).build()
    }
}

/// Gives a refusal that says no more than its description the body that all have.
pub(super) fn describe(status: &str, response: &mut Response) {
    if response.content.is_empty() && (status.starts_with('4') || status.starts_with('5')) {
        let content = ContentBuilder::new().schema(Some(problem_schema())).build();
        response.content.insert(PROBLEM.to_owned(), RefOr::T(content));
    }
}

fn problem_schema() -> Ref {
    Ref::from_schema_name("Problem")
}
