//! `darkroom admin workers`.

use clap::Subcommand;
use darkroom_client::admin::{LaneOfWorker, Worker};
use uuid::Uuid;

use super::{Desk, lines};
use crate::show::{plain, time};

#[derive(Debug, Subcommand)]
pub(super) enum Workers {
    /// List the workers
    List,
    /// Show a worker with its models and what it runs
    Show {
        /// Its id
        id: Uuid,
    },
    /// Ask a worker to finish what it runs, take nothing new, and end
    Drain {
        /// Its id
        id: Uuid,
    },
}

impl Workers {
    pub(super) async fn run(self, desk: &Desk) -> anyhow::Result<()> {
        match self {
            Self::List => {
                let head = ["WORKER", "HOST", "DEVICE", "STATE", "LANES", "LOADED", "RUNNING", "LAST SEEN"];
                desk.list(&head, &desk.admin.workers().await?, row)
            }
            Self::Show { id } => {
                let worker = desk.admin.worker(id).await?;
                desk.form.print(|| details(&worker), &worker)
            }
            Self::Drain { id } => {
                let worker = desk.admin.drain_worker(id).await?;
                let text = || format!("worker {id} ends after {} jobs that it runs", worker.running.len());
                desk.form.print(text, &worker)
            }
        }
    }
}

fn state(worker: &Worker) -> &'static str {
    match worker.drain_requested_at {
        _ if worker.silent_seconds > 15.0 => "silent",
        Some(_) => "draining",
        None => "works",
    }
}

fn row(worker: &Worker) -> Vec<String> {
    let loaded = worker.lanes.iter().filter(|lane| lane.loaded).count();
    vec![
        worker.id.to_string(),
        plain(&worker.host),
        worker.device.clone(),
        state(worker).to_owned(),
        worker.lanes.len().to_string(),
        loaded.to_string(),
        worker.running.len().to_string(),
        format!("{:.0} s ago", worker.silent_seconds),
    ]
}

fn details(worker: &Worker) -> String {
    let head = lines([
        ("worker", worker.id.to_string()),
        ("host", plain(&worker.host)),
        ("device", worker.device.clone()),
        ("state", state(worker).to_owned()),
        ("started", time(worker.started_at)),
        ("last seen", time(worker.last_seen_at)),
    ]);
    let lanes = worker.lanes.iter().map(|lane| format!("{:<14}{}", "lane", describe(lane)));
    let running = worker.running.iter().map(|attempt| {
        format!(
            "{:<14}job {}, attempt {}, since {}",
            "runs",
            attempt.job,
            attempt.attempt,
            time(attempt.leased_at)
        )
    });
    std::iter::once(head).chain(lanes).chain(running).collect::<Vec<_>>().join("\n")
}

fn describe(lane: &LaneOfWorker) -> String {
    let files = match (&lane.failure, lane.downloaded_bytes.zip(lane.total_bytes)) {
        (Some(failure), _) => format!("failed: {}", plain(failure)),
        (None, Some((downloaded, total))) => format!("{} {downloaded} of {total} bytes", lane.files),
        (None, None) => lane.files.clone(),
    };
    format!("{}, {}", lane.lane, if lane.loaded { "loaded" } else { &files })
}
