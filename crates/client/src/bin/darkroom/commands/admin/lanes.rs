//! `darkroom admin lanes`.

use clap::Subcommand;
use darkroom_client::admin::Lane;

use super::Desk;
use crate::show::plain;

#[derive(Debug, Subcommand)]
pub(super) enum Lanes {
    /// List the lanes: what waits, runs and was done
    List,
    /// Pause a lane: nothing that waits there is begun
    Pause {
        /// The lane, pipeline:model
        lane: String,
        /// Why, for other operators
        #[arg(long)]
        reason: Option<String>,
    },
    /// Open a paused lane
    Resume {
        /// The lane, pipeline:model
        lane: String,
    },
}

impl Lanes {
    pub(super) async fn run(self, desk: &Desk) -> anyhow::Result<()> {
        let lanes = match self {
            Self::List => desk.admin.lanes().await?,
            Self::Pause { lane, reason } => vec![desk.admin.pause_lane(&lane, reason.as_deref()).await?],
            Self::Resume { lane } => vec![desk.admin.resume_lane(&lane).await?],
        };
        let head = [
            "LANE",
            "STATE",
            "INTERACTIVE",
            "NORMAL",
            "BACKGROUND",
            "RUNNING",
            "OLDEST",
            "A MINUTE",
            "WORKERS",
        ];
        desk.list(&head, &lanes, row)
    }
}

fn row(lane: &Lane) -> Vec<String> {
    let state = match (&lane.paused_at, &lane.reason) {
        (None, _) => "open".to_owned(),
        (Some(_), None) => "paused".to_owned(),
        (Some(_), Some(reason)) => format!("paused: {}", plain(reason)),
    };
    vec![
        lane.lane.clone(),
        state,
        lane.queued.interactive.to_string(),
        lane.queued.normal.to_string(),
        lane.queued.background.to_string(),
        lane.running.to_string(),
        lane.oldest_wait_seconds.map(|seconds| format!("{seconds:.0} s")).unwrap_or_default(),
        format!("{:.1}", lane.succeeded_per_minute),
        format!("{} ({} loaded)", lane.workers, lane.loaded),
    ]
}
