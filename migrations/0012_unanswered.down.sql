drop table unanswered_jobs;
