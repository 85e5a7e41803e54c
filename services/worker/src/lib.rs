//! The worker: leases attempts, runs them on a device, stores what they make and settles them.
//!
//! A process has one device and a few slots. A carrier that has one is woken by a ticket or by its own probe,
//! leases the best job of every lane the worker serves, carries the attempt through (fetch, inference, encode,
//! upload, settle) and leases again before it waits. It gives its slot to another carrier once the device has
//! done its part, so that the next job begins while results are stored. One operating system thread owns the
//! device; one loop of heartbeats speaks for all leases, apart from inference.
//!
//! Invariants: every write names its lease, so a worker whose lease is gone changes nothing; a ticket is
//! acknowledged only after its attempt is settled, and never matters; no transaction is open during
//! inference or traffic with the blob store; a device that hangs keeps no lease.
//!
//! | to change … | look in |
//! | --- | --- |
//! | settings and the served part of the catalog | `config`, `served` |
//! | when a job is leased | `slots`, `wake`, `leasing`, `lanes` |
//! | what happens during an attempt | `attempt`, `stages`, `inputs`, `outputs`, `encode` |
//! | when an attempt is stopped | `running`, `heartbeat`, `watchdog` |
//! | running a task without any service | `try_out` |
//! | what becomes of it | `failure`, `settling` |
//! | where a model's files come from | `model_store`, `library`, `fetching` |
//! | the device and its models | `device`, `device_thread`, `models`, `model_cache`, `warmup` |

mod attempt;
mod chance;
mod config;
mod database;
mod device;
mod device_thread;
mod encode;
mod failure;
mod fetching;
mod heartbeat;
mod inputs;
mod lanes;
mod leasing;
mod library;
mod measure;
mod memory;
mod model_cache;
pub mod model_store;
mod models;
mod outputs;
mod running;
mod served;
mod service;
mod settling;
mod slots;
mod stages;
mod try_out;
mod wake;
mod warmup;
mod watchdog;
mod worker;

pub use config::{DeviceChoice, LaneFilter, Settings, WorkerConfig};
pub use service::run;
pub use try_out::Command;
