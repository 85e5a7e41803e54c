drop index job_requests_file;
drop table files;
