//! Real services on a real stack.
//!
//! A [`Deployment`] is a database of its own, a catalog of its own and an API and dispatcher on it; tests add
//! workers, stop them, kill them. Servers (Postgres, RabbitMQ, S3) are named by `TEST_*` variables and are
//! shared, except for a [`PrivateBroker`], which a test may break.

mod broker;
mod deployment;
mod environment;
mod service;
mod wait;

pub use broker::PrivateBroker;
pub use deployment::{Catalog, Deployment, blobs};
pub use service::Service;
pub use wait::until;
