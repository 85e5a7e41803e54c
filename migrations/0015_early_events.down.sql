drop trigger job_starts on jobs;
drop function record_job_start();
-- A courier of an older release cannot read them.
delete from webhook_deliveries where event in ('job.started', 'job.output', 'job.progress');
drop index webhook_deliveries_job;
comment on table webhook_deliveries is 'One row for each event and endpoint, written in the transaction that ends the job.';
comment on column webhook_deliveries.event is 'What happened: job. and the final state, or webhook.test.';
comment on column job_webhooks.events is 'Which events of the job are sent, as job.succeeded and so on.';
alter table jobs drop column told_early;
