//! The API over HTTP, on a real database and real storage: run through `cargo xtask test`.
#![expect(clippy::unwrap_used, reason = "a test ends at the first thing that goes wrong")]

mod admin;
mod admission;
mod app;
mod auth;
mod batches;
mod cancel;
mod client;
mod dry_run;
mod events;
mod fal;
mod fields;
mod files;
mod idempotency;
mod image_url;
mod job_webhooks;
mod leftovers;
mod limits;
mod list;
mod livepeer;
mod models;
mod openai;
mod openapi;
mod outage;
mod protocol;
mod queue;
mod rates;
mod results;
mod scopes;
mod show;
mod shutdown;
mod surfaces;
mod upload;
mod usage;
mod webhooks;
