create or replace function record_job_event() returns trigger language plpgsql as $$
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

drop table job_webhooks;
delete from webhook_deliveries d using webhooks w where w.id = d.webhook_id and w.for_jobs;
delete from webhooks where for_jobs;
drop index webhooks_tenant;
drop index webhooks_named;
drop index webhooks_unused;
alter table webhooks
    drop constraint webhooks_check,
    drop constraint webhooks_for_jobs_check,
    drop constraint webhooks_unused_check,
    drop column for_jobs,
    drop column form,
    drop column unused_since,
    add constraint webhooks_check check ((secret is null) = (deleted_at is not null));
create index webhooks_tenant on webhooks (tenant_id) where deleted_at is null;
comment on index webhooks_tenant is 'A tenant''s endpoints, asked for whenever a job ends.';

alter table tenants drop column webhook_secret;
