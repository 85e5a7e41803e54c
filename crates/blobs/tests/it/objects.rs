//! Whole objects.

use darkroom_blobs::{ByteRange, Error};
use futures_util::TryStreamExt;
use sha2::{Digest, Sha256};

use crate::bucket::Corner;

#[tokio::test]
async fn object_comes_back_as_it_was_put() {
    let corner = Corner::new().await;
    let key = corner.key("input");
    let body = bytes::Bytes::from_static(b"twelve bytes");
    let sha256: [u8; 32] = Sha256::digest(&body).into();
    let stored = corner.blobs.put(&key, body.clone(), "image/png").await.unwrap();
    assert_eq!((stored.size_bytes, stored.sha256), (12, sha256));
    assert_eq!(corner.blobs.put(&key, body.clone(), "image/png").await.unwrap(), stored);

    assert_eq!(corner.blobs.get(&key, 12).await.unwrap(), body);
    let head = corner.blobs.head(&key).await.unwrap().unwrap();
    assert_eq!((head.size_bytes, head.sha256), (12, Some(sha256)));
    assert_eq!(head.content_type.as_deref(), Some("image/png"));
    assert!(head.etag.unwrap().starts_with('"'));
    assert!(head.last_modified.timestamp() > 1_700_000_000);

    corner.blobs.delete(std::slice::from_ref(&key)).await.unwrap();
    assert_eq!(corner.blobs.head(&key).await.unwrap(), None);
    corner.blobs.delete(&[key]).await.expect("deleting what is not there is fine");
    corner.clean().await;
}

#[tokio::test]
async fn large_object_comes_back_as_it_was_put() {
    let corner = Corner::new().await;
    let body = bytes::Bytes::from(vec![7; 3 << 20]);
    let stored = corner.blobs.put(&corner.key("large"), body.clone(), "image/png").await.unwrap();
    assert_eq!(stored.sha256, <[u8; 32]>::from(Sha256::digest(&body)));
    assert!(corner.blobs.get(&corner.key("large"), 3 << 20).await.unwrap() == body);
    corner.clean().await;
}

#[tokio::test]
async fn missing_object_is_not_found() {
    let corner = Corner::new().await;
    let key = corner.key("nothing");
    let is_missing = |error: &Error| matches!(error, Error::NotFound { key: found } if *found == key);
    assert!(is_missing(&corner.blobs.get(&key, 1).await.unwrap_err()));
    assert!(is_missing(&corner.blobs.open(&key, None).await.unwrap_err()));
    assert_eq!(corner.blobs.head(&key).await.unwrap(), None);
}

#[tokio::test]
async fn reading_goes_on_only_while_the_object_is_the_same() {
    let corner = Corner::new().await;
    let key = corner.key("weights");
    corner.blobs.put(&key, "twelve bytes".into(), "text/plain").await.unwrap();
    let etag = corner.blobs.list(&key, None, 1).await.unwrap()[0].etag.clone().unwrap();
    let rest = corner.blobs.open_unchanged(&key, 7, &etag).await.unwrap();
    assert_eq!((rest.size_bytes, rest.content_length), (12, 5));
    let rest: Vec<_> = rest.body.try_collect().await.unwrap();
    assert_eq!(rest.concat(), b"bytes");
    let whole = corner.blobs.open_unchanged(&key, 0, &etag).await.unwrap();
    assert_eq!(whole.content_length, 12);

    corner.blobs.put(&key, "other bytes!".into(), "text/plain").await.unwrap();
    let error = corner.blobs.open_unchanged(&key, 7, &etag).await.unwrap_err();
    assert!(matches!(&error, Error::Changed { key: changed } if *changed == key), "{error:?}");
    corner.clean().await;
}

#[tokio::test]
async fn other_bucket_of_the_store_has_objects_of_its_own() {
    let corner = Corner::new().await;
    let other = corner.blobs.in_bucket(format!("darkroom-{}", uuid::Uuid::new_v4()));
    assert!(matches!(other.ping().await.unwrap_err(), Error::NoBucket { .. }));
    corner.blobs.ping().await.unwrap();
}

#[tokio::test]
async fn object_over_the_readers_limit_is_not_read() {
    let corner = Corner::new().await;
    let key = corner.key("input");
    corner.blobs.put(&key, "twelve bytes".into(), "text/plain").await.unwrap();
    let error = corner.blobs.get(&key, 11).await.unwrap_err();
    assert!(matches!(error, Error::TooLarge { max_bytes: 11, .. }), "{error:?}");
    corner.clean().await;
}

#[tokio::test]
async fn ranges_are_read_as_http_has_them() {
    let corner = Corner::new().await;
    let key = corner.key("input");
    corner.blobs.put(&key, "0123456789".into(), "text/plain").await.unwrap();
    let expectations = [
        (ByteRange::Between { first: 2, last: 4 }, "234", "bytes 2-4/10"),
        (ByteRange::Between { first: 8, last: 99 }, "89", "bytes 8-9/10"),
        (ByteRange::From { first: 7 }, "789", "bytes 7-9/10"),
        (ByteRange::Last { length: 2 }, "89", "bytes 8-9/10"),
    ];
    for (range, expected, content_range) in expectations {
        let download = corner.blobs.open(&key, Some(range)).await.unwrap();
        assert_eq!(download.size_bytes, 10, "{range}");
        assert_eq!(download.content_length, expected.len() as u64, "{range}");
        assert_eq!(download.content_range.as_deref(), Some(content_range), "{range}");
        assert_eq!(download.content_type.as_deref(), Some("text/plain"), "{range}");
        let body: Vec<_> = download.body.try_collect().await.unwrap();
        assert_eq!(body.concat(), expected.as_bytes(), "{range}");
    }

    let whole = corner.blobs.open(&key, None).await.unwrap();
    assert_eq!((whole.size_bytes, whole.content_length, whole.content_range), (10, 10, None));
    let past = corner.blobs.open(&key, Some(ByteRange::From { first: 10 })).await.unwrap_err();
    assert!(matches!(past, Error::InvalidRange { .. }), "{past:?}");
    corner.clean().await;
}

#[tokio::test]
async fn listing_goes_on_after_a_key() {
    let corner = Corner::new().await;
    for name in ["1/0.png", "1/1.png", "2/0.png", "input"] {
        corner.blobs.put(&corner.key(name), "x".into(), "text/plain").await.unwrap();
    }
    let first = corner.blobs.list(&corner.prefix, None, 3).await.unwrap();
    let names: Vec<_> = first.iter().map(|object| &object.key[corner.prefix.len()..]).collect();
    assert_eq!(names, ["1/0.png", "1/1.png", "2/0.png"]);
    assert!(first.iter().all(|object| object.size_bytes == 1 && object.last_modified.timestamp() > 0));

    let rest = corner.blobs.list(&corner.prefix, Some(&first[2].key), 3).await.unwrap();
    assert_eq!(rest.iter().map(|object| &object.key).collect::<Vec<_>>(), [&corner.key("input")]);
    assert_eq!(corner.blobs.list(&corner.prefix, Some(&rest[0].key), 3).await.unwrap(), []);
    corner.clean().await;
}

#[tokio::test]
async fn prefix_is_deleted_with_all_under_it_and_nothing_else() {
    let corner = Corner::new().await;
    for name in ["a/1/0.png", "a/1/1.png", "a/input", "ab/input"] {
        corner.blobs.put(&corner.key(name), "x".into(), "text/plain").await.unwrap();
    }
    assert_eq!(corner.blobs.delete_prefix(&corner.key("a/")).await.unwrap(), 3);
    assert_eq!(corner.names().await, ["ab/input"]);
    assert_eq!(corner.blobs.delete_prefix(&corner.key("a/")).await.unwrap(), 0);
    corner.clean().await;
}
