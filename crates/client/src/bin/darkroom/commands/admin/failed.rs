//! `darkroom admin failed`.

use anyhow::bail;
use clap::{Args, Subcommand};
use darkroom_client::admin::{Decision, FailedFilter, FailedJob, FailedJobDetail};
use serde_json::json;
use uuid::Uuid;

use super::{Confirmed, Desk, confirm};
use crate::show::{self, plain, time};

#[derive(Debug, Subcommand)]
pub(super) enum Failed {
    /// List failed jobs, newest first
    List {
        #[command(flatten)]
        filter: Filter,
        /// What was decided about them: open (nothing yet), replayed or discarded
        #[arg(long, default_value = "open")]
        standing: String,
        /// Show at most so many
        #[arg(short = 'n', long, value_name = "COUNT", default_value_t = 20)]
        limit: usize,
    },
    /// Show a failed job with its attempts and what was asked for
    Show {
        /// Its id
        id: Uuid,
    },
    /// Run failed jobs again, each by a new job: those named, or all that match
    #[command(visible_alias = "requeue")]
    Replay(Which),
    /// Put failed jobs aside: those named, or all that match
    Discard(Which),
}

#[derive(Debug, Args)]
pub(super) struct Filter {
    /// Only jobs of the tenant with this id or name
    #[arg(long)]
    tenant: Option<String>,
    /// Only jobs of this lane, pipeline:model
    #[arg(long)]
    lane: Option<String>,
    /// Only jobs that failed so, or whose last attempt did; a job out of attempts is poison
    #[arg(long, value_name = "CLASS")]
    failure_class: Option<String>,
    /// Only jobs that failed at least so long ago
    #[arg(long, value_name = "SECONDS")]
    older_than_seconds: Option<u32>,
    /// Only jobs that failed at most so long ago
    #[arg(long, value_name = "SECONDS")]
    newer_than_seconds: Option<u32>,
}

#[derive(Debug, Args)]
pub(super) struct Which {
    /// Ids of failed jobs
    #[arg(value_name = "JOB", required_unless_present = "all")]
    ids: Vec<Uuid>,
    /// Every failed job that matches; they are counted first
    #[arg(long, conflicts_with = "ids")]
    all: bool,
    #[command(flatten)]
    filter: Filter,
    #[command(flatten)]
    confirmed: Confirmed,
}

impl From<Filter> for FailedFilter {
    fn from(filter: Filter) -> Self {
        let Filter { tenant, lane, failure_class, older_than_seconds, newer_than_seconds } = filter;
        Self { tenant, lane, failure_class, older_than_seconds, newer_than_seconds }
    }
}

impl Failed {
    pub(super) async fn run(self, desk: &Desk) -> anyhow::Result<()> {
        match self {
            Self::List { filter, standing, limit } => {
                let mut found = Vec::new();
                let (filter, mut cursor) = (filter.into(), None);
                while found.len() < limit {
                    let page = desk.admin.failed_jobs(&filter, &standing, cursor.as_deref()).await?;
                    found.extend(page.jobs);
                    cursor = page.next_cursor;
                    if cursor.is_none() {
                        break;
                    }
                }
                found.truncate(limit);
                desk.list(
                    &["JOB", "TENANT", "LANE", "FAILED", "WHY", "LAST ATTEMPT", "ATTEMPTS"],
                    &found,
                    row,
                )
            }
            Self::Show { id } => {
                let job = desk.admin.failed_job(id).await?;
                desk.form.print(|| details(&job), &job)
            }
            Self::Replay(which) => which.decide(desk, Decision::Replay).await,
            Self::Discard(which) => which.decide(desk, Decision::Discard).await,
        }
    }
}

impl Which {
    async fn decide(self, desk: &Desk, decision: Decision) -> anyhow::Result<()> {
        let filter = FailedFilter::from(self.filter);
        if self.all {
            return many(desk, decision, &filter, self.confirmed).await;
        }
        if filter != FailedFilter::default() {
            bail!("filters are for --all: give ids alone, or --all with filters");
        }
        for id in self.ids {
            match decision {
                Decision::Replay => {
                    let replay = desk.admin.replay(id).await?;
                    desk.form.print(|| format!("job {id} is run again by job {}", replay.id), &replay)?;
                }
                Decision::Discard => {
                    desk.admin.discard(id).await?;
                    let json = json!({"id": id, "discarded": true});
                    desk.form.print(|| format!("job {id} is put aside"), &json)?;
                }
            }
        }
        Ok(())
    }
}

async fn many(
    desk: &Desk,
    decision: Decision,
    filter: &FailedFilter,
    confirmed: Confirmed,
) -> anyhow::Result<()> {
    let matching = desk.admin.count_failed(decision, filter).await?;
    let (question, done) = match decision {
        Decision::Replay => (format!("Run {matching} failed jobs again"), "are run again"),
        Decision::Discard => (format!("Put {matching} failed jobs aside"), "are put aside"),
    };
    if matching > 0 && !confirm(question, confirmed).await? {
        return Ok(());
    }
    let (mut left, mut total) = (matching, 0);
    while left > 0 {
        let decided = desk.admin.decide(decision, filter, left).await?;
        total += decided.done;
        left = decided.remaining;
    }
    desk.form.print(|| format!("{total} failed jobs {done}"), &json!({"matching": matching, "done": total}))
}

fn row(job: &FailedJob) -> Vec<String> {
    vec![
        job.id.to_string(),
        plain(&job.tenant),
        job.lane.clone(),
        time(job.finished_at),
        job.error.code.clone(),
        job.last_attempt.clone().unwrap_or_default(),
        job.attempts.to_string(),
    ]
}

fn details(detail: &FailedJobDetail) -> String {
    let failed = &detail.failed;
    let standing = match failed.replayed_by {
        Some(by) => format!("replayed by {by}"),
        None => failed.standing.clone(),
    };
    let mut lines = vec![
        show::details(&detail.job),
        format!("tenant     {}", plain(&failed.tenant)),
        format!("standing   {standing}"),
    ];
    lines.extend(detail.history.iter().map(|attempt| {
        let why = attempt.error.as_ref();
        let why = why.map(|why| format!(", {}: {}", why.code, plain(&why.message))).unwrap_or_default();
        format!("attempt {}  {} by worker {}{why}", attempt.number, attempt.state, attempt.worker_id)
    }));
    lines.join("\n")
}
