//! What an answer, or none, means for a delivery.

use std::time::Duration;

use chrono::{DateTime, Utc};
use darkroom_jobs::redelivery;
use darkroom_outbound::{Answer, Error};
use darkroom_store::Verdict;

const GONE: u16 = 410;
/// Statuses with which an endpoint asks for a pause.
const BUSY: [u16; 2] = [429, 503];
/// The longest pause an endpoint may ask for.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(24 * 3600);

/// Decides after an attempt that began at `now` and was the delivery's `failures`th failure, if it is one.
/// `jitter` is uniform in [0, 1). A redirect is a failure like any other.
pub(super) fn decide(
    outcome: &Result<Answer, Error>,
    failures: u32,
    jitter: f64,
    now: DateTime<Utc>,
) -> Verdict {
    let asked = match outcome {
        Ok(answer) if (200..300).contains(&answer.status) => return Verdict::Delivered,
        Ok(answer) if answer.status == GONE => return Verdict::Gone,
        Ok(answer) if BUSY.contains(&answer.status) => retry_after(answer, now),
        _ => None,
    };
    match redelivery(failures, jitter) {
        Some(pause) => Verdict::Again(pause.max(asked.unwrap_or_default())),
        None => Verdict::GivenUp,
    }
}

/// The pause that an answer asks for, in seconds or until a moment.
fn retry_after(answer: &Answer, now: DateTime<Utc>) -> Option<Duration> {
    let text = answer.headers.get("retry-after")?.to_str().ok()?.trim();
    let pause = match text.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => (DateTime::parse_from_rfc2822(text).ok()?.to_utc() - now).to_std().ok()?,
    };
    Some(pause.min(MAX_RETRY_AFTER))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(status: u16, retry_after: &str, failures: u32) -> Verdict {
        let mut answer = Answer { status, headers: Default::default(), excerpt: String::new() };
        answer.headers.insert("retry-after", retry_after.parse().unwrap());
        let now = "2026-01-31T12:00:00Z".parse().unwrap();
        decide(&Ok(answer), failures, 0.0, now)
    }

    fn again(seconds: u64) -> Verdict {
        Verdict::Again(Duration::from_secs(seconds))
    }

    #[test]
    fn success_delivers_gone_ends_and_everything_else_is_tried_again() {
        for status in [200, 201, 204, 299] {
            assert_eq!(after(status, "9", 1), Verdict::Delivered, "{status}");
        }
        assert_eq!(after(410, "9", 1), Verdict::Gone);
        for status in [100, 301, 302, 307, 400, 401, 404, 500, 502] {
            assert_eq!(after(status, "9999", 1), again(5), "{status}");
        }
        let refused = Err(darkroom_outbound::Refusal::NotPublic.into());
        assert_eq!(decide(&refused, 2, 0.0, DateTime::UNIX_EPOCH), again(300));
        assert_eq!(after(500, "9", 10), Verdict::GivenUp);
    }

    #[test]
    fn a_busy_endpoint_is_left_alone_for_as_long_as_it_asks_within_a_day() {
        for (asked, pause) in [
            ("120", 120),
            ("1", 5),
            ("0", 5),
            ("-1", 5),
            ("soon", 5),
            ("999999999999999999999", 5),
            ("9999999", 86_400),
            ("Sat, 31 Jan 2026 12:10:00 GMT", 600),
            ("Sat, 31 Jan 2026 11:00:00 GMT", 5),
            ("Sat, 31 Jan 2099 12:00:00 GMT", 86_400),
        ] {
            for status in [429, 503] {
                assert_eq!(after(status, asked, 1), again(pause), "{asked}");
            }
        }
        assert_eq!(after(429, "60", 3), again(1_800), "never sooner than the schedule says");
        assert_eq!(after(503, "60", 10), Verdict::GivenUp);
    }
}
