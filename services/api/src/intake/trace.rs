//! W3C trace context.

use axum::http::HeaderMap;

/// The request's `traceparent`, if it is one that can be carried on (version 00, ids not all zero).
pub(crate) fn trace_context(headers: &HeaderMap) -> Option<String> {
    let text = headers.get("traceparent")?.to_str().ok()?;
    let mut parts = text.split('-');
    let version = parts.next()?;
    let (trace, parent, flags) = (parts.next()?, parts.next()?, parts.next()?);
    let whole = version == "00" && parts.next().is_none() && hex(flags, 2);
    let ids =
        hex(trace, 32) && hex(parent, 16) && [trace, parent].iter().all(|id| id.bytes().any(|b| b != b'0'));
    (whole && ids).then(|| text.to_owned())
}

fn hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn only_whole_contexts_are_carried_on() {
        let read = |text: &str| {
            trace_context(&HeaderMap::from_iter([(
                "traceparent".parse().unwrap(),
                HeaderValue::try_from(text).unwrap(),
            )]))
        };
        let whole = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert_eq!(read(whole).as_deref(), Some(whole));
        let zero = "00-00000000000000000000000000000000-00f067aa0ba902b7-01";
        for broken in ["", "00", zero, &whole.to_uppercase(), &whole[..54], &format!("{whole}-00")] {
            assert_eq!(read(broken), None, "{broken}");
        }
    }
}
