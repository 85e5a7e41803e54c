//! The teller: what waits and what runs, by lane, for whoever watches the metrics.

use std::collections::BTreeSet;
use std::time::Duration;

use darkroom_jobs::Lane;
use darkroom_store::{Backlog, LaneLoad, Store};
use tokio_util::sync::CancellationToken;

use crate::rhythm::Rhythm;

/// A count reads the whole queue.
const PERIOD: Duration = Duration::from_secs(10);

pub(crate) async fn run(store: Store, stop: CancellationToken) -> anyhow::Result<()> {
    let mut rhythm = Rhythm::new("teller", PERIOD);
    let mut told = BTreeSet::new();
    loop {
        let backlog = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            backlog = store.backlog() => backlog,
        };
        if let Some(backlog) = rhythm.note(backlog) {
            tell(&backlog, &mut told);
        }
        if !rhythm.wait(&stop).await {
            return Ok(());
        }
    }
}

/// Lanes that were told of once are told of again when they are empty.
fn tell(backlog: &Backlog, told: &mut BTreeSet<Lane>) {
    let loads = backlog.by_lane();
    told.extend(loads.keys().map(|lane| (*lane).clone()));
    for lane in told.iter() {
        let LaneLoad { queued, running, oldest_s } = loads.get(lane).copied().unwrap_or_default();
        let lane = lane.to_string();
        metrics::gauge!("darkroom_jobs_queued", "lane" => lane.clone()).set(queued.jobs);
        metrics::gauge!("darkroom_pixels_queued", "lane" => lane.clone()).set(queued.units);
        metrics::gauge!("darkroom_jobs_running", "lane" => lane.clone()).set(running.jobs);
        metrics::gauge!("darkroom_queue_oldest_seconds", "lane" => lane).set(oldest_s);
    }
}
