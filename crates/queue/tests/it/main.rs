//! Tickets on a real broker.

#![expect(clippy::unwrap_used, reason = "a test ends at the first thing that goes wrong")]

mod broker;
mod consuming;
mod outages;
mod publishing;
