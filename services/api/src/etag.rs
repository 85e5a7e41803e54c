//! Entity tags (RFC 9110 §8.8 and §13.1).

use axum::http::header::IF_NONE_MATCH;
use axum::http::{HeaderMap, HeaderValue};

/// The tag of a job's version. Weak, since progress changes the body and not the version.
pub(crate) fn of_version(version: i32) -> String {
    format!("W/\"v{version}\"")
}

/// The tag of a result: its digest.
pub(crate) fn of_digest(sha256: &[u8]) -> String {
    format!("\"{}\"", hex::encode(sha256))
}

/// The tags of `If-None-Match`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct NoneMatch {
    tags: Vec<String>,
}

impl NoneMatch {
    /// `None` without the header.
    pub(crate) fn from_headers(headers: &HeaderMap) -> Option<Self> {
        let values: Vec<&HeaderValue> = headers.get_all(IF_NONE_MATCH).iter().collect();
        let texts = values.iter().filter_map(|value| value.to_str().ok());
        let tags = texts.flat_map(|text| text.split(',')).map(|tag| opaque(tag).to_owned()).collect();
        (!values.is_empty()).then_some(Self { tags })
    }

    /// Weak comparison, as the header asks for.
    pub(crate) fn matches(&self, tag: &str) -> bool {
        self.tags.iter().any(|known| known == "*" || known == opaque(tag))
    }
}

fn opaque(tag: &str) -> &str {
    let tag = tag.trim();
    tag.strip_prefix("W/").unwrap_or(tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn none_match(value: &'static str) -> NoneMatch {
        let headers = HeaderMap::from_iter([(IF_NONE_MATCH, HeaderValue::from_static(value))]);
        NoneMatch::from_headers(&headers).unwrap()
    }

    #[test]
    fn tags_match_whatever_their_strength() {
        for value in ["\"v3\"", "W/\"v3\"", "\"v1\", W/\"v3\"", "*"] {
            assert!(none_match(value).matches(&of_version(3)), "{value}");
        }
        for value in ["", "v3", "\"v33\"", "W/\"v2\""] {
            assert!(!none_match(value).matches(&of_version(3)), "{value}");
        }
        assert_eq!(NoneMatch::from_headers(&HeaderMap::new()), None);
    }
}
