//! Range requests (RFC 9110 §14): one range of bytes.

use axum::http::HeaderMap;
use axum::http::header::{IF_RANGE, RANGE};

use crate::Error;

/// How much of a result is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    All,
    /// From `first` to `last`, both included and within the result.
    Part {
        first: u64,
        last: u64,
    },
}

impl Wanted {
    /// Reads `Range` and `If-Range`. What cannot be read, and more than one range, is ignored, as the RFC
    /// allows.
    ///
    /// # Errors
    /// [`Error::RangeNotSatisfiable`] when the range lies behind the end.
    pub(super) fn from_headers(headers: &HeaderMap, tag: &str, size_bytes: u64) -> Result<Self, Error> {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let changed = headers.contains_key(IF_RANGE) && text(IF_RANGE) != Some(tag);
        let range = text(RANGE).and_then(|range| range.strip_prefix("bytes=")).and_then(parse);
        let Some(range) = range.filter(|_| !changed) else { return Ok(Self::All) };
        let (first, last) = match range {
            (Some(first), last) => (first, last.unwrap_or(u64::MAX)),
            (None, length) => (size_bytes.saturating_sub(length.unwrap_or(0)), u64::MAX),
        };
        if first >= size_bytes {
            return Err(Error::RangeNotSatisfiable { size_bytes });
        }
        Ok(Self::Part { first, last: last.min(size_bytes - 1) })
    }
}

/// `first-last`, `first-` or `-length`.
fn parse(range: &str) -> Option<(Option<u64>, Option<u64>)> {
    let (first, last) = range.trim().split_once('-')?;
    let number = |text: &str| match text {
        "" => Some(None),
        digits if digits.bytes().all(|byte| byte.is_ascii_digit()) => digits.parse().ok().map(Some),
        _ => None,
    };
    match (number(first)?, number(last)?) {
        (None, None) => None,
        (Some(first), Some(last)) if last < first => None,
        range => Some(range),
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn wanted(range: &str) -> Option<Wanted> {
        let headers = HeaderMap::from_iter([(RANGE, HeaderValue::try_from(range).unwrap())]);
        Wanted::from_headers(&headers, "\"t\"", 100).ok()
    }

    #[test]
    fn ranges_are_cut_to_the_result() {
        let part = |first, last| Some(Wanted::Part { first, last });
        assert_eq!(wanted("bytes=0-0"), part(0, 0));
        assert_eq!(wanted("bytes=10-"), part(10, 99));
        assert_eq!(wanted("bytes=10-1000"), part(10, 99));
        assert_eq!(wanted("bytes=-10"), part(90, 99));
        assert_eq!(wanted("bytes=-1000"), part(0, 99));
    }

    #[test]
    fn ranges_behind_the_end_are_refused_and_odd_ones_ignored() {
        for behind in ["bytes=100-", "bytes=100-200", "bytes=-0"] {
            assert_eq!(wanted(behind), None, "{behind}");
        }
        for odd in ["bytes=", "bytes=-", "bytes=5-4", "bytes=0-1,5-6", "lines=1-2", "bytes=a-b", "bytes=+1-2"]
        {
            assert_eq!(wanted(odd), Some(Wanted::All), "{odd}");
        }
    }

    #[test]
    fn a_range_of_something_else_is_ignored() {
        let with = |tag: &'static str| {
            let pairs =
                [(RANGE, HeaderValue::from_static("bytes=1-2")), (IF_RANGE, HeaderValue::from_static(tag))];
            Wanted::from_headers(&HeaderMap::from_iter(pairs), "\"t\"", 100).unwrap()
        };
        assert_eq!(with("\"t\""), Wanted::Part { first: 1, last: 2 });
        assert_eq!(with("\"u\""), Wanted::All);
        assert_eq!(with("W/\"t\""), Wanted::All);
    }
}
