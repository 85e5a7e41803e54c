//! Real services on a real stack.
//!
//! A [`Deployment`] is a database of its own, a catalog of its own and an API and dispatcher on it; tests add
//! workers, stop them, kill them. Servers (Postgres, RabbitMQ, S3) are named by `TEST_*` variables and are
//! shared, except for a [`PrivateBroker`], which a test may break.

mod broker;
mod command_line;
mod deployment;
mod environment;
mod running;
mod service;
mod wait;

pub use broker::PrivateBroker;
pub use command_line::{CommandLine, Said, Terminal};
pub use deployment::{Catalog, Deployment, blobs};
pub use environment::programs_folder;
pub use running::Running;
pub use service::Service;
pub use wait::until;
