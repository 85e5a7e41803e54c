//! How many requests a tenant may make, and what callers are told about it.
//!
//! A tenant with a limit of N requests a minute has a bucket of N in each process, which fills up evenly. A limit that
//! is changed gets a new bucket; a bucket that nobody has asked for a while is full, so it may be forgotten.

use std::num::NonZeroU32;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use darkroom_jobs::TenantId;
use governor::clock::{Clock, DefaultClock};
use governor::middleware::StateInformationMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use moka::future::Cache;

use crate::Error;

const MINUTE: Duration = Duration::from_secs(60);
/// Longer than it takes a bucket to fill up.
const FORGET: Duration = Duration::from_secs(120);
const MAX_BUCKETS: u64 = 100_000;

/// Fields of the IETF draft "RateLimit header fields for HTTP".
const RATELIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const RATELIMIT: HeaderName = HeaderName::from_static("ratelimit");

type Bucket<C> = RateLimiter<NotKeyed, InMemoryState, C, StateInformationMiddleware>;

/// The buckets of this process.
#[derive(Debug, Clone)]
pub(crate) struct Rates {
    buckets: Cache<(TenantId, NonZeroU32), Arc<Bucket<DefaultClock>>>,
}

impl Default for Rates {
    fn default() -> Self {
        Self { buckets: Cache::builder().max_capacity(MAX_BUCKETS).time_to_idle(FORGET).build() }
    }
}

impl Rates {
    /// Counts a request of a tenant with this limit, and notes in `told` how the tenant stands.
    ///
    /// # Errors
    /// [`Error::TooManyRequests`] when the bucket is empty.
    pub(crate) async fn count(
        &self,
        tenant: TenantId,
        per_minute: NonZeroU32,
        told: Option<&Told>,
    ) -> Result<(), Error> {
        let make = async { Arc::new(bucket(per_minute, DefaultClock::default())) };
        let bucket = self.buckets.get_with((tenant, per_minute), make).await;
        let taken = take(&bucket, per_minute);
        if let Some(told) = told {
            // A request has one key, and is counted once.
            let _ = told.0.set(taken);
        }
        match taken.wait {
            None => Ok(()),
            Some(wait) => Err(Error::TooManyRequests { wait }),
        }
    }
}

/// How the tenant of a request stands; empty while that is not known, or when it has no limit.
#[derive(Debug, Clone, Default)]
pub(crate) struct Told(Arc<OnceLock<Taken>>);

impl Told {
    /// Tells the caller, if there is something to tell.
    pub(crate) fn tell(&self, headers: &mut HeaderMap) {
        let Some(Taken { per_minute, left, full_in, .. }) = self.0.get() else { return };
        let policy = format!("\"requests\";q={per_minute};w={}", MINUTE.as_secs());
        let state = format!("\"requests\";r={left};t={}", whole_seconds(*full_in));
        for (name, value) in [(RATELIMIT_POLICY, policy), (RATELIMIT, state)] {
            if let Ok(value) = HeaderValue::try_from(value) {
                headers.insert(name, value);
            }
        }
    }
}

/// Seconds, rounded up: a caller that waits so long does not come too early.
pub(crate) fn whole_seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}

/// What a request found in the bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Taken {
    per_minute: NonZeroU32,
    /// Requests that may follow at once.
    left: u32,
    /// When the bucket is full again.
    full_in: Duration,
    /// How long to wait, where the bucket was empty.
    wait: Option<Duration>,
}

fn bucket<C: Clock>(per_minute: NonZeroU32, clock: C) -> Bucket<C> {
    RateLimiter::direct_with_clock(Quota::per_minute(per_minute), clock).with_middleware()
}

fn take<C: Clock>(bucket: &Bucket<C>, per_minute: NonZeroU32) -> Taken {
    let (left, wait) = match bucket.check() {
        Ok(snapshot) => (snapshot.remaining_burst_capacity(), None),
        Err(empty) => (0, Some(empty.wait_time_from(bucket.clock().now()))),
    };
    let missing = per_minute.get().saturating_sub(left);
    Taken { per_minute, left, full_in: MINUTE * missing / per_minute.get(), wait }
}

#[cfg(test)]
mod tests {
    use governor::clock::FakeRelativeClock;

    use super::*;

    #[test]
    fn a_bucket_empties_and_fills_up_evenly() {
        let clock = FakeRelativeClock::default();
        let per_minute = NonZeroU32::new(6).unwrap();
        let bucket = bucket(per_minute, clock.clone());
        let seconds = Duration::from_secs;
        for left in (0..6).rev() {
            let taken = take(&bucket, per_minute);
            assert_eq!((taken.left, taken.wait), (left, None));
            assert_eq!(taken.full_in, seconds(10) * (6 - left));
        }
        assert_eq!(take(&bucket, per_minute).wait, Some(seconds(10)));
        clock.advance(seconds(4));
        let refused = take(&bucket, per_minute);
        assert_eq!((refused.left, refused.wait), (0, Some(seconds(6))), "a refusal takes nothing");
        clock.advance(seconds(6));
        assert_eq!(take(&bucket, per_minute).wait, None);
        clock.advance(seconds(600));
        assert_eq!(take(&bucket, per_minute).left, 5, "it never holds more");
    }

    #[tokio::test]
    async fn a_changed_limit_has_a_bucket_of_its_own() {
        let rates = Rates::default();
        let tenant = TenantId::from_uuid(uuid::Uuid::from_u128(1));
        let limit = |limit| NonZeroU32::new(limit).unwrap();
        assert!(rates.count(tenant, limit(1), None).await.is_ok());
        assert!(rates.count(tenant, limit(1), None).await.is_err());
        assert!(rates.count(tenant, limit(2), None).await.is_ok());
        let other = TenantId::from_uuid(uuid::Uuid::from_u128(2));
        assert!(rates.count(other, limit(1), None).await.is_ok());
    }

    #[tokio::test]
    async fn callers_are_told_in_the_fields_of_the_draft() {
        let told = Told::default();
        let mut headers = HeaderMap::new();
        told.tell(&mut headers);
        assert!(headers.is_empty());
        let tenant = TenantId::from_uuid(uuid::Uuid::from_u128(1));
        Rates::default().count(tenant, NonZeroU32::new(7).unwrap(), Some(&told)).await.unwrap();
        told.tell(&mut headers);
        assert_eq!(headers["ratelimit-policy"], "\"requests\";q=7;w=60");
        assert_eq!(headers["ratelimit"], "\"requests\";r=6;t=9");
    }
}
