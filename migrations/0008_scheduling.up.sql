-- What exact limits, estimates of waits and admission ask for.

-- Volatile, so that it sees what was committed until it is called, and not until its statement began: a lease that
-- holds the tenant's row counts all the leases that were granted under it before.
create function running_jobs(tenant uuid) returns bigint
    language sql volatile strict
    as $$ select count(*) from jobs where state = 'running' and tenant_id = tenant $$;
comment on function running_jobs(uuid) is 'How many jobs of a tenant run at the moment of the call.';

create index attempts_succeeded on attempts (lane, finished_at) where state = 'succeeded';
comment on index attempts_succeeded is 'Finds a lane''s latest runs, from which the pace of the lane is measured.';
create index jobs_interactive on jobs (api_key_id) where class = 0 and state in ('queued', 'running');
comment on index jobs_interactive is 'Counts the unfinished interactive jobs of a key.';
