//! The connection to the store.

use std::{sync::Arc, time::Duration};

use aws_credential_types::Credentials;
use aws_sdk_s3::{
    Client,
    config::{
        BehaviorVersion, Builder, Config, Region, RequestChecksumCalculation, ResponseChecksumValidation,
        retry::RetryConfig, timeout::TimeoutConfig,
    },
    operation::create_bucket::CreateBucketError,
    types::{BucketLocationConstraint, CreateBucketConfiguration},
};
use aws_smithy_http_client::tls::{self, rustls_provider::CryptoMode};
use secrecy::ExposeSecret;
use tokio_util::task::TaskTracker;

use crate::{BlobsConfig, Error};

/// To open a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// From the end of a request to the first byte of its answer.
const READ_TIMEOUT: Duration = Duration::from_secs(10);
/// One try of a call; a part of an upload, 5 MiB, must fit.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(30);
/// A call with its retries.
pub(crate) const OPERATION_TIMEOUT: Duration = Duration::from_secs(60);
/// Tries of a call. What still fails is retried as a whole attempt, much later.
const MAX_ATTEMPTS: u32 = 3;

/// The bucket. Clones share the connections.
#[derive(Clone, Debug)]
pub struct Blobs(pub(crate) Arc<Inner>);

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) client: Client,
    /// Signs for the public endpoint, since the host is part of a signature. It sends nothing.
    pub(crate) presigner: Option<Client>,
    pub(crate) bucket: String,
    /// Aborts of uploads whose future was dropped.
    pub(crate) aborts: TaskTracker,
    region: String,
}

impl Blobs {
    /// The bucket of `config`. Connections are made when they are needed.
    pub fn connect(config: &BlobsConfig) -> Self {
        let client = |endpoint: &url::Url| Client::from_conf(client_config(config, endpoint));
        Self(Arc::new(Inner {
            client: client(&config.s3_endpoint),
            presigner: config.s3_public_endpoint.as_ref().map(client),
            bucket: config.s3_bucket.clone(),
            aborts: TaskTracker::new(),
            region: config.s3_region.clone(),
        }))
    }

    /// Another bucket of the same store, with the same credentials and connections.
    pub fn in_bucket(&self, bucket: impl Into<String>) -> Self {
        let Inner { client, presigner, region, .. } = &*self.0;
        Self(Arc::new(Inner {
            client: client.clone(),
            presigner: presigner.clone(),
            bucket: bucket.into(),
            aborts: self.0.aborts.clone(),
            region: region.clone(),
        }))
    }

    /// Creates the bucket unless it is there. Idempotent.
    ///
    /// # Errors
    /// When the store cannot be reached or does not allow it.
    pub async fn ensure_bucket(&self) -> Result<(), Error> {
        match self.ping().await {
            Err(Error::NoBucket { .. }) => self.create_bucket().await,
            outcome => outcome,
        }
    }

    /// Asks the store for the bucket, for readiness.
    ///
    /// # Errors
    /// [`Error::NoBucket`] when it is not there, else when the store cannot be reached or refuses.
    pub async fn ping(&self) -> Result<(), Error> {
        let bucket = &self.0.bucket;
        let head = self.0.client.head_bucket().bucket(bucket).send().await;
        head.map(drop).map_err(|error| match Error::from_sdk("find bucket", bucket, error) {
            Error::NotFound { key: bucket } => Error::NoBucket { bucket },
            error => error,
        })
    }

    /// Waits until what dropped uploads left behind is cleaned up. For the end of a process.
    pub async fn settled(&self) {
        self.0.aborts.close();
        self.0.aborts.wait().await;
        self.0.aborts.reopen();
    }

    async fn create_bucket(&self) -> Result<(), Error> {
        let Inner { client, bucket, region, .. } = &*self.0;
        // us-east-1 is the region that must not be named here.
        let location = (region != "us-east-1").then(|| {
            CreateBucketConfiguration::builder()
                .location_constraint(BucketLocationConstraint::from(region.as_str()))
                .build()
        });
        match client.create_bucket().bucket(bucket).set_create_bucket_configuration(location).send().await {
            Ok(_) => Ok(()),
            // Another process was faster.
            Err(error)
                if error
                    .as_service_error()
                    .is_some_and(CreateBucketError::is_bucket_already_owned_by_you) =>
            {
                Ok(())
            }
            Err(error) => Err(Error::from_sdk("create bucket", bucket, error)),
        }
    }
}

fn client_config(config: &BlobsConfig, endpoint: &url::Url) -> Config {
    let secret = config.s3_secret_access_key.expose_secret();
    let credentials = Credentials::new(&config.s3_access_key_id, secret, None, None, "settings");
    let http = aws_smithy_http_client::Builder::new()
        .tls_provider(tls::Provider::Rustls(CryptoMode::Ring))
        .build_https();
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(READ_TIMEOUT)
        .operation_attempt_timeout(ATTEMPT_TIMEOUT)
        .operation_timeout(OPERATION_TIMEOUT)
        .build();
    let retries = RetryConfig::standard()
        .with_max_attempts(MAX_ATTEMPTS)
        .with_initial_backoff(Duration::from_millis(200))
        .with_max_backoff(Duration::from_secs(2));
    Builder::new()
        .behavior_version(BehaviorVersion::latest())
        .http_client(http)
        .credentials_provider(credentials)
        .region(Region::new(config.s3_region.clone()))
        .endpoint_url(endpoint.as_str().trim_end_matches('/'))
        // Stores other than AWS seldom have a DNS name per bucket.
        .force_path_style(true)
        // Several of them reject the checksums that the SDK adds and expects by default.
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
        .timeout_config(timeouts)
        .retry_config(retries)
        .build()
}
