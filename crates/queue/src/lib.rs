//! Tickets in RabbitMQ: "there may be work in this lane".
//!
//! A ticket carries no job and grants nothing. It may be lost, duplicated, late or for nothing, and the
//! outcome is the same, because Postgres decides what runs. So the broker may be away for as long as it
//! likes: both ends of this crate reconnect without end, and neither ever fails its caller.
//!
//! ```no_run
//! # async fn example(config: darkroom_queue::QueueConfig, lane: darkroom_jobs::Lane) {
//! use darkroom_queue::{Publisher, Subscription, Tickets};
//! use tokio_util::sync::CancellationToken;
//!
//! let stop = CancellationToken::new();
//! let publisher = Publisher::start(&config, stop.clone());
//! let taken = publisher.publish(std::slice::from_ref(&lane)).await;
//! assert_eq!(taken, [true]);
//!
//! let mut tickets = Tickets::start(&config, Subscription { lanes: vec![lane], prefetch: 1 }, stop.clone());
//! while let Some(ticket) = tickets.recv().await {
//!     // Lease, run, settle; then:
//!     ticket.ack().await;
//! }
//! # }
//! ```
//!
//! Invariants: a ticket counts as taken only when a queue has it on disk; publishing and consuming use
//! separate connections, so that a broker that blocks publishers still gets acks and heartbeats; every wait
//! is bounded.

mod backoff;
mod batch;
mod body;
mod config;
mod consumer;
mod link;
mod publisher;
mod queues;
mod session;
mod ticket;
mod tickets;

pub use body::{BodyError, check_body};
pub use config::QueueConfig;
pub use publisher::Publisher;
pub use queues::queue_name;
pub use ticket::Ticket;
pub use tickets::{Subscription, Tickets};
