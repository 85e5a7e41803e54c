drop view failed_jobs;
drop index jobs_failed;
alter table jobs drop column discarded_at, drop column replay_of;
