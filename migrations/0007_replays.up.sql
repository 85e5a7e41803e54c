-- What operators do with failed jobs: run them again as a new job, or put them aside.

alter table jobs
    add column replay_of    uuid,
    add column discarded_at timestamptz;
comment on column jobs.replay_of is 'The failed job that an operator runs again by this one; null in jobs that were submitted. Its row may be gone.';
comment on column jobs.discarded_at is 'When an operator put the failed job aside; it stays failed. Null otherwise.';

create unique index jobs_replay on jobs (replay_of) where replay_of is not null;
comment on index jobs_replay is 'A failed job is run again at most once; a replay that fails as well may be.';
create index jobs_failed on jobs (id) where state = 'failed';
comment on index jobs_failed is 'Keyset pages of failed jobs, for operators.';

create view failed_jobs as
select j.id, j.tenant_id, j.lane, j.class, j.failure_class, j.failure_message, j.attempt, j.failures, j.worker_deaths,
       j.created_at, j.finished_at, j.deadline, j.discarded_at, j.replay_of, r.id as replayed_by,
       a.worker_id as last_worker_id, a.failure_class as attempt_failure_class,
       case when r.id is not null then 'replayed' when j.discarded_at is not null then 'discarded' else 'open' end
           as standing
from jobs j
left join jobs r on r.replay_of = j.id
left join attempts a on a.job_id = j.id and a.number = j.attempt
where j.state = 'failed' and j.deleted_at is null and j.swept_at is null;
comment on view failed_jobs is 'Failed jobs as operators see them: with the job that runs one again, what ended its last attempt, and whether it waits for a decision.';
