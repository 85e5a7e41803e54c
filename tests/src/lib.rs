//! Real services on a real stack.
//!
//! A [`Deployment`] is a database of its own, a catalog of its own and an API and dispatcher on it; tests add
//! workers, stop them, kill them. Servers (Postgres, RabbitMQ, S3) are named by `TEST_*` variables and are
//! shared, except for [`PrivateServers`], which a test may break. A [`Proxy`] disturbs the line to a server. [`HubStandIn`] is a hub that has models, and
//! faults.

mod command_line;
mod deployment;
mod environment;
mod hub;
mod lines;
mod proxy;
mod receiver;
mod running;
mod servers;
mod service;
mod tls;
mod wait;

pub use command_line::{CommandLine, Said, Terminal};
pub use deployment::{Catalog, Deployment, blobs, bucket, models_folder};
pub use environment::{clients, faketime, node_clients, programs_folder, python_client, schemathesis};
pub use hub::{Asked, Fault, HubStandIn};
pub use lines::{Lines, fault_rounds, fault_seed};
pub use proxy::{Disturbance, Proxy};
pub use receiver::{Manner, Received, Receiver};
pub use running::Running;
pub use servers::PrivateServers;
pub use service::Service;
pub use tls::TlsFront;
pub use wait::until;
