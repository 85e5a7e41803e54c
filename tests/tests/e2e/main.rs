//! End-to-end: real services, real Postgres, RabbitMQ and S3.
#![expect(missing_docs, reason = "tests")]

mod broker;
mod fairness;
mod models;
mod processes;
mod settings;
mod sweeper;
mod thousand;
mod verify;
