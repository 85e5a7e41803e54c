-- Usage by day. Days that are over are rolled up from jobs into usage_daily; the days since are computed from jobs.

-- First, because it takes longest: about a second for a million jobs, in which they can be read but not written.
create index jobs_finished on jobs (tenant_id, ((finished_at at time zone 'UTC')::date)) where finished_at is not null;
comment on index jobs_finished is 'A tenant''s jobs by the UTC day they ended, for days that are not rolled up. An entry per final job, and few distinct keys, which a B-tree stores once.';

create table usage_daily (
    tenant_id uuid    not null references tenants (id),
    day       date    not null,
    lane      text    not null,
    currency  text    not null,
    succeeded bigint  not null,
    failed    bigint  not null,
    canceled  bigint  not null,
    expired   bigint  not null,
    artifacts bigint  not null,
    units     bigint  not null,
    cost      numeric not null,
    primary key (tenant_id, day, lane, currency)
);
comment on table usage_daily is 'Usage of the days up to usage_mark.rolled_through: written once, never changed, kept when the jobs are gone.';
comment on column usage_daily.tenant_id is 'Who used it.';
comment on column usage_daily.day is 'UTC day on which the jobs ended.';
comment on column usage_daily.lane is 'The jobs'' lane.';
comment on column usage_daily.currency is 'The jobs'' currency.';
comment on column usage_daily.succeeded is 'Jobs that succeeded.';
comment on column usage_daily.failed is 'Jobs that failed.';
comment on column usage_daily.canceled is 'Jobs that were canceled.';
comment on column usage_daily.expired is 'Jobs that expired.';
comment on column usage_daily.artifacts is 'Results of the jobs that succeeded.';
comment on column usage_daily.units is 'Billed pixels of the jobs that succeeded.';
comment on column usage_daily.cost is 'What the jobs that succeeded did cost.';
comment on index usage_daily_pkey is 'A tenant''s days in order.';

create table usage_mark (
    id             boolean primary key default true check (id),
    rolled_through date    not null
);
comment on table usage_mark is 'One row: how far usage is rolled up.';
comment on column usage_mark.id is 'Always true, so that there is one row.';
comment on column usage_mark.rolled_through is 'The last UTC day in usage_daily. Moves with the rows of that day, in one transaction.';
comment on index usage_mark_pkey is 'Keeps the table at one row.';

insert into usage_mark (rolled_through)
select coalesce(min((finished_at at time zone 'UTC')::date), (now() at time zone 'UTC')::date) - 1 from jobs;

alter table jobs add column artifacts integer;
comment on column jobs.artifacts is 'How many results it has; set once, on success. Null in jobs that ended before this column was.';

create view job_usage as
select j.tenant_id, (j.finished_at at time zone 'UTC')::date as day, j.lane, j.currency,
       count(*) filter (where j.state = 'succeeded') as succeeded,
       count(*) filter (where j.state = 'failed') as failed,
       count(*) filter (where j.state = 'canceled') as canceled,
       count(*) filter (where j.state = 'expired') as expired,
       coalesce(sum(coalesce(j.artifacts, (select count(*) from artifacts a where a.job_id = j.id)))
                    filter (where j.state = 'succeeded'), 0)::bigint as artifacts,
       coalesce(sum(j.units) filter (where j.state = 'succeeded'), 0)::bigint as units,
       coalesce(sum(j.cost), 0) as cost
from jobs j
where j.finished_at is not null
group by 1, 2, 3, 4;
comment on view job_usage is 'Usage computed from jobs, deleted ones included: what is rolled up, and what answers for the days since. Columns as in usage_daily.';
