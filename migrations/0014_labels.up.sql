-- The labels in the metadata of jobs, in the order in which lists of jobs ask for them.

create function job_label(key text, value text) returns bytea
    language sql immutable strict parallel safe
    as $$ select substr(sha256(convert_to(key || chr(1) || value, 'UTF8')), 1, 8) $$;
comment on function job_label(text, text) is 'Stands for an entry of metadata in job_labels. Two entries may share it: what it finds is compared with the metadata itself.';

create table job_labels (
    tenant_id uuid  not null,
    label     bytea not null,
    job_id    uuid  not null references job_requests (job_id) on delete cascade,
    primary key (tenant_id, label, job_id)
);
comment on table job_labels is 'Entries of the metadata of jobs. An inverted index of the metadata has no order: of a label that many old jobs have, it would read all of them for one page.';
comment on column job_labels.tenant_id is 'Owner of the job.';
comment on column job_labels.label is 'job_label of an entry''s key and value.';
comment on column job_labels.job_id is 'The job.';
comment on index job_labels_pkey is 'Keyset pages of a tenant''s jobs with a label.';
create index job_labels_job on job_labels (job_id);
comment on index job_labels_job is 'Finds the labels of a job that is swept.';

-- A trigger, so that releases before this one and operators' replays write labels as well.
create function note_job_labels() returns trigger
    language plpgsql
    as $$
begin
    insert into job_labels (tenant_id, label, job_id)
    select distinct j.tenant_id, job_label(m.key, m.value), j.id
    from jobs j, jsonb_each_text(new.metadata) m
    where j.id = new.job_id;
    return null;
end $$;
comment on function note_job_labels() is 'Writes the labels of a job that was just accepted.';
create trigger job_requests_labels after insert on job_requests
    for each row when (new.metadata <> '{}' and jsonb_typeof(new.metadata) = 'object')
    execute function note_job_labels();
comment on trigger job_requests_labels on job_requests is 'Not called for jobs without labels.';

insert into job_labels (tenant_id, label, job_id)
select distinct j.tenant_id, job_label(m.key, m.value), j.id
from job_requests r
join jobs j on j.id = r.job_id
cross join lateral jsonb_each_text(case when jsonb_typeof(r.metadata) = 'object' then r.metadata else '{}' end) m
where m.value is not null;
