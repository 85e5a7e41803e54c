//! Whether a service can do its work now.

use std::{
    collections::BTreeMap,
    error::Error,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::future::join_all;
use serde::Serialize;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

/// The longest a check may take; a probe that waits longer counts as failed.
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);

/// How often changes are looked for.
const TELL_PERIOD: Duration = Duration::from_secs(5);

type Check = Arc<dyn Fn() -> Pin<Box<dyn Future<Output = Result<(), String>> + Send>> + Send + Sync>;

/// The checks behind `/readyz`. Clones share them.
#[derive(Clone)]
pub struct Readiness {
    checks: Arc<Mutex<BTreeMap<&'static str, Check>>>,
    stopping: CancellationToken,
}

impl Readiness {
    /// No checks yet, so not ready; and never again ready once `stopping` is cancelled.
    pub fn new(stopping: CancellationToken) -> Self {
        Self { checks: Arc::default(), stopping }
    }

    /// Adds a check, or replaces the one of that name. It runs once per probe, for at most two seconds.
    pub fn add<F, Fut, E>(&self, name: &'static str, check: F)
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        let check: Check = Arc::new(move || {
            let outcome = check();
            Box::pin(async move { outcome.await.map_err(|error| with_causes(&*error.into())) })
        });
        self.checks.lock().unwrap_or_else(PoisonError::into_inner).insert(name, check);
    }

    /// Runs every check at once. Takes at most two seconds.
    pub async fn report(&self) -> Report {
        let checks = self.checks.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let results = join_all(checks.into_iter().map(|(name, check)| async move {
            let result = match timeout(CHECK_TIMEOUT, check()).await {
                Ok(Ok(())) => CheckResult::Ok,
                Ok(Err(error)) => CheckResult::Failed { error },
                Err(_) => CheckResult::Failed { error: format!("no answer within {CHECK_TIMEOUT:?}") },
            };
            (name, result)
        }))
        .await;
        Report { stopping: self.stopping.is_cancelled(), checks: results.into_iter().collect() }
    }
}

/// Logs which checks fail, and when they pass again, until `stop` is cancelled. A service may well start without
/// what it needs, and nobody reads `/readyz` by then.
pub(crate) async fn tell(readiness: Readiness, stop: CancellationToken) -> anyhow::Result<()> {
    let mut failing: BTreeMap<&'static str, String> = BTreeMap::new();
    // The first look comes when the checks are there and connections had time to be made.
    while stop.run_until_cancelled(sleep(TELL_PERIOD)).await.is_some() {
        for (check, result) in readiness.report().await.checks {
            match result {
                CheckResult::Failed { error } if failing.get(check) != Some(&error) => {
                    tracing::warn!(check, error, "not ready");
                    failing.insert(check, error);
                }
                CheckResult::Ok if failing.remove(check).is_some() => tracing::info!(check, "ready again"),
                _ => {}
            }
        }
    }
    Ok(())
}

/// The error and what caused it, on one line.
pub fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// What the checks said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The service has been asked to stop.
    pub stopping: bool,
    /// Every check by name.
    pub checks: BTreeMap<&'static str, CheckResult>,
}

impl Report {
    /// Every check passed, there is at least one (a service registers its checks as it starts), and the
    /// service is not stopping.
    pub fn is_ready(&self) -> bool {
        !self.stopping
            && !self.checks.is_empty()
            && self.checks.values().all(|check| *check == CheckResult::Ok)
    }
}

/// What one check said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum CheckResult {
    /// It passed.
    Ok,
    /// It failed or did not answer in time.
    Failed {
        /// Why, for operators.
        error: String,
    },
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, future};

    use super::*;

    #[tokio::test]
    async fn ready_only_when_every_check_passes() {
        let readiness = Readiness::new(CancellationToken::new());
        assert!(!readiness.report().await.is_ready(), "no check has been registered");

        readiness.add("database", || async { Ok::<_, Infallible>(()) });
        assert!(readiness.report().await.is_ready());

        readiness.add("store", || async { Err("connection refused") });
        let report = readiness.report().await;
        assert!(!report.is_ready());
        assert_eq!(report.checks["store"], CheckResult::Failed { error: "connection refused".to_owned() });
    }

    #[tokio::test(start_paused = true)]
    async fn check_that_hangs_fails_within_two_seconds() {
        let readiness = Readiness::new(CancellationToken::new());
        readiness.add("database", future::pending::<Result<(), Infallible>>);
        let started = tokio::time::Instant::now();
        assert!(!readiness.report().await.is_ready());
        assert_eq!(started.elapsed(), CHECK_TIMEOUT);
    }

    #[tokio::test]
    async fn stopping_service_is_not_ready() {
        let stopping = CancellationToken::new();
        let readiness = Readiness::new(stopping.clone());
        readiness.add("database", || async { Ok::<_, Infallible>(()) });
        stopping.cancel();
        assert!(!readiness.report().await.is_ready());
    }
}
