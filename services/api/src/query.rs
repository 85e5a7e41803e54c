//! Query strings.

use url::form_urlencoded;

use crate::ProblemField;

/// Hands each parameter to `set`, and goes on after a mistake, so that a caller hears of all of them at once.
pub(crate) fn read(
    query: &str,
    mut set: impl FnMut(&str, &str) -> Result<(), ProblemField>,
) -> Vec<ProblemField> {
    let mut errors = Vec::new();
    let mut given: Vec<String> = Vec::new();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        if given.iter().any(|earlier| *earlier == name) {
            errors.push(ProblemField::parameter(&name, "repeated", "give it once"));
        } else if let Err(error) = set(&name, &value) {
            errors.push(error);
        }
        given.push(name.into_owned());
    }
    errors
}

/// The refusal of a parameter that is none of `allowed`.
pub(crate) fn unknown(name: &str, allowed: &[&str]) -> ProblemField {
    ProblemField::parameter(
        name,
        "unknown",
        format!("unknown parameter: expected one of {}", allowed.join(", ")),
    )
}
