//! The store under test.

use darkroom_blobs::{Blobs, BlobsConfig};
use url::Url;
use uuid::Uuid;

/// The settings of the store under test. All tests share a bucket.
pub(crate) fn config() -> BlobsConfig {
    BlobsConfig {
        s3_endpoint: setting("TEST_S3_ENDPOINT").parse().unwrap(),
        s3_region: "us-east-1".to_owned(),
        s3_bucket: "darkroom-test".to_owned(),
        s3_access_key_id: setting("TEST_S3_ACCESS_KEY_ID"),
        s3_secret_access_key: setting("TEST_S3_SECRET_ACCESS_KEY").into(),
        s3_public_endpoint: None,
    }
}

#[expect(clippy::disallowed_methods, reason = "tests have no settings of their own")]
fn setting(name: &str) -> String {
    std::env::var(name).expect("run through `cargo xtask test`")
}

/// A test's own part of the bucket.
pub(crate) struct Corner {
    pub(crate) blobs: Blobs,
    pub(crate) prefix: String,
}

impl Corner {
    pub(crate) async fn new() -> Self {
        Self::of(&config()).await
    }

    pub(crate) async fn public() -> Self {
        let mut config = config();
        let mut public = config.s3_endpoint.clone();
        // The same store under another name, as callers would have it.
        public.set_host(Some("localhost")).unwrap();
        config.s3_public_endpoint = Some(public);
        Self::of(&config).await
    }

    async fn of(config: &BlobsConfig) -> Self {
        let blobs = Blobs::connect(config);
        blobs.ensure_bucket().await.unwrap();
        Self { blobs, prefix: format!("{}/", Uuid::new_v4()) }
    }

    pub(crate) fn key(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// The keys there are, without the prefix.
    pub(crate) async fn names(&self) -> Vec<String> {
        let objects = self.blobs.list(&self.prefix, None, 1000).await.unwrap();
        objects.into_iter().map(|object| object.key[self.prefix.len()..].to_owned()).collect()
    }

    pub(crate) async fn clean(self) {
        self.blobs.settled().await;
        self.blobs.delete_prefix(&self.prefix).await.unwrap();
    }
}

/// An endpoint without a listener.
pub(crate) fn nowhere() -> Url {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap()).parse().unwrap()
}
