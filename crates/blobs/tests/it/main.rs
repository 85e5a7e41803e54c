//! Objects in a real store.

#![expect(clippy::unwrap_used, reason = "a test ends at the first thing that goes wrong")]

mod bucket;
mod links;
mod objects;
mod outages;
mod uploads;
