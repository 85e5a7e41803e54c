//! A store that is not there, or not ours.

use std::time::{Duration, Instant};

use darkroom_blobs::{Blobs, Error};

use crate::bucket::{config, nowhere};

#[tokio::test]
async fn unreachable_store_is_unavailable_within_the_bound() {
    let mut config = config();
    config.s3_endpoint = nowhere();
    let blobs = Blobs::connect(&config);
    let started = Instant::now();
    let error = blobs.put("key", "body".into(), "text/plain").await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }) && error.is_retryable(), "{error:?}");
    assert_eq!(error.to_string(), "failed to put key");
    assert!(blobs.ping().await.unwrap_err().is_retryable());
    assert!(started.elapsed() < Duration::from_secs(15));
}

#[tokio::test]
async fn wrong_credentials_are_refused() {
    let mut config = config();
    config.s3_secret_access_key = "wrong".into();
    let error = Blobs::connect(&config).get("key", 1).await.unwrap_err();
    assert!(matches!(error, Error::Refused { .. }) && !error.is_retryable(), "{error:?}");
}

#[tokio::test]
async fn missing_bucket_is_told_apart_from_a_missing_object() {
    let mut config = config();
    config.s3_bucket = format!("darkroom-{}", uuid::Uuid::new_v4());
    let blobs = Blobs::connect(&config);
    assert!(
        matches!(blobs.ping().await.unwrap_err(), Error::NoBucket { bucket } if bucket == config.s3_bucket)
    );
    let error = blobs.get("key", 1).await.unwrap_err();
    assert!(matches!(error, Error::Refused { .. }), "{error:?}");
}
