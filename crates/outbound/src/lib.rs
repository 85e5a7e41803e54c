//! The one HTTP client for addresses that callers name: webhooks, and pictures by URL.
//!
//! A caller must not reach, through this service, what only this service can reach. So a URL is checked before
//! anything is sent ([`Guard::check_url`]), every address that its host name resolves to is checked when the
//! connection is made, and the connection goes to the very address that was checked: a name that resolves to
//! another address a moment later changes nothing. Each redirect is a new URL and goes the same way. Proxies of the
//! environment are not used, and bodies are not decompressed.
//!
//! ```
//! use darkroom_outbound::{Guard, Refusal};
//!
//! let guard = Guard::default();
//! assert!(guard.check_url("https://shop.example/hooks").is_ok());
//! assert_eq!(guard.check_url("http://0x7f.1/").unwrap_err(), Refusal::NotPublic);
//! ```

mod address;
mod client;
mod config;
mod error;
mod fetch;
mod guard;
mod names;
mod post;

pub use address::is_public;
pub use client::Outbound;
pub use config::OutboundConfig;
pub use error::Error;
pub use fetch::{Fetched, MAX_REDIRECTS};
pub use guard::{Guard, MAX_URL_BYTES, Refusal};
pub use names::Names;
pub use post::{Answer, MAX_EXCERPT_BYTES, Message};
