//! Calls to real sockets of this machine: 127.0.0.1 stands for the public internet, since the guard is told so, and
//! 127.0.0.2 for what must never be reached.
#![expect(clippy::unwrap_used, reason = "tests")]

mod hostile;
mod limits;
mod rebinding;
mod redirects;
mod stand_in;
