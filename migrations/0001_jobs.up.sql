-- Tenants, API keys, jobs and everything that hangs on a job.
-- States and classes are text with a check, so that a later migration can widen them without a table rewrite.

create table tenants (
    id         uuid        primary key,
    name       text        not null unique check (name <> ''),
    created_at timestamptz not null default now()
);
comment on table tenants is 'Owners of API keys, jobs, limits and usage.';
comment on column tenants.id is 'UUIDv7.';
comment on column tenants.name is 'Name operators use on the command line.';
comment on column tenants.created_at is 'When the tenant was made.';

create table api_keys (
    id         uuid        primary key,
    tenant_id  uuid        references tenants (id),
    name       text        not null,
    prefix     text        not null,
    hash       bytea       not null unique check (length(hash) = 32),
    scopes     text[]      not null,
    created_at timestamptz not null default now(),
    revoked_at timestamptz
);
comment on table api_keys is 'API keys. Only a digest is stored; the key is shown once, when it is made.';
comment on column api_keys.id is 'UUIDv7, by which a key is revoked.';
comment on column api_keys.tenant_id is 'Owner; null for an operator key, which belongs to no tenant.';
comment on column api_keys.name is 'What the key is for, in the words of whoever made it.';
comment on column api_keys.prefix is 'Visible start of the key, to tell keys apart in lists.';
comment on column api_keys.hash is 'SHA-256 of the whole key.';
comment on column api_keys.scopes is 'What the key may do: submit, read.';
comment on column api_keys.created_at is 'When the key was made.';
comment on column api_keys.revoked_at is 'When the key stopped working; null while it works.';
comment on index api_keys_hash_key is 'Finds the key of a request.';

create table jobs (
    id              uuid        primary key,
    tenant_id       uuid        not null references tenants (id),
    lane            text        not null,
    class           smallint    not null check (class between 0 and 2),
    state           text        not null default 'queued'
        check (state in ('queued', 'running', 'succeeded', 'failed', 'canceled', 'expired')),
    version         integer     not null default 1,
    attempt         integer     not null default 0,
    failures        smallint    not null default 0,
    worker_deaths   smallint    not null default 0,
    max_attempts    smallint    not null check (max_attempts >= 1),
    lease_token     uuid,
    units           bigint      not null check (units > 0),
    price           numeric     not null check (price >= 0),
    currency        text        not null,
    cost            numeric,
    idempotency_key text,
    available_at    timestamptz not null default now(),
    avoid_worker    uuid,
    avoid_until     timestamptz,
    deadline        timestamptz not null,
    expires_at      timestamptz not null,
    created_at      timestamptz not null default now(),
    started_at      timestamptz,
    finished_at     timestamptz,
    deleted_at      timestamptz,
    swept_at        timestamptz,
    failure_class   text,
    failure_message text,
    check ((state = 'running') = (lease_token is not null)),
    check ((state in ('queued', 'running')) = (finished_at is null)),
    check ((state = 'failed') = (failure_class is not null))
) with (fillfactor = 80);
comment on table jobs is 'One row per job: narrow, updated at every change of state. Room is left in each page for updates in place.';
comment on column jobs.id is 'UUIDv7, so ids sort by submission.';
comment on column jobs.tenant_id is 'Owner.';
comment on column jobs.lane is 'Where it waits, as pipeline:model.';
comment on column jobs.class is 'Priority class: 0 interactive, 1 normal, 2 background.';
comment on column jobs.state is 'Where it stands; final once it is neither queued nor running.';
comment on column jobs.version is 'Grows with every change of state or artifacts; the ETag.';
comment on column jobs.attempt is 'Number of the latest attempt; only ever grows.';
comment on column jobs.failures is 'Failed and lost attempts so far.';
comment on column jobs.worker_deaths is 'How many of the lost attempts ended with their worker.';
comment on column jobs.max_attempts is 'Failures after which the job fails for good, from the catalog at submission.';
comment on column jobs.lease_token is 'Token of the lease under which the job runs; null unless running.';
comment on column jobs.units is 'Billed pixels: the weight of the job in the order of leases.';
comment on column jobs.price is 'What it costs if it succeeds, fixed at submission.';
comment on column jobs.currency is 'Currency of price and cost.';
comment on column jobs.cost is 'What it did cost; set once, on success.';
comment on column jobs.idempotency_key is 'Key under which a repeated submission finds this job.';
comment on column jobs.available_at is 'While queued: not leased before this time (backoff).';
comment on column jobs.avoid_worker is 'Worker that ran out of memory on it.';
comment on column jobs.avoid_until is 'Until when that worker leaves it to others.';
comment on column jobs.deadline is 'When it expires unless it is final by then; never after expires_at.';
comment on column jobs.expires_at is 'End of retention: row, inputs and artifacts may be deleted from then on.';
comment on column jobs.created_at is 'When it was accepted.';
comment on column jobs.started_at is 'When its first attempt was leased.';
comment on column jobs.finished_at is 'When it became final.';
comment on column jobs.deleted_at is 'When its owner deleted it; from then on nobody sees it.';
comment on column jobs.swept_at is 'When its objects were deleted.';
comment on column jobs.failure_class is 'Why it failed: class.';
comment on column jobs.failure_message is 'Why it failed: message for the caller.';

create unique index jobs_idempotency on jobs (tenant_id, idempotency_key) where idempotency_key is not null;
comment on index jobs_idempotency is 'One job per tenant and idempotency key.';
create index jobs_queued on jobs (lane, class, tenant_id, id) where state = 'queued';
comment on index jobs_queued is 'Serves the lease: a skip scan finds the head of each (lane, class, tenant).';
create index jobs_running on jobs (tenant_id) include (units) where state = 'running';
comment on index jobs_running is 'Running units per tenant, for the order of leases.';
create index jobs_unfinished on jobs (deadline) where state in ('queued', 'running');
comment on index jobs_unfinished is 'Finds jobs whose deadline has passed.';
create index jobs_listed on jobs (tenant_id, id) where deleted_at is null;
comment on index jobs_listed is 'Keyset pages of a tenant''s jobs.';
create index jobs_retention on jobs (expires_at) where swept_at is null;
comment on index jobs_retention is 'Finds jobs past their retention.';
create index jobs_deleted on jobs (deleted_at) where deleted_at is not null and swept_at is null;
comment on index jobs_deleted is 'Finds deleted jobs that still have objects.';
create index jobs_swept on jobs (swept_at) where swept_at is not null;
comment on index jobs_swept is 'Finds rows that are only kept for their idempotency key.';

create table job_requests (
    job_id       uuid  primary key references jobs (id) on delete cascade,
    task         jsonb not null,
    metadata     jsonb not null,
    request_hash bytea not null check (length(request_hash) = 32),
    traceparent  text
);
comment on table job_requests is 'What was asked for: written once with the job, never changed.';
comment on column job_requests.job_id is 'The job.';
comment on column job_requests.task is 'Typed parameters with every default filled in.';
comment on column job_requests.metadata is 'The caller''s own labels.';
comment on column job_requests.request_hash is 'SHA-256 of the request, to tell a replay from a reused idempotency key.';
comment on column job_requests.traceparent is 'W3C trace context of the submission.';

create table attempts (
    job_id           uuid        not null references jobs (id) on delete cascade,
    number           integer     not null,
    worker_id        uuid        not null,
    lane             text        not null,
    tenant_id        uuid        not null,
    lease_token      uuid        not null unique,
    lease_expires_at timestamptz not null,
    state            text        not null default 'running'
        check (state in ('running', 'succeeded', 'failed', 'released', 'lost', 'canceled')),
    progress         jsonb,
    timings          jsonb,
    failure_class    text,
    failure_message  text,
    leased_at        timestamptz not null default now(),
    finished_at      timestamptz,
    swept_at         timestamptz,
    primary key (job_id, number),
    check ((state = 'running') = (finished_at is null))
) with (fillfactor = 70);
comment on table attempts is 'Tries at jobs. Heartbeats update lease_expires_at and progress in place: no index may contain them.';
comment on column attempts.job_id is 'The job.';
comment on column attempts.number is 'Number within the job, from 1; part of the object keys, so never reused.';
comment on column attempts.worker_id is 'Who holds or held the lease.';
comment on column attempts.lane is 'The job''s lane.';
comment on column attempts.tenant_id is 'The job''s tenant.';
comment on column attempts.lease_token is 'Made by the worker before it asked; every later write names it.';
comment on column attempts.lease_expires_at is 'On this database''s clock; moved ahead by heartbeats.';
comment on column attempts.state is 'Where it stands.';
comment on column attempts.progress is 'Latest step of the latest image, as the worker reported it.';
comment on column attempts.timings is 'Milliseconds since the lease at which inference began and ended, and of each stage.';
comment on column attempts.failure_class is 'Why it failed: class.';
comment on column attempts.failure_message is 'Why it failed: message for the caller.';
comment on column attempts.leased_at is 'When the lease was granted.';
comment on column attempts.finished_at is 'When it ended.';
comment on column attempts.swept_at is 'When objects of it that no artifact names were deleted.';
comment on index attempts_lease_token_key is 'Finds an attempt whose COMMIT reply was lost.';

create index attempts_running on attempts (job_id) where state = 'running';
comment on index attempts_running is 'The reaper''s scan; as small as the number of running jobs.';
create index attempts_latest on attempts (lane, tenant_id, leased_at);
comment on index attempts_latest is 'When a tenant was last leased in a lane, for the order of leases.';
create index attempts_unswept on attempts (finished_at)
    where state in ('failed', 'released', 'lost', 'canceled') and swept_at is null;
comment on index attempts_unswept is 'Closed attempts that may have left objects nobody names.';

create table artifacts (
    id           uuid        primary key,
    job_id       uuid        not null references jobs (id) on delete cascade,
    index        integer     not null check (index >= 0),
    attempt      integer     not null,
    key          text        not null,
    content_type text        not null,
    size_bytes   bigint      not null,
    sha256       bytea       not null check (length(sha256) = 32),
    width        integer,
    height       integer,
    seed         bigint,
    nsfw         boolean     not null default false,
    text         text,
    created_at   timestamptz not null default now(),
    unique (job_id, index)
);
comment on table artifacts is 'Stored results, written under the lease as soon as the object is stored.';
comment on column artifacts.id is 'UUIDv7; names the result in its URL.';
comment on column artifacts.job_id is 'The job.';
comment on column artifacts.index is 'Which result of the job, from 0.';
comment on column artifacts.attempt is 'The attempt that made it.';
comment on column artifacts.key is 'Object key in the blob store.';
comment on column artifacts.content_type is 'Media type.';
comment on column artifacts.size_bytes is 'Size of the object.';
comment on column artifacts.sha256 is 'SHA-256 of the object.';
comment on column artifacts.width is 'Width in pixels; null for a caption.';
comment on column artifacts.height is 'Height in pixels; null for a caption.';
comment on column artifacts.seed is 'Seed of this picture; null for a caption.';
comment on column artifacts.nsfw is 'Whether the safety checker flagged it.';
comment on column artifacts.text is 'The caption, so that polling never reads the blob store.';
comment on column artifacts.created_at is 'When it was stored.';
comment on index artifacts_job_id_index_key is 'A job''s results in order; one per index.';

create table outbox (
    id           bigint      generated always as identity primary key,
    lane         text        not null,
    available_at timestamptz not null default now()
);
comment on table outbox is 'Rows waiting to become tickets: first publication, retries and delays alike.';
comment on column outbox.id is 'Order of arrival.';
comment on column outbox.lane is 'Lane whose queue gets the ticket.';
comment on column outbox.available_at is 'Not published before; claiming a row moves this ahead.';
create index outbox_due on outbox (available_at);
comment on index outbox_due is 'Finds due rows.';

create table workers (
    id           uuid        primary key,
    host         text        not null,
    device       text        not null,
    lanes        text[]      not null,
    loaded       text[]      not null default '{}',
    started_at   timestamptz not null default now(),
    last_seen_at timestamptz not null default now()
);
comment on table workers is 'Worker processes; rows of those long gone are swept.';
comment on column workers.id is 'One run of a process.';
comment on column workers.host is 'Where it runs, for people.';
comment on column workers.device is 'Device it runs models on.';
comment on column workers.lanes is 'Lanes it serves.';
comment on column workers.loaded is 'Lanes whose model it has in memory.';
comment on column workers.started_at is 'When it started.';
comment on column workers.last_seen_at is 'Its latest heartbeat.';
