//! What fuzzing calls: each function takes any bytes, and panics when a promise about them is broken.
//!
//! `fuzz/` feeds them with what a fuzzer thinks up; the test of this package with what it has found worth keeping,
//! so that it stays found.

mod pictures;
mod safetensors;
mod submissions;
mod tickets;
mod urls;

pub use pictures::picture;
pub use safetensors::safetensors;
pub use submissions::submission;
pub use tickets::ticket;
pub use urls::webhook_url;
