//! Lines from a deployment's services to their servers, each through a proxy.

use crate::environment::{optional, variable};
use crate::proxy::Proxy;

/// A proxy before each server.
#[derive(Debug)]
pub struct Lines {
    /// Before Postgres.
    pub database: Proxy,
    /// Before RabbitMQ.
    pub broker: Proxy,
    /// Before the blob store.
    pub storage: Proxy,
    settings: Vec<(String, String)>,
}

impl Lines {
    /// Lines to the database at `database_url`, to the broker at `amqp_url` or else the shared one, and to the
    /// shared blob store.
    pub async fn lay(database_url: &str, amqp_url: Option<&str>) -> Self {
        let shared = variable("TEST_AMQP_URL");
        let mut settings = Vec::new();
        let mut proxies = Vec::new();
        for (name, url) in [
            ("DATABASE_URL", database_url),
            ("AMQP_URL", amqp_url.unwrap_or(&shared)),
            ("S3_ENDPOINT", &variable("TEST_S3_ENDPOINT")),
        ] {
            let parts = Parts::of(url);
            let proxy = Proxy::start(parts.server).await;
            let Parts { before, after, .. } = parts;
            settings.push((name.to_owned(), format!("{before}{}{after}", proxy.address())));
            proxies.push(proxy);
        }
        let mut next = proxies.into_iter();
        let mut proxy = || next.next().expect("there are three");
        Self { database: proxy(), broker: proxy(), storage: proxy(), settings }
    }

    /// The one of the settings with this name.
    ///
    /// # Panics
    /// When there is none.
    pub fn setting(&self, name: &str) -> (&str, &str) {
        self.settings().into_iter().find(|(other, _)| *other == name).expect("it leads over a line")
    }

    /// The settings that lead services over these lines.
    pub fn settings(&self) -> Vec<(&str, &str)> {
        self.settings.iter().map(|(name, value)| (&name[..], &value[..])).collect()
    }
}

/// A URL around its host and port.
struct Parts<'a> {
    before: &'a str,
    server: &'a str,
    after: &'a str,
}

impl<'a> Parts<'a> {
    fn of(url: &'a str) -> Self {
        let authority = url.find("://").expect("a URL has a scheme") + 3;
        let end = url[authority..].find('/').map_or(url.len(), |slash| authority + slash);
        let host = url[authority..end].rfind('@').map_or(authority, |at| authority + at + 1);
        Self { before: &url[..host], server: &url[host..end], after: &url[end..] }
    }
}

/// The seed of a run of the fault tests, where one was asked for.
pub fn fault_seed() -> Option<u64> {
    optional("DARKROOM_FAULT_SEED").map(|seed| seed.parse().expect("DARKROOM_FAULT_SEED is a number"))
}

/// How often each fault is repeated, with full durations, where that was asked for.
pub fn fault_rounds() -> Option<u32> {
    optional("DARKROOM_FAULT_ROUNDS").map(|rounds| rounds.parse().expect("DARKROOM_FAULT_ROUNDS is a number"))
}
