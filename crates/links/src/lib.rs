//! Absolute URLs of jobs and results, for every service that hands them out.
//!
//! A result's URL needs no key: it carries a signature, which nobody can make without the secret that all of them
//! share.
//!
//! ```
//! use darkroom_links::{Links, UrlSecret};
//!
//! let public = darkroom_links::parse_public_url("https://pictures.example").unwrap();
//! let secret = UrlSecret::parse(&"5a".repeat(32).into()).unwrap();
//! let job = "0190b6f2-8c3e-7d4a-9f10-3b1f5a2c7e01".parse().unwrap();
//! let links = Links::new(&public, secret);
//! assert_eq!(links.job(job), "https://pictures.example/v1/jobs/0190b6f2-8c3e-7d4a-9f10-3b1f5a2c7e01");
//! ```

mod links;
mod settings;

pub use links::{Links, ResultName};
pub use settings::{BadUrlSecret, UrlSecret, parse_public_url};
