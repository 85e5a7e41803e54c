drop trigger job_requests_labels on job_requests;
drop function note_job_labels();
drop table job_labels;
drop function job_label(text, text);
