drop view job_usage;
alter table jobs drop column artifacts;
drop table usage_mark;
drop table usage_daily;
drop index jobs_finished;
