//! The courier: events of jobs are delivered to the endpoints of their owners.
//!
//! Deliveries are made side by side, a bounded number of them, and of those only some to one endpoint or one tenant:
//! an endpoint that keeps its callers waiting keeps no others waiting.

mod attempt;
mod payload;
mod signature;
mod verdict;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use darkroom_store::{DueDelivery, Error, InFlight};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

pub(crate) use self::attempt::Post;
use crate::rhythm::Rhythm;

/// How often is looked for due deliveries.
const POLL: Duration = Duration::from_millis(500);
/// How often the backlog is counted.
const MEASURE: Duration = Duration::from_secs(5);
/// Deliveries at once.
const MOST: usize = 256;
/// How long those under way have to end when the service stops. The others are made again by the next courier.
const DRAIN: Duration = Duration::from_secs(8);

pub(crate) struct Courier {
    post: Arc<Post>,
    under_way: JoinSet<()>,
    in_flight: HashMap<Id, InFlight>,
    jitter: StdRng,
    measured: Option<Instant>,
}

impl Courier {
    pub(crate) fn new(post: Post) -> Self {
        Self {
            post: Arc::new(post),
            under_way: JoinSet::new(),
            in_flight: HashMap::new(),
            jitter: StdRng::from_os_rng(),
            measured: None,
        }
    }

    pub(crate) async fn run(mut self, stop: CancellationToken) -> anyhow::Result<()> {
        let mut rhythm = Rhythm::new("courier", POLL);
        while !stop.is_cancelled() {
            let round = self.round().await;
            // A claim takes one delivery of each endpoint: there may be more.
            if rhythm.note(round).is_some_and(|started| started > 0) {
                continue;
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(rhythm.pause()) => {}
                Some(ended) = self.under_way.join_next_with_id() => self.forget(ended),
            }
        }
        let draining = async { while self.under_way.join_next().await.is_some() {} };
        if timeout(DRAIN, draining).await.is_err() {
            tracing::info!(deliveries = self.in_flight.len(), "leaving deliveries to the next courier");
        }
        Ok(())
    }

    /// Starts as many due deliveries as there is room for, and says how many.
    async fn round(&mut self) -> Result<usize, Error> {
        while let Some(ended) = self.under_way.try_join_next_with_id() {
            self.forget(ended);
        }
        self.measure().await?;
        let room = MOST - self.in_flight.len();
        if room == 0 {
            return Ok(0);
        }
        let in_flight: Vec<InFlight> = self.in_flight.values().copied().collect();
        let room = i64::try_from(room).unwrap_or(i64::MAX);
        let due = self.post.store.claim_deliveries(&in_flight, room).await?;
        let started = due.len();
        for due in due {
            self.start(due);
        }
        metrics::gauge!("darkroom_webhook_deliveries_in_flight").set(f64::from(self.in_flight.len() as u32));
        Ok(started)
    }

    fn start(&mut self, due: DueDelivery) {
        let (post, jitter) = (self.post.clone(), self.jitter.random());
        let in_flight = InFlight { webhook: due.webhook, tenant: due.tenant };
        let task = self.under_way.spawn(async move { post.attempt(&due, jitter).await });
        self.in_flight.insert(task.id(), in_flight);
    }

    fn forget(&mut self, ended: Result<(Id, ()), JoinError>) {
        let id = match ended {
            Ok((id, ())) => id,
            // The panic hook has logged where and why.
            Err(error) => error.id(),
        };
        self.in_flight.remove(&id);
    }

    async fn measure(&mut self) -> Result<(), Error> {
        if self.measured.is_some_and(|measured| measured.elapsed() < MEASURE) {
            return Ok(());
        }
        let backlog = self.post.store.delivery_backlog().await?;
        #[expect(clippy::cast_precision_loss, reason = "a gauge")]
        metrics::gauge!("darkroom_webhook_deliveries_pending").set(backlog.pending as f64);
        metrics::gauge!("darkroom_webhook_deliveries_late_seconds").set(backlog.late_seconds);
        self.measured = Some(Instant::now());
        Ok(())
    }
}
