//! Asking for work, with an answer even when the database's own answer is lost.

use darkroom_jobs::LeaseToken;
use darkroom_store::{LeaseRequest, LeasedJob};

use crate::database::{self, bounded};
use crate::worker::Worker;

impl Worker {
    /// Leases the best job there is. While the database is away, waits for it; `None` when there is no job, or
    /// when the worker is stopping.
    pub(crate) async fn lease(&self) -> Option<LeasedJob> {
        let mut lanes = self.lanes.open();
        lanes.retain(|lane| self.library.has(lane));
        if lanes.is_empty() {
            return None;
        }
        let token = LeaseToken::from_uuid(self.chance.uuid());
        let loaded = self.device.loaded();
        let request = LeaseRequest { worker: self.id, token, lanes: &lanes, loaded: &loaded };
        match bounded(self.store.lease(&request)).await {
            Ok(leased) => leased,
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "failed to lease");
                self.find_lease(token).await
            }
        }
    }

    /// A lease may have been granted though the answer was lost: the token tells.
    async fn find_lease(&self, token: LeaseToken) -> Option<LeasedJob> {
        for delay in database::delay_iter() {
            tokio::select! {
                () = tokio::time::sleep(delay) => {}
                // If the lease was granted after all, the reaper takes it back.
                () = self.shutdown.soft.cancelled() => return None,
            }
            match bounded(self.store.find_lease(token)).await {
                Ok(leased) => return leased,
                Err(error) if error.is_transient() => {
                    tracing::debug!(error = &error as &dyn std::error::Error, "the database is still away");
                }
                Err(error) => {
                    tracing::error!(error = &error as &dyn std::error::Error, "failed to read a leased job");
                    return None;
                }
            }
        }
        None
    }
}
