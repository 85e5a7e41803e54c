//! Real services on a real stack.
//!
//! A [`Deployment`] is a database of its own, a catalog of its own and an API and dispatcher on it; tests add
//! workers, stop them, kill them. Servers (Postgres, RabbitMQ, S3) are named by `TEST_*` variables and are
//! shared, except for a [`PrivateBroker`], which a test may break. [`HubStandIn`] is a hub that has models, and
//! faults.

mod broker;
mod command_line;
mod deployment;
mod environment;
mod hub;
mod running;
mod service;
mod wait;

pub use broker::PrivateBroker;
pub use command_line::{CommandLine, Said, Terminal};
pub use deployment::{Catalog, Deployment, blobs, models_folder};
pub use environment::programs_folder;
pub use hub::{Asked, Fault, HubStandIn};
pub use running::Running;
pub use service::Service;
pub use wait::until;
