-- Webhooks: endpoints of tenants, the events that are sent to them, and every attempt to send one.

create table webhooks (
    id                    uuid        primary key,
    tenant_id             uuid        not null references tenants (id),
    url                   text        not null,
    description           text        not null,
    events                text[]      not null check (array_position(events, null) is null),
    secret                bytea       check (length(secret) between 24 and 64),
    previous_secret       bytea       check (length(previous_secret) between 24 and 64),
    previous_secret_until timestamptz,
    created_at            timestamptz not null default now(),
    updated_at            timestamptz not null default now(),
    failing_since         timestamptz,
    disabled_at           timestamptz,
    disabled_reason       text        check (disabled_reason in ('owner', 'gone', 'failing')),
    deleted_at            timestamptz,
    check ((secret is null) = (deleted_at is not null)),
    check ((previous_secret is null) = (previous_secret_until is null)),
    check ((disabled_at is null) = (disabled_reason is null))
);
comment on table webhooks is 'Where tenants are told that jobs have ended.';
comment on column webhooks.id is 'UUIDv7.';
comment on column webhooks.tenant_id is 'Owner.';
comment on column webhooks.url is 'Where messages are posted to.';
comment on column webhooks.description is 'What it is for, in the owner''s words.';
comment on column webhooks.events is 'Which events are sent, as job.succeeded and so on.';
comment on column webhooks.secret is 'Key that signs messages. In clear, since it is needed for each; null once the row is deleted.';
comment on column webhooks.previous_secret is 'Key before the last rotation, which signs as well until previous_secret_until.';
comment on column webhooks.previous_secret_until is 'End of the rotation; null when there was none.';
comment on column webhooks.created_at is 'When it was made.';
comment on column webhooks.updated_at is 'When its owner last changed it.';
comment on column webhooks.failing_since is 'First of the failures since the last success; null while it works.';
comment on column webhooks.disabled_at is 'Since when nothing is sent and no event recorded; null while it is enabled.';
comment on column webhooks.disabled_reason is 'Why: the owner wished so, it answered 410 Gone, or it failed for days.';
comment on column webhooks.deleted_at is 'When its owner deleted it; its deliveries and the row are swept.';
comment on index webhooks_pkey is 'Finds an endpoint.';
create index webhooks_tenant on webhooks (tenant_id) where deleted_at is null;
comment on index webhooks_tenant is 'A tenant''s endpoints, asked for whenever a job ends.';

create table webhook_deliveries (
    id              uuid        primary key,
    webhook_id      uuid        not null references webhooks (id),
    job_id          uuid,
    event           text        not null,
    state           text        not null default 'pending' check (state in ('pending', 'delivered', 'failed')),
    attempts        integer     not null default 0,
    failures        integer     not null default 0,
    next_attempt_at timestamptz not null default now(),
    created_at      timestamptz not null default now(),
    finished_at     timestamptz,
    check ((state = 'pending') = (finished_at is null)),
    check ((event = 'webhook.test') = (job_id is null))
);
comment on table webhook_deliveries is 'One row for each event and endpoint, written in the transaction that ends the job.';
comment on column webhook_deliveries.id is 'UUIDv7, the message''s id: the same in every attempt and when it is resent.';
comment on column webhook_deliveries.webhook_id is 'Where it goes.';
comment on column webhook_deliveries.job_id is 'What it is about, null for a test. No foreign key: the job may be swept before it is delivered.';
comment on column webhook_deliveries.event is 'What happened: job. and the final state, or webhook.test.';
comment on column webhook_deliveries.state is 'Whether it is still to be delivered, was taken, or was given up.';
comment on column webhook_deliveries.attempts is 'Attempts so far, which numbers them.';
comment on column webhook_deliveries.failures is 'Failed attempts since it was made or last resent: where it stands in the schedule.';
comment on column webhook_deliveries.next_attempt_at is 'Not sent before; claiming a row moves this ahead.';
comment on column webhook_deliveries.created_at is 'When it happened.';
comment on column webhook_deliveries.finished_at is 'When it was taken or given up; null while it is pending.';
comment on index webhook_deliveries_pkey is 'Finds a delivery.';
create index webhook_deliveries_due on webhook_deliveries (webhook_id, next_attempt_at) where state = 'pending';
comment on index webhook_deliveries_due is 'The courier''s scan: the endpoints with something to send, and of each what has been due longest.';
create index webhook_deliveries_listed on webhook_deliveries (webhook_id, id);
comment on index webhook_deliveries_listed is 'An endpoint''s deliveries in order.';
create index webhook_deliveries_finished on webhook_deliveries (finished_at) where finished_at is not null;
comment on index webhook_deliveries_finished is 'Finds deliveries past their retention.';

create table webhook_attempts (
    delivery_id uuid        not null references webhook_deliveries (id) on delete cascade,
    number      integer     not null,
    started_at  timestamptz not null,
    duration_ms integer     not null check (duration_ms >= 0),
    status      integer,
    error       text,
    response    text,
    primary key (delivery_id, number)
);
comment on table webhook_attempts is 'Every attempt at a delivery, for the owner of the endpoint.';
comment on column webhook_attempts.delivery_id is 'The delivery.';
comment on column webhook_attempts.number is 'Number within the delivery, from 1.';
comment on column webhook_attempts.started_at is 'When it began.';
comment on column webhook_attempts.duration_ms is 'How long it took.';
comment on column webhook_attempts.status is 'HTTP status of the answer; null when there was none.';
comment on column webhook_attempts.error is 'Why there was no answer; null when there was one.';
comment on column webhook_attempts.response is 'Beginning of the answer''s body; null when there was no answer.';
comment on index webhook_attempts_pkey is 'A delivery''s attempts in order.';

-- Postgres has none before version 18. Random but for the milliseconds in front, so that ids sort by time.
create function uuid_v7() returns uuid language sql volatile as $$
    select encode(
        set_bit(set_bit(overlay(uuid_send(gen_random_uuid())
                placing substring(int8send((extract(epoch from clock_timestamp()) * 1000)::bigint) from 3) from 1 for 6),
            52, 1), 53, 1),
        'hex')::uuid
$$;
comment on function uuid_v7() is 'A new UUIDv7.';

-- A trigger and no part of each statement: there is no way to end a job past it, for a service of an older release
-- neither. The endpoint is locked against being deleted until the event is committed.
create function record_job_event() returns trigger language plpgsql as $$
begin
    insert into webhook_deliveries (id, webhook_id, job_id, event)
    select uuid_v7(), w.id, new.id, 'job.' || new.state
    from webhooks w
    where w.tenant_id = new.tenant_id and w.deleted_at is null and w.disabled_at is null
      and 'job.' || new.state = any(w.events)
    for key share;
    return null;
end
$$;
comment on function record_job_event() is 'Writes an event for each endpoint that wants it.';

create trigger job_events after update of state on jobs
    for each row
    when (old.state is distinct from new.state and new.state in ('succeeded', 'failed', 'canceled', 'expired'))
    execute function record_job_event();
comment on trigger job_events on jobs is 'One event for each endpoint whenever a job becomes final.';
