-- Webhooks of single jobs: endpoints that jobs name, each told of the jobs that name it, in the form of the API that the
-- job came by.

-- Drawn for each row. It rewrites a table that has a row for each tenant.
alter table tenants
    add column webhook_secret bytea not null
        default sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()))
        check (length(webhook_secret) between 24 and 64);
comment on column tenants.webhook_secret is 'Key that signs the messages that jobs ask for themselves. In clear, since it is needed for each.';

alter table webhooks
    add column for_jobs     boolean     not null default false,
    add column form         text        not null default 'native' check (form in ('native', 'replicate', 'fal')),
    add column unused_since timestamptz,
    drop constraint webhooks_check,
    -- Without a secret, a courier of an older release leaves alone what it would send in another form.
    add constraint webhooks_check check ((secret is null) = (deleted_at is not null or for_jobs)),
    add constraint webhooks_for_jobs_check
        check (not for_jobs or (deleted_at is null and disabled_at is null and previous_secret is null)),
    add constraint webhooks_unused_check check (for_jobs or unused_since is null);
comment on column webhooks.for_jobs is 'Whether jobs name it. Its owner does not see it, and it is never disabled; its messages are signed with tenants.webhook_secret.';
comment on column webhooks.form is 'What its messages look like: the service''s own, or those of another system.';
comment on column webhooks.unused_since is 'When a job that names it was last swept: the sweeper looks whether it was the last. Null when that is known.';
create unique index webhooks_named on webhooks (tenant_id, form, url) where for_jobs;
comment on index webhooks_named is 'A tenant''s endpoint that jobs name, found when a job is accepted. URLs have at most 2,048 bytes.';
create index webhooks_unused on webhooks (unused_since) where unused_since is not null;
comment on index webhooks_unused is 'Finds endpoints that no job may name any more.';
drop index webhooks_tenant;
create index webhooks_tenant on webhooks (tenant_id) where deleted_at is null and not for_jobs;
comment on index webhooks_tenant is 'A tenant''s own endpoints, asked for whenever a job ends.';

create table job_webhooks (
    job_id     uuid   primary key references jobs (id) on delete cascade,
    webhook_id uuid   not null references webhooks (id),
    events     text[] not null check (array_position(events, null) is null)
);
comment on table job_webhooks is 'Which endpoint a job names. Dropped when the job is swept.';
comment on column job_webhooks.job_id is 'The job.';
comment on column job_webhooks.webhook_id is 'The endpoint.';
comment on column job_webhooks.events is 'Which events of the job are sent, as job.succeeded and so on.';
comment on index job_webhooks_pkey is 'A job''s endpoint, asked for when the job ends.';
create index job_webhooks_webhook on job_webhooks (webhook_id);
comment on index job_webhooks_webhook is 'Whether any job names an endpoint.';

create or replace function record_job_event() returns trigger language plpgsql as $$
begin
    insert into webhook_deliveries (id, webhook_id, job_id, event)
    select uuid_v7(), w.id, new.id, 'job.' || new.state
    from webhooks w
    where w.tenant_id = new.tenant_id and w.deleted_at is null and w.disabled_at is null and not w.for_jobs
      and 'job.' || new.state = any(w.events)
    for key share;
    insert into webhook_deliveries (id, webhook_id, job_id, event)
    select uuid_v7(), j.webhook_id, new.id, 'job.' || new.state
    from job_webhooks j
    where j.job_id = new.id and 'job.' || new.state = any(j.events);
    return null;
end
$$;
comment on function record_job_event() is 'Writes an event for each endpoint that wants it, and for the job''s own.';
