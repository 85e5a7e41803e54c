drop table job_warnings;
