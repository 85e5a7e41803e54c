//! Whole processes: this test binary runs itself as a service.

#![expect(clippy::unwrap_used, reason = "a test ends at the first thing that goes wrong")]

mod process;
mod services;
