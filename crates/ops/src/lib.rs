//! What every service of Darkroom does the same way: settings, logs and metrics, shutdown, health.
//!
//! A service's `main` parses its settings and hands its work to [`run`]:
//!
//! ```no_run
//! use clap::Parser;
//! use darkroom_ops::{Call, Context, NoOther, OpsConfig};
//!
//! #[derive(Parser)]
//! struct Settings {
//!     #[command(flatten)]
//!     ops: OpsConfig,
//! }
//!
//! fn main() -> std::process::ExitCode {
//!     let settings: Settings = match Call::<_, NoOther>::parse() {
//!         Call::Run(settings) => settings,
//!         Call::Health(health) => return health.run(),
//!         Call::Other(none) => match none {},
//!     };
//!     darkroom_ops::run("darkroom-example", &settings.ops, async |context: Context| {
//!         let soft = context.shutdown.soft.clone();
//!         context.readiness.add("nothing", || async { Ok::<(), std::convert::Infallible>(()) });
//!         context.tasks.spawn("loop", async move {
//!             soft.cancelled().await;
//!             Ok(())
//!         });
//!         context.shutdown.soft.cancelled().await;
//!         Ok(())
//!     })
//! }
//! ```
//!
//! `darkroom-example health` asks the process that runs whether it is ready.
//!
//! Invariants: the operations port answers from before the service connects to anything until its last
//! task has ended, and a loop that ends on its own ends the process with a failure.

mod call;
mod config;
mod crash;
mod files;
mod health;
mod readiness;
mod routes;
mod run;
mod server;
mod shutdown;
mod tasks;
pub mod telemetry;

pub use call::{Call, NoOther};
pub use config::{LogFormat, OpsConfig};
pub use crash::crash_point;
pub use health::Health;
pub use readiness::{CheckResult, Readiness, Report, with_causes};
pub use routes::Routes;
pub use run::{Context, run, run_on};
pub use shutdown::{Shutdown, listen};
pub use tasks::Tasks;
