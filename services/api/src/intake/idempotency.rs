//! Idempotency keys, and the digest that tells a repeated request from another one.

use std::io;

use axum::http::HeaderMap;
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::Error;

const NAME: &str = "idempotency-key";
const MAX_BYTES: usize = 255;

/// The caller's key for a request: 1 to 255 visible ASCII characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct IdempotencyKey(String);

impl IdempotencyKey {
    /// Reads the header, as a bare text or as a quoted string.
    pub(crate) fn from_headers(headers: &HeaderMap) -> Result<Option<Self>, Error> {
        let mut values = headers.get_all(NAME).iter();
        let Some(value) = values.next() else { return Ok(None) };
        let key = value.to_str().ok().filter(|_| values.next().is_none()).and_then(Self::parse);
        let expected = "one key of 1 to 255 visible ASCII characters, bare or in double quotes";
        key.ok_or(Error::Header { name: "Idempotency-Key", expected }).map(Some)
    }

    fn parse(text: &str) -> Option<Self> {
        let bare = match text.strip_prefix('"') {
            Some(rest) => rest.strip_suffix('"').filter(|inner| !inner.contains(['"', '\\']))?,
            None => text,
        };
        let visible = bare.bytes().all(|byte| byte.is_ascii_graphic());
        ((1..=MAX_BYTES).contains(&bare.len()) && visible).then(|| Self(bare.to_owned()))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn into_string(self) -> String {
        self.0
    }
}

/// Digest of what the caller sent: the document, whatever the order of its members, and the picture. Nothing
/// that the service fills in is part of it.
pub(super) fn request_hash(document: &Value, image_sha256: Option<&[u8; 32]>) -> [u8; 32] {
    let mut digest = Sha256::new();
    digest_canonical(document, &mut digest);
    if let Some(sha256) = image_sha256 {
        // No JSON document holds a NUL byte.
        digest.update([0]);
        digest.update(sha256);
    }
    digest.finalize().into()
}

/// Takes members in the order of their names, nothing between tokens, and each text as it comes: pictures in documents
/// are long.
fn digest_canonical(value: &Value, digest: &mut Sha256) {
    match value {
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_unstable_by_key(|(name, _)| *name);
            digest.update("{");
            for (name, value) in members {
                digest_json(name, digest);
                digest.update(":");
                digest_canonical(value, digest);
                digest.update(",");
            }
            digest.update("}");
        }
        Value::Array(items) => {
            digest.update("[");
            for item in items {
                digest_canonical(item, digest);
                digest.update(",");
            }
            digest.update("]");
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => digest_json(value, digest),
    }
}

fn digest_json(value: &(impl Serialize + ?Sized), digest: &mut Sha256) {
    serde_json::to_writer(Digesting(digest), value).expect("a digest takes every byte");
}

/// A digest as something to write to.
struct Digesting<'a>(&'a mut Sha256);

impl io::Write for Digesting<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use serde_json::json;

    use super::*;

    fn read(value: &str) -> Option<String> {
        let headers = HeaderMap::from_iter([(NAME.parse().unwrap(), HeaderValue::try_from(value).unwrap())]);
        IdempotencyKey::from_headers(&headers).ok().flatten().map(IdempotencyKey::into_string)
    }

    #[test]
    fn keys_are_bare_or_quoted() {
        assert_eq!(
            read("8e03978e-40d5-43e8-bc93-6894a57f9324").unwrap(),
            "8e03978e-40d5-43e8-bc93-6894a57f9324"
        );
        assert_eq!(read("\"a:b/c\"").unwrap(), "a:b/c");
        assert_eq!(read(&"x".repeat(255)).unwrap().len(), 255);
        assert_eq!(IdempotencyKey::from_headers(&HeaderMap::new()).unwrap(), None);
    }

    #[test]
    fn what_is_no_key_is_refused() {
        for wrong in ["", "\"\"", "a b", "\"a", "\"a\\\"b\"", &"x".repeat(256)] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
        let mut headers = HeaderMap::new();
        headers.append(NAME, HeaderValue::from_static("a"));
        headers.append(NAME, HeaderValue::from_static("b"));
        assert!(IdempotencyKey::from_headers(&headers).is_err());
    }

    #[test]
    fn requests_are_the_same_whatever_the_order_of_members() {
        let parse = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        let one = request_hash(&parse(r#"{"a": 1, "b": [{"c": 2, "d": 3}]}"#), None);
        assert_eq!(one, request_hash(&parse(r#"{"b":[{"d":3,"c":2}],"a":1}"#), None));
        assert_ne!(one, request_hash(&json!({"a": 1, "b": [{"c": 2, "d": 4}]}), None));
        assert_ne!(one, request_hash(&parse(r#"{"a": 1, "b": [{"c": 2, "d": 3}]}"#), Some(&[0; 32])));
    }
}
