//! `serve`.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use darkroom_blobs::Blobs;
use darkroom_jobs::Catalog;
use darkroom_ops::Context;
use darkroom_outbound::{Names, Outbound};
use darkroom_store::Store;
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use url::Url;

use super::connect_to;
use crate::config::{ServeConfig, UrlSecret};
use crate::server::CONNECTIONS;
use crate::{Api, ApiParts, Links, Mint, Server, admin_router, router};

/// How long cleaning up behind the last requests may take.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(10);
/// Files that the service has open beside callers' connections: to the database and the storage, and a few more.
const FILES_BESIDE: u64 = 256;

pub(super) async fn serve(config: ServeConfig, context: Context) -> anyhow::Result<()> {
    let secret = UrlSecret::parse(&config.url_secret)?;
    let catalog = read_catalog(&config).await?;
    let store = connect_to(&config.store).await?;
    store.check_schema().await?;
    let blobs = Blobs::connect(&config.blobs);
    let listener = TcpListener::bind(config.listen)
        .await
        .with_context(|| format!("failed to listen on DARKROOM_LISTEN {}", config.listen))?;
    let address = listener.local_addr().context("failed to read the address listened on")?;
    let public = match config.public_url {
        Some(url) => url,
        None => Url::parse(&format!("http://{address}")).context("failed to make up DARKROOM_PUBLIC_URL")?,
    };
    let soft = context.shutdown.soft.clone();
    let api = Api::new(ApiParts {
        store: store.clone(),
        blobs: blobs.clone(),
        catalog: Arc::new(catalog),
        links: Links::new(&public, secret),
        mint: Mint::from_os(),
        capacity: config.capacity,
        outbound: Outbound::new(config.outbound.guard(), Names::of_system()?)?,
        stop: soft.clone(),
    });
    add_checks(&context, &store, &blobs);
    let wanted = CONNECTIONS as u64 + FILES_BESIDE;
    if context.open_files < wanted {
        tracing::warn!(
            open_files = context.open_files,
            wanted,
            "a low `ulimit -n`: fewer callers are served at once"
        );
    }
    context.routes.add(admin_router(api.clone()));
    let drained = CancellationToken::new();
    spawn_loops(&context, &api, &store, &drained);
    tracing::info!(%address, %public, "serving");
    let hard = context.shutdown.hard.clone();
    Server::new(listener, router(api.clone()), soft, hard).run().await;
    api.settled(SETTLE_TIMEOUT).await;
    drained.cancel();
    if timeout(SETTLE_TIMEOUT, blobs.settled()).await.is_err() {
        tracing::warn!("parts of broken uploads may be left in storage");
    }
    Ok(())
}

async fn read_catalog(config: &ServeConfig) -> anyhow::Result<Catalog> {
    let file = config.catalog.display();
    let text = tokio::fs::read_to_string(&config.catalog).await.with_context(|| {
        format!("DARKROOM_CATALOG: failed to read {file}, expected a JSON file of models")
    })?;
    let catalog = Catalog::parse(&text).with_context(|| format!("DARKROOM_CATALOG: {file}"))?;
    for skipped in catalog.skipped() {
        tracing::info!(skipped, "the catalog names a pipeline that is not served");
    }
    for key in catalog.unknown_keys() {
        tracing::warn!(key, "the catalog has a key that means nothing; is it misspelt?");
    }
    Ok(catalog)
}

fn add_checks(context: &Context, store: &Store, blobs: &Blobs) {
    let (store, blobs) = (store.clone(), blobs.clone());
    context.readiness.add("database", move || {
        let store = store.clone();
        async move { store.ping().await }
    });
    context.readiness.add("storage", move || {
        let blobs = blobs.clone();
        async move { blobs.ping().await }
    });
}

/// What is committed while requests drain is still announced; held answers end at once.
fn spawn_loops(context: &Context, api: &Api, store: &Store, drained: &CancellationToken) {
    let (announcing, drained) = (store.clone(), drained.clone());
    context.tasks.spawn("announce", async move {
        announcing.announce(&drained).await;
        Ok(())
    });
    let (watch, store, soft) = (api.watch().clone(), store.clone(), context.shutdown.soft.clone());
    context.tasks.spawn("watch", async move {
        watch.run(&store, &soft).await;
        Ok(())
    });
}
