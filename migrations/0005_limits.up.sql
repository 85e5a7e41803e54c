-- Limits of tenants and keys, paused lanes, workers that are asked to drain.

alter table tenants
    add column max_queued          integer check (max_queued >= 0),
    add column max_running         integer check (max_running >= 0),
    add column max_daily_cost      numeric check (max_daily_cost >= 0),
    add column requests_per_minute integer check (requests_per_minute > 0);
comment on column tenants.max_queued is 'Most queued jobs at once; null for no limit. Kept within a second.';
comment on column tenants.max_running is 'Most running jobs at once; null for no limit. Never exceeded.';
comment on column tenants.max_daily_cost is 'Most that the jobs of one UTC day may cost; null for no limit. Kept within a second.';
comment on column tenants.requests_per_minute is 'Most requests a minute to one API process; null for no limit.';

alter table api_keys
    add column expires_at      timestamptz,
    add column max_interactive integer check (max_interactive >= 0);
comment on column api_keys.expires_at is 'From when on the key stops working by itself: the end of a rotation. Null for never.';
comment on column api_keys.max_interactive is 'Most unfinished jobs of class interactive that this key has at once; null for no limit.';

alter table jobs add column api_key_id uuid;
comment on column jobs.api_key_id is 'Key that submitted it; null in jobs from before this column was.';

create table lanes (
    lane      text        primary key,
    paused_at timestamptz,
    reason    text
);
comment on table lanes is 'What operators have decided about lanes. A lane without a row is open.';
comment on column lanes.lane is 'The lane, as pipeline:model.';
comment on column lanes.paused_at is 'Since when none of its jobs is leased; null while it is open.';
comment on column lanes.reason is 'Why it is paused, in the operator''s words.';
comment on index lanes_pkey is 'Finds a lane.';

alter table workers add column drain_requested_at timestamptz;
comment on column workers.drain_requested_at is 'When an operator asked it to finish what it runs, take nothing new and end; null otherwise.';
