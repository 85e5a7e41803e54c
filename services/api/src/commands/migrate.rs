//! `migrate`.

use anyhow::Context as _;
use clap::Args;
use darkroom_blobs::{Blobs, BlobsConfig};
use darkroom_store::{Store, StoreConfig};

use super::{NAME, say};

#[derive(Debug, Args)]
pub(super) struct Migrate {
    #[command(flatten)]
    store: StoreConfig,

    #[command(flatten)]
    blobs: Option<BlobsConfig>,
}

impl Migrate {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let store = Store::connect(&self.store, NAME).await.context("failed to connect to DATABASE_URL")?;
        let version = store.migrate().await?;
        say(format_args!("the database is at version {version}"));
        if let Some(config) = &self.blobs {
            Blobs::connect(config).ensure_bucket().await?;
            say(format_args!("the bucket {} is there", config.s3_bucket));
        }
        store.close().await;
        Ok(())
    }
}
