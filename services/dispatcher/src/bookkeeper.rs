//! The bookkeeper: the usage of days that are over is rolled up.

use std::time::Duration;

use darkroom_store::{Error, Store};
use tokio_util::sync::CancellationToken;

use crate::rhythm::Rhythm;

const PERIOD: Duration = Duration::from_secs(60);

pub(crate) async fn run(store: Store, stop: CancellationToken) -> anyhow::Result<()> {
    let mut rhythm = Rhythm::new("bookkeeper", PERIOD);
    loop {
        let round = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            round = roll_up(&store) => round,
        };
        rhythm.note(round);
        if !rhythm.wait(&stop).await {
            return Ok(());
        }
    }
}

/// Rolls up every day that is over and was not rolled up: more than one after days without a dispatcher.
async fn roll_up(store: &Store) -> Result<(), Error> {
    while let Some(rolled) = store.roll_up_day().await? {
        metrics::counter!("darkroom_usage_days_rolled_up_total").increment(1);
        tracing::info!(day = %rolled.day, rows = rolled.rows, "rolled up the usage of a day");
    }
    let days = store.days_not_rolled_up().await?;
    metrics::gauge!("darkroom_usage_days_not_rolled_up").set(f64::from(days));
    Ok(())
}
