drop index jobs_interactive;
drop index attempts_succeeded;
drop function running_jobs(uuid);
