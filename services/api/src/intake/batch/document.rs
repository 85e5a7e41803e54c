//! The document of a batch.

use serde_json::Value;

use crate::{Error, ProblemField};

const MAX_JOBS: usize = 1_000;
const MEMBERS: [&str; 3] = ["jobs", "partial", "webhook"];

/// What documents that are no jobs do to the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Missteps {
    /// Nothing is accepted.
    Refuse,
    /// The others are.
    Leave,
}

/// The documents of the jobs. `errors` are what was found in it before.
pub(super) fn read(whole: Value, mut errors: Vec<ProblemField>) -> Result<(Vec<Value>, Missteps), Error> {
    let Value::Object(mut members) = whole else {
        return Err(Error::Fields(vec![ProblemField::pointer("", "type", "expected an object")]));
    };
    let mut refuse = |pointer: &str, code: &str, detail: String| {
        errors.push(ProblemField::pointer(pointer, code, detail));
    };
    let missteps = match members.remove("partial") {
        None | Some(Value::Null | Value::Bool(false)) => Missteps::Refuse,
        Some(Value::Bool(true)) => Missteps::Leave,
        Some(_) => {
            refuse("/partial", "type", "expected true or false".to_owned());
            Missteps::Refuse
        }
    };
    let expected = format!("expected a list of 1 to {MAX_JOBS} documents");
    let documents = match members.remove("jobs") {
        Some(Value::Array(documents)) if (1..=MAX_JOBS).contains(&documents.len()) => documents,
        found => {
            let code = match found {
                None | Some(Value::Null) => "required",
                Some(Value::Array(_)) => "range",
                Some(_) => "type",
            };
            refuse("/jobs", code, expected);
            Vec::new()
        }
    };
    for name in members.keys().filter(|name| !MEMBERS.contains(&name.as_str())) {
        let pointer = format!("/{}", name.replace('~', "~0").replace('/', "~1"));
        refuse(&pointer, "unknown", format!("unknown field: expected one of {}", MEMBERS.join(", ")));
    }
    if errors.is_empty() { Ok((documents, missteps)) } else { Err(Error::Fields(errors)) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_mistake_is_named() {
        let lines = |document: Value| match read(document, Vec::new()) {
            Err(Error::Fields(fields)) => {
                let lines =
                    fields.iter().map(|field| format!("{} [{}] {}", field.place(), field.code, field.detail));
                lines.collect::<Vec<_>>().join("\n")
            }
            other => panic!("{other:?}"),
        };
        insta::assert_snapshot!(lines(json!([])), @" [type] expected an object");
        insta::assert_snapshot!(lines(json!({"partial": 1, "a/b": 2})), @"
        /partial [type] expected true or false
        /jobs [required] expected a list of 1 to 1000 documents
        /a~1b [unknown] unknown field: expected one of jobs, partial, webhook
        ");
        assert_eq!(lines(json!({"jobs": []})), "/jobs [range] expected a list of 1 to 1000 documents");
        assert_eq!(lines(json!({"jobs": {}})), "/jobs [type] expected a list of 1 to 1000 documents");
        assert_eq!(
            lines(json!({"jobs": vec![0; 1001]})),
            "/jobs [range] expected a list of 1 to 1000 documents"
        );
    }

    #[test]
    fn batches_are_whole_unless_they_say_otherwise() {
        for (partial, missteps) in [
            (json!(null), Missteps::Refuse),
            (json!(false), Missteps::Refuse),
            (json!(true), Missteps::Leave),
        ] {
            let document = json!({"jobs": [1], "partial": partial, "webhook": "https://shop.example/"});
            assert_eq!(read(document, Vec::new()).unwrap(), (vec![json!(1)], missteps));
        }
    }
}
