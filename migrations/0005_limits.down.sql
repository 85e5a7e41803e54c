alter table workers drop column drain_requested_at;
drop table lanes;
alter table jobs drop column api_key_id;
alter table api_keys drop column max_interactive, drop column expires_at;
alter table tenants
    drop column requests_per_minute, drop column max_daily_cost, drop column max_running, drop column max_queued;
