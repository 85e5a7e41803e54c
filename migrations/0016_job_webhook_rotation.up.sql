-- The secret that signs what jobs ask for themselves can be replaced.

alter table tenants
    add column previous_webhook_secret       bytea check (length(previous_webhook_secret) between 24 and 64),
    add column previous_webhook_secret_until timestamptz,
    add constraint tenants_webhook_rotation_check
        check ((previous_webhook_secret is null) = (previous_webhook_secret_until is null));
comment on column tenants.previous_webhook_secret is 'Key before the last rotation, which signs as well until previous_webhook_secret_until.';
comment on column tenants.previous_webhook_secret_until is 'End of the rotation; null when there was none.';
