//! The matrix of faults: each pulls a plug under real services on real servers, and looks at what is left.
//!
//! `cargo xtask test faults` runs each row once; `--long N` repeats them with random timing and full durations, and
//! `--seed` repeats what a failed run drew. What was seen goes into `docs/operations.md` with `--record`.

mod broker;
mod chance;
mod database;
mod invariants;
mod load;
mod overload;
mod races;
mod report;
mod rolling;
mod services;
mod storage;
mod webhooks;
mod workers;
mod world;
