alter table tenants
    drop constraint tenants_webhook_rotation_check,
    drop column previous_webhook_secret,
    drop column previous_webhook_secret_until;
