-- Warnings: what a run has to say about a job without failing it.

create table job_warnings (
    id         bigint      generated always as identity,
    job_id     uuid        not null references jobs (id) on delete cascade,
    digest     bytea       not null check (length(digest) = 32),
    attempt    integer     not null,
    code       text        not null check (code <> ''),
    message    text        not null,
    detail     jsonb       not null check (jsonb_typeof(detail) = 'object'),
    created_at timestamptz not null default now(),
    primary key (job_id, digest)
);
comment on table job_warnings is 'What runs reported without failing, written under the lease as soon as it is reported.';
comment on column job_warnings.id is 'Order of arrival.';
comment on column job_warnings.job_id is 'The job.';
comment on column job_warnings.digest is 'SHA-256 of code and detail: a retry that reports the same again adds nothing.';
comment on column job_warnings.attempt is 'The attempt that reported it first.';
comment on column job_warnings.code is 'What kind of warning, a stable word.';
comment on column job_warnings.message is 'What it says, for people.';
comment on column job_warnings.detail is 'What it is about, for programs. May hold text of the prompt.';
comment on column job_warnings.created_at is 'When it was reported.';
comment on index job_warnings_pkey is 'A job''s warnings; one of each.';
