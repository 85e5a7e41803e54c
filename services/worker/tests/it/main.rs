//! The worker against real servers: Postgres, RabbitMQ and S3, with the fake model in place of inference.
//!
//! Each test has its own database, so no worker sees another test's jobs. Queues are shared, and a ticket may
//! wake a worker of another test for nothing, which is what tickets may do.

#![expect(clippy::unwrap_used, reason = "a test ends at the first thing that goes wrong")]

mod failures;
mod finishing;
mod harness;
mod model_store;
mod models;
mod stopping;
mod success;
mod try_out;
