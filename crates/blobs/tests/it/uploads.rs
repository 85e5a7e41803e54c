//! Streams of unknown length.

use std::{convert::Infallible, io};

use bytes::Bytes;
use darkroom_blobs::UploadError;
use futures_util::{Stream, StreamExt, stream};
use sha2::{Digest, Sha256};

use crate::bucket::Corner;

const MIB: usize = 1 << 20;
const FOREVER: chrono::DateTime<chrono::Utc> = chrono::DateTime::<chrono::Utc>::MAX_UTC;

/// Chunks of a MiB, each of its own kind.
fn chunks(count: usize) -> impl Stream<Item = Result<Bytes, Infallible>> {
    stream::iter(0..count).map(|index| Ok(Bytes::from(vec![u8::try_from(index).unwrap(); MIB])))
}

#[tokio::test]
async fn short_stream_is_one_object_with_its_digest() {
    let corner = Corner::new().await;
    let key = corner.key("input");
    let stream = stream::iter(["two ", "chunks"]).map(|chunk| Ok::<_, Infallible>(Bytes::from(chunk)));
    let uploaded = corner.blobs.upload(&key, stream, 10).await.unwrap();
    assert_eq!(uploaded.size_bytes, 10);
    assert_eq!(corner.blobs.head(&key).await.unwrap().unwrap().sha256, Some(uploaded.sha256));
    assert_eq!(corner.blobs.get(&key, 10).await.unwrap(), "two chunks");
    corner.clean().await;
}

#[tokio::test]
async fn long_stream_arrives_whole() {
    let corner = Corner::new().await;
    let key = corner.key("input");
    let uploaded = corner.blobs.upload(&key, chunks(20), 20 * MIB as u64).await.unwrap();
    assert_eq!(uploaded.size_bytes, 20 * MIB as u64);

    let stored = corner.blobs.get(&key, 20 * MIB as u64).await.unwrap();
    assert_eq!(stored.len(), 20 * MIB);
    assert_eq!(uploaded.sha256, <[u8; 32]>::from(Sha256::digest(&stored)));
    assert!((0..20).all(|index| usize::from(stored[index * MIB]) == index));
    corner.clean().await;
}

#[tokio::test]
async fn stream_of_exact_parts_arrives_whole() {
    let corner = Corner::new().await;
    let key = corner.key("input");
    let uploaded = corner.blobs.upload(&key, chunks(15), u64::MAX).await.unwrap();
    let head = corner.blobs.head(&key).await.unwrap().unwrap();
    assert_eq!((uploaded.size_bytes, head.size_bytes), (15 * MIB as u64, 15 * MIB as u64));
    corner.clean().await;
}

#[tokio::test]
async fn stream_over_the_limit_leaves_nothing() {
    let corner = Corner::new().await;
    for (count, max_bytes) in [(1, 10), (20, 17 * MIB as u64)] {
        let error = corner.blobs.upload(&corner.key("input"), chunks(count), max_bytes).await.unwrap_err();
        assert!(
            matches!(error, UploadError::TooLarge { max_bytes: limit } if limit == max_bytes),
            "{error:?}"
        );
        assert!(corner.names().await.is_empty());
    }
    assert_eq!(corner.blobs.abort_uploads(&corner.prefix, FOREVER).await.unwrap(), 0);
    corner.clean().await;
}

#[tokio::test]
async fn stream_that_breaks_leaves_nothing() {
    let corner = Corner::new().await;
    let broken = chunks(10)
        .map(|chunk| chunk.map_err(|never| match never {}))
        .chain(stream::iter([Err(io::Error::other("connection reset"))]));
    let error = corner.blobs.upload(&corner.key("input"), broken, u64::MAX).await.unwrap_err();
    assert!(
        matches!(&error, UploadError::Source(error) if error.to_string() == "connection reset"),
        "{error:?}"
    );
    assert!(corner.names().await.is_empty());
    assert_eq!(corner.blobs.abort_uploads(&corner.prefix, FOREVER).await.unwrap(), 0);
    corner.clean().await;
}

#[tokio::test]
async fn parts_of_a_dead_process_are_deleted_by_age() {
    let corner = Corner::new().await;
    let key = corner.key("input");
    let (reached, mut sent) = tokio::sync::mpsc::channel(1);
    let endless = chunks(9).chain(stream::once(async move {
        reached.send(()).await.unwrap();
        std::future::pending().await
    }));
    let mut upload = Box::pin(corner.blobs.upload(&key, endless, u64::MAX));
    tokio::select! {
        _ = &mut upload => unreachable!("the stream does not end"),
        _ = sent.recv() => {}
    }
    // A killed process drops nothing.
    std::mem::forget(upload);
    assert_eq!(corner.blobs.abort_uploads(&corner.prefix, chrono::DateTime::UNIX_EPOCH).await.unwrap(), 0);
    assert_eq!(corner.blobs.abort_uploads(&corner.prefix, FOREVER).await.unwrap(), 1);
    assert_eq!(corner.blobs.abort_uploads(&corner.prefix, FOREVER).await.unwrap(), 0);
    corner.clean().await;
}

#[tokio::test]
async fn dropped_upload_leaves_nothing() {
    let corner = Corner::new().await;
    let key = corner.key("input");
    let (reached, mut sent) = tokio::sync::mpsc::channel(1);
    let endless = chunks(9).chain(stream::once(async move {
        reached.send(()).await.unwrap();
        std::future::pending().await
    }));
    {
        let upload = corner.blobs.upload(&key, endless, u64::MAX);
        tokio::select! {
            _ = upload => unreachable!("the stream does not end"),
            _ = sent.recv() => {}
        }
    }
    corner.blobs.settled().await;
    assert!(corner.names().await.is_empty());
    assert_eq!(corner.blobs.abort_uploads(&corner.prefix, FOREVER).await.unwrap(), 0);
    corner.clean().await;
}
