//! End-to-end: real services, real Postgres, RabbitMQ and S3.
#![expect(clippy::unwrap_used, reason = "tests")]

mod backup;
mod bookkeeper;
mod command_line;
mod documents;
mod fairness;
mod faults;
mod full_size;
mod hostile;
mod memory;
mod models;
mod openapi;
mod operators;
mod processes;
mod settings;
mod sweeper;
mod thousand;
mod verify;
mod webhooks;
