//! The header `Prefer` (RFC 7240), as far as it is about waiting.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue};

pub(crate) const PREFER: HeaderName = HeaderName::from_static("prefer");
pub(crate) const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// Longest hold, whatever is asked for: proxies in front give up after a minute or two.
const MAX_WAIT_S: u64 = 60;

/// What the caller would like. Preferences that are not understood are ignored, as the RFC has it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Prefer {
    wait_s: Option<u64>,
    respond_async: Option<RespondAsync>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct RespondAsync;

impl Prefer {
    pub(crate) fn from_headers(headers: &HeaderMap) -> Self {
        let mut prefer = Self::default();
        let values = headers.get_all(PREFER).iter().filter_map(|value| value.to_str().ok());
        for preference in values.flat_map(|value| value.split(',')) {
            let preference = preference.split(';').next().unwrap_or_default().trim();
            let (name, value) = preference.split_once('=').unwrap_or((preference, ""));
            match name.trim().to_ascii_lowercase().as_str() {
                // The first of a kind counts.
                "wait" if prefer.wait_s.is_none() => {
                    let seconds = value.trim().trim_matches('"').parse().ok();
                    prefer.wait_s = seconds.filter(|s| *s > 0).map(|s: u64| s.min(MAX_WAIT_S));
                }
                "respond-async" => prefer.respond_async = Some(RespondAsync),
                _ => {}
            }
        }
        prefer
    }

    /// How long to hold the answer back at most.
    pub(crate) fn wait(self) -> Option<Duration> {
        self.wait_s.map(Duration::from_secs)
    }

    /// Whether the caller would rather not wait.
    pub(crate) fn responds_async(self) -> bool {
        self.respond_async.is_some()
    }

    /// Value of `Preference-Applied` for a request that may be answered early.
    pub(crate) fn applied(self) -> Option<HeaderValue> {
        let text = match (self.respond_async, self.wait_s) {
            (Some(RespondAsync), Some(seconds)) => format!("respond-async, wait={seconds}"),
            (Some(RespondAsync), None) => "respond-async".to_owned(),
            (None, Some(seconds)) => format!("wait={seconds}"),
            (None, None) => return None,
        };
        text.try_into().ok()
    }

    /// The same for a request that has nothing to be done later.
    pub(crate) fn wait_only(self) -> Self {
        Self { respond_async: None, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(values: &[&'static str]) -> String {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(PREFER, HeaderValue::from_static(value));
        }
        let applied = Prefer::from_headers(&headers).applied();
        applied.map_or_else(String::new, |value| value.to_str().unwrap().to_owned())
    }

    #[test]
    fn waits_are_read_in_every_spelling_and_bounded() {
        assert_eq!(applied(&["wait=10"]), "wait=10");
        assert_eq!(applied(&["Wait = \"10\"; foo=bar"]), "wait=10");
        assert_eq!(applied(&["return=minimal, wait=3600"]), "wait=60");
        assert_eq!(applied(&["respond-async", "wait=5, wait=6"]), "respond-async, wait=5");
        assert_eq!(applied(&["respond-async"]), "respond-async");
    }

    #[test]
    fn what_is_not_understood_is_ignored() {
        for value in ["", "wait", "wait=0", "wait=-1", "wait=soon", "handling=strict", ",;=,"] {
            assert_eq!(applied(&[value]), "", "{value}");
        }
    }
}
