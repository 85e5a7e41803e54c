-- Pictures that are sent once and named by any number of jobs.

create table files (
    id           uuid        primary key,
    tenant_id    uuid        not null references tenants (id),
    sha256       bytea       not null check (length(sha256) = 32),
    content_type text        not null,
    size_bytes   bigint      not null,
    width        integer     not null,
    height       integer     not null,
    created_at   timestamptz not null default now(),
    expires_at   timestamptz not null,
    deleted_at   timestamptz
);
comment on table files is 'Pictures of tenants. The object of one is kept until it is deleted and no job names it.';
comment on column files.id is 'UUIDv7; its object is files/{id}.';
comment on column files.tenant_id is 'Owner.';
comment on column files.sha256 is 'SHA-256 of the object.';
comment on column files.content_type is 'Media type by content.';
comment on column files.size_bytes is 'Size of the object.';
comment on column files.width is 'Width in pixels, from the header.';
comment on column files.height is 'Height in pixels, from the header.';
comment on column files.created_at is 'When it was stored.';
comment on column files.expires_at is 'When it is deleted unless it is used before: sent again, or named by a new job.';
comment on column files.deleted_at is 'When its owner deleted it or its time was over; for good. From then on no new job can name it.';

create unique index files_content on files (tenant_id, sha256) where deleted_at is null;
comment on index files_content is 'A tenant''s file is stored once, however often it is sent.';
create index files_expiry on files (expires_at) where deleted_at is null;
comment on index files_expiry is 'Finds files whose time is over.';
create index files_deleted on files (deleted_at) where deleted_at is not null;
comment on index files_deleted is 'Finds deleted files whose objects may have to be deleted.';

create index job_requests_file on job_requests ((task #>> '{image,key}')) where task #>> '{image,key}' like 'files/%';
comment on index job_requests_file is 'Finds the jobs that name a file, by its object.';
