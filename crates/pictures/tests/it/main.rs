//! Files that mean harm, or look as if they did: see `README.md`.
#![expect(clippy::unwrap_used, reason = "tests")]

mod craft;
mod cut;
mod hostile;
