//! The store against a real Postgres.
#![expect(clippy::unwrap_used, reason = "tests")]

mod accept;
mod builder;
mod cancel;
mod changes;
mod courier;
mod early_events;
mod fairness;
mod files;
mod job_webhooks;
mod keys;
mod lanes;
mod lease;
mod limits;
mod model;
mod outbox;
mod place;
mod previews;
mod reap;
mod replay;
mod schema;
mod seed;
mod settle;
mod states;
mod sweep;
mod tenants;
mod together;
mod usage;
mod warnings;
mod webhooks;
