//! Failed jobs, whoever owns them: what operators look at and decide about.

use std::time::Duration;

use chrono::{DateTime, Utc};
use darkroom_jobs::{
    AttemptState, Failure, FailureClass, JobId, Lane, Priority, TenantId, UnknownWord, WorkerId,
};
use uuid::Uuid;

use crate::rows::At;
use crate::{Error, Store};

/// What operators have decided about a failed job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Nothing yet.
    Open,
    /// Another job runs it again.
    Replayed,
    /// It was put aside.
    Discarded,
}

impl Standing {
    /// Every standing.
    pub const ALL: [Self; 3] = [Self::Open, Self::Replayed, Self::Discarded];

    /// The word in the database and the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Replayed => "replayed",
            Self::Discarded => "discarded",
        }
    }
}

impl std::str::FromStr for Standing {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|standing| standing.as_str() == word).ok_or_else(|| UnknownWord {
            what: "standing",
            word: word.to_owned(),
            allowed: "open, replayed, discarded",
        })
    }
}

/// Which failed jobs; every condition that is given has to be met.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FailedFilter {
    /// Only this tenant's.
    pub tenant: Option<TenantId>,
    /// Only those of this lane.
    pub lane: Option<Lane>,
    /// Only those that failed so, or whose last attempt did: a job out of attempts is `poison`, whatever ended them.
    pub class: Option<FailureClass>,
    /// Only those that failed at least so long ago.
    pub older_than: Option<Duration>,
    /// Only those that failed at most so long ago.
    pub newer_than: Option<Duration>,
}

/// One page of failed jobs, newest first.
#[derive(Debug, Clone, Copy)]
pub struct FailedPage {
    /// Only jobs about which this was decided.
    pub standing: Standing,
    /// Only jobs older than this one.
    pub before: Option<JobId>,
    /// At most so many.
    pub limit: i64,
}

/// A failed job as operators see it: no prompt, no metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedJob {
    /// Its id.
    pub id: JobId,
    /// Its owner.
    pub tenant: TenantId,
    /// Name of the owner.
    pub tenant_name: String,
    /// Where it waited.
    pub lane: Lane,
    /// Its priority class.
    pub priority: Priority,
    /// Why it failed.
    pub failure: Failure,
    /// What ended its last attempt.
    pub last_attempt: Option<FailureClass>,
    /// Who ran that.
    pub last_worker: Option<WorkerId>,
    /// Attempts that were started.
    pub attempts: i32,
    /// Attempts that failed or were lost.
    pub failures: i16,
    /// Lost attempts that ended with their worker.
    pub worker_deaths: i16,
    /// When it was accepted.
    pub created_at: DateTime<Utc>,
    /// When it failed.
    pub finished_at: DateTime<Utc>,
    /// Until when it may be run again.
    pub deadline: DateTime<Utc>,
    /// What was decided about it.
    pub standing: Standing,
    /// The failed job that it ran again.
    pub replay_of: Option<JobId>,
    /// The job that runs it again.
    pub replayed_by: Option<JobId>,
    /// When it was put aside.
    pub discarded_at: Option<DateTime<Utc>>,
}

/// A try at a job, as operators see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// Its number in the job, from 1.
    pub number: i32,
    /// Who ran it.
    pub worker: WorkerId,
    /// Where it stands.
    pub state: AttemptState,
    /// Why it failed.
    pub failure: Option<Failure>,
    /// When it began.
    pub leased_at: DateTime<Utc>,
    /// When it ended.
    pub finished_at: Option<DateTime<Utc>>,
}

struct FailedRow {
    id: Uuid,
    tenant_id: Uuid,
    tenant_name: String,
    lane: String,
    class: i16,
    failure_class: String,
    failure_message: Option<String>,
    attempt_failure_class: Option<String>,
    last_worker_id: Option<Uuid>,
    attempt: i32,
    failures: i16,
    worker_deaths: i16,
    created_at: DateTime<Utc>,
    finished_at: DateTime<Utc>,
    deadline: DateTime<Utc>,
    standing: String,
    replay_of: Option<Uuid>,
    replayed_by: Option<Uuid>,
    discarded_at: Option<DateTime<Utc>>,
}

impl TryFrom<FailedRow> for FailedJob {
    type Error = Error;

    fn try_from(row: FailedRow) -> Result<Self, Error> {
        let at = At { table: "jobs", id: row.id };
        let priority = Priority::from_class(row.class)
            .ok_or_else(|| Error::bad_row("jobs", "class", row.id, format!("{} is no class", row.class)))?;
        let class = at.word("failure_class", &row.failure_class)?;
        let last_attempt = row.attempt_failure_class.map(|class| at.word("failure_class", &class));
        Ok(Self {
            id: JobId::from_uuid(row.id),
            tenant: TenantId::from_uuid(row.tenant_id),
            tenant_name: row.tenant_name,
            lane: at.word("lane", &row.lane)?,
            priority,
            failure: Failure::new(class, row.failure_message.unwrap_or_default()),
            last_attempt: last_attempt.transpose()?,
            last_worker: row.last_worker_id.map(WorkerId::from_uuid),
            attempts: row.attempt,
            failures: row.failures,
            worker_deaths: row.worker_deaths,
            created_at: row.created_at,
            finished_at: row.finished_at,
            deadline: row.deadline,
            standing: at.word("standing", &row.standing)?,
            replay_of: row.replay_of.map(JobId::from_uuid),
            replayed_by: row.replayed_by.map(JobId::from_uuid),
            discarded_at: row.discarded_at,
        })
    }
}

impl Store {
    /// A page of failed jobs that their owners have not deleted.
    ///
    /// # Errors
    /// When the database is unavailable.
    pub async fn failed_jobs(
        &self,
        filter: &FailedFilter,
        page: &FailedPage,
    ) -> Result<Vec<FailedJob>, Error> {
        let rows = sqlx::query_as!(
            FailedRow,
            r#"select f.id as "id!", f.tenant_id as "tenant_id!", t.name as tenant_name, f.lane as "lane!",
                      f.class as "class!", f.failure_class as "failure_class!", f.failure_message,
                      f.attempt_failure_class, f.last_worker_id, f.attempt as "attempt!", f.failures as "failures!",
                      f.worker_deaths as "worker_deaths!", f.created_at as "created_at!",
                      f.finished_at as "finished_at!", f.deadline as "deadline!", f.standing as "standing!",
                      f.replay_of, f.replayed_by, f.discarded_at
               from failed_jobs f join tenants t on t.id = f.tenant_id
               where ($1::uuid is null or f.tenant_id = $1) and ($2::text is null or f.lane = $2)
                 and ($3::text is null or f.failure_class = $3 or f.attempt_failure_class = $3)
                 and ($4::float8 is null or f.finished_at <= now() - $4 * interval '1 second')
                 and ($5::float8 is null or f.finished_at >= now() - $5 * interval '1 second')
                 and f.standing = $6 and f.id < $7
               order by f.id desc limit $8"#,
            filter.tenant.map(TenantId::as_uuid),
            filter.lane.as_ref().map(Lane::to_string),
            filter.class.map(FailureClass::as_str),
            filter.older_than.map(|age| age.as_secs_f64()),
            filter.newer_than.map(|age| age.as_secs_f64()),
            page.standing.as_str(),
            page.before.map_or(Uuid::max(), JobId::as_uuid),
            page.limit
        )
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter().map(FailedJob::try_from).collect()
    }

    /// A failed job, whatever was decided about it; `None` when there is none of that id, or its owner has deleted
    /// it.
    ///
    /// # Errors
    /// When the database is unavailable.
    pub async fn failed_job(&self, id: JobId) -> Result<Option<FailedJob>, Error> {
        let row = sqlx::query_as!(
            FailedRow,
            r#"select f.id as "id!", f.tenant_id as "tenant_id!", t.name as tenant_name, f.lane as "lane!",
                      f.class as "class!", f.failure_class as "failure_class!", f.failure_message,
                      f.attempt_failure_class, f.last_worker_id, f.attempt as "attempt!", f.failures as "failures!",
                      f.worker_deaths as "worker_deaths!", f.created_at as "created_at!",
                      f.finished_at as "finished_at!", f.deadline as "deadline!", f.standing as "standing!",
                      f.replay_of, f.replayed_by, f.discarded_at
               from failed_jobs f join tenants t on t.id = f.tenant_id
               where f.id = $1"#,
            id.as_uuid()
        )
        .fetch_optional(&self.pool)
        .await?;
        row.map(FailedJob::try_from).transpose()
    }

    /// Every attempt at a job, in order.
    ///
    /// # Errors
    /// When the database is unavailable.
    pub async fn attempts(&self, job: JobId) -> Result<Vec<Attempt>, Error> {
        let rows = sqlx::query!(
            "select number, worker_id, state, failure_class, failure_message, leased_at, finished_at
             from attempts where job_id = $1 order by number",
            job.as_uuid()
        )
        .fetch_all(&self.pool)
        .await?;
        let at = At { table: "attempts", id: job };
        rows.into_iter()
            .map(|row| {
                let failure = row.failure_class.map(|class| {
                    let class = at.word("failure_class", &class)?;
                    Ok::<_, Error>(Failure::new(class, row.failure_message.unwrap_or_default()))
                });
                Ok(Attempt {
                    number: row.number,
                    worker: WorkerId::from_uuid(row.worker_id),
                    state: at.word("state", &row.state)?,
                    failure: failure.transpose()?,
                    leased_at: row.leased_at,
                    finished_at: row.finished_at,
                })
            })
            .collect()
    }
}
