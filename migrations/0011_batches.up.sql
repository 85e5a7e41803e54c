-- Batches: many jobs that were submitted at once.

create table batches (
    id              uuid        primary key,
    tenant_id       uuid        not null references tenants (id),
    idempotency_key text,
    request_hash    bytea       not null check (length(request_hash) = 32),
    items           jsonb       not null,
    created_at      timestamptz not null default now()
);
comment on table batches is 'Jobs that were submitted at once. A row is dropped when the last of its jobs is.';
comment on column batches.id is 'UUIDv7.';
comment on column batches.tenant_id is 'Owner.';
comment on column batches.idempotency_key is 'Key under which a repeated submission finds this batch.';
comment on column batches.request_hash is 'SHA-256 of the request, to tell a replay from a reused idempotency key.';
comment on column batches.items is 'What became of each document, in their order: {"index", "id"} of a job, or {"index", "error"}.';
comment on column batches.created_at is 'When it was accepted.';

create unique index batches_idempotency on batches (tenant_id, idempotency_key) where idempotency_key is not null;
comment on index batches_idempotency is 'One batch per tenant and idempotency key.';

alter table jobs add column batch_id uuid;
comment on column jobs.batch_id is 'The batch it was submitted with; null for a job that was submitted alone.';
create index jobs_batch on jobs (batch_id, id) where batch_id is not null;
comment on index jobs_batch is 'Counts, lists and cancels the jobs of a batch.';
