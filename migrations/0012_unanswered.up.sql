-- Jobs whose submission has not been answered: what a caller that repeats it is led to.

create unlogged table unanswered_jobs (
    job_id      uuid        primary key,
    fingerprint bytea       not null check (length(fingerprint) = 32),
    created_at  timestamptz not null default now(),
    abandoned   boolean     not null default false
);
comment on table unanswered_jobs is 'For clients of other systems, which repeat a submission without a key: a row from acceptance until the answer was sent, for ten minutes at most. Best effort, so unlogged.';
comment on column unanswered_jobs.job_id is 'The job. No foreign key: the row is gone long before the job.';
comment on column unanswered_jobs.fingerprint is 'SHA-256 of the key and the request.';
comment on column unanswered_jobs.created_at is 'When it was accepted.';
comment on column unanswered_jobs.abandoned is 'The connection ended before the answer was sent.';
comment on index unanswered_jobs_pkey is 'Finds the row that is answered.';
create index unanswered_jobs_fingerprint on unanswered_jobs (fingerprint);
comment on index unanswered_jobs_fingerprint is 'Finds the job of a repeated submission.';
