//! The loops of a service.

use std::{
    collections::BTreeSet,
    future::Future,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::anyhow;
use tokio::time::timeout;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Spawns and tracks a service's loops. Clones share the set.
///
/// A loop that ends before the service is asked to stop, fails or panics asks the service to stop, and
/// [`finish`](Self::finish) reports it: a service never goes on with a part missing.
#[derive(Debug, Clone)]
pub struct Tasks {
    tracker: TaskTracker,
    soft: CancellationToken,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    running: BTreeSet<&'static str>,
    failure: Option<anyhow::Error>,
}

impl Tasks {
    /// An empty set that cancels `soft` when one of its loops ends too early.
    pub fn new(soft: CancellationToken) -> Self {
        Self { tracker: TaskTracker::new(), soft, state: Arc::default() }
    }

    /// Runs `task`, which must end only after the service is asked to stop. Names are unique in a service.
    pub fn spawn<F>(&self, name: &'static str, task: F)
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        self.lock().running.insert(name);
        let running = tokio::spawn(task);
        let tasks = self.clone();
        self.tracker.spawn(async move {
            let failure = match running.await {
                Ok(Ok(())) if tasks.soft.is_cancelled() => None,
                Ok(Ok(())) => Some(anyhow!("task {name} ended though nobody asked it to")),
                Ok(Err(error)) => Some(error.context(format!("task {name} failed"))),
                // The message itself has been logged by the panic hook.
                Err(error) => Some(anyhow!(error).context(format!("task {name} ended abnormally"))),
            };
            let mut state = tasks.lock();
            state.running.remove(name);
            if let Some(failure) = failure {
                tracing::error!(task = name, error = format!("{failure:#}"), "stopping: a task ended");
                state.failure.get_or_insert(failure);
                tasks.soft.cancel();
            }
        });
    }

    /// Waits for every loop to end, at most for `bound`.
    ///
    /// # Errors
    /// The first failure of a loop, or the names of those that still run after `bound`.
    pub async fn finish(&self, bound: Duration) -> anyhow::Result<()> {
        self.tracker.close();
        let ended = timeout(bound, self.tracker.wait()).await;
        let mut state = self.lock();
        match (state.failure.take(), ended) {
            (Some(failure), _) => Err(failure),
            (None, Ok(())) => Ok(()),
            (None, Err(_)) => Err(anyhow!("tasks {:?} still ran after {bound:?}", state.running)),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::future;

    use super::*;

    const BOUND: Duration = Duration::from_secs(5);

    #[tokio::test]
    async fn loops_that_end_when_asked_are_fine() {
        let soft = CancellationToken::new();
        let tasks = Tasks::new(soft.clone());
        let stop = soft.clone();
        tasks.spawn("loop", async move {
            stop.cancelled().await;
            Ok(())
        });
        soft.cancel();
        tasks.finish(BOUND).await.unwrap();
    }

    #[tokio::test]
    async fn loop_that_ends_early_stops_the_service() {
        let soft = CancellationToken::new();
        let tasks = Tasks::new(soft.clone());
        tasks.spawn("loop", async { Ok(()) });
        timeout(BOUND, soft.cancelled()).await.unwrap();
        let failure = tasks.finish(BOUND).await.unwrap_err();
        assert_eq!(failure.to_string(), "task loop ended though nobody asked it to");
    }

    #[tokio::test]
    async fn panicking_loop_stops_the_service() {
        let soft = CancellationToken::new();
        let tasks = Tasks::new(soft.clone());
        tasks.spawn("loop", async { panic!("out of paper") });
        timeout(BOUND, soft.cancelled()).await.unwrap();
        let failure = tasks.finish(BOUND).await.unwrap_err();
        assert_eq!(failure.to_string(), "task loop ended abnormally");
    }

    #[tokio::test(start_paused = true)]
    async fn loop_that_does_not_stop_is_named() {
        let tasks = Tasks::new(CancellationToken::new());
        tasks.spawn("deaf", future::pending());
        let failure = tasks.finish(BOUND).await.unwrap_err();
        assert_eq!(failure.to_string(), r#"tasks {"deaf"} still ran after 5s"#);
    }
}
