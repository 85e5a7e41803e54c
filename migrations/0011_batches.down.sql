drop index jobs_batch;
alter table jobs drop column batch_id;
drop table batches;
