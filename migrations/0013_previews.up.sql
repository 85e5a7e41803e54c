-- What pictures in work look like, for whoever looks on at that moment.

create unlogged table job_watchers (
    job_id        uuid        primary key,
    watched_until timestamptz not null
);
comment on table job_watchers is 'Jobs that somebody wants to see previews of: workers make none otherwise. Unlogged, since it is old after seconds.';
comment on column job_watchers.job_id is 'The job. No foreign key: the row is gone soon.';
comment on column job_watchers.watched_until is 'Until when somebody looks on; moved ahead while they do.';
comment on index job_watchers_pkey is 'Whether somebody looks on at a job.';

create unlogged table job_previews (
    job_id  uuid        primary key,
    image   integer     not null check (image >= 0),
    step    integer     not null check (step >= 0),
    content bytea       not null check (length(content) between 1 and 16384),
    made_at timestamptz not null default clock_timestamp()
);
comment on table job_previews is 'The latest preview of each job that somebody looks on at, one row a job. Unlogged, since it is old after seconds.';
comment on column job_previews.job_id is 'The job. No foreign key: the row is gone soon.';
comment on column job_previews.image is 'Which of the job''s pictures, from 0.';
comment on column job_previews.step is 'Steps done for it.';
comment on column job_previews.content is 'A WebP of at most 16 KiB.';
comment on column job_previews.made_at is 'When it was made.';
comment on index job_previews_pkey is 'Finds a job''s preview.';
