-- Webhooks of single jobs that are told of more than the end.

alter table jobs add column told_early boolean not null default false;
comment on column jobs.told_early is 'Whether its own webhook is told of more than its end. Here, so that who leases it or records a result need not look for others.';

comment on column job_webhooks.events is 'Which events of the job are sent, as job.started, job.succeeded and so on.';
comment on column webhook_deliveries.event is 'What happened: job. and started, output, progress or the final state; or webhook.test.';
comment on table webhook_deliveries is 'One row for each event and endpoint, written in the transaction in which it happens.';
create index webhook_deliveries_job on webhook_deliveries (job_id, id) where job_id is not null;
comment on index webhook_deliveries_job is 'A job''s deliveries in order.';

create function record_job_start() returns trigger language plpgsql as $$
begin
    insert into webhook_deliveries (id, webhook_id, job_id, event)
    select uuid_v7(), j.webhook_id, new.id, 'job.started'
    from job_webhooks j
    where j.job_id = new.id and 'job.started' = any(j.events);
    return null;
end
$$;
comment on function record_job_start() is 'Writes the event for the job''s own endpoint if that wants it.';

create trigger job_starts after update of started_at on jobs
    for each row when (new.told_early and old.started_at is null and new.started_at is not null)
    execute function record_job_start();
comment on trigger job_starts on jobs is 'One event when a job is leased for the first time. Not called for jobs whose end alone is told.';
