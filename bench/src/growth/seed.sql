-- Copies a job that ran, as the system left it, under other ids, tenants, lanes and times. Placeholders in braces.

-- Keys are those of the rows that are copied: nobody need look them up.
set session_replication_role = replica;

create unlogged table seeded as
select n, n <= {finished} as finished, at,
       encode(set_bit(set_bit(overlay(uuid_send(gen_random_uuid())
                                      placing substring(int8send((extract(epoch from at) * 1000)::bigint) from 3) from 1 for 6),
                              52, 1), 53, 1), 'hex')::uuid as id,
       gen_random_uuid() as token,
       ('{tenants}'::uuid[])[1 + n % {tenant_count}] as tenant_id,
       ('{lanes}'::text[])[1 + n / {tenant_count} % {lane_count}] as lane
from (
    -- Finished ones over 20 days, queued ones over the last minute.
    select n, case when n <= {finished} then now() - interval '1 hour' - interval '20 days' * (1 - n / greatest({finished}, 1)::float8)
                   else now() - interval '1 minute' * (1 - (n - {finished}) / {queued}::float8) end as at
    from generate_series(1, {finished} + {queued}) as n
) numbered;

insert into jobs (id, tenant_id, lane, class, state, version, attempt, max_attempts, units, price, currency, cost, deadline,
                  expires_at, available_at, created_at, started_at, finished_at, artifacts)
select s.id, s.tenant_id, s.lane, j.class, case when finished then j.state else 'queued' end,
       case when finished then j.version else 1 end, case when finished then 1 else 0 end, j.max_attempts, j.units,
       j.price, j.currency, case when finished then j.cost end, s.at + interval '30 days', s.at + interval '30 days', s.at,
       s.at, case when finished then s.at + interval '1 second' end, case when finished then s.at + interval '7 seconds' end,
       case when finished then 1 end
from seeded s, jobs j where j.id = '{template}' order by n;

insert into job_requests (job_id, task, metadata, request_hash)
select s.id, r.task, r.metadata, r.request_hash from seeded s, job_requests r where r.job_id = '{template}' order by n;

insert into attempts (job_id, number, worker_id, lane, tenant_id, lease_token, lease_expires_at, state, progress, timings,
                      leased_at, finished_at)
select s.id, 1, a.worker_id, s.lane, s.tenant_id, s.token, s.at + interval '31 seconds', a.state, a.progress, a.timings,
       s.at + interval '1 second', s.at + interval '7 seconds'
from seeded s, attempts a where a.job_id = '{template}' and s.finished order by n;

insert into artifacts (id, job_id, index, attempt, key, content_type, size_bytes, sha256, width, height, seed, created_at)
select s.token, s.id, 0, 1, 'jobs/' || s.id || '/1/0.png', a.content_type, a.size_bytes, a.sha256, a.width, a.height,
       a.seed, s.at + interval '6 seconds'
from seeded s, artifacts a where a.job_id = '{template}' and s.finished order by n;

drop table seeded;
reset session_replication_role;
