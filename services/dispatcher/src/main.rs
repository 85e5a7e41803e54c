//! The dispatcher: the loops that keep jobs moving while nobody looks.
//!
//! - **relay**: publishes outbox rows as tickets;
//! - **reaper**: takes back expired leases and expires jobs whose deadline has passed;
//! - **sweeper**: deletes what is past its retention, and objects that nothing names;
//! - **bookkeeper**: rolls up the usage of days that are over;
//! - **teller**: tells what waits and runs, for whoever watches the metrics;
//! - **courier**: delivers webhooks.
//!
//! One dispatcher runs; a second one is harmless, since every statement skips rows another one holds.

mod bookkeeper;
mod courier;
mod links;
mod reaper;
mod relay;
mod rhythm;
mod sweeper;
mod teller;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;
use darkroom_blobs::{Blobs, BlobsConfig};
use darkroom_ops::{Call, Context, NoOther, OpsConfig};
use darkroom_outbound::{Names, Outbound, OutboundConfig};
use darkroom_queue::{Publisher, QueueConfig};
use darkroom_store::{Store, StoreConfig};

use crate::courier::{Courier, Post};
use crate::links::LinksConfig;
use crate::relay::Relay;
use crate::sweeper::Sweeper;

/// Publishes tickets, takes back expired leases, deletes what is past its retention, rolls up usage and delivers
/// webhooks.
#[derive(Debug, Parser)]
#[command(version)]
struct Settings {
    #[command(flatten)]
    ops: OpsConfig,
    #[command(flatten)]
    store: StoreConfig,
    #[command(flatten)]
    queue: QueueConfig,
    #[command(flatten)]
    blobs: BlobsConfig,
    #[command(flatten)]
    outbound: OutboundConfig,
    #[command(flatten)]
    links: LinksConfig,

    /// Seconds between two rounds of the sweeper, 1 to 86400.
    #[arg(
        long,
        env = "DARKROOM_SWEEP_SECONDS",
        value_name = "DARKROOM_SWEEP_SECONDS",
        default_value_t = 60,
        value_parser = clap::value_parser!(u64).range(1..=86_400)
    )]
    sweep_seconds: u64,

    /// Seconds after the end of a job or attempt before its objects are deleted, 0 to 86400: time for a worker
    /// that does not know yet that its lease is gone and still uploads.
    #[arg(
        long,
        env = "DARKROOM_SWEEP_GRACE_SECONDS",
        value_name = "DARKROOM_SWEEP_GRACE_SECONDS",
        default_value_t = 600,
        value_parser = clap::value_parser!(u64).range(0..=86_400)
    )]
    sweep_grace_seconds: u64,

    /// Seconds that an endpoint has to answer a webhook, 1 to 30.
    #[arg(
        long,
        env = "DARKROOM_WEBHOOK_TIMEOUT_SECONDS",
        value_name = "DARKROOM_WEBHOOK_TIMEOUT_SECONDS",
        default_value_t = 15,
        value_parser = clap::value_parser!(u64).range(1..=30)
    )]
    webhook_timeout_seconds: u64,
}

fn main() -> ExitCode {
    let settings: Settings = match Call::<_, NoOther>::parse() {
        Call::Run(settings) => settings,
        Call::Health(health) => return health.run(),
        Call::Other(none) => match none {},
    };
    let ops = settings.ops.clone();
    darkroom_ops::run("darkroom-dispatcher", &ops, async |context| dispatch(settings, context).await)
}

async fn dispatch(settings: Settings, context: Context) -> anyhow::Result<()> {
    let Context { shutdown, readiness, tasks, .. } = context;
    let stop = shutdown.soft;
    let connected = Store::connect(&settings.store, "darkroom-dispatcher").await;
    let store = connected
        .with_context(|| format!("failed to connect to DATABASE_URL at {}", settings.store.address()))?;
    store.check_schema().await?;
    let blobs = Blobs::connect(&settings.blobs);
    let publisher = Publisher::start(&settings.queue, stop.clone());

    readiness.add("database", {
        let store = store.clone();
        move || {
            let store = store.clone();
            async move { store.ping().await }
        }
    });
    readiness.add("broker", {
        let publisher = publisher.clone();
        move || {
            let connected = publisher.is_connected();
            async move { connected.then_some(()).ok_or("not connected") }
        }
    });

    let announcer = store.clone();
    tasks.spawn("announcer", {
        let stop = stop.clone();
        async move {
            announcer.announce(&stop).await;
            Ok(())
        }
    });
    let relay = Relay { store: store.clone(), publisher: publisher.clone(), measured: None };
    tasks.spawn("relay", relay.run(stop.clone()));
    tasks.spawn("reaper", reaper::run(store.clone(), stop.clone()));
    let sweeper = Sweeper {
        store: store.clone(),
        blobs,
        period: Duration::from_secs(settings.sweep_seconds),
        grace: Duration::from_secs(settings.sweep_grace_seconds),
    };
    tasks.spawn("sweeper", sweeper.run(stop.clone()));
    tasks.spawn("bookkeeper", bookkeeper::run(store.clone(), stop.clone()));
    tasks.spawn("teller", teller::run(store.clone(), stop.clone()));
    let post = Post {
        store: store.clone(),
        outbound: Outbound::new(settings.outbound.guard(), Names::of_system()?)?,
        links: settings.links.links()?,
        timeout: Duration::from_secs(settings.webhook_timeout_seconds),
    };
    tasks.spawn("courier", Courier::new(post).run(stop.clone()));

    stop.cancelled().await;
    publisher.stopped().await;
    Ok(())
}
