drop table workers;
drop table outbox;
drop table artifacts;
drop table attempts;
drop table job_requests;
drop table jobs;
drop table api_keys;
drop table tenants;
