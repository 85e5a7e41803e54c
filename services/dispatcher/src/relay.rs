//! The relay: outbox rows become tickets.

use std::time::Duration;

use darkroom_jobs::Lane;
use darkroom_queue::Publisher;
use darkroom_store::{Change, Changes, Error, OutboxRow, Store};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::rhythm::Rhythm;

/// How often the outbox is looked at when nothing wakes the relay.
const POLL: Duration = Duration::from_secs(1);
/// Rows claimed at once; their tickets are published in one pipelined batch.
const BATCH: i64 = 500;

/// How often the outbox is measured.
const MEASURE: Duration = Duration::from_secs(1);

pub(crate) struct Relay {
    pub(crate) store: Store,
    pub(crate) publisher: Publisher,
    pub(crate) measured: Option<Instant>,
}

/// What a round did.
enum Round {
    /// Everything due was published.
    Drained,
    /// A full batch was published: there may be more.
    More,
    /// The broker takes nothing at present.
    Stuck,
}

impl Relay {
    pub(crate) async fn run(mut self, stop: CancellationToken) -> anyhow::Result<()> {
        let mut rhythm = Rhythm::new("relay", POLL);
        let mut changes = None;
        while !stop.is_cancelled() {
            let round = rhythm.note(self.round().await);
            if matches!(round, Some(Round::More)) {
                continue;
            }
            if changes.is_none() && !matches!(round, None | Some(Round::Stuck)) {
                changes = self.store.changes().await.ok();
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(rhythm.pause()) => {}
                () = added(&mut changes), if !matches!(round, None | Some(Round::Stuck)) => {}
            }
        }
        Ok(())
    }

    /// Claims due rows, publishes their tickets and deletes the rows whose ticket was taken. The others come due
    /// again by themselves.
    async fn round(&mut self) -> Result<Round, Error> {
        if !self.publisher.is_connected() {
            self.measure().await?;
            return Ok(Round::Stuck);
        }
        let rows = self.store.claim_outbox(BATCH).await?;
        let lanes: Vec<Lane> = rows.iter().map(|row| row.lane.clone()).collect();
        let taken = self.publisher.publish(&lanes).await;
        let ids = published(&rows, &taken);
        if !ids.is_empty() {
            darkroom_ops::crash_point("dispatcher.published");
            self.store.delete_outbox(&ids).await?;
        }
        if ids.len() == rows.len() && i64::try_from(rows.len()) == Ok(BATCH) {
            return Ok(Round::More);
        }
        self.measure().await?;
        Ok(if ids.len() == rows.len() { Round::Drained } else { Round::Stuck })
    }

    async fn measure(&mut self) -> Result<(), Error> {
        if self.measured.is_some_and(|measured| measured.elapsed() < MEASURE) {
            return Ok(());
        }
        self.measured = Some(Instant::now());
        let (depth, late_s) = self.store.outbox_depth().await?;
        #[expect(clippy::cast_precision_loss, reason = "a gauge")]
        metrics::gauge!("darkroom_outbox_rows").set(depth as f64);
        metrics::gauge!("darkroom_outbox_late_seconds").set(late_s);
        Ok(())
    }
}

fn published(rows: &[OutboxRow], taken: &[bool]) -> Vec<i64> {
    rows.iter().zip(taken).filter(|(_, taken)| **taken).map(|(row, _)| row.id).collect()
}

/// Returns when rows were added to the outbox, or when it is no longer known whether any were.
async fn added(changes: &mut Option<Changes>) {
    let Some(listener) = changes else { return std::future::pending().await };
    loop {
        match listener.next().await {
            Ok(Change::Outbox | Change::Unknown) => return,
            Ok(Change::Jobs(_)) => {}
            Err(error) => {
                tracing::debug!(%error, "lost the announcements, polling");
                *changes = None;
                return;
            }
        }
    }
}
