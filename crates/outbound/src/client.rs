//! The client under both ways of calling.

use std::sync::Arc;
use std::time::Duration;

use reqwest::redirect::Policy;

use crate::names::GuardedNames;
use crate::{Error, Guard, Names};

/// Longest time to a connection, with resolving the name and agreeing on TLS.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest silence of the other side.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(15);

/// Calls addresses that callers name. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Outbound {
    pub(crate) http: reqwest::Client,
    pub(crate) guard: Guard,
}

impl Outbound {
    /// A client that calls what `guard` admits, asking `names` for addresses.
    ///
    /// # Errors
    /// [`Error::Setup`] when the machine's certificates cannot be used.
    pub fn new(guard: Guard, names: Names) -> Result<Self, Error> {
        // Fails only where a provider is installed already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder()
            .dns_resolver(Arc::new(GuardedNames { names, guard: guard.clone() }))
            // A proxy would resolve names by itself, and reach what it can reach.
            .no_proxy()
            // Followed by `fetch`, one by one, each checked.
            .redirect(Policy::none())
            .referer(false)
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(SILENCE_TIMEOUT)
            // Strangers' connections are not worth keeping, and one that they closed would fail the next call.
            .pool_max_idle_per_host(0)
            .user_agent(concat!("Darkroom/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| Error::Setup(error.into()))?;
        Ok(Self { http, guard })
    }

    /// The guard of every call.
    pub fn guard(&self) -> &Guard {
        &self.guard
    }
}
