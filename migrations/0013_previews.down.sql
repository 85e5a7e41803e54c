drop table job_previews;
drop table job_watchers;
