//! The store against a real Postgres.
#![expect(missing_docs, reason = "tests")]

mod accept;
mod builder;
mod cancel;
mod changes;
mod lease;
mod outbox;
mod reap;
mod schema;
mod settle;
mod sweep;
mod tenants;
