//! End-to-end: real services, real Postgres, RabbitMQ and S3.
#![expect(clippy::unwrap_used, reason = "tests")]
#![expect(clippy::print_stdout, reason = "the runner shows it with a failed test; others are run to measure")]

mod backup;
mod bookkeeper;
mod clients;
mod command_line;
mod documents;
mod fairness;
mod faults;
mod full_size;
mod hostile;
mod job_webhooks;
mod memory;
mod models;
mod openapi;
mod operators;
mod processes;
mod python_client;
mod settings;
mod sweeper;
mod thousand;
mod verify;
mod webhooks;
