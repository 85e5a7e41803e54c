drop trigger job_events on jobs;
drop function record_job_event();
drop function uuid_v7();
drop table webhook_attempts;
drop table webhook_deliveries;
drop table webhooks;
