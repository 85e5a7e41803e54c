//! Presigned links.

use std::time::Duration;

use darkroom_blobs::Presign;

use crate::bucket::Corner;

const LINK: Presign<'_> = Presign {
    ttl: Duration::from_secs(60),
    content_type: Some("image/webp"),
    content_disposition: Some("inline; filename=\"0.webp\""),
};

#[tokio::test]
async fn link_under_the_public_endpoint_is_fetched_without_credentials() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let corner = Corner::public().await;
    let key = corner.key("0.webp");
    corner.blobs.put(&key, "a picture".into(), "application/octet-stream").await.unwrap();
    let link = corner.blobs.presign_get(&key, LINK).await.unwrap().unwrap();
    assert_eq!(link.host_str(), Some("localhost"));

    let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(10)).build().unwrap();
    let answer = client.get(link.clone()).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["content-type"], "image/webp");
    assert_eq!(answer.headers()["content-disposition"], "inline; filename=\"0.webp\"");
    assert_eq!(answer.text().await.unwrap(), "a picture");

    let mut forged = link;
    forged.set_path(&forged.path().replace("0.webp", "1.webp"));
    assert_eq!(client.get(forged).send().await.unwrap().status(), 403);
    corner.clean().await;
}

#[tokio::test]
async fn there_is_no_link_without_a_public_endpoint() {
    let corner = Corner::new().await;
    assert_eq!(corner.blobs.presign_get(&corner.key("0.webp"), LINK).await.unwrap(), None);
}
